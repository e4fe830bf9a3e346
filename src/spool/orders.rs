//! What an operator may order of a spool: to show what is in it, and what is to become of what the sink refused for good.
//!
//! The same on the folder of a stopped process and, through the admin listener, in a running one.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::counts::{Counts, Totals};
use super::disk::{Disk, LockError, RealDisk};
use super::format::note::Note;
use super::journal::Event;
use super::recover::{batch_of, sequence_of};
use super::scan::scan;
use super::store::Store;
use super::{Limits, OpenError, QUARANTINE, Recovered, Settings, Spool};

/// A batch, as people see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// By which people name it.
    pub sequence: u64,
    /// `waiting` for delivery, or in `quarantine`.
    pub(crate) place: Place,
    /// The lane; unknown where the file cannot be read.
    pub(crate) signal: Option<crate::signal::Signal>,
    /// When it was opened, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Bytes of its file.
    pub(crate) bytes: u64,
    /// Its parts.
    pub(crate) parts: Vec<PartSummary>,
    /// Requests of each key.
    pub(crate) requests: BTreeMap<String, u64>,
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// To be delivered.
    Waiting,
    /// Kept for people.
    Quarantine,
}

/// A part, as people see it.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct PartSummary {
    /// Its table.
    pub(crate) table: String,
    /// Days since 1970-01-01 in the server's time zone.
    pub(crate) day: i32,
    /// Rows.
    pub(crate) rows: u64,
    /// Whether it was sent at least once.
    pub(crate) tried: bool,
    /// Whether it is known to be in, but for what was refused.
    pub(crate) is_in: bool,
    /// Whether it waits for a person to mend something.
    pub(crate) held: bool,
    /// Rows that the sink refused for good.
    pub(crate) refused_rows: u64,
    /// Why rows were refused, or why it is not in yet where a process delivers it: in the sink's words, each reason once.
    pub(crate) reasons: Vec<String>,
}

/// Why what a person asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no such batch there.
    #[error("no batch {0} is in quarantine")]
    NoSuchBatch(u64),
    /// None of the batch's rows was refused: they are lost to damage, and cannot be delivered again.
    #[error("batch {0} has no refused rows to deliver again; drop it when it is no longer needed")]
    NothingToRetry(u64),
    /// Another order about the batch is being carried out.
    #[error("another order about batch {0} is being carried out; look again when it is done")]
    Busy(u64),
    /// It is not in quarantine.
    #[error("batch {0} is not in quarantine: it is on its way to the sink already")]
    Waits(u64),
    /// Nothing of it is left to be dropped.
    #[error("batch {0} is dropped already, or everything in it is settled and it is just being finished; look again")]
    Ends(u64),
    /// Another process has the folder.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The spool cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk refuses.
    #[error("the spool's disk: {0}")]
    Io(io::Error),
    /// There is no spool where one was looked for.
    #[error("{} is not a spool's folder: there is no file `lock` in it, which every otelgate makes that runs with it", .0.display())]
    NoSpool(std::path::PathBuf),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> AskError {
        AskError::Io(error)
    }
}

impl Summary {
    /// A file without even a header.
    pub(crate) fn unreadable(sequence: u64, place: Place, bytes: u64) -> Summary {
        let (parts, requests) = (Vec::new(), BTreeMap::new());
        Summary { sequence, place, signal: None, created_ms: 0, bytes, parts, requests }
    }
}

impl Batch {
    /// What people are shown of it.
    pub(crate) fn summary(&self) -> Summary {
        let place = match self.name.contains('/') {
            true => Place::Quarantine,
            false => Place::Waiting,
        };
        let parts = self.parts().iter().map(|part| {
            let state = self.state(part.id);
            let mut reasons: Vec<_> = state.refused.iter().map(|one| one.why.to_string()).collect();
            reasons.sort();
            reasons.dedup();
            PartSummary {
                table: part.name.table.to_string(),
                day: part.name.partition,
                rows: part.rows,
                tried: state.is_tried(),
                is_in: state.is_in,
                held: false,
                refused_rows: state.refused.iter().map(|one| one.rows).sum(),
                reasons,
            }
        });
        Summary {
            sequence: self.sequence(),
            place,
            signal: Some(self.signal()),
            created_ms: self.created_ms(),
            bytes: self.bytes(),
            parts: parts.collect(),
            requests: self.counts().requests.iter().map(|(key, count)| (key.to_string(), *count)).collect(),
        }
    }
}

impl Spool {
    /// What is in quarantine, oldest first. Blocks.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(crate) fn quarantined(&self) -> io::Result<Vec<Summary>> {
        let mut files = self.store.disk.list(QUARANTINE)?;
        files.sort();
        let each = files.iter().filter_map(|(name, len)| Some((sequence_of(name, ".batch")?, *len)));
        let summaries = each.map(|(sequence, bytes)| match kept(&self.store, sequence) {
            Ok(batch) => Ok(batch.summary()),
            Err(AskError::Io(error)) => Err(error),
            Err(_) => Ok(Summary::unreadable(sequence, Place::Quarantine, bytes)),
        });
        summaries.collect()
    }

    /// The right to give an order about a batch, for as long as it lives: nobody else gives one about the same batch meanwhile.
    ///
    /// # Errors
    /// Somebody has it.
    pub(crate) fn order(&self, sequence: u64) -> Result<Order, AskError> {
        if !self.store.orders.lock().insert(sequence) {
            return Err(AskError::Busy(sequence));
        }
        Ok(Order { store: self.store.clone(), sequence })
    }
}

/// What a person may have done with one batch in quarantine.
pub(crate) struct Order {
    store: Arc<Store>,
    sequence: u64,
}

impl Drop for Order {
    fn drop(&mut self) {
        self.store.orders.lock().remove(&self.sequence);
    }
}

impl Order {
    /// Takes the batch out of quarantine: what was refused of it waits again, and is to be delivered. Blocks.
    ///
    /// # Errors
    /// There is no such batch, nothing of it was refused, or the disk refuses; it is in quarantine then, and may be asked for again.
    pub(crate) fn retry(&self) -> Result<Batch, AskError> {
        let mut batch = kept(&self.store, self.sequence)?;
        let parts = batch.parts().iter().map(|part| (part.id, batch.state(part.id)));
        let refused = parts.filter(|(_, state)| !state.refused.is_empty() || state.only.is_some());
        let notes: Vec<Note> = refused.map(|(part, _)| Note::Retry { part }).collect();
        if notes.is_empty() {
            return Err(AskError::NothingToRetry(self.sequence));
        }
        batch.note(&notes)?;
        let kept_as = std::mem::replace(&mut batch.name, super::file_name(self.sequence));
        if let Err(error) = self.take_out(&mut batch, &kept_as) {
            if let Err(stays) = self.put_back(&batch.name, &kept_as) {
                let sequence = self.sequence;
                tracing::error!(sequence, error = %stays, "a batch that left quarantine waits for the next start");
            }
            return Err(error.into());
        }
        Ok(batch)
    }

    fn take_out(&self, batch: &mut Batch, kept_as: &str) -> io::Result<()> {
        self.store.disk.rename(kept_as, &batch.name)?;
        self.store.disk.sync_dir(QUARANTINE)?;
        self.store.disk.sync_dir("")?;
        batch.waiting = batch.answers_for()?;
        let outcome = Totals { quarantined: batch.waiting.clone(), ..Totals::default() };
        let _moving = self.store.moving.read();
        self.store.write(&Event::Retried { sequence: self.sequence, outcome })?;
        self.store.waiting.lock().add(&batch.waiting);
        self.store.room.charge(batch.charged, &batch.index.shares, &Default::default());
        Ok(())
    }

    fn put_back(&self, name: &str, kept_as: &str) -> io::Result<()> {
        match self.store.disk.rename(name, kept_as) {
            // It never left.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        self.store.disk.sync_dir(QUARANTINE)?;
        self.store.disk.sync_dir("")
    }

    /// Drops the batch from quarantine for good, with everything in it; returns what is counted as dropped. Blocks.
    ///
    /// # Errors
    /// There is no such batch, or the disk refuses.
    pub(crate) fn drop_quarantined(&self) -> Result<Counts, AskError> {
        let (store, sequence) = (&self.store, self.sequence);
        let mut outcome = Totals::default();
        match kept(store, sequence) {
            Ok(batch) => outcome.dropped = batch.quarantined_rows()?,
            Err(AskError::Open(_)) => {}
            Err(error) => return Err(error),
        }
        let dropped = outcome.dropped.clone();
        let _moving = store.moving.read();
        store.write(&Event::Dropped { sequence, outcome })?;
        store.remove_kept(sequence)?;
        Ok(dropped)
    }
}

/// A batch in quarantine.
fn kept(store: &Arc<Store>, sequence: u64) -> Result<Batch, AskError> {
    let name = format!("{QUARANTINE}/{}", super::file_name(sequence));
    let file = match store.disk.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AskError::NoSuchBatch(sequence)),
        file => file?,
    };
    let len = file.size()?;
    let unreadable = |error| OpenError::Io(io::Error::new(io::ErrorKind::InvalidData, error));
    let mut scan = scan(file.as_ref(), len).map_err(unreadable)?;
    scan.header.sequence = sequence;
    Ok(batch_of(store, name, len, scan))
}

/// The spool of a process that is not running, for as long as a person asks.
pub struct StoppedSpool {
    /// The spool.
    pub(crate) spool: Spool,
    recovered: Recovered,
}

impl StoppedSpool {
    /// Opens a folder that is there, and brings it in order as a start would.
    ///
    /// # Errors
    /// It is no spool's, a running process has it, or it cannot be opened.
    pub fn open(dir: &std::path::Path, digest_ttl: Duration) -> Result<StoppedSpool, AskError> {
        if !RealDisk::is_spool(dir)? {
            return Err(AskError::NoSpool(dir.to_owned()));
        }
        Self::on(Box::new(RealDisk::open(dir)?), digest_ttl)
    }

    fn on(disk: Box<dyn Disk>, digest_ttl: Duration) -> Result<StoppedSpool, AskError> {
        let settings = Settings { limits: Limits::NONE, digest_ttl };
        let (spool, recovered) = Spool::open(disk, &settings)?;
        Ok(StoppedSpool { spool, recovered })
    }

    /// Takes a batch out of quarantine: the next start delivers it.
    ///
    /// # Errors
    /// As [`Order::retry`].
    pub fn retry(&mut self, sequence: u64) -> Result<(), AskError> {
        let batch = self.spool.order(sequence)?.retry()?;
        self.recovered.batches.push(batch);
        Ok(())
    }

    /// Drops a batch for good, waiting or in quarantine; returns what is counted as dropped.
    ///
    /// # Errors
    /// There is no such batch, or the disk refuses.
    pub fn drop(&mut self, sequence: u64) -> Result<Counts, AskError> {
        let place = self.recovered.batches.iter().position(|batch| batch.sequence() == sequence);
        let Some(place) = place else {
            return self.spool.order(sequence)?.drop_quarantined();
        };
        let before = self.spool.totals().dropped;
        self.recovered.batches[place].drop_rest()?;
        self.recovered.batches.remove(place);
        let mut dropped = self.spool.totals().dropped;
        dropped.subtract(&before);
        Ok(dropped)
    }

    /// Leaves the folder as a process that ends in peace does, when one had left it so.
    ///
    /// # Errors
    /// The disk refuses; the next start then takes every young digest for one that counts.
    pub fn close(self) -> io::Result<()> {
        if self.recovered.clean {
            return self.spool.stop(&self.recovered.digests);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
