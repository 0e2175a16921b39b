//! Sources and sinks that need no other system: an event log and a profile store in one embedded database, which
//! outlives the process. They stand behind the same traits as the others.

pub mod dead_letters;
pub mod log;
mod names;
pub mod profiles;
pub mod retained;
pub mod source;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

/// The embedded database.
#[derive(Clone)]
pub struct Store {
    database: Database,
    folder: PathBuf,
    synced: Arc<Mutex<Synced>>,
}

/// Bytes of the log that are in memory before they become a table, four times what is usual. Whenever a keyspace's do, the database writes its journal
/// and then the list of the keyspace's tables through to the disk, while whoever writes, or reads that keyspace, waits: 50 to 190 ms on a common
/// disk. By far the most that is written are blocks of the log. Tests of this crate have tables soon.
const MOST_IN_MEMORY: u64 = if cfg!(test) { 4 << 20 } else { 256 << 20 };

/// For each journal, when it was last changed, and when it was last written through to the disk.
type Synced = HashMap<PathBuf, (SystemTime, SystemTime)>;

/// More than by which a file may say that it was changed before it was: clocks of file systems are coarse, and a write that takes long counts from
/// its beginning.
const CLOCK_STEP: Duration = Duration::from_secs(5);

/// An embedded database that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The database failed.
    #[error("embedded store: {}", plain(.0))]
    Database(#[from] fjall::Error),
    /// The database could not be opened.
    #[error("embedded store in {}: {}", .folder.display(), plain(.problem))]
    Open {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        problem: fjall::Error,
    },
    /// A value is not what this program writes.
    #[error("embedded store: {keyspace}: entry {key} cannot be read: {problem}")]
    Corrupt {
        /// Where it is.
        keyspace: &'static str,
        /// Its key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The event log was made with another number of partitions.
    #[error("the event log has {existing} partitions, and {wanted} are configured; use another folder, or source.partitions = {existing}")]
    Partitions {
        /// As it was made.
        existing: u32,
        /// As configured.
        wanted: u32,
    },
}

/// What the database says, in words.
fn plain(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Locked => "another process has it open".into(),
        other => other.to_string(),
    }
}

impl Store {
    /// Opens the database in a folder, which is made if there is none. Only one process can have it open.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, EmbeddedError> {
        let folder = path.to_path_buf();
        // The database's own threads merge and write what is safe in journals already. They are as the one that opens it.
        let open = || {
            cohort_engine::background::go_behind();
            // What is large in them, blocks of the log, is compressed already.
            Database::builder(path).journal_compression(CompressionType::None).open()
        };
        let opened = std::thread::scope(|scope| scope.spawn(open).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        match opened {
            Ok(database) => Ok(Store { database, folder, synced: Arc::default() }),
            Err(problem) => Err(EmbeddedError::Open { folder, problem }),
        }
    }

    /// Writes everything through to the disk, so that it outlives a power failure. Writers go on meanwhile: the database's own
    /// way holds them up until the disk is done.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), EmbeddedError> {
        self.database.persist(PersistMode::Buffer)?;
        self.sync_journals(CLOCK_STEP).map_err(|error| EmbeddedError::Database(error.into()))
    }

    /// Has the system write what the journals hold so far, and which journals there are, unless it has since they were changed. One that goes
    /// meanwhile held only what is in tables.
    fn sync_journals(&self, clock_step: Duration) -> std::io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever fails, all is synced the next time.
        let (before, mut after, mut changes) = (std::mem::take(&mut *synced), Synced::new(), false);
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let journal = entry.path();
            if journal.extension().is_none_or(|e| e != "jnl") {
                continue;
            }
            let outcome = entry.metadata().and_then(|about| about.modified()).and_then(|changed| {
                let known = before.get(&journal).filter(|(was, at)| *was == changed && at.duration_since(changed).is_ok_and(|age| age > clock_step));
                if let Some(known) = known {
                    return Ok(*known);
                }
                changes = true;
                let now = SystemTime::now();
                std::fs::File::open(&journal)?.sync_data().map(|()| (changed, now))
            });
            match outcome {
                Ok(known) => drop(after.insert(journal, known)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if changes {
            std::fs::File::open(&self.folder)?.sync_all()?;
        }
        *synced = after;
        Ok(())
    }

    /// Removes what is no longer used, if it is there.
    fn forget(&self, name: &str) -> Result<(), EmbeddedError> {
        if self.database.keyspace_exists(name) {
            self.database.delete_keyspace(self.keyspace(name)?)?;
        }
        Ok(())
    }

    fn keyspace(&self, name: &str) -> Result<Keyspace, EmbeddedError> {
        self.keyspace_with(name, |options| options)
    }

    fn keyspace_with(&self, name: &str, choose: impl Fn(KeyspaceCreateOptions) -> KeyspaceCreateOptions) -> Result<Keyspace, EmbeddedError> {
        Ok(self.database.keyspace(name, || choose(KeyspaceCreateOptions::default()))?)
    }

    /// A keyspace for values that are large and compressed already. Once a keyspace is made it stays as it was made: those of earlier versions keep
    /// values in their tables, and write them anew whenever tables are merged.
    fn compressed_keyspace(&self, name: &str) -> Result<Keyspace, EmbeddedError> {
        self.keyspace_with(name, |options| {
            let apart = KvSeparationOptions::default().compression(CompressionType::None);
            let options = options.max_memtable_size(MOST_IN_MEMORY).data_block_compression_policy(CompressionPolicy::disabled());
            options.with_kv_separation(Some(apart))
        })
    }
}

fn corrupt(keyspace: &'static str, key: &[u8], problem: impl ToString) -> EmbeddedError {
    EmbeddedError::Corrupt { keyspace, key: String::from_utf8_lossy(key).escape_debug().to_string(), problem: problem.to_string() }
}

/// A key of two parts, of which the first may hold any bytes: entries with the same first part lie together.
fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let length = u16::try_from(first.len()).unwrap_or(u16::MAX);
    let mut key = Vec::with_capacity(2 + first.len() + second.len());
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(&first[..usize::from(length)]);
    key.extend_from_slice(second);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_are_synced_when_they_were_changed_only() {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock_step) = (Store::open(folder.path()).unwrap(), Duration::from_millis(100));
        let keyspace = store.keyspace("some").unwrap();
        let newest = || store.synced.lock().unwrap().values().map(|(_, at)| *at).max();
        let settled = || {
            std::thread::sleep(2 * clock_step);
            store.database.persist(PersistMode::Buffer).unwrap();
            store.sync_journals(clock_step).unwrap();
            newest()
        };
        keyspace.insert("a", "1").unwrap();
        let first = settled();
        assert!(first.is_some());
        assert_eq!(settled(), first, "nothing was written since");
        keyspace.insert("a", "2").unwrap();
        assert!(settled() > first);
    }
}
