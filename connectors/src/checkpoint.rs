//! Checkpoints in an object store: a folder, or whatever [`object_store`] knows by URL.
//!
//! A checkpoint is one object with all tables, and then a manifest that names it, with lengths and checksums. The
//! manifest is put last and whole, so a checkpoint is there or is not. The newest whole one is loaded; the
//! `keep` newest of each partition are kept.

use std::sync::Arc;

use cohort_engine::checkpoint::{Adoption, Checkpoint, CheckpointError, CheckpointStore, decode, encode};
use cohort_engine::source::Positions;
use cohort_engine::tables::Tables;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

/// A place that reading goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    log: String,
    partition: u32,
    offset: i64,
}

/// A table within the object that holds all.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    table: String,
    bytes: u64,
    crc32: u32,
}

/// What a checkpoint consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    partition: u32,
    revision: i64,
    positions: Vec<Place>,
    object: String,
    parts: Vec<Part>,
}

/// A change of program that was noted.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noted {
    revision: i64,
    positions: Vec<Place>,
}

const FORMAT: u32 = 1;

/// Checkpoints under a path of an object store. Used from threads that are not the runtime's.
pub struct ObjectCheckpoints {
    store: Arc<dyn ObjectStore>,
    root: Path,
    keep: usize,
    runtime: Handle,
}

fn places(positions: &Positions) -> Vec<Place> {
    positions.iter().map(|((log, partition), offset)| Place { log: log.to_string(), partition: *partition, offset: *offset }).collect()
}

fn positions(places: Vec<Place>) -> Positions {
    places.into_iter().map(|p| ((p.log.as_str().into(), p.partition), p.offset)).collect()
}

fn failed(what: &Path) -> impl Fn(&dyn std::fmt::Display) -> CheckpointError {
    let what = what.to_string();
    move |e| CheckpointError { what: what.clone(), message: e.to_string() }
}

impl ObjectCheckpoints {
    /// Checkpoints under `root` of a store, of which `keep` are kept for each partition.
    pub fn new(store: Arc<dyn ObjectStore>, root: Path, keep: usize, runtime: Handle) -> Self {
        ObjectCheckpoints { store, root, keep: keep.max(1), runtime }
    }

    fn folder(&self, partition: u32, kind: &str) -> Path {
        self.root.clone().join(format!("partition-{partition}")).join(kind)
    }

    fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        let put = self.store.put(path, PutPayload::from(bytes));
        self.runtime.block_on(put).map(|_| ()).map_err(|e| failed(path)(&e))
    }

    fn get(&self, path: &Path) -> Result<Vec<u8>, CheckpointError> {
        let get = async { self.store.get(path).await?.bytes().await };
        self.runtime.block_on(get).map(|b| b.to_vec()).map_err(|e| failed(path)(&e))
    }

    /// Objects of a folder whose names are numbers, oldest first.
    fn list(&self, folder: &Path) -> Result<Vec<(u64, Path)>, CheckpointError> {
        let listed = self.runtime.block_on(self.store.list(Some(folder)).try_collect::<Vec<_>>()).map_err(|e| failed(folder)(&e))?;
        let number = |path: &Path| path.filename()?.split('.').next()?.parse::<u64>().ok();
        let mut found: Vec<_> = listed.into_iter().filter_map(|meta| Some((number(&meta.location)?, meta.location))).collect();
        found.sort();
        Ok(found)
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.runtime.block_on(self.store.delete(path)) {
            tracing::warn!(%error, %path, "an old checkpoint stays");
        }
    }

    fn manifest(&self, path: &Path) -> Result<Manifest, CheckpointError> {
        let manifest: Manifest = serde_json::from_slice(&self.get(path)?).map_err(|e| failed(path)(&e))?;
        if manifest.format != FORMAT {
            return Err(failed(path)(&format!("has format {}, and this program reads {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }

    fn read(&self, path: &Path) -> Result<Checkpoint, CheckpointError> {
        let manifest = self.manifest(path)?;
        let object = Path::from(manifest.object.as_str());
        let bytes = self.get(&object)?;
        let (mut at, mut tables) = (0, Tables::default());
        for part in manifest.parts {
            let end = at + part.bytes as usize;
            let slice = bytes.get(at..end).ok_or_else(|| failed(&object)(&"is cut short"))?;
            if crc32fast::hash(slice) != part.crc32 {
                return Err(failed(&object)(&format!("table {:?} has another checksum", part.table)));
            }
            tables.0.insert(part.table.clone(), decode(&part.table, slice).map_err(|e| failed(&object)(&e))?);
            at = end;
        }
        Ok(Checkpoint { partition: manifest.partition, revision: manifest.revision, positions: positions(manifest.positions), tables })
    }

    /// Removes what is older than the checkpoints to keep.
    fn prune(&self, partition: u32, manifests: &[(u64, Path)]) {
        let Some(old) = manifests.len().checked_sub(self.keep) else { return };
        for (_, path) in &manifests[..old] {
            if let Ok(manifest) = self.manifest(path) {
                self.remove(path);
                self.remove(&Path::from(manifest.object.as_str()));
            } else {
                self.remove(path);
            }
        }
        let Some(Ok(oldest)) = manifests.get(old).map(|(_, path)| self.manifest(path)) else { return };
        for (revision, path) in self.list(&self.folder(partition, "programs")).unwrap_or_default() {
            if (revision as i64) <= oldest.revision {
                self.remove(&path);
            }
        }
    }
}

impl CheckpointStore for ObjectCheckpoints {
    fn save(&self, checkpoint: &Checkpoint) -> Result<u64, CheckpointError> {
        let folder = self.folder(checkpoint.partition, "manifests");
        let mut manifests = self.list(&folder)?;
        let number = manifests.last().map_or(1, |(n, _)| n + 1);
        let object = self.folder(checkpoint.partition, "state").join(format!("{number:020}.arrow"));
        let (mut bytes, mut parts) = (vec![], vec![]);
        for (table, batch) in &checkpoint.tables.0 {
            let encoded = encode(table, batch).map_err(|e| failed(&object)(&e))?;
            parts.push(Part { table: table.clone(), bytes: encoded.len() as u64, crc32: crc32fast::hash(&encoded) });
            bytes.extend_from_slice(&encoded);
        }
        let size = bytes.len() as u64;
        self.put(&object, bytes)?;
        let manifest = Manifest {
            format: FORMAT,
            partition: checkpoint.partition,
            revision: checkpoint.revision,
            positions: places(&checkpoint.positions),
            object: object.to_string(),
            parts,
        };
        let path = folder.join(format!("{number:020}.json"));
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| failed(&path)(&e))?;
        self.put(&path, text)?;
        manifests.push((number, path));
        self.prune(checkpoint.partition, &manifests);
        Ok(size)
    }

    fn load(&self, partition: u32) -> Result<Option<Checkpoint>, CheckpointError> {
        let manifests = self.list(&self.folder(partition, "manifests"))?;
        let mut problem = None;
        for (_, path) in manifests.iter().rev() {
            match self.read(path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    tracing::error!(%error, "checkpoint cannot be used; trying the one before it");
                    problem.get_or_insert(error);
                }
            }
        }
        problem.map_or(Ok(None), Err)
    }

    fn adopt(&self, adoption: &Adoption) -> Result<(), CheckpointError> {
        let path = self.folder(adoption.partition, "programs").join(format!("{:020}.json", adoption.revision));
        let noted = Noted { revision: adoption.revision, positions: places(&adoption.positions) };
        let text = serde_json::to_vec(&noted).map_err(|e| failed(&path)(&e))?;
        self.put(&path, text)
    }

    fn adoptions(&self, partition: u32, since: i64) -> Result<Vec<Adoption>, CheckpointError> {
        let mut adoptions = vec![];
        for (_, path) in self.list(&self.folder(partition, "programs"))? {
            let noted: Noted = serde_json::from_slice(&self.get(&path)?).map_err(|e| failed(&path)(&e))?;
            if noted.revision > since {
                adoptions.push(Adoption { partition, revision: noted.revision, positions: positions(noted.positions) });
            }
        }
        Ok(adoptions)
    }
}
