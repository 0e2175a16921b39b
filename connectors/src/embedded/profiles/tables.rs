//! Many profiles that changed, written as sorted tables past the journal and the memory of the database, which would take several times as long:
//! first the profiles, then what that changes of members, segment by segment, and then the sizes of segments.
//!
//! That is three steps instead of one transaction. A mark says that they are not all done; whoever finds it makes members and sizes anew from the
//! profiles. What goes is removed by transactions: after a kill the database takes what its journal has unless its tables have something newer,
//! and tables forget in time what was removed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use cohort_engine::decode::TextBuffer;
use fjall::{Keyspace, PersistMode};

use super::behind::{CHUNK, Generation};
use super::{Moved, Names, Profiles, Stored, count, difference, encode};
use crate::embedded::{EmbeddedError, joined};

/// The mark that not all steps are done.
const UNFINISHED: &str = "unfinished";
/// Entries that the database takes at a time.
const TOGETHER: usize = 4_096;
/// Entries that are removed at a time, while nobody else writes.
const REMOVED: usize = 512;
/// Tables that wait to be merged with others, from which on no more are made past the database: it holds up who writes
/// through it, until it has caught up.
const MANY: usize = 16;

/// For each segment, by its number, the places of users who entered or exited, in order, and which they did.
type Crossings = Vec<Vec<(u32, bool)>>;
/// How the keys of a segment's members begin, and who entered or exited.
type OfSegment<'a> = (Vec<u8>, &'a [(u32, bool)]);

impl Profiles {
    /// Whether the database keeps up with merging tables.
    pub(super) fn takes_tables(&self) -> bool {
        self.profiles.l0_table_count() < MANY && self.members.l0_table_count() < MANY
    }

    /// Writes profiles, which are in the order of their users. `written` are those that were written last.
    pub(super) fn write_tables(&self, profiles: &[(&[u8], &Stored)], written: &Generation, names: &Names) -> Result<(), EmbeddedError> {
        let crossings = self.crossings(profiles, written, names)?;
        self.about.insert(UNFINISHED, "")?;
        self.store.database.persist(PersistMode::SyncData)?;
        self.write_profiles(profiles)?;
        self.write_members(profiles, &crossings, names)?;
        let (mut batch, mut moved) = (self.store.database.batch(), Moved::new());
        for (segment, users) in (0..).zip(&crossings) {
            users.iter().for_each(|(_, entered)| count(&mut moved, segment, *entered));
        }
        self.write_sizes(moved, names, &mut batch)?;
        batch.remove(&self.about, UNFINISHED);
        batch.commit()?;
        self.turn_over()
    }

    /// Has the database make tables of what it has in memory. It begins a new journal, and looks whether tables wait to be merged, only then.
    pub(super) fn turn_over(&self) -> Result<(), EmbeddedError> {
        self.profiles.rotate_memtable()?;
        self.members.rotate_memtable()?;
        Ok(())
    }

    /// Who enters and exits by what is written.
    fn crossings(&self, profiles: &[(&[u8], &Stored)], written: &Generation, names: &Names) -> Result<Crossings, EmbeddedError> {
        let mut crossings = vec![vec![]; names.len()];
        let mut places = 0..;
        for some in profiles.chunks(CHUNK) {
            let started = Instant::now();
            for ((user, new), place) in some.iter().zip(&mut places) {
                let old = self.in_tables(user, written)?;
                difference(&old, new, names, |segment, entered| crossings[segment as usize].push((place, entered)));
            }
            self.rest(started);
        }
        Ok(crossings)
    }

    fn write_profiles(&self, profiles: &[(&[u8], &Stored)]) -> Result<(), EmbeddedError> {
        let (gone, kept): (Vec<_>, Vec<_>) = profiles.iter().partition(|(_, new)| new.rows.is_empty());
        if !kept.is_empty() {
            let (mut tables, mut room) = (self.profiles.start_ingestion()?, vec![]);
            for some in kept.chunks(CHUNK) {
                let started = Instant::now();
                for (user, new) in some {
                    tables.write(*user, encode(user, new, &mut room)?)?;
                }
                self.rest(started);
            }
            tables.finish()?;
        }
        self.remove(&self.profiles, gone.into_iter().map(|(user, _)| user))
    }

    fn write_members(&self, profiles: &[(&[u8], &Stored)], crossings: &Crossings, names: &Names) -> Result<(), EmbeddedError> {
        let keys = (0..).zip(crossings).filter(|(_, users)| !users.is_empty());
        let mut segments: Vec<OfSegment<'_>> = keys.map(|(segment, users)| (joined(names.segment(segment).as_bytes(), b""), &users[..])).collect();
        segments.sort_unstable();
        // Close together, as each segment goes through them anew.
        let mut ids = TextBuffer::default();
        profiles.iter().for_each(|(user, _)| ids.push(user));
        if segments.iter().any(|(_, users)| users.iter().any(|(_, entered)| *entered)) {
            let mut tables = self.members.start_ingestion()?;
            for (prefix, users) in &segments {
                let mut key = prefix.clone();
                for some in users.chunks(TOGETHER) {
                    let started = Instant::now();
                    for (place, _) in some.iter().filter(|(_, entered)| *entered) {
                        key.truncate(prefix.len());
                        key.extend_from_slice(ids.get(*place as usize));
                        tables.write(&*key, "")?;
                    }
                    self.rest(started);
                }
            }
            tables.finish()?;
        }
        let exits = segments.iter().flat_map(|(prefix, users)| users.iter().filter(|(_, entered)| !entered).map(move |(place, _)| (prefix, *place)));
        self.remove(&self.members, exits.map(|(prefix, place)| [prefix, ids.get(place as usize)].concat()))
    }

    /// Removes entries, some at a time.
    fn remove<K: AsRef<[u8]>>(&self, from: &Keyspace, keys: impl Iterator<Item = K>) -> Result<(), EmbeddedError> {
        let (mut started, mut batch) = (Instant::now(), self.store.database.batch());
        for key in keys {
            batch.remove(from, key.as_ref());
            if batch.len() == REMOVED {
                std::mem::replace(&mut batch, self.store.database.batch()).commit()?;
                self.rest(started);
                started = Instant::now();
            }
        }
        Ok(batch.commit()?)
    }

    /// Makes members and sizes anew, if they may not be those of the profiles.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn finish_tables(&self) -> Result<(), EmbeddedError> {
        if !self.about.contains_key(UNFINISHED)? {
            return Ok(());
        }
        tracing::info!("members of segments are noted anew, as that was not finished");
        self.hurry.fetch_add(1, Ordering::AcqRel);
        let outcome = [&self.members, &self.sizes].into_iter().try_for_each(|keyspace| self.empty(keyspace)).and_then(|()| self.note_members());
        self.hurry.fetch_sub(1, Ordering::AcqRel);
        outcome
    }

    /// Removes all entries one by one: that a keyspace was emptied stays in the journal, and would empty it again of what came by tables since.
    fn empty(&self, keyspace: &Keyspace) -> Result<(), EmbeddedError> {
        let mut failed = None;
        let keys = keyspace.iter().map_while(|guard| guard.key().map_err(|error| failed = Some(error)).ok());
        self.remove(keyspace, keys)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Notes members and sizes of what the database has of profiles.
    fn note_members(&self) -> Result<(), EmbeddedError> {
        let names = self.names();
        let (mut batch, mut moved) = (self.store.database.batch(), Moved::new());
        for guard in self.profiles.iter() {
            let (user, value) = guard.into_inner()?;
            for row in &self.whole(&user, &value)?.rows {
                let segment = names.segment_of(row.name);
                count(&mut moved, segment, true);
                batch.insert(&self.members, joined(names.segment(segment).as_bytes(), &user), "");
            }
            if batch.len() >= TOGETHER {
                std::mem::replace(&mut batch, self.store.database.batch()).commit()?;
            }
        }
        self.write_sizes(moved, &names, &mut batch)?;
        batch.remove(&self.about, UNFINISHED);
        Ok(batch.commit()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;
    use std::sync::Arc;

    use cohort_engine::sink::{Amiss, ResultBatch, SegmentName};
    use cohort_engine::{ResultKind, ResultRow};

    use super::super::ProfileOptions;
    use super::*;
    use crate::embedded::Store;

    fn open(folder: &Path) -> Profiles {
        let options = ProfileOptions { tables_from: 0, ..ProfileOptions::new(1_000) };
        Profiles::open(&Store::open(folder).unwrap(), options, Arc::new(|| 1)).unwrap()
    }

    /// Has users enter a segment (0 or 1), or exit it.
    fn tell(profiles: &Profiles, told: &[(&str, u32, bool)]) {
        let names = ["a", "bc"].map(|name| SegmentName { segment: name.into(), rule: name.into() });
        let mut batch = ResultBatch { names: Arc::new(names.into()), ..ResultBatch::default() };
        for &(user, segment, member) in told {
            batch.users.push(user.as_bytes());
            batch.member.push(member);
            batch.rows.push(ResultRow {
                segment,
                user: 0,
                kind: ResultKind::Change,
                qualified: member,
                value: None,
                timestamp: 1,
                window_start: 0,
                window_end: 1,
            });
        }
        profiles.apply(&[batch], &mut Amiss::default()).unwrap();
    }

    /// The members of a segment as the database has them, and how many it says there are.
    fn members(profiles: &Profiles, segment: &str) -> (Vec<String>, u64) {
        let prefix = joined(segment.as_bytes(), b"");
        let keys = profiles.members.prefix(&prefix).map(|guard| guard.key().unwrap());
        (keys.map(|key| String::from_utf8(key[prefix.len()..].to_vec()).unwrap()).collect(), profiles.size(segment))
    }

    #[test]
    fn what_was_not_finished_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let profiles = open(folder.path());
        tell(&profiles, &[("u1", 0, true), ("u2", 0, true), ("u2", 1, true)]);
        profiles.flush().unwrap();
        assert_eq!(members(&profiles, "a"), (vec!["u1".into(), "u2".into()], 2));
        assert!(!profiles.about.contains_key(UNFINISHED).unwrap());
        // The process ends once it has written the profiles: one user exits, two enter.
        let changed = |segments: &[u32]| {
            let row = |&name: &u32| super::super::Row { name, qualified: true, value: None, timestamp: 2, window_start: 0, window_end: 1, since: 2 };
            Stored { expires_at: 1_001, last_updated: 2, partition: 0, rows: segments.iter().map(row).collect() }
        };
        let (two, three) = (changed(&[1]), changed(&[0, 1]));
        profiles.about.insert(UNFINISHED, "").unwrap();
        profiles.write_profiles(&[(b"u2", &two), (b"u3", &three)]).unwrap();
        drop(profiles);
        let profiles = open(folder.path());
        assert_eq!(members(&profiles, "a"), (vec!["u1".into(), "u3".into()], 2));
        assert_eq!(members(&profiles, "bc"), (vec!["u2".into(), "u3".into()], 2));
        assert!(!profiles.about.contains_key(UNFINISHED).unwrap());
        // And what comes then is counted from there.
        tell(&profiles, &[("u3", 0, false), ("u1", 1, true)]);
        profiles.flush().unwrap();
        assert_eq!(members(&profiles, "a"), (vec!["u1".into()], 1));
        let settled = |profiles: &Profiles| {
            assert_eq!(members(profiles, "a"), (vec!["u1".into()], 1));
            assert_eq!(members(profiles, "bc"), (vec!["u1".into(), "u2".into(), "u3".into()], 3));
        };
        settled(&profiles);
        drop(profiles);
        // The database reads its journal, in which what was made anew is older than the tables.
        settled(&open(folder.path()));
    }

    #[test]
    fn what_was_removed_stays_away() {
        let folder = tempfile::tempdir().unwrap();
        let open_with = |tables_from| {
            let options = ProfileOptions { tables_from, ..ProfileOptions::new(1_000) };
            Profiles::open(&Store::open(folder.path()).unwrap(), options, Arc::new(|| 1)).unwrap()
        };
        let profiles = open_with(usize::MAX);
        tell(&profiles, &[("u1", 0, true), ("u2", 0, true)]);
        profiles.flush().unwrap();
        drop(profiles);
        let profiles = open_with(0);
        for user in ["u1", "u2"] {
            tell(&profiles, &[(user, 0, false)]);
            profiles.flush().unwrap();
        }
        [&profiles.profiles, &profiles.members].into_iter().for_each(|keyspace| keyspace.major_compact().unwrap());
        drop(profiles);
        let profiles = open_with(0);
        assert_eq!(members(&profiles, "a"), (vec![], 0));
        assert_eq!(profiles.get("u1").unwrap(), None);
    }
}
