//! A file on the faulty disk: what it holds, and what of that a crash may leave.

use std::ops::Range;

use rand::RngExt;
use rand::rngs::StdRng;

const SECTOR: usize = 512;

#[derive(Default)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    pub(super) synced: Vec<u8>,
    /// Both agree up to here at least.
    pub(super) common: usize,
    /// A sync of these bytes failed: what `synced` has of them stays, whatever a later sync says.
    pub(super) limbo: Range<usize>,
    pub(super) flipped: bool,
}

impl Inode {
    /// One of the contents that a crash may leave.
    pub(super) fn survivor(&self, rng: &mut StdRng) -> Vec<u8> {
        let all = self.after_sync();
        match rng.random_range(0..4) {
            0 => self.synced.clone(),
            1 => all,
            2 => {
                let keep = rng.random_range(self.common..=all.len().max(self.common));
                all[..keep.min(all.len())].to_vec()
            }
            _ => {
                let mut torn = all;
                let mut at = self.common;
                while at < torn.len() {
                    let end = ((at / SECTOR + 1) * SECTOR).min(torn.len());
                    if rng.random() {
                        torn[at..end].fill(0);
                    }
                    at = end;
                }
                torn
            }
        }
    }

    /// What a sync that succeeds leaves.
    pub(super) fn after_sync(&self) -> Vec<u8> {
        let mut all = self.current.clone();
        for at in self.limbo.clone() {
            all[at] = self.synced.get(at).copied().unwrap_or(0);
        }
        all
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.after_sync();
        self.common = self.synced.len();
    }

    pub(super) fn fail_sync(&mut self, rng: &mut StdRng) {
        self.synced = self.survivor(rng);
        let start = if self.limbo.is_empty() { self.common } else { self.limbo.start.min(self.common) };
        self.limbo = start..self.current.len();
        self.common = self.common.min(self.synced.len());
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.current.truncate(len);
        self.common = self.common.min(len);
        self.limbo = self.limbo.start.min(len)..self.limbo.end.min(len);
    }
}
