//! Follows a feed of SegmentRules, as the Flink job did: what the feed has runs, what leaves it goes. While the feed
//! cannot be read or does not compile, the last good set stays in force, and it is tried again after 10 s, then less
//! and less often.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rand::Rng;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use serde_json::{Value, json};

use super::Service;
use crate::catalog::Edit;

const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(300);
const LARGEST: usize = 64 << 20;

/// Follows the feed until the service is gone.
pub async fn follow(service: Weak<Service>) {
    let (mut seen, mut wait) = (None, FIRST_RETRY);
    loop {
        let Some(service) = service.upgrade() else { return };
        let refresh = service.config.rules.refresh.duration();
        let pause = match read(&service, &mut seen).await {
            Ok(()) => {
                wait = FIRST_RETRY;
                refresh
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "rules feed; the last good set stays in force");
                metrics::counter!("cohort_rules_feed_errors_total").increment(1);
                let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
                wait = (wait * 2).min(LAST_RETRY);
                jittered
            }
        };
        drop(service);
        tokio::time::sleep(pause).await;
    }
}

/// Reads the feed once, unless it is as it was.
async fn read(service: &Service, seen: &mut Option<HeaderValue>) -> Result<()> {
    // Only the first use installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let mut request = client.get(&service.config.rules.url);
    if let Some(tag) = seen.as_ref() {
        request = request.header(IF_NONE_MATCH, tag);
    }
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    if response.status() == reqwest::StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    let response = response.error_for_status().map_err(reqwest::Error::without_url)?;
    let tag = response.headers().get(ETAG).cloned();
    let bytes = response.bytes().await.map_err(reqwest::Error::without_url)?;
    if bytes.len() > LARGEST {
        bail!("the feed is larger than {LARGEST} bytes");
    }
    let rules: Vec<Value> = serde_json::from_slice(&bytes).context("the feed is not a list of rules")?;
    apply(service, &rules).await?;
    *seen = tag;
    Ok(())
}

/// The feed's rules as segments, one for each `segmentId`.
fn segments(rules: &[Value]) -> Result<BTreeMap<String, Value>> {
    let mut segments: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for rule in rules {
        let name = match &rule["segmentId"] {
            Value::String(s) if !s.is_empty() => s.clone(),
            Value::Number(n) => n.to_string(),
            other => bail!("a rule's segmentId is {other}"),
        };
        let kept = json!({
            "eventType": rule["eventType"], "attribute": rule["attribute"], "operator": rule["operator"],
            "value": rule["threshold"], "windowMinutes": rule["windowMinutes"],
        });
        segments.entry(name).or_default().push(kept);
    }
    Ok(segments.into_iter().map(|(name, rules)| (name.clone(), json!({"name": name, "type": "INDEPENDENT", "rules": rules}))).collect())
}

/// Makes the catalog's segments of the feed those of the rules.
async fn apply(service: &Service, rules: &[Value]) -> Result<()> {
    let wanted = segments(rules)?;
    let current = service.current.load_full();
    let mut edits = vec![];
    for stored in current.segments.iter().filter(|s| s.origin == "feed") {
        match wanted.get(&stored.name) {
            None => edits.push(Edit::Drop { id: stored.id.clone() }),
            Some(body) if *body != stored.body => edits.push(Edit::Replace {
                id: stored.id.clone(),
                name: stored.name.clone(),
                body: body.clone(),
                description: stored.description.clone(),
                expected_version: None,
            }),
            Some(_) => {}
        }
    }
    for (name, body) in wanted {
        match current.find(&name) {
            None => edits.push(Edit::Create { name, body, description: String::new(), origin: "feed".into(), active: true }),
            Some(stored) if stored.origin != "feed" => bail!("the feed has {name:?}, which is a segment of the API"),
            Some(_) => {}
        }
    }
    if edits.is_empty() {
        return Ok(());
    }
    tracing::info!(changes = edits.len(), "rules feed");
    service.edit(edits, "rules feed").await.map(|_| ()).map_err(|p| anyhow!(p.detail))
}
