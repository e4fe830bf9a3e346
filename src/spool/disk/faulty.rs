//! A disk for tests: after a crash, what was not synced is there, partly there, or not; names that were not synced may vanish;
//! writes end short, the disk is full or has no inode left, syncs fail, reads fail, files vanish or may not be opened, and a bit may flip.

mod inode;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, DiskFile};
use inode::Inode;

/// How likely each call fails.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A write ends short, on a full disk or a broken one.
    pub(crate) write: f64,
    /// A sync fails; what of the file survives is then open for ever.
    pub(crate) sync: f64,
    /// A file cannot be made, for want of an inode.
    pub(crate) create: f64,
    /// A read fails.
    pub(crate) read: f64,
    /// Anything else fails.
    pub(crate) other: f64,
    /// The process dies at this call.
    pub(crate) crash_in: Option<u32>,
}

/// See the module; clones are the same disk.
#[derive(Clone)]
pub(crate) struct FaultyDisk(Arc<Mutex<Platter>>);

struct Platter {
    rng: StdRng,
    faults: Faults,
    dead: bool,
    /// Bytes that may still be written; any number when none.
    room: Option<usize>,
    /// Files whose names contain one of these may not be opened.
    denied: Vec<String>,
    /// The folder is not the one any more that was opened.
    hidden: bool,
    inodes: Vec<Inode>,
    names: HashMap<String, usize>,
    synced_names: HashMap<String, usize>,
    /// Changes of names that no `sync_dir` has covered, in order.
    unsynced: Vec<Vec<(String, Option<usize>)>>,
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
}

impl FaultyDisk {
    pub(crate) fn new(seed: u64) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(Platter {
            rng: StdRng::seed_from_u64(seed),
            faults: Faults::default(),
            dead: false,
            room: None,
            denied: Vec::new(),
            hidden: false,
            inodes: Vec::new(),
            names: HashMap::new(),
            synced_names: HashMap::new(),
            unsynced: Vec::new(),
        })))
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Whether the process died: answers of calls since then reached nobody.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Power comes back: only what may have survived is there.
    pub(crate) fn restart(&self) {
        let mut platter = self.0.lock();
        let Platter { rng, inodes, names, synced_names, unsynced, .. } = &mut *platter;
        let survive = rng.random_range(0..=unsynced.len());
        for change in unsynced.drain(..).take(survive) {
            apply(synced_names, change);
        }
        unsynced.clear();
        *names = synced_names.clone();
        for inode in inodes.iter_mut() {
            let survived = inode.survivor(rng);
            *inode = Inode {
                common: survived.len(),
                current: survived.clone(),
                synced: survived,
                limbo: 0..0,
                flipped: inode.flipped,
            };
        }
        platter.dead = false;
        platter.faults = Faults::default();
    }

    /// From now on so many bytes may be written, and as many more as are given back; `None`: any number.
    pub(crate) fn fill_up(&self, room: impl Into<Option<usize>>) {
        self.0.lock().room = room.into();
    }

    /// Files whose names contain `name` may not be opened from now on; `None`: all may.
    pub(crate) fn deny(&self, name: Option<&str>) {
        self.deny_all(name.into_iter().map(str::to_owned));
    }

    /// As [`FaultyDisk::deny`], of several.
    pub(crate) fn deny_all(&self, names: impl IntoIterator<Item = String>) {
        self.0.lock().denied = names.into_iter().collect();
    }

    /// The folder is moved away, or put back.
    pub(crate) fn hide(&self, hidden: bool) {
        self.0.lock().hidden = hidden;
    }

    /// Somebody removes a file, and its removal survives.
    pub(crate) fn vanish(&self, name: &str) {
        let mut platter = self.0.lock();
        platter.names.remove(name);
        platter.synced_names.remove(name);
        platter.unsynced.iter_mut().for_each(|change| change.retain(|(of, _)| of != name));
    }

    /// The length of a file that is there.
    pub(crate) fn len_of(&self, name: &str) -> Option<usize> {
        let platter = self.0.lock();
        platter.names.get(name).map(|inode| platter.inodes[*inode].current.len())
    }

    /// Flips a bit of a file whose name ends so, no file twice; `None` when there is none.
    pub(crate) fn flip(&self, ending: &str) -> Option<String> {
        self.flip_where(|name| name.ends_with(ending))
    }

    /// Flips a bit of a file whose name is so.
    pub(crate) fn flip_where(&self, named: impl Fn(&str) -> bool) -> Option<String> {
        let mut platter = self.0.lock();
        let all = platter.names.iter().filter(|(name, _)| named(name) && !name.contains('/'));
        let mut all: Vec<(String, usize)> = all.map(|(name, inode)| (name.clone(), *inode)).collect();
        all.retain(|(_, inode)| !platter.inodes[*inode].current.is_empty() && !platter.inodes[*inode].flipped);
        all.sort();
        if all.is_empty() {
            return None;
        }
        let pick = platter.rng.random_range(0..all.len());
        let (name, inode) = all.swap_remove(pick);
        let len = platter.inodes[inode].current.len();
        let (at, bit) = (platter.rng.random_range(0..len), platter.rng.random_range(0..8));
        platter.inodes[inode].current[at] ^= 1 << bit;
        platter.inodes[inode].synced[at] ^= 1 << bit;
        platter.inodes[inode].flipped = true;
        Some(format!("{name} at {at} of {len}"))
    }
}

impl Platter {
    /// Whether this call goes through, fails, or is the one at which the process dies.
    fn gate(&mut self, likely: f64) -> io::Result<()> {
        if let Some(left) = self.faults.crash_in.as_mut() {
            self.dead |= *left == 0;
            *left = left.saturating_sub(1);
        }
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        if self.rng.random_bool(likely) {
            return Err(io::Error::other("the disk says EIO"));
        }
        Ok(())
    }

    /// Whether the folder and the file may be opened.
    fn allows(&self, name: &str) -> io::Result<()> {
        if self.hidden {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.denied.iter().any(|denied| name.contains(denied)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        if let Some(room) = &mut self.room {
            *room += bytes;
        }
    }

    fn len_of(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |inode| self.inodes[*inode].current.len())
    }

    /// A change of names: one that fails may have happened all the same.
    fn change(&mut self, change: Vec<(String, Option<usize>)>) -> io::Result<()> {
        let alive = !self.dead;
        let outcome = self.gate(self.faults.other);
        if outcome.is_ok() || (alive && self.rng.random()) {
            apply(&mut self.names, change.clone());
            self.unsynced.push(change);
        }
        outcome
    }
}

fn apply(names: &mut HashMap<String, usize>, change: Vec<(String, Option<usize>)>) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name, inode),
            None => names.remove(&name),
        };
    }
}

fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for FaultyDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut platter = self.0.lock();
        platter.allows(name)?;
        if platter.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let full = platter.faults.create;
        if platter.rng.random_bool(full) {
            platter.gate(0.0)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.inodes.push(Inode::default());
        let inode = platter.inodes.len() - 1;
        platter.change(vec![(name.to_owned(), Some(inode))])?;
        Ok(Box::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut platter = self.0.lock();
        platter.gate(0.0)?;
        platter.allows(name)?;
        let inode = *platter.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.allows("")?;
        let inode = *platter.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = platter.len_of(to);
        platter.give_back(replaced);
        platter.change(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))])
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.allows("")?;
        if !platter.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let removed = platter.len_of(name);
        platter.give_back(removed);
        platter.change(vec![(name.to_owned(), None)])
    }

    fn list(&self, of: &str) -> io::Result<Vec<(String, u64)>> {
        let mut platter = self.0.lock();
        platter.gate(0.0)?;
        let here = platter.names.iter().filter(|(name, _)| folder(name) == of);
        let file = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(here.map(|(name, inode)| (file(name), platter.inodes[*inode].current.len() as u64)).collect())
    }

    fn sync_dir(&self, of: &str) -> io::Result<()> {
        let mut platter = self.0.lock();
        let likely = platter.faults.sync;
        platter.gate(likely)?;
        platter.allows("")?;
        let changes = std::mem::take(&mut platter.unsynced);
        for change in changes {
            if change.iter().any(|(name, _)| folder(name) == of) {
                apply(&mut platter.synced_names, change);
            } else {
                platter.unsynced.push(change);
            }
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().room.map_or(u64::MAX, |room| room as u64))
    }

    fn is_there(&self) -> bool {
        !self.0.lock().hidden
    }

    fn check(&self) -> io::Result<()> {
        self.0.lock().allows("")
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        let alive = !platter.dead;
        let likely = platter.faults.write;
        let bytes = pieces.concat();
        let mut outcome = platter.gate(likely);
        let mut keep = bytes.len();
        if outcome.is_err() {
            keep = if alive { platter.rng.random_range(0..=bytes.len()) } else { 0 };
            if !platter.dead && platter.rng.random() {
                outcome = Err(io::ErrorKind::StorageFull.into());
            }
        }
        if let Some(room) = platter.room.as_mut() {
            if *room < keep {
                outcome = Err(io::ErrorKind::StorageFull.into());
            }
            keep = keep.min(*room);
            *room -= keep;
        }
        platter.inodes[self.inode].current.extend(&bytes[..keep]);
        outcome
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        let likely = platter.faults.sync;
        let mut outcome = platter.gate(likely);
        if outcome.is_ok() && (platter.hidden || !platter.names.values().any(|inode| *inode == self.inode)) {
            outcome = Err(io::ErrorKind::NotFound.into());
        }
        let Platter { rng, inodes, dead, .. } = &mut *platter;
        match &outcome {
            Ok(()) => inodes[self.inode].sync(),
            Err(_) if !*dead => inodes[self.inode].fail_sync(rng),
            Err(_) => {}
        }
        outcome
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut platter = self.disk.0.lock();
        let likely = platter.faults.read;
        platter.gate(likely)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = from.checked_add(len).and_then(|to| platter.inodes[self.inode].current.get(from..to));
        bytes.map(Bytes::copy_from_slice).ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        let likely = platter.faults.other;
        platter.gate(likely)?;
        let before = platter.inodes[self.inode].current.len();
        platter.give_back(before.saturating_sub(usize::try_from(len).map_err(io::Error::other)?));
        platter.inodes[self.inode].truncate(usize::try_from(len).map_err(io::Error::other)?);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let mut platter = self.disk.0.lock();
        platter.gate(0.0)?;
        Ok(platter.inodes[self.inode].current.len() as u64)
    }
}
