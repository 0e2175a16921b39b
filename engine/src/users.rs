//! User ids ↔ dense integers. One string hash an event here; integers from there on. Ids of users without
//! state are given to new users.

use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

use crate::decode::TextBuffer;
use crate::decode::columns::{SHORT, packed};
use crate::pages::prefetch;
use crate::probe::{Entry, Probed};

/// The users of one partition that have state.
#[derive(Debug, Default, Clone)]
pub struct Users {
    table: Probed<User>,
    /// By id.
    names: Vec<Name>,
    /// The texts that no [`Name`] has room for.
    bytes: Vec<u8>,
    free: Vec<u32>,
    swept_at: usize,
}

/// The upper half of a name's hash, and the user's id.
#[derive(Debug, Clone, Copy)]
struct User {
    hash: u32,
    id: u32,
}

impl Entry for User {
    const EMPTY: Self = User { hash: 0, id: u32::MAX };

    #[inline]
    fn is_empty(&self) -> bool {
        self.id == u32::MAX
    }

    #[inline]
    fn hash(&self) -> u64 {
        u64::from(self.hash) << 32
    }
}

/// A name of at most 15 bytes, followed by zeros and (in the last byte) its length; or, with [`LONG`] as the last byte, its place
/// in the other bytes, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(16))]
struct Name([u8; 16]);

/// In place of the length of a short name.
const LONG: u8 = u8::MAX;

impl Name {
    /// A name that fits.
    #[inline]
    fn short(text: &[u8]) -> Option<Name> {
        Some(Name(packed(text)?.to_le_bytes()))
    }

    /// A name of `len` bytes that stands at `start` of the other bytes.
    fn long(start: usize, len: usize) -> Name {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&(start as u64).to_le_bytes());
        name[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        name[SHORT] = LONG;
        Name(name)
    }

    #[inline]
    fn text<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match self.0[SHORT] {
            LONG => {
                let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = self.0;
                let (start, len) = (u64::from_le_bytes([a, b, c, d, e, f, g, h]) as usize, u32::from_le_bytes([i, j, k, l]) as usize);
                &bytes[start..start + len]
            }
            len => &self.0[..usize::from(len)],
        }
    }
}

#[inline]
fn hash(user: &[u8]) -> u64 {
    FxBuildHasher.hash_one(user)
}

impl Users {
    /// The dense id of a user, given one if new.
    #[inline]
    pub fn intern(&mut self, user: &[u8]) -> u32 {
        let hash = hash(user);
        self.found(hash, user).unwrap_or_else(|| self.insert(hash, user))
    }

    /// The dense id of a user who is known.
    pub fn find(&self, user: &[u8]) -> Option<u32> {
        self.found(hash(user), user)
    }

    #[inline]
    fn found(&self, hash: u64, user: &[u8]) -> Option<u32> {
        let short = (hash >> 32) as u32;
        let place = self.table.find(hash, |u| u.hash == short && self.names[u.id as usize].text(&self.bytes) == user)?;
        Some(self.table.at(place).id)
    }

    /// The dense ids of a batch of users, as [`Users::intern`] gives them one by one. Look-ups go side by side
    /// in small groups, as each waits for memory twice: the table, and the name.
    pub fn intern_all(&mut self, users: &TextBuffer, ids: &mut Vec<u32>) {
        const TOGETHER: usize = 16;
        ids.clear();
        for from in (0..users.len()).step_by(TOGETHER) {
            let group = from..users.len().min(from + TOGETHER);
            let (mut hashes, mut likely) = ([0; TOGETHER], [u32::MAX; TOGETHER]);
            for (i, hash_value) in group.clone().zip(&mut hashes) {
                *hash_value = hash(users.get(i));
                self.table.prefetch(*hash_value);
            }
            for (&hash, id) in hashes[..group.len()].iter().zip(&mut likely) {
                let place = self.table.find(hash, |u| u.hash == (hash >> 32) as u32);
                *id = place.map_or(u32::MAX, |place| self.table.at(place).id);
                self.names.get(*id as usize).into_iter().for_each(prefetch);
            }
            for ((i, hash), id) in group.zip(hashes).zip(likely) {
                let user = users.get(i);
                let is_it = self.names.get(id as usize).is_some_and(|name| self.is(name, user));
                ids.push(if is_it { id } else { self.found(hash, user).unwrap_or_else(|| self.insert(hash, user)) });
            }
        }
    }

    #[inline]
    fn is(&self, name: &Name, user: &[u8]) -> bool {
        match Name::short(user) {
            Some(short) => short == *name,
            None => name.text(&self.bytes) == user,
        }
    }

    fn insert(&mut self, hash: u64, user: &[u8]) -> u32 {
        let name = Name::short(user).unwrap_or_else(|| {
            self.bytes.extend_from_slice(user);
            Name::long(self.bytes.len() - user.len(), user.len())
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.names[id as usize] = name;
                id
            }
            None => {
                self.names.push(name);
                self.names.len() as u32 - 1
            }
        };
        self.table.insert(User { hash: (hash >> 32) as u32, id });
        id
    }

    /// The text of an id that is in use.
    pub fn name(&self, id: u32) -> &str {
        std::str::from_utf8(self.text(id)).unwrap_or_default()
    }

    /// The bytes of the text of an id that is in use, which are valid UTF-8.
    #[inline]
    pub fn text(&self, id: u32) -> &[u8] {
        self.names[id as usize].text(&self.bytes)
    }

    /// Has the processor fetch the text of an id, for [`Users::name`] soon after.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        self.names.get(id as usize).into_iter().for_each(prefetch);
    }

    /// One more than the greatest id.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no user was ever seen.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.table.size() + self.names.capacity() * size_of::<Name>() + self.bytes.capacity()
    }

    /// Whether users have doubled since the last sweep, so that another is worth its cost.
    pub fn wants_sweep(&self) -> bool {
        self.table.len() > 2 * self.swept_at + 65_536
    }

    /// Forgets all users that are not `live`; their ids are given to new users.
    pub fn sweep(&mut self, live: impl Fn(u32) -> bool) {
        let mut bytes = Vec::with_capacity(self.bytes.len() / 2);
        let (old, names, free) = (&self.bytes, &mut self.names, &mut self.free);
        self.table.retain(|&User { id, .. }| {
            if !live(id) {
                free.push(id);
                return false;
            }
            let name = &mut names[id as usize];
            if name.0[SHORT] == LONG {
                let text = name.text(old);
                bytes.extend_from_slice(text);
                *name = Name::long(bytes.len() - text.len(), text.len());
            }
            true
        });
        self.bytes = bytes;
        self.swept_at = self.table.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_get_the_ids_of_single_users() {
        let (mut one, mut all, mut ids) = (Users::default(), Users::default(), vec![]);
        for round in 0..50u64 {
            let mut batch = TextBuffer::default();
            let names: Vec<String> =
                (0..100).map(|i| format!("user-{}{}", (i * 7919 + round * 31) % 300, "-of-a-long-name".repeat(i as usize % 3 / 2))).collect();
            names.iter().for_each(|name| batch.push(name.as_bytes()));
            all.intern_all(&batch, &mut ids);
            assert_eq!(ids, names.iter().map(|name| one.intern(name.as_bytes())).collect::<Vec<_>>());
            one.sweep(|id| u64::from(id) % 7 != round % 7);
            all.sweep(|id| u64::from(id) % 7 != round % 7);
            assert_eq!(one.len(), all.len());
        }
    }

    #[test]
    fn names_of_all_lengths_are_kept() {
        let text = "abcdefghijklmnopqrstuvwxyz\0".repeat(4);
        let (mut users, texts) = (Users::default(), (0..text.len()).map(|len| &text[..len]).collect::<Vec<_>>());
        let ids: Vec<u32> = texts.iter().map(|t| users.intern(t.as_bytes())).collect();
        for (id, text) in ids.iter().zip(&texts) {
            assert_eq!((users.name(*id), users.find(text.as_bytes())), (*text, Some(*id)));
            assert_eq!(users.find(format!("{text}\0").as_bytes()).is_some(), texts.contains(&format!("{text}\0").as_str()));
        }
    }

    #[test]
    fn ids_are_stable_and_reused() {
        let mut users = Users::default();
        let ids: Vec<u32> = (0..1000).map(|i| users.intern(format!("u{i}").as_bytes())).collect();
        assert_eq!(ids, (0..1000).collect::<Vec<u32>>());
        users.sweep(|id| id % 2 == 0);
        assert_eq!(users.intern(b"u10"), 10);
        let new = users.intern(b"new");
        assert_eq!(new % 2, 1);
        assert_eq!(users.name(new), "new");
        assert_eq!(users.len(), 1000);
    }
}
