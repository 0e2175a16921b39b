//! Memory for rows, in pages that never move. Where state has outgrown its limit, pages go to files that the system
//! keeps in memory as far as there is room: rows that events touch stay there, the others are read when a window closes.
//!
//! A file has no name any more when its memory is used, so it goes with the last page in it, whatever becomes of the
//! process. Its room is reserved beforehand: a full disk is an error here, not a signal later.

use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::MmapMut;

/// Bytes of a file, about; each is one mapping of memory, of which a process may have 65,530.
const EXTENT: usize = 16 << 20;

/// What a page's words are part of.
#[derive(Debug)]
enum Owner {
    Memory,
    File { _extent: Arc<MmapMut> },
}

/// Some words, zero at first.
#[derive(Debug)]
pub struct Page {
    words: NonNull<[u64]>,
    owner: Owner,
}

// SAFETY: a page alone refers to its words: those of a box that it took apart, or a part of a mapping that no other page has.
unsafe impl Send for Page {}
// SAFETY: as above; through a shared reference words are only read.
unsafe impl Sync for Page {}

impl Page {
    /// A page in memory.
    pub fn new(words: usize) -> Self {
        Page { words: NonNull::from(Box::leak(vec![0; words].into_boxed_slice())), owner: Owner::Memory }
    }

    /// Its words.
    #[inline]
    pub fn words(&self) -> &[u64] {
        // SAFETY: the words live as long as the page, and are changed only through `words_mut`.
        unsafe { self.words.as_ref() }
    }

    /// Its words, to change.
    #[inline]
    pub fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `words`; the page is borrowed for as long.
        unsafe { self.words.as_mut() }
    }

    /// Whether it takes memory that cannot be had back.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.owner, Owner::Memory)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.is_in_memory() {
            // SAFETY: these are the words of the box that `new` took apart, and nobody else's.
            drop(unsafe { Box::from_raw(self.words.as_ptr()) });
        }
    }
}

/// Moves pages that are in memory to files in `folder`.
///
/// # Errors
/// When a file cannot be made, or the disk is full. Pages moved before that stay moved, all others where they are.
pub fn spill(pages: &mut [Page], folder: &Path) -> io::Result<()> {
    let mut in_memory: Vec<&mut Page> = pages.iter_mut().filter(|page| page.is_in_memory()).collect();
    let Some(words) = in_memory.first().map(|page| page.words().len()) else { return Ok(()) };
    let together = (EXTENT / (words * size_of::<u64>()).max(1)).max(1);
    in_memory.chunks_mut(together).try_for_each(|some| spill_some(some, words, folder))
}

fn spill_some(pages: &mut [&mut Page], words: usize, folder: &Path) -> io::Result<()> {
    let bytes = words * size_of::<u64>();
    let mut map = mapped(folder, bytes * pages.len())?;
    for (page, to) in pages.iter().zip(map.chunks_exact_mut(bytes)) {
        to.chunks_exact_mut(size_of::<u64>()).zip(page.words()).for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
    }
    let Some(first) = NonNull::new(map.as_mut_ptr().cast::<u64>()) else { return Ok(()) };
    let extent = Arc::new(map);
    for (i, page) in pages.iter_mut().enumerate() {
        // SAFETY: the mapping begins at a multiple of the system's pages and has this many words; each part becomes one page's.
        let part = NonNull::slice_from_raw_parts(unsafe { first.add(i * words) }, words);
        **page = Page { words: part, owner: Owner::File { _extent: Arc::clone(&extent) } };
    }
    Ok(())
}

/// The memory of a new file without a name.
fn mapped(folder: &Path, bytes: usize) -> io::Result<MmapMut> {
    let file = tempfile::tempfile_in(folder)?;
    reserve(&file, bytes)?;
    // SAFETY: nobody else can open the file, so that nobody else changes or shortens it.
    unsafe { MmapMut::map_mut(&file) }
}

#[cfg(target_os = "linux")]
fn reserve(file: &std::fs::File, bytes: usize) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?)
}

#[cfg(not(target_os = "linux"))]
fn reserve(mut file: &std::fs::File, bytes: usize) -> io::Result<()> {
    use std::io::Write;
    file.write_all(&vec![0; bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_their_words_in_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut pages: Vec<Page> = (0..300).map(|_| Page::new(1024 * 7)).collect();
        for (i, page) in pages.iter_mut().enumerate() {
            page.words_mut().iter_mut().enumerate().for_each(|(j, word)| *word = (i * 100_000 + j) as u64);
        }
        spill(&mut pages[..200], folder.path()).unwrap();
        pages[150].words_mut()[3] = 17;
        spill(&mut pages, folder.path()).unwrap();
        assert!(pages.iter().all(|page| !page.is_in_memory()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for (i, page) in pages.iter().enumerate().rev() {
            assert!(page.words().iter().enumerate().all(|(j, word)| *word == if (i, j) == (150, 3) { 17 } else { (i * 100_000 + j) as u64 }));
        }
        drop(pages);
        let mut pages = vec![Page::new(16)];
        assert!(spill(&mut pages, &folder.path().join("nowhere")).is_err());
        assert!(pages[0].is_in_memory());
    }
}
