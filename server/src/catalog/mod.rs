//! The segments of the service, with all their versions and who changed them: in SQLite, or in a PostgreSQL that
//! several instances share. Each change has a revision, one after the other; a revision names a set of segments.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, ConnectOptions, Row, Transaction};

/// A segment as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its id, which never changes.
    pub id: String,
    /// Its name, which results carry.
    pub name: String,
    /// What it was created from: `{name, sql}` or the fields of a rule segment.
    pub body: Value,
    /// What it is for.
    pub description: String,
    /// Who keeps it: `api` or `feed`.
    pub origin: String,
    /// Whether it runs.
    pub active: bool,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created, ms since the epoch.
    pub created_at: i64,
    /// When it was last changed.
    pub updated_at: i64,
    /// By whom.
    pub updated_by: String,
}

/// A change to make.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Adds a segment.
    Create {
        /// Its name.
        name: String,
        /// What it is made from.
        body: Value,
        /// What it is for.
        description: String,
        /// Who keeps it.
        origin: String,
        /// Whether it runs.
        active: bool,
    },
    /// Gives a segment another meaning.
    Replace {
        /// Which.
        id: String,
        /// Its name from now on.
        name: String,
        /// What it is made from.
        body: Value,
        /// What it is for.
        description: String,
        /// The version that it must have, if that matters.
        expected_version: Option<i64>,
    },
    /// Has a segment run or not.
    SetActive {
        /// Which.
        id: String,
        /// Whether it runs.
        active: bool,
    },
    /// Removes a segment.
    Drop {
        /// Which.
        id: String,
    },
}

/// A change that was made.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its place among all changes.
    pub revision: i64,
    /// The segment's id.
    pub segment_id: String,
    /// The segment's name after it.
    pub name: String,
    /// `create`, `replace`, `pause`, `resume` or `drop`.
    pub action: String,
    /// The segment's version after it.
    pub version: i64,
    /// What the segment is made from after it.
    pub body: Value,
    /// Whether the segment runs after it.
    pub active: bool,
    /// Who made it.
    pub by: String,
    /// When, ms since the epoch.
    pub at: i64,
}

/// A catalog that cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It cannot be opened.
    #[error("catalog {url}: {message}")]
    Unreachable {
        /// Where, without secrets.
        url: String,
        /// Why.
        message: String,
    },
    /// There is another segment of that name.
    #[error("there is already a segment named {name:?}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is no such segment.
    #[error("there is no segment {name:?}")]
    Unknown {
        /// Its id or name.
        name: String,
    },
    /// Someone else changed the segment meanwhile.
    #[error("segment {name:?} has changed meanwhile: it has version {version}")]
    Stale {
        /// The segment.
        name: String,
        /// Its version.
        version: i64,
    },
    /// The database failed.
    #[error("catalog: {0}")]
    Database(#[from] sqlx::Error),
}

type Result<T> = std::result::Result<T, CatalogError>;

/// A member of the consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, new at each start.
    pub instance: String,
    /// Where it is asked.
    pub url: String,
    /// The partitions that it reads.
    pub partitions: Vec<u32>,
}

impl CatalogError {
    /// Whether the database, and not what it was asked, is what fails.
    pub fn is_unreachable(&self) -> bool {
        match self {
            CatalogError::Unreachable { .. } => true,
            CatalogError::Database(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => true,
            // Connection exceptions, operator intervention, and a database that is not there.
            CatalogError::Database(sqlx::Error::Database(e)) => e.code().is_some_and(|c| ["08", "57", "3D"].iter().any(|class| c.starts_with(class))),
            _ => false,
        }
    }
}

/// The catalog; clones share its connections.
#[derive(Clone)]
pub struct Catalog {
    pool: AnyPool,
}

const SQLITE: [&str; 3] = ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA busy_timeout = 10000"];

/// A URL without its password and query; a user without a password may be a token.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_string() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.find(['?', '#']).map_or(path.to_string(), |at| format!("{}{}***", &path[..at], &path[at..=at]));
    let Some((user, host)) = authority.rsplit_once('@') else { return format!("{scheme}://{authority}{path}") };
    let user = match user.split_once(':') {
        Some((name, _)) => format!("{name}:***"),
        None if scheme.starts_with("http") => "***".into(),
        None => user.to_string(),
    };
    format!("{scheme}://{user}@{host}{path}")
}

impl Catalog {
    /// Opens the catalog of a URL, `sqlite:FILE` or `postgres://…`; makes what is missing.
    ///
    /// # Errors
    /// When it cannot be reached; the message has no password.
    pub async fn open(url: &str) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| CatalogError::Unreachable { url: redacted(url), message: e.to_string() };
        sqlx::any::install_default_drivers();
        let sqlite = url.strip_prefix("sqlite:").map(|path| path.trim_start_matches("//"));
        if let Some(folder) = sqlite.and_then(|path| std::path::Path::new(path).parent()) {
            std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        }
        let full = sqlite.map_or(url.to_string(), |path| format!("sqlite://{path}?mode=rwc"));
        let options = AnyConnectOptions::from_str(&full).map_err(|e| failed(&e))?.disable_statement_logging();
        let is_sqlite = sqlite.is_some();
        let pool = AnyPoolOptions::new().max_connections(if is_sqlite { 4 } else { 8 }).acquire_timeout(std::time::Duration::from_secs(10));
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                let pragmas: &[&'static str] = if is_sqlite { &SQLITE } else { &[] };
                for pragma in pragmas {
                    sqlx::query(*pragma).execute(&mut *connection).await?;
                }
                Ok(())
            })
        });
        let pool = pool.connect_with(options).await.map_err(|e| failed(&e))?;
        sqlx::migrate!("./migrations").run(&pool).await.map_err(|e| failed(&e))?;
        Ok(Catalog { pool })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.revision().await.map(|_| ())
    }

    /// The newest revision; 0 before the first change.
    pub async fn revision(&self) -> Result<i64> {
        Ok(sqlx::query("SELECT revision FROM catalog_state").fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// All segments, in the order of their creation, and the revision that they are of.
    #[tracing::instrument(name = "catalog read", skip_all)]
    pub async fn all(&self) -> Result<(i64, Vec<Stored>)> {
        loop {
            let before = self.revision().await?;
            let rows = sqlx::query("SELECT * FROM segments ORDER BY created, id").fetch_all(&self.pool).await?;
            if self.revision().await? == before {
                return Ok((before, rows.iter().map(stored).collect::<Result<_>>()?));
            }
        }
    }

    /// Makes changes, all or none; returns the revision after them, and each segment as it is after its change.
    #[tracing::instrument(name = "catalog write", skip_all, fields(edits = edits.len(), by = by))]
    pub async fn apply(&self, edits: &[Edit], by: &str, at: i64) -> Result<(i64, Vec<Stored>)> {
        let mut transaction = self.pool.begin().await?;
        // First the counter: that takes the lock by which changes come one after the other.
        let last: i64 = sqlx::query("UPDATE catalog_state SET revision = revision + $1 WHERE id = 1 RETURNING revision")
            .bind(edits.len() as i64)
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        let mut changed = Vec::with_capacity(edits.len());
        for (revision, edit) in (last - edits.len() as i64 + 1..).zip(edits) {
            changed.push(apply_one(&mut transaction, edit, revision, by, at).await?);
        }
        transaction.commit().await?;
        Ok((last, changed))
    }

    /// All versions of a segment, newest first.
    pub async fn versions(&self, id: &str) -> Result<Vec<Change>> {
        let rows = sqlx::query("SELECT * FROM changes WHERE segment_id = $1 ORDER BY revision DESC").bind(id).fetch_all(&self.pool).await?;
        rows.iter().map(change).collect()
    }

    /// Changes before a revision, newest first.
    pub async fn audit(&self, limit: i64, before: Option<i64>) -> Result<Vec<Change>> {
        let query = sqlx::query("SELECT * FROM changes WHERE revision < $1 ORDER BY revision DESC LIMIT $2");
        let rows = query.bind(before.unwrap_or(i64::MAX)).bind(limit).fetch_all(&self.pool).await?;
        rows.iter().map(change).collect()
    }

    /// The segments that ran as of a revision, in the order of their creation: names and what they were made from.
    pub async fn active_at(&self, revision: i64) -> Result<Vec<(String, String, Value)>> {
        let rows = sqlx::query("SELECT * FROM changes WHERE revision <= $1 ORDER BY revision").bind(revision).fetch_all(&self.pool).await?;
        let (mut latest, mut order) = (BTreeMap::new(), vec![]);
        for row in &rows {
            let change = change(row)?;
            if !latest.contains_key(&change.segment_id) {
                order.push(change.segment_id.clone());
            }
            latest.insert(change.segment_id.clone(), change);
        }
        let active = order.into_iter().filter_map(|id| latest.remove(&id)).filter(|c| c.active && c.action != "drop");
        Ok(active.map(|c| (c.segment_id, c.name, c.body)).collect())
    }
}

impl Catalog {
    /// Says that a member is there; returns the others that said so since a time, and forgets those that did not.
    pub async fn announce(&self, member: &Member, now: i64, since: i64) -> Result<Vec<Member>> {
        let text = member.partitions.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let query = "INSERT INTO members (instance, url, partitions, seen_at) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (instance) DO UPDATE SET url = excluded.url, partitions = excluded.partitions, seen_at = excluded.seen_at";
        sqlx::query(query).bind(&member.instance).bind(&member.url).bind(text).bind(now).execute(&self.pool).await?;
        sqlx::query("DELETE FROM members WHERE seen_at < $1").bind(since).execute(&self.pool).await?;
        let rows = sqlx::query("SELECT instance, url, partitions FROM members WHERE instance <> $1 ORDER BY instance").bind(&member.instance);
        let read = |row: &AnyRow| {
            let partitions: String = row.try_get("partitions")?;
            let partitions = partitions.split(',').filter_map(|p| p.parse().ok()).collect();
            Ok(Member { instance: row.try_get("instance")?, url: row.try_get("url")?, partitions })
        };
        rows.fetch_all(&self.pool).await?.iter().map(read).collect()
    }
}

async fn apply_one(transaction: &mut Transaction<'_, Any>, edit: &Edit, revision: i64, by: &str, at: i64) -> Result<Stored> {
    let (stored, action) = match edit {
        Edit::Create { name, body, description, origin, active } => {
            let stored = Stored {
                id: uuid::Uuid::now_v7().to_string(),
                name: name.clone(),
                body: body.clone(),
                description: description.clone(),
                origin: origin.clone(),
                active: *active,
                version: 1,
                created_at: at,
                updated_at: at,
                updated_by: by.to_string(),
            };
            insert(transaction, &stored, revision).await?;
            (stored, "create")
        }
        Edit::Replace { id, name, body, description, expected_version } => {
            let old = find(transaction, id).await?;
            if expected_version.is_some_and(|v| v != old.version) {
                return Err(CatalogError::Stale { name: old.name, version: old.version });
            }
            (Stored { name: name.clone(), body: body.clone(), description: description.clone(), ..old }, "replace")
        }
        Edit::SetActive { id, active } => (Stored { active: *active, ..find(transaction, id).await? }, if *active { "resume" } else { "pause" }),
        Edit::Drop { id } => {
            let old = find(transaction, id).await?;
            sqlx::query("DELETE FROM segments WHERE id = $1").bind(id).execute(&mut **transaction).await?;
            (Stored { active: false, ..old }, "drop")
        }
    };
    let version = stored.version + i64::from(action != "create");
    if matches!(action, "replace" | "pause" | "resume") {
        update(transaction, &stored, version, by, at).await?;
    }
    sqlx::query(
        "INSERT INTO changes (revision, segment_id, name, action, version, body, active, changed_by, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(revision)
    .bind(&stored.id)
    .bind(&stored.name)
    .bind(action)
    .bind(version)
    .bind(stored.body.to_string())
    .bind(i64::from(stored.active))
    .bind(by)
    .bind(at)
    .execute(&mut **transaction)
    .await?;
    Ok(if action == "create" { stored } else { Stored { version, updated_at: at, updated_by: by.to_string(), ..stored } })
}

async fn find(transaction: &mut Transaction<'_, Any>, id: &str) -> Result<Stored> {
    let row = sqlx::query("SELECT * FROM segments WHERE id = $1").bind(id).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(stored).unwrap_or_else(|| Err(CatalogError::Unknown { name: id.to_string() }))
}

fn unique(name: &str) -> impl FnOnce(sqlx::Error) -> CatalogError {
    let name = name.to_string();
    move |error| match error.as_database_error() {
        Some(e) if e.is_unique_violation() => CatalogError::NameTaken { name },
        _ => error.into(),
    }
}

async fn insert(transaction: &mut Transaction<'_, Any>, s: &Stored, created: i64) -> Result<()> {
    let query = "INSERT INTO segments (id, name, body, description, origin, active, version, created, created_at, updated_at, updated_by) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let query = sqlx::query(query).bind(&s.id).bind(&s.name).bind(s.body.to_string()).bind(&s.description).bind(&s.origin);
    let query = query.bind(i64::from(s.active)).bind(s.version).bind(created).bind(s.created_at).bind(s.updated_at).bind(&s.updated_by);
    query.execute(&mut **transaction).await.map(|_| ()).map_err(unique(&s.name))
}

async fn update(transaction: &mut Transaction<'_, Any>, s: &Stored, version: i64, by: &str, at: i64) -> Result<()> {
    let query = "UPDATE segments SET name = $1, body = $2, description = $3, active = $4, version = $5, updated_at = $6, updated_by = $7 WHERE id = $8";
    let query = sqlx::query(query).bind(&s.name).bind(s.body.to_string()).bind(&s.description).bind(i64::from(s.active));
    query.bind(version).bind(at).bind(by).bind(&s.id).execute(&mut **transaction).await.map(|_| ()).map_err(unique(&s.name))
}

fn json(row: &AnyRow) -> Result<Value> {
    let text: String = row.try_get("body")?;
    serde_json::from_str(&text).map_err(|e| sqlx::Error::Decode(Box::new(e)).into())
}

fn stored(row: &AnyRow) -> Result<Stored> {
    Ok(Stored {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        body: json(row)?,
        description: row.try_get("description")?,
        origin: row.try_get("origin")?,
        active: row.try_get::<i64, _>("active")? != 0,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        updated_by: row.try_get("updated_by")?,
    })
}

fn change(row: &AnyRow) -> Result<Change> {
    Ok(Change {
        revision: row.try_get("revision")?,
        segment_id: row.try_get("segment_id")?,
        name: row.try_get("name")?,
        action: row.try_get("action")?,
        version: row.try_get("version")?,
        body: json(row)?,
        active: row.try_get::<i64, _>("active")? != 0,
        by: row.try_get("changed_by")?,
        at: row.try_get("changed_at")?,
    })
}

#[cfg(test)]
mod tests;
