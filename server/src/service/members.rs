//! Other members of the consumer group. Each says in the catalog where it is asked and which partitions it reads; what
//! concerns a user of another is asked there.

use std::sync::Weak;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, StatusCode, header};
use cohort_connectors::replay::partition_of;
use serde_json::Value;

use super::Service;
use crate::api::problem::Problem;
use crate::catalog::Member;

/// How often a member says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one that says nothing counts as there, ms.
const SILENCE: i64 = 10_000;
/// How long another member may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Marks a request of a member to another, which is not passed on.
pub const FORWARDED: &str = "x-cohort-forwarded";

/// The other members, as of the last heartbeat.
pub struct Members {
    instance: String,
    others: ArcSwap<Vec<Member>>,
    client: reqwest::Client,
}

impl Default for Members {
    fn default() -> Self {
        // Only the first use installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap_or_default();
        Members { instance: uuid::Uuid::now_v7().to_string(), others: ArcSwap::default(), client }
    }
}

impl Members {
    /// The other members.
    pub fn others(&self) -> std::sync::Arc<Vec<Member>> {
        self.others.load_full()
    }
}

/// Says that this member is there, and hears of the others, until the service is gone.
pub async fn announce(service: Weak<Service>) {
    loop {
        let Some(service) = service.upgrade() else { return };
        if let Err(error) = heartbeat(&service).await {
            tracing::warn!(%error, "members");
        }
        drop(service);
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn heartbeat(service: &Service) -> Result<(), crate::catalog::CatalogError> {
    let now = (service.clock)();
    let mut partitions = service.runtime.partitions();
    partitions.sort_unstable();
    let me = Member { instance: service.members.instance.clone(), url: service.config.server.advertise.clone(), partitions };
    let others = service.catalog.announce(&me, now, now - SILENCE).await?;
    service.members.others.store(std::sync::Arc::new(others));
    Ok(())
}

impl Service {
    /// The partition that a user's events are read from here, if they are.
    pub fn partition_here(&self, user: &str) -> Option<u32> {
        let likely = partition_of(user.as_bytes(), self.partitions);
        if !self.config.source.kind.is_kafka() {
            return Some(likely);
        }
        let here = self.runtime.partitions();
        let name = user.as_bytes().to_vec();
        let knows = self.runtime.ask_all(PATIENCE, move |p| p.state.users().find(&name).map(|_| p.number));
        // Not every producer chooses partitions as Java's does.
        knows.into_iter().flatten().next().or_else(|| Some(likely).filter(|p| here.contains(p)))
    }

    /// Asks the other members, the likely one first, until one knows.
    ///
    /// # Errors
    /// When none knows, and one did not answer or nobody reads the user's partition now: it is not known.
    pub async fn ask_others(&self, path: &str, user: &str, headers: &HeaderMap, knows: impl Fn(&Value) -> bool) -> Result<Option<Value>, Problem> {
        if headers.contains_key(FORWARDED) {
            return Ok(None);
        }
        let likely = partition_of(user.as_bytes(), self.partitions);
        let mut others: Vec<Member> = self.members.others().to_vec();
        others.sort_by_key(|m| !m.partitions.contains(&likely));
        let (mut found, mut unknown) = (None, !others.iter().any(|m| m.partitions.contains(&likely)) && !self.runtime.partitions().contains(&likely));
        for member in others {
            let mut request = self.members.client.get(format!("{}/api/v1{path}", member.url)).header(FORWARDED, "1");
            if let Some(token) = headers.get(header::AUTHORIZATION) {
                request = request.header(header::AUTHORIZATION, token);
            }
            let answer = match request.send().await.and_then(reqwest::Response::error_for_status) {
                Ok(response) => response.json::<Value>().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) if knows(&answer) => return Ok(Some(answer)),
                Ok(answer) => drop(found.get_or_insert(answer)),
                Err(error) => {
                    unknown = true;
                    tracing::debug!(%error, url = member.url, "a member does not answer");
                }
            }
        }
        let moving = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the member that reads this user's events does not answer, or is changing");
        if unknown { Err(moving().hint("try again in some seconds")) } else { Ok(found) }
    }
}
