//! The newest blocks of the log in memory, as they were appended: workers that keep up neither ask the database for them nor unpack them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Header;

/// Bytes of blocks, of all partitions, that stay at hand for readers who are close behind.
pub(super) const MAX_RECENT_BYTES: usize = 32 << 20;

/// The newest blocks of each partition as they were appended, so that who is close behind need not unpack them.
pub(super) struct Recent {
    /// For each partition, blocks without a gap between them, up to its end.
    blocks: Vec<VecDeque<Arc<RecentBlock>>>,
    /// Partitions in the order in which their blocks were appended.
    order: VecDeque<u32>,
    pub bytes: usize,
    /// The most bytes there may be.
    pub most: usize,
}

/// A block, not compressed.
pub(super) struct RecentBlock {
    pub first: i64,
    pub header: Header,
    pub payloads: Vec<u8>,
}

impl RecentBlock {
    /// Bytes that it takes, about.
    fn size(&self) -> usize {
        const OVERHEAD: usize = 256;
        self.payloads.capacity() + self.header.records.capacity() * size_of::<(u16, u32)>() + OVERHEAD
    }
}

impl Recent {
    pub fn new(partitions: u32) -> Self {
        Recent { blocks: (0..partitions).map(|_| VecDeque::new()).collect(), order: VecDeque::new(), bytes: 0, most: MAX_RECENT_BYTES }
    }

    /// Adds a block; the oldest that there is no more room for go to `oldest`.
    pub fn push(&mut self, partition: u32, block: RecentBlock, oldest: &mut Vec<Arc<RecentBlock>>) {
        self.bytes += block.size();
        self.order.push_back(partition);
        self.blocks[partition as usize].push_back(Arc::new(block));
        while self.bytes > self.most {
            let Some(block) = self.order.pop_front().and_then(|partition| self.blocks[partition as usize].pop_front()) else { break };
            self.bytes -= block.size();
            oldest.push(block);
        }
    }

    /// The blocks that hold so many records from an offset on; none if the first of them is not at hand.
    pub fn from(&self, partition: u32, offset: i64, rows: usize) -> Vec<Arc<RecentBlock>> {
        let Some(blocks) = self.blocks.get(partition as usize) else { return vec![] };
        let Some(at) = blocks.partition_point(|block| block.first <= offset).checked_sub(1) else { return vec![] };
        let end = offset.saturating_add(rows as i64);
        blocks.range(at..).take_while(|block| block.first < end).map(Arc::clone).collect()
    }
}
