//! Memory for records of state, in pages that never move. Where state has outgrown its limit, pages go to files that the system
//! keeps in memory as far as there is room: rows that events touch stay there, the others are read when a window closes.
//!
//! A file has no name any more when its memory is used, so it goes with the last page in it, whatever becomes of the
//! process. Its room is reserved beforehand: a full disk is an error here, not a signal later.

use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::MmapMut;

/// How many records ahead a loop over records has them fetched from memory.
pub const AHEAD: usize = 12;
/// Records of a page, as powers of two: of most, and of the first ones where there are many tables, of which most have few records. Where a table has
/// many, its pages are so few that the list of them stays at hand.
const PAGE: u32 = 10;
const FIRST: u32 = 5;

/// Records of some words each, by number.
#[derive(Debug, Clone)]
pub struct Records {
    pages: Vec<Page>,
    /// Words of a record.
    stride: usize,
    /// How many records are in small pages, at the beginning; and by how much these pages are more than large ones would be.
    first: u32,
    pages_more: u32,
    used: u32,
    free: Vec<u32>,
    /// Bytes of the pages that are in memory, and of those in files.
    in_memory: usize,
    in_files: usize,
}

impl Records {
    /// None yet; `dense` says that there will be many.
    pub fn new(stride: usize, dense: bool) -> Self {
        let first = if dense { 0 } else { 1 << PAGE };
        Records { pages: vec![], stride, first, pages_more: (first >> FIRST) - (first >> PAGE), used: 0, free: vec![], in_memory: 0, in_files: 0 }
    }

    /// The page of a record, and how many records of the page are before it.
    #[inline]
    fn place(&self, record: u32) -> (usize, usize) {
        // The first records are as many as a whole number of either pages holds.
        let (shift, pages_more) = if record < self.first { (FIRST, 0) } else { (PAGE, self.pages_more) };
        (((record >> shift) + pages_more) as usize, (record & ((1 << shift) - 1)) as usize * self.stride)
    }

    /// The words of a record.
    #[inline]
    pub fn at(&self, record: u32) -> &[u64] {
        let (page, from) = self.place(record);
        &self.pages[page].words()[from..][..self.stride]
    }

    /// The words of a record, to change.
    #[inline]
    pub fn at_mut(&mut self, record: u32) -> &mut [u64] {
        let (page, from) = self.place(record);
        &mut self.pages[page].words_mut()[from..][..self.stride]
    }

    /// Has the processor fetch a record that is soon to be read or written; one that there is not is no matter.
    #[inline]
    pub fn prefetch(&self, record: u32) {
        let (page, from) = self.place(record);
        if let Some([first, .., last]) = self.pages.get(page).and_then(|page| page.words().get(from..from + self.stride)) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// A record that is free, with whatever words.
    pub fn take(&mut self) -> u32 {
        if let Some(&later) = self.free.len().checked_sub(AHEAD).and_then(|at| self.free.get(at)) {
            self.prefetch(later);
        }
        self.free.pop().unwrap_or_else(|| {
            let record = self.used;
            if self.place(record).0 == self.pages.len() {
                let page = Page::new(self.stride << if record < self.first { FIRST } else { PAGE });
                self.in_memory += page.bytes();
                self.pages.push(page);
            }
            self.used += 1;
            record
        })
    }

    /// Frees a record.
    pub fn free(&mut self, record: u32) {
        self.free.push(record);
    }

    /// The numbers of all records, also of those that are free.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.used
    }

    /// Number of records that are not free.
    pub fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    /// Moves records to files in `folder`.
    ///
    /// # Errors
    /// When a file cannot be made, or the disk is full.
    pub fn spill(&mut self, folder: &Path) -> io::Result<()> {
        // Pages of a size go together.
        let small = self.pages.len().min((self.first >> FIRST) as usize);
        let (first, others) = self.pages.split_at_mut(small);
        let spilled = spill(first, folder).and_then(|()| spill(others, folder));
        let of = |in_memory: bool| self.pages.iter().filter(|page| page.is_in_memory() == in_memory).map(Page::bytes).sum();
        (self.in_memory, self.in_files) = (of(true), of(false));
        spilled
    }

    /// Bytes in files.
    pub fn spilled(&self) -> usize {
        self.in_files
    }

    /// Bytes of memory in use.
    pub fn size(&self) -> usize {
        self.in_memory + self.free.capacity() * 4
    }
}

/// Asks for a place of memory to be brought near; a hint without any other effect.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of a valid reference reads nothing that the program sees, and every x86-64 has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Bytes of a file, about; each is one mapping of memory, of which a process may have 65,530.
const EXTENT: usize = 16 << 20;

/// What a page's words are part of.
#[derive(Debug)]
enum Owner {
    Memory,
    File { _extent: Arc<MmapMut> },
}

/// What the memory of a page is a multiple of: a line of the processor's cache, so that a record of eight words lies in one.
#[derive(Clone, Copy)]
#[repr(align(64))]
#[expect(dead_code, reason = "its words are read through a page's pointer")]
struct Line([u64; LINE]);

const LINE: usize = 8;

/// Some words, zero at first.
#[derive(Debug)]
struct Page {
    words: NonNull<[u64]>,
    owner: Owner,
}

// SAFETY: a page alone refers to its words: those of a box that it took apart, or a part of a mapping that no other page has.
unsafe impl Send for Page {}
// SAFETY: as above; through a shared reference words are only read.
unsafe impl Sync for Page {}

impl Page {
    /// A page in memory.
    fn new(words: usize) -> Self {
        let lines = NonNull::from(Box::leak(vec![Line([0; LINE]); words.div_ceil(LINE)].into_boxed_slice()));
        Page { words: NonNull::slice_from_raw_parts(lines.cast::<u64>(), words), owner: Owner::Memory }
    }

    /// Its words.
    #[inline]
    fn words(&self) -> &[u64] {
        // SAFETY: the words live as long as the page, and are changed only through `words_mut`.
        unsafe { self.words.as_ref() }
    }

    /// Its words, to change.
    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `words`; the page is borrowed for as long.
        unsafe { self.words.as_mut() }
    }

    fn bytes(&self) -> usize {
        size_of_val(self.words())
    }

    /// Whether it takes memory that cannot be had back.
    fn is_in_memory(&self) -> bool {
        matches!(self.owner, Owner::Memory)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.is_in_memory() {
            let lines = NonNull::slice_from_raw_parts(self.words.cast::<Line>(), self.words.len().div_ceil(LINE));
            // SAFETY: these are the lines of the box that `new` took apart, and nobody else's.
            drop(unsafe { Box::from_raw(lines.as_ptr()) });
        }
    }
}

impl Clone for Page {
    /// A page in memory with the same words.
    fn clone(&self) -> Self {
        let mut page = Page::new(self.words().len());
        page.words_mut().copy_from_slice(self.words());
        page
    }
}

/// Moves pages of one size that are in memory to files in `folder`.
///
/// # Errors
/// When a file cannot be made, or the disk is full. Pages moved before that stay moved, all others where they are.
fn spill(pages: &mut [Page], folder: &Path) -> io::Result<()> {
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
    fn records_are_where_they_were_put() {
        let folder = tempfile::tempdir().unwrap();
        for dense in [false, true] {
            let mut records = Records::new(3, dense);
            for i in 0..5_000 {
                let record = records.take();
                assert_eq!(record, i);
                records.at_mut(record).copy_from_slice(&[u64::from(i), 1, 2]);
                if i == 900 || i == 3_000 {
                    records.spill(folder.path()).unwrap();
                }
            }
            assert!((0..5_000).all(|i| records.at(i) == [u64::from(i), 1, 2]));
            let bytes = records.spilled() + records.in_memory;
            assert!(records.spilled() > 0 && (5_000 * 24..5_000 * 24 + 1024 * 24).contains(&bytes), "{bytes}");
            records.free(17);
            assert_eq!((records.take(), records.take()), (17, 5_000));
        }
    }

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
