//! User ids ↔ dense integers. One string hash an event here; integers from there on. Ids of users without
//! state are given to new users.

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

use crate::decode::TextBuffer;
use crate::state::prefetch;

/// The users of one partition that have state.
#[derive(Debug, Default)]
pub struct Users {
    table: HashTable<(u32, u32)>,
    places: Vec<(u32, u16)>,
    bytes: Vec<u8>,
    free: Vec<u32>,
    swept_at: usize,
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
        let short = hash as u32;
        let (places, bytes) = (&self.places, &self.bytes);
        let found = self.table.find(hash, |&(h, id)| h == short && text(places, bytes, id) == user);
        match found {
            Some(&(_, id)) => id,
            None => self.insert(hash, user),
        }
    }

    /// The dense id of a user who is known.
    pub fn find(&self, user: &[u8]) -> Option<u32> {
        let (hash, places, bytes) = (hash(user), &self.places, &self.bytes);
        self.table.find(hash, |&(h, id)| h == hash as u32 && text(places, bytes, id) == user).map(|&(_, id)| id)
    }

    /// The dense ids of a batch of users, as [`Users::intern`] gives them one by one. Look-ups go side by side
    /// in small groups, as each waits for memory three times: the table, the place, the text.
    pub fn intern_all(&mut self, users: &TextBuffer, ids: &mut Vec<u32>) {
        const TOGETHER: usize = 16;
        ids.clear();
        for from in (0..users.len()).step_by(TOGETHER) {
            let group = from..users.len().min(from + TOGETHER);
            let mut likely = [u32::MAX; TOGETHER];
            for (i, id) in group.clone().zip(&mut likely) {
                let hash = hash(users.get(i));
                *id = self.table.find(hash, |&(h, _)| h == hash as u32).map_or(u32::MAX, |&(_, id)| id);
            }
            for &(start, _) in likely.iter().filter_map(|&id| self.places.get(id as usize)) {
                if let Some(text) = self.bytes.get(start as usize) {
                    prefetch(text);
                }
            }
            for (i, id) in group.zip(likely) {
                let user = users.get(i);
                let known = (id as usize) < self.places.len() && text(&self.places, &self.bytes, id) == user;
                ids.push(if known { id } else { self.intern(user) });
            }
        }
    }

    fn insert(&mut self, hash_value: u64, user: &[u8]) -> u32 {
        let place = (self.bytes.len() as u32, user.len() as u16);
        self.bytes.extend_from_slice(user);
        let id = match self.free.pop() {
            Some(id) => {
                self.places[id as usize] = place;
                id
            }
            None => {
                self.places.push(place);
                self.places.len() as u32 - 1
            }
        };
        let (places, bytes) = (&self.places, &self.bytes);
        self.table.insert_unique(hash_value, (hash_value as u32, id), |&(_, id)| hash(text(places, bytes, id)));
        id
    }

    /// The text of an id that is in use.
    pub fn name(&self, id: u32) -> &str {
        std::str::from_utf8(text(&self.places, &self.bytes, id)).unwrap_or_default()
    }

    /// One more than the greatest id.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no user was ever seen.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.table.capacity() * 9 + self.places.capacity() * 8 + self.bytes.capacity()
    }

    /// Whether users have doubled since the last sweep, so that another is worth its cost.
    pub fn wants_sweep(&self) -> bool {
        self.table.len() > 2 * self.swept_at + 65_536
    }

    /// Forgets all users that are not `live`; their ids are given to new users.
    pub fn sweep(&mut self, live: impl Fn(u32) -> bool) {
        let mut bytes = Vec::with_capacity(self.bytes.len() / 2);
        let (old, places, free) = (&self.bytes, &mut self.places, &mut self.free);
        self.table.retain(|&mut (_, id)| {
            if !live(id) {
                free.push(id);
                return false;
            }
            let place = (bytes.len() as u32, places[id as usize].1);
            bytes.extend_from_slice(text(places, old, id));
            places[id as usize] = place;
            true
        });
        self.bytes = bytes;
        self.swept_at = self.table.len();
    }
}

#[inline]
fn text<'a>(places: &[(u32, u16)], bytes: &'a [u8], id: u32) -> &'a [u8] {
    let (start, len) = places[id as usize];
    &bytes[start as usize..start as usize + len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_get_the_ids_of_single_users() {
        let (mut one, mut all, mut ids) = (Users::default(), Users::default(), vec![]);
        for round in 0..50u64 {
            let mut batch = TextBuffer::default();
            let names: Vec<String> = (0..100).map(|i| format!("user-{}", (i * 7919 + round * 31) % 300)).collect();
            names.iter().for_each(|name| batch.push(name.as_bytes()));
            all.intern_all(&batch, &mut ids);
            assert_eq!(ids, names.iter().map(|name| one.intern(name.as_bytes())).collect::<Vec<_>>());
            one.sweep(|id| u64::from(id) % 7 != round % 7);
            all.sweep(|id| u64::from(id) % 7 != round % 7);
            assert_eq!(one.len(), all.len());
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
