//! Many profiles that changed, written as sorted tables past the journal and the memory of the database, which would take several times as long:
//! first the profiles, then what that changes of members, segment by segment, and then the sizes of segments.
//!
//! That is three steps instead of one transaction. A mark says that they are not all done; whoever finds it makes members and sizes anew from the
//! profiles.

use std::time::Instant;

use cohort_engine::decode::TextBuffer;
use fjall::PersistMode;

use super::behind::{CHUNK, Generation};
use super::{Moved, Names, Profiles, Stored, count, difference, encode};
use crate::embedded::{EmbeddedError, joined};

/// The mark that not all steps are done.
const UNFINISHED: &str = "unfinished";
/// Entries that the database takes at a time.
const TOGETHER: usize = 4_096;

/// For each segment, by its number, the places of users who entered or exited, in order, and which they did.
type Crossings = Vec<Vec<(u32, bool)>>;

impl Profiles {
    /// Writes profiles, which are in the order of their users. `written` are those that were written last.
    pub(super) fn write_tables(&self, profiles: &[(&[u8], &Stored)], written: &Generation, names: &Names) -> Result<(), EmbeddedError> {
        self.about.insert(UNFINISHED, "")?;
        self.store.database.persist(PersistMode::SyncData)?;
        let crossings = self.write_profiles(profiles, written, names)?;
        self.write_members(profiles, &crossings, names)?;
        let (mut batch, mut moved) = (self.store.database.batch(), Moved::new());
        for (segment, users) in (0..).zip(&crossings) {
            users.iter().for_each(|(_, entered)| count(&mut moved, segment, *entered));
        }
        self.write_sizes(moved, names, &mut batch)?;
        batch.remove(&self.about, UNFINISHED);
        Ok(batch.commit()?)
    }

    fn write_profiles(&self, profiles: &[(&[u8], &Stored)], written: &Generation, names: &Names) -> Result<Crossings, EmbeddedError> {
        let mut crossings = vec![vec![]; names.len()];
        let mut tables = self.profiles.start_ingestion()?;
        let (mut places, mut room) = (0.., vec![]);
        for some in profiles.chunks(CHUNK) {
            let started = Instant::now();
            for ((user, new), place) in some.iter().zip(&mut places) {
                let old = self.in_tables(user, written)?;
                difference(&old, new, names, |segment, entered| crossings[segment as usize].push((place, entered)));
                if !new.rows.is_empty() {
                    tables.write(*user, encode(user, new, &mut room)?)?;
                } else if !old.rows.is_empty() {
                    tables.write_tombstone(*user)?;
                }
            }
            self.rest(started);
        }
        tables.finish()?;
        Ok(crossings)
    }

    fn write_members(&self, profiles: &[(&[u8], &Stored)], crossings: &Crossings, names: &Names) -> Result<(), EmbeddedError> {
        let keys = (0..).zip(crossings).filter(|(_, users)| !users.is_empty());
        let mut segments: Vec<(Vec<u8>, &[(u32, bool)])> = keys.map(|(segment, users)| (joined(names.segment(segment).as_bytes(), b""), &users[..])).collect();
        segments.sort_unstable();
        // Close together, as each segment goes through them anew.
        let mut ids = TextBuffer::default();
        profiles.iter().for_each(|(user, _)| ids.push(user));
        let mut tables = self.members.start_ingestion()?;
        for (mut key, users) in segments {
            let prefix = key.len();
            for some in users.chunks(TOGETHER) {
                let started = Instant::now();
                for &(place, entered) in some {
                    key.truncate(prefix);
                    key.extend_from_slice(ids.get(place as usize));
                    if entered { tables.write(&*key, "")? } else { tables.write_tombstone(&*key)? }
                }
                self.rest(started);
            }
        }
        Ok(tables.finish()?)
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
        let names = self.names();
        self.members.clear()?;
        self.sizes.clear()?;
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
        profiles.write_profiles(&[(b"u2", &two), (b"u3", &three)], &Generation::default(), &profiles.names()).unwrap();
        drop(profiles);
        let profiles = open(folder.path());
        assert_eq!(members(&profiles, "a"), (vec!["u1".into(), "u3".into()], 2));
        assert_eq!(members(&profiles, "bc"), (vec!["u2".into(), "u3".into()], 2));
        assert!(!profiles.about.contains_key(UNFINISHED).unwrap());
        // And what comes then is counted from there.
        tell(&profiles, &[("u3", 0, false), ("u1", 1, true)]);
        profiles.flush().unwrap();
        assert_eq!(members(&profiles, "a"), (vec!["u1".into()], 1));
        assert_eq!(members(&profiles, "bc"), (vec!["u1".into(), "u2".into(), "u3".into()], 3));
    }
}
