//! The embedded profile store: for each user, the segments they are in and the results behind that, with a time
//! to live. Results come in through [`Sink`]; look-ups, from many threads, go through clones.
//!
//! Beside the profiles stand an index of each segment's members, their number, and what happened minute by minute.
//! What is stored of a profile are numbers only (`Names`). Changes wait in memory (`behind`) and are written together,
//! each profile once: before a checkpoint is published, when they have waited for some seconds, when they are many, and
//! before members are listed. Few are written as transactions, many as tables of their own (`tables`).

mod behind;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use cohort_engine::sink::{Amiss, MemberBatch, Persist, ResultBatch, SegmentName, Sink, SinkError, Touch};
use cohort_engine::{ResultKind, ResultRow};
use fjall::Keyspace;
use fjall::config::FilterPolicy;
use rustc_hash::{FxBuildHasher, FxHashSet};
use serde::{Deserialize, Serialize};

use self::behind::Behind;
use super::names::Names;
use super::{EmbeddedError, Store, corrupt, joined};

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

const MINUTE: i64 = 60_000;
/// Users whose profiles are changed before a look-up may come between.
const TOGETHER: usize = 512;
/// How long what happened minute by minute is kept.
const ACTIVITY_KEPT: i64 = 24 * 60 * MINUTE;

/// The last result of a rule for a user. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, Default, PartialEq)]
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

/// A profile as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    expires_at: i64,
    last_updated: i64,
    partition: u32,
    /// One row for each segment that the user is in, in the order of the segments' numbers.
    rows: Vec<Row>,
}

/// The last result of the rule of a segment, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Row {
    name: u32,
    qualified: bool,
    value: Option<f64>,
    timestamp: i64,
    window_start: i64,
    window_end: i64,
    since: i64,
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

/// A profile as the database has it, in `room`.
fn encode<'a>(key: &[u8], stored: &Stored, room: &'a mut Vec<u8>) -> Result<&'a [u8], EmbeddedError> {
    // Numbers take at most ten bytes each.
    const HEAD: usize = 40;
    const ROW: usize = 60;
    room.resize(room.len().max(HEAD + ROW * stored.rows.len()), 0);
    let used = postcard::to_slice(stored, room).map_err(|e| corrupt("profiles", key, e))?;
    Ok(used)
}

/// Calls `moved(number of a segment, whether the user entered it)` for what differs between two profiles of a user, whose rows are in the order of
/// their segments.
fn difference(old: &Stored, new: &Stored, names: &Names, mut moved: impl FnMut(u32, bool)) {
    let mut before = old.rows.iter().map(|row| names.segment_of(row.name)).peekable();
    for segment in new.rows.iter().map(|row| names.segment_of(row.name)) {
        while let Some(exited) = before.next_if(|was| *was < segment) {
            moved(exited, false);
        }
        if before.next_if_eq(&segment).is_none() {
            moved(segment, true);
        }
    }
    before.for_each(|exited| moved(exited, false));
}

/// Counts that a user entered a segment, or exited it.
fn count(moved: &mut Moved, segment: u32, entered: bool) {
    let (entries, exits) = moved.entry(segment).or_default();
    *if entered { entries } else { exits } += 1;
}

fn activity_key(segment: &str, time: i64) -> Vec<u8> {
    joined(segment.as_bytes(), &(time.max(0) as u64).to_be_bytes())
}

impl Stored {
    fn head(&self) -> Head {
        Head { expires_at: self.expires_at, last_updated: self.last_updated, partition: self.partition }
    }

    /// The profile; none without rows.
    fn filled(self) -> Option<Self> {
        Some(self).filter(|stored| !stored.rows.is_empty())
    }

    /// The row of a segment, or where it would be.
    fn find(&self, segment: u32, names: &Names) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&segment, |row| names.segment_of(row.name))
    }

    fn profile(&self, names: &Names) -> Profile {
        let Stored { expires_at, last_updated, partition, .. } = *self;
        let mut profile = Profile { expires_at, last_updated, partition, ..Profile::default() };
        for &Row { name, qualified, value, timestamp, window_start, window_end, since } in &self.rows {
            let (segment, rule) = names.texts(name);
            let result = RuleResult { segment: segment.to_string(), qualified, value, timestamp, window_start, window_end, since };
            profile.segments.insert(segment.to_string());
            profile.results.insert(rule.to_string(), result);
        }
        profile
    }
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
    entered: FxHashSet<u64>,
    exited: FxHashSet<u64>,
}

impl Moves {
    /// Whether a user was in a segment before the write, by whether they are after it.
    pub fn before(&self, place: u64, after: bool) -> bool {
        !self.entered.contains(&place) && (after || self.exited.contains(&place))
    }
}

/// A number for a user's place in a segment.
pub fn place(segment: &str, user: &[u8]) -> u64 {
    FxBuildHasher.hash_one((segment, user))
}

/// How profiles are kept.
#[derive(Debug, Clone, Copy)]
pub struct ProfileOptions {
    /// How long after its last write a profile expires, ms.
    pub ttl_ms: i64,
    /// Bytes of changes from which on they are written as tables.
    pub tables_from: usize,
}

impl ProfileOptions {
    /// Profiles that expire so long after their last write.
    pub fn new(ttl_ms: i64) -> Self {
        ProfileOptions { ttl_ms, tables_from: 16 << 20 }
    }
}

/// The profile store; clones share it. Only one of them writes.
#[derive(Clone)]
pub struct Profiles {
    store: Store,
    /// What is known of the others.
    about: Keyspace,
    profiles: Keyspace,
    /// Segment and user → nothing.
    members: Keyspace,
    /// Segment → number of members.
    sizes: Keyspace,
    /// Segment and minute → activity.
    activity: Keyspace,
    /// Number → segment and rule.
    named: Keyspace,
    names: Arc<RwLock<Arc<Names>>>,
    /// The names of the last batch, and their numbers.
    numbered: Arc<Mutex<Numbered>>,
    /// What the last write of results changed.
    moves: Arc<Mutex<Arc<Moves>>>,
    /// What is not in the database yet.
    behind: Arc<Mutex<Behind>>,
    /// Held while changes are written.
    writing: Arc<Mutex<()>>,
    /// Whether a thread is about to write them.
    is_asked: Arc<AtomicBool>,
    /// How many wait until they are written.
    hurry: Arc<AtomicUsize>,
    options: ProfileOptions,
    clock: Clock,
}

/// The names of a batch, and the number of each.
type Numbered = (Arc<Vec<SegmentName>>, Arc<[u32]>);

/// A result: its user, its batch, its row there, and the number of its name.
type UserRow<'a> = (&'a [u8], &'a ResultBatch, usize, u32);

/// The results of some batches, those of a user one after the other in their order.
fn by_user<'a>(batches: &'a [ResultBatch], numbers: impl Fn(&ResultBatch) -> Result<Arc<[u32]>, EmbeddedError>) -> Result<Vec<UserRow<'a>>, EmbeddedError> {
    let mut rows: Vec<UserRow<'a>> = Vec::with_capacity(batches.iter().map(|b| b.rows.len()).sum());
    for batch in batches {
        let numbers = numbers(batch)?;
        rows.extend((0..batch.rows.len()).map(|row| (batch.users.get(row), batch, row, numbers[batch.rows[row].segment as usize])));
    }
    // By hash, as it does not matter which user comes first, and numbers are compared faster than texts, and moved faster than rows.
    let mut order: Vec<(u64, usize)> = rows.iter().enumerate().map(|(i, (user, ..))| (FxBuildHasher.hash_one(user), i)).collect();
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rows[a.1].0.cmp(rows[b.1].0)).then(a.1.cmp(&b.1)));
    Ok(order.into_iter().map(|(_, i)| rows[i]).collect())
}

/// Number of a segment → users entered and exited.
type Moved = BTreeMap<u32, (u64, u64)>;

impl Profiles {
    /// The profiles of a store, which has nothing else in it: whoever writes to it may have to wait for the disk.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(store: &Store, options: ProfileOptions, clock: Clock) -> Result<Self, EmbeddedError> {
        let (named, sizes) = (store.keyspace("names")?, store.keyspace("sizes")?);
        let profiles = Profiles {
            store: store.clone(),
            about: store.keyspace("about")?,
            profiles: store.keyspace("profiles")?,
            // Nobody asks for one member.
            members: store.keyspace_with("members", |options| options.filter_policy(FilterPolicy::disabled()))?,
            sizes,
            activity: store.keyspace("activity")?,
            names: Arc::new(RwLock::new(Arc::new(Names::open(&named)?))),
            named,
            numbered: Arc::default(),
            moves: Arc::default(),
            behind: Arc::default(),
            writing: Arc::default(),
            is_asked: Arc::default(),
            hurry: Arc::default(),
            options,
            clock,
        };
        profiles.finish_tables()?;
        profiles.behind().sizes = behind::sizes(&profiles.sizes)?;
        Ok(profiles)
    }

    /// Removes what older versions kept beside the log. The engine tells everybody's memberships anew as it starts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn forget_older_stores(log: &Store) -> Result<(), EmbeddedError> {
        ["profiles", "members", "sizes", "activity"]
            .iter()
            .flat_map(|name| [2, 3].map(|version| format!("{name}.{version}")))
            .try_for_each(|name| log.forget(&name))?;
        log.forget("names")
    }

    /// A user's profile; none when it has expired.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, user: &str) -> Result<Option<Profile>, EmbeddedError> {
        let stored = self.stored(user.as_bytes())?.filter(|p| p.expires_at > (self.clock)());
        Ok(stored.map(|s| s.profile(&self.names())))
    }

    fn stored(&self, user: &[u8]) -> Result<Option<Stored>, EmbeddedError> {
        let known = self.behind().get(user).cloned();
        known.map_or_else(|| self.in_database(user), |known| Ok(known.filled()))
    }

    fn in_database(&self, user: &[u8]) -> Result<Option<Stored>, EmbeddedError> {
        let Some(value) = self.profiles.get(user)? else { return Ok(None) };
        self.whole(user, &value).map(Some)
    }

    /// What a user's profile is, with the changes that wait.
    fn current(&self, behind: &Behind, user: &[u8]) -> Result<Option<Stored>, EmbeddedError> {
        behind.get(user).map_or_else(|| self.in_database(user), |known| Ok(known.clone().filled()))
    }

    fn behind(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a profile. Names are stored before what uses them.
    fn whole(&self, key: &[u8], value: &[u8]) -> Result<Stored, EmbeddedError> {
        let stored: Stored = postcard::from_bytes(value).map_err(|e| corrupt("profiles", key, e))?;
        let known = self.names().len();
        match stored.rows.iter().find(|row| row.name as usize >= known) {
            Some(row) => Err(corrupt("profiles", key, format!("there is no name {}", row.name))),
            None => Ok(stored),
        }
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The numbers of names; new ones are stored at once.
    fn numbers(&self, of: &Arc<Vec<SegmentName>>) -> Result<Arc<[u32]>, EmbeddedError> {
        let mut last = self.numbered.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&last.0, of) {
            return Ok(Arc::clone(&last.1));
        }
        let (mut names, mut batch) = ((*self.names()).clone(), self.store.database.batch());
        let before = names.len();
        let mut numbers = Vec::with_capacity(of.len());
        for SegmentName { segment, rule } in of.iter() {
            let known = names.number(segment, rule);
            numbers.push(known.unwrap_or_else(|| names.push(segment, rule)));
        }
        for number in before as u32..names.len() as u32 {
            let (segment, rule) = names.texts(number);
            let value = postcard::to_stdvec(&(&**segment, &**rule)).map_err(|e| corrupt("names", segment.as_bytes(), e))?;
            batch.insert(&self.named, number.to_be_bytes(), value);
        }
        if names.len() > before {
            batch.commit()?;
            *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        }
        *last = (Arc::clone(of), numbers.into());
        Ok(Arc::clone(&last.1))
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
        self.flush()?;
        let (mut found, now) = (vec![], (self.clock)());
        for guard in self.members.range(from..) {
            let key = guard.key()?;
            let user = key.strip_prefix(prefix.as_slice()).filter(|user| user.starts_with(start.as_bytes()));
            let Some(user) = user.filter(|_| found.len() < limit) else { break };
            // Members may have been noted before their profiles, and profiles may have changed since.
            let profile = self.stored(user)?.filter(|p| p.expires_at > now).map(|p| p.profile(&self.names()));
            if let Some(profile) = profile.filter(|p| p.segments.contains(segment)) {
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
        self.flush()?;
        let (mut found, now) = (vec![], (self.clock)());
        for guard in self.profiles.prefix(start.as_bytes()).take(seen) {
            let (key, value) = guard.into_inner()?;
            if head(&key, &value)?.expires_at > now {
                found.push((String::from_utf8_lossy(&key).into_owned(), self.whole(&key, &value)?.rows.len()));
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Number of members of a segment, with those whose profiles expired a moment ago.
    pub fn size(&self, segment: &str) -> u64 {
        self.behind().sizes.get(segment).copied().unwrap_or(0)
    }

    /// Number of members of every segment that has any.
    pub fn sizes(&self) -> BTreeMap<String, u64> {
        self.behind().sizes.iter().map(|(segment, size)| (segment.to_string(), *size)).collect()
    }

    /// What happened to a segment minute by minute, of the minutes in which anything did.
    ///
    /// # Errors
    /// When the store fails.
    pub fn activity(&self, segment: &str, from: i64, to: i64) -> Result<Vec<Activity>, EmbeddedError> {
        let key = |time: i64| activity_key(segment, time);
        let values = self.activity.range(key(from)..key(to)).map(|guard| {
            let (key, value) = guard.into_inner()?;
            let activity: Activity = postcard::from_bytes(&value).map_err(|e| corrupt("activity", &key, e))?;
            Ok((activity.minute, activity))
        });
        let mut minutes = values.collect::<Result<BTreeMap<i64, Activity>, EmbeddedError>>()?;
        minutes.extend(self.behind().activity(segment, from, to));
        Ok(minutes.into_values().collect())
    }

    /// All profiles that have not expired, in the order of user ids.
    ///
    /// # Errors
    /// When the store fails.
    pub fn scan(&self) -> Result<impl Iterator<Item = Result<(String, Profile), EmbeddedError>> + use<>, EmbeddedError> {
        self.flush()?;
        let (now, profiles) = ((self.clock)(), self.clone());
        let read = move |guard: fjall::Guard| {
            let (key, value) = guard.into_inner()?;
            let profile = profiles.whole(&key, &value)?.profile(&profiles.names());
            Ok((String::from_utf8_lossy(&key).into_owned(), profile))
        };
        Ok(self.profiles.iter().map(read).filter(move |read| read.as_ref().map_or(true, |(_, p): &(String, Profile)| p.expires_at > now)))
    }

    /// Applies results in their order; each user is read and written once. Users whose profiles then hold another
    /// number of segments than was counted go to `amiss`.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub fn apply(&self, batches: &[ResultBatch], amiss: &mut Amiss) -> Result<(), EmbeddedError> {
        let rows = by_user(batches, |batch| self.numbers(&batch.names))?;
        let (mut moves, now, names) = (Moves::default(), (self.clock)(), self.names());
        let users: Vec<&[UserRow<'_>]> = rows.chunk_by(|a, b| a.0 == b.0).collect();
        // The segments that one user's results are of, each with whether the user was in it before.
        let mut segments: Vec<(u32, bool)> = vec![];
        for some in users.chunks(TOGETHER) {
            let (mut behind, mut moved) = (self.behind(), Moved::new());
            for rows in some {
                let (user, first, ..) = rows[0];
                segments.clear();
                let in_database = || self.in_database(user);
                let holds = behind.change(user, in_database, |profile| {
                    if profile.expires_at <= now {
                        segments.extend(profile.rows.drain(..).map(|row| (names.segment_of(row.name), true)));
                    }
                    for &(_, batch, row, name) in *rows {
                        let segment = names.segment_of(name);
                        if !segments.iter().any(|(known, _)| *known == segment) {
                            segments.push((segment, profile.find(segment, &names).is_ok()));
                        }
                        change(profile, &names, batch, row, name);
                    }
                    // What is left are those whose outcome differs.
                    segments.retain(|&(segment, was)| profile.find(segment, &names).is_ok() != was);
                    profile.partition = first.partition;
                    self.renew(profile, now);
                    profile.rows.len()
                })?;
                let (_, last, row, _) = rows[rows.len() - 1];
                if last.held.get(row).is_some_and(|held| *held as usize != holds) {
                    amiss.push(last.partition, user);
                }
                for &(segment, was) in &segments {
                    count(&mut moved, segment, !was);
                    let moves = if was { &mut moves.exited } else { &mut moves.entered };
                    moves.insert(place(names.segment(segment), user));
                }
            }
            self.count(&mut behind, moved, &names, now)?;
        }
        *self.moves.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(moves);
        self.keep_up()
    }

    /// Who entered and exited by the last write of results.
    pub fn moves(&self) -> Arc<Moves> {
        Arc::clone(&self.moves.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn renew(&self, profile: &mut Stored, now: i64) {
        (profile.last_updated, profile.expires_at) = (now, now.saturating_add(self.options.ttl_ms));
    }

    /// Makes these the memberships of their users. Results that are there already are kept.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub fn set(&self, members: &MemberBatch) -> Result<(), EmbeddedError> {
        let numbers = self.numbers(&members.names)?;
        let (now, names) = ((self.clock)(), self.names());
        let users: Vec<(&str, &[ResultRow])> = members.iter().collect();
        for some in users.chunks(TOGETHER) {
            let (mut behind, mut moved) = (self.behind(), Moved::new());
            for (user, rows) in some {
                let old = self.current(&behind, user.as_bytes())?.unwrap_or_default();
                let mut new = Stored { partition: members.partition, ..Stored::default() };
                for row in *rows {
                    let name = numbers[row.segment as usize];
                    let before = old.find(names.segment_of(name), &names).ok().map(|i| old.rows[i]);
                    let before = before.filter(|r| r.name == name && r.qualified && (row.kind == ResultKind::Change || r.timestamp >= row.timestamp));
                    let kept = before.unwrap_or_else(|| Row { qualified: true, ..stored_row(row, name, row.timestamp) });
                    match new.find(names.segment_of(name), &names) {
                        Ok(i) => new.rows[i] = kept,
                        Err(i) => new.rows.insert(i, kept),
                    }
                }
                self.renew(&mut new, now);
                behind.put(user.as_bytes(), &old, new, &names, &mut moved);
            }
            self.count(&mut behind, moved, &names, now)?;
        }
        self.keep_up()
    }

    /// Has the profiles of these users live on. Users without one, or one that holds another number of segments than
    /// was counted, go to `amiss`.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub fn keep(&self, touch: &Touch, amiss: &mut Amiss) -> Result<(), EmbeddedError> {
        let (now, names) = ((self.clock)(), self.names());
        let users: Vec<usize> = (0..touch.users.len()).collect();
        for some in users.chunks(TOGETHER) {
            let mut behind = self.behind();
            for (i, user) in some.iter().map(|&i| (i, touch.users.get(i))) {
                let old = self.current(&behind, user)?;
                let holds = old.as_ref().map_or(0, |old| old.rows.len());
                if old.is_none() || touch.held.get(i).is_some_and(|held| *held as usize != holds) {
                    amiss.push(touch.partition, user);
                }
                let Some(old) = old else { continue };
                let kept = Stored { expires_at: now.saturating_add(self.options.ttl_ms), ..old.clone() };
                behind.put(user, &old, kept, &names, &mut Moved::new());
            }
        }
        self.keep_up()
    }

    /// Forgets the profiles of a partition that were last written before a time.
    ///
    /// # Errors
    /// When the store fails.
    pub fn forget_older(&self, partition: u32, before: i64) -> Result<(), EmbeddedError> {
        const STEP: usize = 10_000;
        self.flush()?;
        let mut after = None;
        loop {
            after = self.forget_some(after.as_deref(), STEP, |about| about.partition == partition && about.last_updated < before)?;
            self.keep_up()?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Forgets what has expired among the next `step` profiles after `after`, and old activity when it begins anew.
    /// Returns the user to go on after; none at the end.
    ///
    /// # Errors
    /// When the store fails.
    pub fn expire(&self, after: Option<&str>, step: usize) -> Result<Option<String>, EmbeddedError> {
        let now = (self.clock)();
        if after.is_none() {
            self.forget_activity(now)?;
        }
        let last = self.forget_some(after.map(str::as_bytes), step, |about| about.expires_at <= now)?;
        Ok(last.map(|user| String::from_utf8_lossy(&user).into_owned()))
    }

    /// Forgets some of the next `step` profiles of the database after a user. Returns the last of them; none at the end.
    fn forget_some(&self, after: Option<&[u8]>, step: usize, is_over: impl Fn(Head) -> bool) -> Result<Option<Vec<u8>>, EmbeddedError> {
        let from = after.map_or_else(Vec::new, |user| [user, b"\0"].concat());
        let (mut last, mut seen, mut over) = (None, 0, vec![]);
        for guard in self.profiles.range(from..).take(step) {
            let (key, value) = guard.into_inner()?;
            if is_over(head(&key, &value)?) {
                over.push(key.to_vec());
            }
            seen += 1;
            last = Some(key);
        }
        let (now, names) = ((self.clock)(), self.names());
        for some in over.chunks(TOGETHER) {
            let (mut behind, mut moved) = (self.behind(), Moved::new());
            for user in some {
                // What came since may have renewed it.
                let Some(old) = self.current(&behind, user)?.filter(|old| is_over(old.head())) else { continue };
                behind.put(user, &old, Stored::default(), &names, &mut moved);
            }
            self.count(&mut behind, moved, &names, now)?;
        }
        Ok(last.filter(|_| seen == step).map(|key| key.to_vec()))
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

fn stored_row(result: &ResultRow, name: u32, since: i64) -> Row {
    let ResultRow { qualified, value, timestamp, window_start, window_end, .. } = *result;
    Row { name, qualified, value, timestamp, window_start, window_end, since }
}

/// Applies one result to a profile.
fn change(profile: &mut Stored, names: &Names, batch: &ResultBatch, row: usize, name: u32) {
    let (at, result) = (profile.find(names.segment_of(name), names), &batch.rows[row]);
    match at {
        Ok(i) if !batch.member[row] => {
            profile.rows.remove(i);
        }
        Err(_) if !batch.member[row] => {}
        Err(i) => profile.rows.insert(i, stored_row(result, name, result.timestamp)),
        Ok(i) => {
            let before = Some(profile.rows[i]).filter(|r| r.name == name);
            // A window that closes may be older than one that is open and has been reported.
            if before.is_none_or(|r| r.timestamp <= result.timestamp) {
                profile.rows[i] = stored_row(result, name, before.map_or(result.timestamp, |r| r.since));
            }
        }
    }
}

fn failed(error: EmbeddedError) -> SinkError {
    SinkError { sink: "embedded".into(), message: error.to_string(), fatal: false }
}

impl Sink for Profiles {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn write(&mut self, batches: &[ResultBatch], amiss: &mut Amiss) -> Result<(), SinkError> {
        self.apply(batches, amiss).map_err(failed)
    }

    fn replace(&mut self, members: &MemberBatch) -> Result<(), SinkError> {
        self.set(members).map_err(failed)
    }

    fn persist(&self) -> Option<Persist> {
        let profiles = self.clone();
        Some(Box::new(move || profiles.flush_gently().map_err(failed)))
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        self.flush().map_err(failed)
    }

    fn touch(&mut self, members: &Touch, amiss: &mut Amiss) -> Result<(), SinkError> {
        self.keep(members, amiss).map_err(failed)
    }

    fn forget(&mut self, partition: u32, before: i64) -> Result<(), SinkError> {
        self.forget_older(partition, before).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn profiles_differ_by_the_segments_that_only_one_of_them_has(
            old in prop::collection::btree_map(0u32..12, any::<bool>(), 0..12),
            new in prop::collection::btree_map(0u32..12, any::<bool>(), 0..12),
        ) {
            // Segment n has the rules n and 12 + n, numbered so that rows are not in the order of their names.
            let mut names = Names::default();
            for rule in ["first", "second"] {
                for segment in 0..12 {
                    names.push(&format!("s{segment}").into(), &rule.into());
                }
            }
            let row = |(segment, rule): (&u32, &bool)| {
                let name = segment + if *rule { 12 } else { 0 };
                Row { name, qualified: true, value: None, timestamp: 0, window_start: 0, window_end: 0, since: 0 }
            };
            let stored = |rows: &BTreeMap<u32, bool>| Stored { rows: rows.iter().map(row).collect(), ..Stored::default() };
            let mut moved = BTreeSet::new();
            difference(&stored(&old), &stored(&new), &names, |segment, entered| assert!(moved.insert((segment, entered)), "told once"));
            let only = |a: &BTreeMap<u32, bool>, b: &BTreeMap<u32, bool>| a.keys().filter(|s| !b.contains_key(s)).copied().collect::<Vec<_>>();
            let entered = only(&new, &old).into_iter().map(|segment| (segment, true));
            prop_assert_eq!(moved, entered.chain(only(&old, &new).into_iter().map(|segment| (segment, false))).collect());
        }
    }
}
