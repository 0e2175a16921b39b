//! The embedded profile store: for each user, the segments they are in and the results behind that, with a time
//! to live. Results come in through [`Sink`]; look-ups, from many threads, go through clones.
//!
//! Beside the profiles stand an index of each segment's members, their number, and what happened minute by minute;
//! all are written together.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use cohort_engine::ResultKind;
use cohort_engine::sink::{MemberBatch, ResultBatch, Sink, SinkError, Touch};
use fjall::{Keyspace, OwnedWriteBatch};
use serde::{Deserialize, Serialize};

use super::{EmbeddedError, Store, corrupt, joined};

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

const MINUTE: i64 = 60_000;
/// How long what happened minute by minute is kept.
const ACTIVITY_KEPT: i64 = 24 * 60 * MINUTE;

/// The last result of a rule for a user. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleResult {
    /// The segment that it decides.
    pub segment: String,
    /// Whether the user qualified.
    pub qualified: bool,
    /// The value.
    pub value: Option<f64>,
    /// Time of the result.
    pub timestamp: i64,
    /// Start of its window.
    pub window_start: i64,
    /// End of its window.
    pub window_end: i64,
    /// Time of the result by which the user became a member; they have been one since.
    pub since: i64,
}

/// A user's memberships.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// When it expires.
    pub expires_at: i64,
    /// When the profile was last written.
    pub last_updated: i64,
    /// The partition of the user's events.
    pub partition: u32,
    /// Ids of the segments that the user is in.
    pub segments: BTreeSet<String>,
    /// The last result of each rule, by its id.
    pub results: BTreeMap<String, RuleResult>,
}

/// How a stored profile begins.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Head {
    expires_at: i64,
    last_updated: i64,
    partition: u32,
}

fn head(key: &[u8], value: &[u8]) -> Result<Head, EmbeddedError> {
    postcard::take_from_bytes(value).map(|(head, _)| head).map_err(|e| corrupt("profiles", key, e))
}

fn whole(key: &[u8], value: &[u8]) -> Result<Profile, EmbeddedError> {
    postcard::from_bytes(value).map_err(|e| corrupt("profiles", key, e))
}

/// What happened to a segment in a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Start of the minute, ms since the epoch.
    pub minute: i64,
    /// Users who became members.
    pub entered: u64,
    /// Users who ceased to be members.
    pub exited: u64,
    /// Members at its end.
    pub size: u64,
}

/// Who entered and exited by a write of results.
#[derive(Debug, Default)]
pub struct Moves {
    entered: HashSet<u64>,
    exited: HashSet<u64>,
}

impl Moves {
    /// Whether a user was in a segment before the write, by whether they are after it.
    pub fn before(&self, place: u64, after: bool) -> bool {
        !self.entered.contains(&place) && (after || self.exited.contains(&place))
    }
}

/// A number for a user's place in a segment.
pub fn place(segment: &str, user: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (segment, user).hash(&mut hasher);
    hasher.finish()
}

/// The profile store; clones share it. Only one of them writes.
#[derive(Clone)]
pub struct Profiles {
    store: Store,
    profiles: Keyspace,
    /// Segment and user → nothing.
    members: Keyspace,
    /// Segment → number of members.
    sizes: Keyspace,
    /// Segment and minute → activity.
    activity: Keyspace,
    /// What the last write of results changed.
    moves: Arc<Mutex<Arc<Moves>>>,
    ttl_ms: i64,
    clock: Clock,
}

/// Changes that are written together.
struct Changes {
    batch: OwnedWriteBatch,
    /// Segment → users entered and exited.
    moved: BTreeMap<String, (u64, u64)>,
    moves: Moves,
}

impl Profiles {
    /// The profiles of a store; they expire `ttl_ms` after their last write.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(store: &Store, ttl_ms: i64, clock: Clock) -> Result<Self, EmbeddedError> {
        Ok(Profiles {
            store: store.clone(),
            profiles: store.keyspace("profiles.2")?,
            members: store.keyspace("members.2")?,
            sizes: store.keyspace("sizes.2")?,
            activity: store.keyspace("activity.2")?,
            moves: Arc::default(),
            ttl_ms,
            clock,
        })
    }

    /// A user's profile; none when it has expired.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, user: &str) -> Result<Option<Profile>, EmbeddedError> {
        Ok(self.stored(user.as_bytes())?.filter(|p| p.expires_at > (self.clock)()))
    }

    fn stored(&self, user: &[u8]) -> Result<Option<Profile>, EmbeddedError> {
        let Some(value) = self.profiles.get(user)? else { return Ok(None) };
        whole(user, &value).map(Some)
    }

    /// Members of a segment, in the order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn members(&self, segment: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Profile)>, EmbeddedError> {
        self.members_like(segment, "", after, limit)
    }

    /// As [`Self::members`], those whose ids begin with a text.
    ///
    /// # Errors
    /// When the store fails.
    pub fn members_like(&self, segment: &str, start: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Profile)>, EmbeddedError> {
        let prefix = joined(segment.as_bytes(), b"");
        // The key right after that of `after`.
        let after = after.map(|user| joined(segment.as_bytes(), &[user.as_bytes(), b"\0"].concat()));
        let from = after.unwrap_or_default().max(joined(segment.as_bytes(), start.as_bytes()));
        let (mut found, now) = (vec![], (self.clock)());
        for guard in self.members.range(from..) {
            let key = guard.key()?;
            let user = key.strip_prefix(prefix.as_slice()).filter(|user| user.starts_with(start.as_bytes()));
            let Some(user) = user.filter(|_| found.len() < limit) else { break };
            if let Some(profile) = self.stored(user)?.filter(|p| p.expires_at > now) {
                found.push((String::from_utf8_lossy(user).into_owned(), profile));
            }
        }
        Ok(found)
    }

    /// Users whose ids begin with a text, in the order of their ids, with the number of segments that each is in.
    /// At most `seen` profiles are looked at.
    ///
    /// # Errors
    /// When the store fails.
    pub fn users(&self, start: &str, limit: usize, seen: usize) -> Result<Vec<(String, usize)>, EmbeddedError> {
        let (mut found, now) = (vec![], (self.clock)());
        for guard in self.profiles.prefix(start.as_bytes()).take(seen) {
            let (key, value) = guard.into_inner()?;
            if head(&key, &value)?.expires_at > now {
                found.push((String::from_utf8_lossy(&key).into_owned(), whole(&key, &value)?.segments.len()));
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Number of members of a segment, with those whose profiles expired a moment ago.
    ///
    /// # Errors
    /// When the store fails.
    pub fn size(&self, segment: &str) -> Result<u64, EmbeddedError> {
        let Some(value) = self.sizes.get(segment)? else { return Ok(0) };
        postcard::from_bytes(&value).map_err(|e| corrupt("sizes", segment.as_bytes(), e))
    }

    /// Number of members of every segment that has any.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sizes(&self) -> Result<BTreeMap<String, u64>, EmbeddedError> {
        let mut sizes = BTreeMap::new();
        for guard in self.sizes.iter() {
            let (key, value) = guard.into_inner()?;
            let size = postcard::from_bytes(&value).map_err(|e| corrupt("sizes", &key, e))?;
            sizes.insert(String::from_utf8_lossy(&key).into_owned(), size);
        }
        Ok(sizes)
    }

    /// What happened to a segment minute by minute, of the minutes in which anything did.
    ///
    /// # Errors
    /// When the store fails.
    pub fn activity(&self, segment: &str, from: i64, to: i64) -> Result<Vec<Activity>, EmbeddedError> {
        let key = |time: i64| joined(segment.as_bytes(), &(time.max(0) as u64).to_be_bytes());
        let values = self.activity.range(key(from)..key(to)).map(|guard| {
            let (key, value) = guard.into_inner()?;
            postcard::from_bytes(&value).map_err(|e| corrupt("activity", &key, e))
        });
        values.collect()
    }

    /// All profiles that have not expired, in the order of user ids.
    pub fn scan(&self) -> impl Iterator<Item = Result<(String, Profile), EmbeddedError>> + use<> {
        let now = (self.clock)();
        let read = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner()?;
            let profile = whole(&key, &value)?;
            Ok((String::from_utf8_lossy(&key).into_owned(), profile))
        };
        self.profiles.iter().map(read).filter(move |read| read.as_ref().map_or(true, |(_, p): &(String, Profile)| p.expires_at > now))
    }

    fn changes(&self) -> Changes {
        Changes { batch: self.store.database.batch(), moved: BTreeMap::new(), moves: Moves::default() }
    }

    /// Applies results in their order; each user is read and written once.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub fn apply(&self, batches: &[ResultBatch]) -> Result<(), EmbeddedError> {
        let mut rows: BTreeMap<&[u8], Vec<(&ResultBatch, usize)>> = BTreeMap::new();
        for batch in batches {
            (0..batch.rows.len()).for_each(|row| rows.entry(batch.users.get(row)).or_default().push((batch, row)));
        }
        let (mut changes, now) = (self.changes(), (self.clock)());
        for (user, rows) in rows {
            let partition = rows.first().map_or(0, |(batch, _)| batch.partition);
            let old = self.stored(user)?.unwrap_or_default();
            let mut profile = if old.expires_at > now { old.clone() } else { Profile::default() };
            rows.into_iter().for_each(|(batch, row)| change(&mut profile, batch, row));
            profile.partition = partition;
            self.renew(&mut profile, now);
            self.put(user, &old, &profile, &mut changes)?;
        }
        let moves = Arc::new(std::mem::take(&mut changes.moves));
        self.commit(changes, now)?;
        *self.moves.lock().unwrap_or_else(PoisonError::into_inner) = moves;
        Ok(())
    }

    /// Who entered and exited by the last write of results.
    pub fn moves(&self) -> Arc<Moves> {
        Arc::clone(&self.moves.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn renew(&self, profile: &mut Profile, now: i64) {
        (profile.last_updated, profile.expires_at) = (now, now.saturating_add(self.ttl_ms));
    }

    /// Makes these the memberships of their users. Results that are there already are kept.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub fn set(&self, members: &MemberBatch) -> Result<(), EmbeddedError> {
        let (mut changes, now) = (self.changes(), (self.clock)());
        for (user, rows) in members.iter() {
            let old = self.stored(user.as_bytes())?.unwrap_or_default();
            let mut profile = Profile { partition: members.partition, ..Profile::default() };
            for row in rows {
                let name = &members.names[row.segment as usize];
                let kept = RuleResult {
                    segment: name.segment.to_string(),
                    qualified: true,
                    value: row.value,
                    timestamp: row.timestamp,
                    window_start: row.window_start,
                    window_end: row.window_end,
                    since: row.timestamp,
                };
                let before = old.results.get(&*name.rule).filter(|r| r.qualified && (row.kind == ResultKind::Change || r.timestamp >= row.timestamp));
                profile.segments.insert(name.segment.to_string());
                profile.results.insert(name.rule.to_string(), before.cloned().unwrap_or(kept));
            }
            self.renew(&mut profile, now);
            self.put(user.as_bytes(), &old, &profile, &mut changes)?;
        }
        self.commit(changes, now)
    }

    /// Has the profiles of these users live on.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub fn keep(&self, touch: &Touch) -> Result<(), EmbeddedError> {
        let (mut changes, now) = (self.changes(), (self.clock)());
        for user in (0..touch.users.len()).map(|i| touch.users.get(i)) {
            let Some(mut profile) = self.stored(user)? else { continue };
            let old = profile.clone();
            profile.expires_at = now.saturating_add(self.ttl_ms);
            self.put(user, &old, &profile, &mut changes)?;
        }
        self.commit(changes, now)
    }

    /// Forgets the profiles of a partition that were last written before a time.
    ///
    /// # Errors
    /// When the store fails.
    pub fn forget_older(&self, partition: u32, before: i64) -> Result<(), EmbeddedError> {
        const STEP: usize = 10_000;
        let (now, mut from) = ((self.clock)(), Some(vec![]));
        while let Some(start) = from.take() {
            let (mut changes, mut seen) = (self.changes(), 0);
            for guard in self.profiles.range(start..).take(STEP) {
                let (key, value) = guard.into_inner()?;
                let about = head(&key, &value)?;
                if about.partition == partition && about.last_updated < before {
                    self.put(&key, &whole(&key, &value)?, &Profile::default(), &mut changes)?;
                }
                seen += 1;
                if seen == STEP {
                    from = Some([&*key, b"\0".as_slice()].concat());
                }
            }
            self.commit(changes, now)?;
        }
        Ok(())
    }

    /// Notes a profile, and what it changes of the members of segments.
    fn put(&self, user: &[u8], old: &Profile, new: &Profile, changes: &mut Changes) -> Result<(), EmbeddedError> {
        for segment in new.segments.difference(&old.segments) {
            changes.batch.insert(&self.members, joined(segment.as_bytes(), user), "");
            changes.moved.entry(segment.clone()).or_default().0 += 1;
            changes.moves.entered.insert(place(segment, user));
        }
        for segment in old.segments.difference(&new.segments) {
            changes.batch.remove(&self.members, joined(segment.as_bytes(), user));
            changes.moved.entry(segment.clone()).or_default().1 += 1;
            changes.moves.exited.insert(place(segment, user));
        }
        if new.segments.is_empty() && new.results.is_empty() {
            changes.batch.remove(&self.profiles, user);
        } else {
            changes.batch.insert(&self.profiles, user, postcard::to_stdvec(new).map_err(|e| corrupt("profiles", user, e))?);
        }
        Ok(())
    }

    /// Writes changes, with what they come to for each segment.
    fn commit(&self, changes: Changes, now: i64) -> Result<(), EmbeddedError> {
        let Changes { mut batch, moved, .. } = changes;
        let minute = now - now.rem_euclid(MINUTE);
        for (segment, (entered, exited)) in moved {
            let failed = |e| corrupt("activity", segment.as_bytes(), e);
            let size = (self.size(&segment)? + entered).saturating_sub(exited);
            if size == 0 {
                batch.remove(&self.sizes, segment.as_str());
            } else {
                batch.insert(&self.sizes, segment.as_str(), postcard::to_stdvec(&size).map_err(failed)?);
            }
            let key = joined(segment.as_bytes(), &(minute.max(0) as u64).to_be_bytes());
            let before: Activity = match self.activity.get(&key)? {
                Some(value) => postcard::from_bytes(&value).map_err(|e| corrupt("activity", &key, e))?,
                None => Activity { minute, ..Activity::default() },
            };
            let activity = Activity { minute, entered: before.entered + entered, exited: before.exited + exited, size };
            batch.insert(&self.activity, key, postcard::to_stdvec(&activity).map_err(failed)?);
        }
        Ok(batch.commit()?)
    }

    /// Forgets what has expired among the next `step` profiles after `after`, and old activity when it begins anew.
    /// Returns the user to go on after; none at the end.
    ///
    /// # Errors
    /// When the store fails.
    pub fn expire(&self, after: Option<&str>, step: usize) -> Result<Option<String>, EmbeddedError> {
        let (now, mut changes) = ((self.clock)(), self.changes());
        if after.is_none() {
            self.forget_activity(now)?;
        }
        let from = after.map_or_else(Vec::new, |user| [user.as_bytes(), b"\0"].concat());
        let (mut last, mut seen) = (None, 0);
        for guard in self.profiles.range(from..).take(step) {
            let (key, value) = guard.into_inner()?;
            if head(&key, &value)?.expires_at <= now {
                self.put(&key, &whole(&key, &value)?, &Profile::default(), &mut changes)?;
            }
            seen += 1;
            last = Some(String::from_utf8_lossy(&key).into_owned());
        }
        self.commit(changes, now)?;
        Ok(last.filter(|_| seen == step))
    }

    fn forget_activity(&self, now: i64) -> Result<(), EmbeddedError> {
        let mut batch = self.store.database.batch();
        for guard in self.activity.iter() {
            let (key, value) = guard.into_inner()?;
            let activity: Activity = postcard::from_bytes(&value).map_err(|e| corrupt("activity", &key, e))?;
            if activity.minute < now - ACTIVITY_KEPT {
                batch.remove(&self.activity, key);
            }
        }
        Ok(batch.commit()?)
    }
}

/// Applies one result to a profile.
fn change(profile: &mut Profile, batch: &ResultBatch, row: usize) {
    let (name, result) = (batch.name(row), batch.rows[row]);
    if !batch.member[row] {
        profile.segments.remove(&*name.segment);
        profile.results.remove(&*name.rule);
        return;
    }
    let entered = profile.segments.insert(name.segment.to_string());
    let before = profile.results.get(&*name.rule).filter(|_| !entered);
    // A window that closes may be older than one that is open and has been reported.
    if before.is_some_and(|r| r.timestamp > result.timestamp) {
        return;
    }
    let since = before.map_or(result.timestamp, |r| r.since);
    let kept = RuleResult {
        segment: name.segment.to_string(),
        qualified: result.qualified,
        value: result.value,
        timestamp: result.timestamp,
        window_start: result.window_start,
        window_end: result.window_end,
        since,
    };
    profile.results.insert(name.rule.to_string(), kept);
}

fn failed(error: EmbeddedError) -> SinkError {
    SinkError { sink: "embedded".into(), message: error.to_string(), fatal: false }
}

impl Sink for Profiles {
    fn write(&mut self, batches: &[ResultBatch]) -> Result<(), SinkError> {
        self.apply(batches).map_err(failed)
    }

    fn replace(&mut self, members: &MemberBatch) -> Result<(), SinkError> {
        self.set(members).map_err(failed)
    }

    fn touch(&mut self, members: &Touch) -> Result<(), SinkError> {
        self.keep(members).map_err(failed)
    }

    fn forget(&mut self, partition: u32, before: i64) -> Result<(), SinkError> {
        self.forget_older(partition, before).map_err(failed)
    }
}
