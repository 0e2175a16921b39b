//! Changes of profiles that are in memory and not in the database yet. A user whose profile changes again and again is
//! written once. Those that wait (fresh) become those that are written, and then those that were written last, which
//! stay at hand: most users whose profiles change were met before. Look-ups see the newest of them.
//!
//! What waits is lost with the process; the engine tells everybody's memberships anew when it starts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fjall::{Keyspace, OwnedWriteBatch};
use rustc_hash::FxHashMap;

use super::{Activity, MINUTE, Moved, Names, Profiles, Row, Stored, activity_key, count, difference, encode};
use crate::embedded::{EmbeddedError, corrupt, joined};

/// Bytes of changes beyond which they are written; at twice as many, who changes profiles waits for that.
const FULL: usize = 128 << 20;
/// How long changes wait at most, about.
const PATIENCE: Duration = Duration::from_secs(5);
/// Profiles that the database takes at a time.
pub(super) const CHUNK: usize = 256;

/// Users with their profiles; one without rows is no more.
#[derive(Default)]
pub(super) struct Generation {
    profiles: FxHashMap<Box<[u8]>, Stored>,
    bytes: usize,
}

impl Generation {
    fn put(&mut self, user: &[u8], stored: Stored) {
        let size = |rows: usize| user.len() + size_of::<(Box<[u8]>, Stored)>() + rows * size_of::<Row>();
        self.bytes += size(stored.rows.len());
        let rows = if let Some(old) = self.profiles.get_mut(user) {
            std::mem::replace(old, stored).rows.len()
        } else {
            self.profiles.insert(user.into(), stored);
            return;
        };
        self.bytes -= size(rows);
    }
}

/// What is not in the database yet, and what was put there last.
#[derive(Default)]
pub(super) struct Behind {
    fresh: Generation,
    writing: Arc<Generation>,
    written: Arc<Generation>,
    /// Since when there are fresh ones.
    since: Option<Instant>,
    /// Segment → number of members.
    pub(super) sizes: BTreeMap<Arc<str>, u64>,
    /// Segment and minute → what happened, and whether the database has that.
    activity: BTreeMap<(Arc<str>, i64), (Activity, bool)>,
    /// Why the last write in the background failed.
    failed: Option<EmbeddedError>,
}

/// Reads the number of members of each segment.
pub(super) fn sizes(stored: &Keyspace) -> Result<BTreeMap<Arc<str>, u64>, EmbeddedError> {
    let mut sizes = BTreeMap::new();
    for guard in stored.iter() {
        let (key, value) = guard.into_inner()?;
        let size = postcard::from_bytes(&value).map_err(|e| corrupt("sizes", &key, e))?;
        sizes.insert(String::from_utf8_lossy(&key).into(), size);
    }
    Ok(sizes)
}

impl Behind {
    /// A user's profile, if it is known without the database.
    pub(super) fn get(&self, user: &[u8]) -> Option<&Stored> {
        let known = self.fresh.profiles.get(user).or_else(|| self.writing.profiles.get(user));
        known.or_else(|| self.written.profiles.get(user))
    }

    /// Changes a profile, and counts whom that moves.
    pub(super) fn put(&mut self, user: &[u8], old: &Stored, new: Stored, names: &Names, moved: &mut Moved) {
        difference(old, &new, names, |segment, entered| count(moved, segment, entered));
        self.fresh.put(user, new);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Changes a profile where it is, or a copy of it if it does not wait already; one that is nowhere begins empty. Returns what `work` does.
    pub(super) fn change<T>(
        &mut self,
        user: &[u8],
        in_database: impl FnOnce() -> Result<Option<Stored>, EmbeddedError>,
        work: impl FnOnce(&mut Stored) -> T,
    ) -> Result<T, EmbeddedError> {
        let done = if let Some(stored) = self.fresh.profiles.get_mut(user) {
            let before = stored.rows.len();
            let done = work(stored);
            self.fresh.bytes = (self.fresh.bytes + stored.rows.len() * size_of::<Row>()).saturating_sub(before * size_of::<Row>());
            done
        } else {
            let known = self.writing.profiles.get(user).or_else(|| self.written.profiles.get(user)).cloned();
            let mut stored = known.map_or_else(|| Ok(in_database()?.unwrap_or_default()), Ok::<_, EmbeddedError>)?;
            let done = work(&mut stored);
            self.fresh.put(user, stored);
            done
        };
        self.since.get_or_insert_with(Instant::now);
        Ok(done)
    }

    /// What happened to a segment, as far as it is at hand.
    pub(super) fn activity(&self, segment: &str, from: i64, to: i64) -> BTreeMap<i64, Activity> {
        let range = (segment.into(), from)..(segment.into(), to.max(from));
        self.activity.range(range).map(|((_, minute), (activity, _))| (*minute, *activity)).collect()
    }

    fn is_due(&self) -> bool {
        self.fresh.bytes > FULL || self.since.is_some_and(|since| since.elapsed() > PATIENCE)
    }
}

impl Profiles {
    /// Brings sizes and activity up to date.
    pub(super) fn count(&self, behind: &mut Behind, moved: Moved, names: &Names, now: i64) -> Result<(), EmbeddedError> {
        let minute = now - now.rem_euclid(MINUTE);
        for (number, (entered, exited)) in moved {
            let segment = names.segment(number);
            let size = (behind.sizes.get(segment).copied().unwrap_or(0) + entered).saturating_sub(exited);
            if size == 0 {
                behind.sizes.remove(segment);
            } else {
                behind.sizes.insert(Arc::clone(segment), size);
            }
            let place = (Arc::clone(segment), minute);
            let before = match behind.activity.get(&place) {
                Some((activity, _)) => *activity,
                None => self.activity_in_database(segment, minute)?.unwrap_or_default(),
            };
            let activity = Activity { minute, entered: before.entered + entered, exited: before.exited + exited, size };
            behind.activity.insert(place, (activity, false));
        }
        Ok(())
    }

    fn activity_in_database(&self, segment: &str, minute: i64) -> Result<Option<Activity>, EmbeddedError> {
        let key = activity_key(segment, minute);
        let value = self.activity.get(&key)?;
        value.map(|value| postcard::from_bytes(&value).map_err(|e| corrupt("activity", &key, e))).transpose()
    }

    /// Has changes written in the background when it is time, and waits for that when they are too many.
    pub(super) fn keep_up(&self) -> Result<(), EmbeddedError> {
        let mut behind = self.behind();
        if let Some(error) = behind.failed.take() {
            return Err(error);
        }
        let (is_due, is_overfull) = (behind.is_due(), behind.fresh.bytes > 2 * FULL);
        drop(behind);
        if is_overfull {
            return self.flush();
        }
        if is_due && !self.is_asked.swap(true, Ordering::AcqRel) {
            let profiles = self.clone();
            std::thread::spawn(move || {
                cohort_engine::background::go_behind();
                let failed = profiles.flush_gently().err();
                profiles.behind().failed = failed;
                profiles.is_asked.store(false, Ordering::Release);
            });
        }
        Ok(())
    }

    /// Writes all changes so far to the database, as fast as can be: somebody waits.
    ///
    /// # Errors
    /// When the database fails; they then wait again.
    pub fn flush(&self) -> Result<(), EmbeddedError> {
        self.hurry.fetch_add(1, Ordering::AcqRel);
        let outcome = self.flush_gently();
        self.hurry.fetch_sub(1, Ordering::AcqRel);
        outcome
    }

    /// Writes all changes so far to the database, in no more than half of the time of a core, so that results go on
    /// meanwhile; unless somebody waits.
    ///
    /// # Errors
    /// When the database fails; they then wait again.
    pub(super) fn flush_gently(&self) -> Result<(), EmbeddedError> {
        let _alone = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (profiles, activity) = {
            let mut behind = self.behind();
            behind.since = None;
            let next = Generation { profiles: FxHashMap::with_capacity_and_hasher(behind.fresh.profiles.len(), Default::default()), bytes: 0 };
            behind.writing = Arc::new(std::mem::replace(&mut behind.fresh, next));
            let unwritten = behind.activity.iter_mut().filter(|(_, (_, is_written))| !is_written);
            let activity: Vec<((Arc<str>, i64), Activity)> = unwritten
                .map(|(place, (activity, is_written))| {
                    *is_written = true;
                    (place.clone(), *activity)
                })
                .collect();
            (Arc::clone(&behind.writing), activity)
        };
        if profiles.profiles.is_empty() && activity.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let outcome = self.write(&profiles, &activity);
        tracing::debug!(profiles = profiles.profiles.len(), bytes = profiles.bytes, took = ?started.elapsed(), "profiles written");
        drop(profiles);
        let mut behind = self.behind();
        let freed = match outcome {
            Ok(()) => behind.settle((self.clock)()),
            Err(_) => behind.take_back(&activity),
        };
        // Many profiles take a while to free, and results wait for nobody's lock meanwhile.
        drop(behind);
        drop(freed);
        outcome
    }

    fn write(&self, generation: &Generation, activity: &[((Arc<str>, i64), Activity)]) -> Result<(), EmbeddedError> {
        let (names, written) = (self.names(), Arc::clone(&self.behind().written));
        let mut profiles: Vec<(&[u8], &Stored)> = generation.profiles.iter().map(|(user, stored)| (&**user, stored)).collect();
        profiles.sort_unstable_by_key(|(user, _)| *user);
        self.finish_tables()?;
        let are_many = generation.bytes >= self.options.tables_from;
        if are_many && self.takes_tables() {
            self.write_tables(&profiles, &written, &names)?;
        } else {
            self.write_batches(&profiles, &written, &names)?;
            if are_many {
                self.turn_over()?;
            }
        }
        let mut batch = self.store.database.batch();
        for ((segment, minute), activity) in activity {
            let value = postcard::to_stdvec(activity).map_err(|e| corrupt("activity", segment.as_bytes(), e))?;
            batch.insert(&self.activity, activity_key(segment, *minute), value);
        }
        Ok(batch.commit()?)
    }

    fn write_batches(&self, profiles: &[(&[u8], &Stored)], written: &Generation, names: &Names) -> Result<(), EmbeddedError> {
        for some in profiles.chunks(CHUNK) {
            let started = Instant::now();
            let (mut batch, mut moved) = (self.store.database.batch(), Moved::new());
            for (user, stored) in some {
                self.write_one(user, stored, written, names, &mut batch, &mut moved)?;
            }
            self.write_sizes(moved, names, &mut batch)?;
            batch.commit()?;
            self.rest(started);
        }
        Ok(())
    }

    /// Rests for as long as was worked since, unless somebody waits.
    pub(super) fn rest(&self, since: Instant) {
        if self.hurry.load(Ordering::Acquire) == 0 {
            std::thread::sleep(since.elapsed());
        }
    }

    /// What the database has of a user.
    pub(super) fn in_tables<'a>(&self, user: &[u8], written: &'a Generation) -> Result<Cow<'a, Stored>, EmbeddedError> {
        match written.profiles.get(user) {
            Some(stored) => Ok(Cow::Borrowed(stored)),
            None => Ok(Cow::Owned(self.in_database(user)?.unwrap_or_default())),
        }
    }

    /// A profile, and what it changes of the members of segments.
    fn write_one(
        &self,
        user: &[u8],
        new: &Stored,
        written: &Generation,
        names: &Names,
        batch: &mut OwnedWriteBatch,
        moved: &mut Moved,
    ) -> Result<(), EmbeddedError> {
        let old = self.in_tables(user, written)?;
        difference(&old, new, names, |segment, entered| {
            count(moved, segment, entered);
            let key = joined(names.segment(segment).as_bytes(), user);
            if entered {
                batch.insert(&self.members, key, "");
            } else {
                batch.remove(&self.members, key);
            }
        });
        if !new.rows.is_empty() {
            batch.insert(&self.profiles, user, encode(user, new, &mut vec![])?);
        } else if !old.rows.is_empty() {
            batch.remove(&self.profiles, user);
        }
        Ok(())
    }

    /// The sizes of segments, as the database has their members.
    pub(super) fn write_sizes(&self, moved: Moved, names: &Names, batch: &mut OwnedWriteBatch) -> Result<(), EmbeddedError> {
        for (number, (entered, exited)) in moved {
            let segment = &**names.segment(number);
            let failed = |e| corrupt("sizes", segment.as_bytes(), e);
            let before: u64 = self.sizes.get(segment)?.map_or(Ok(0), |value| postcard::from_bytes(&value).map_err(failed))?;
            match (before + entered).saturating_sub(exited) {
                0 => batch.remove(&self.sizes, segment),
                size => batch.insert(&self.sizes, segment, postcard::to_stdvec(&size).map_err(failed)?),
            }
        }
        Ok(())
    }
}

impl Behind {
    /// What was being written is. Returns what is not needed any more.
    fn settle(&mut self, now: i64) -> Arc<Generation> {
        let this_minute = now - now.rem_euclid(MINUTE);
        self.activity.retain(|(_, minute), (_, is_written)| !*is_written || *minute >= this_minute);
        let written = std::mem::take(&mut self.writing);
        if written.profiles.is_empty() { written } else { std::mem::replace(&mut self.written, written) }
    }

    /// What could not be written waits again, unless it changed since; what the database has of it nobody knows. Returns what is not needed any more.
    fn take_back(&mut self, activity: &[((Arc<str>, i64), Activity)]) -> Arc<Generation> {
        let failed = std::mem::take(&mut self.writing);
        self.written = Arc::default();
        for (user, stored) in &failed.profiles {
            if !self.fresh.profiles.contains_key(user) {
                self.fresh.put(user, stored.clone());
            }
        }
        self.since.get_or_insert_with(Instant::now);
        for (place, _) in activity {
            if let Some((_, is_written)) = self.activity.get_mut(place) {
                *is_written = false;
            }
        }
        failed
    }
}
