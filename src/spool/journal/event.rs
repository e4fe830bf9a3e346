//! What the journal says: events, what follows from them, and their bytes.
//!
//! A record is `length u32, CRC32C u32, payload`; a payload begins with its kind: 0 snapshot, 1 ended, 2 retried, 3 dropped.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::spool::counts::Totals;
use crate::spool::digests::{Digest, Remembered};
use crate::spool::format::wire::{Malformed, Reader, Writer};

/// What the journal knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) totals: Totals,
    /// Batches that ended, whose files may still be there; `true`: the file belongs in quarantine.
    pub(crate) ended: BTreeMap<u64, bool>,
    /// Batches that people took out of quarantine and that have not ended again.
    pub(crate) retried: BTreeSet<u64>,
    /// No batch with this number or a higher one was ended.
    pub(crate) next_sequence: u64,
    /// How many events it took to know this. A snapshot of fewer is of a segment whose beginning failed, and is passed over.
    pub(crate) events: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Snapshot(Known),
    /// A batch ended.
    Ended {
        sequence: u64,
        keep: bool,
        outcome: Totals,
        digests: Vec<Remembered>,
    },
    /// A person took a batch out of quarantine: what was counted as quarantined waits again.
    Retried {
        sequence: u64,
        outcome: Totals,
    },
    /// A person dropped a batch that was in quarantine.
    Dropped {
        sequence: u64,
        outcome: Totals,
    },
}

impl Known {
    /// Counts an event, once however often it is repeated.
    pub(super) fn take(&mut self, event: &Event) {
        self.events += u64::from(!matches!(event, Event::Snapshot(_)));
        match event {
            Event::Snapshot(known) if known.events < self.events => {}
            Event::Snapshot(known) => *self = known.clone(),
            Event::Ended { sequence, keep, outcome, .. } => {
                if self.ended.insert(*sequence, *keep).is_none() {
                    self.totals.add(outcome);
                }
                self.retried.remove(sequence);
                self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
            }
            Event::Retried { sequence, outcome } => {
                self.ended.remove(sequence);
                if self.retried.insert(*sequence) {
                    self.totals.quarantined.subtract(&outcome.quarantined);
                }
            }
            Event::Dropped { sequence, outcome } => {
                if self.ended.insert(*sequence, false) != Some(false) {
                    self.totals.quarantined.subtract(&outcome.dropped);
                    self.totals.dropped.add(&outcome.dropped);
                }
            }
        }
    }
}

pub(super) fn encode(event: &Event) -> Bytes {
    let mut payload = Writer::default();
    match event {
        Event::Snapshot(known) => {
            payload.varint(0);
            known.totals.encode(&mut payload);
            payload.count(known.ended.len());
            for (sequence, keep) in &known.ended {
                payload.u64(*sequence);
                payload.varint(u64::from(*keep));
            }
            payload.count(known.retried.len());
            known.retried.iter().for_each(|sequence| payload.u64(*sequence));
            payload.u64(known.next_sequence);
            payload.u64(known.events);
        }
        Event::Ended { sequence, keep, outcome, digests } => {
            payload.varint(1);
            payload.u64(*sequence);
            payload.varint(u64::from(*keep));
            outcome.encode(&mut payload);
            encode_digests(digests, &mut payload);
        }
        Event::Retried { sequence, outcome } => {
            payload.varint(2);
            payload.u64(*sequence);
            outcome.encode(&mut payload);
        }
        Event::Dropped { sequence, outcome } => {
            payload.varint(3);
            payload.u64(*sequence);
            outcome.encode(&mut payload);
        }
    }
    seal(&payload.0)
}

/// Puts length and checksum before a payload.
pub(crate) fn seal(payload: &[u8]) -> Bytes {
    let mut record = Writer::default();
    record.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    record.u32(crc32c::crc32c(payload));
    record.bytes(payload);
    record.0.into()
}

/// The payload of the next record, if it is whole.
pub(crate) fn unseal<'a>(from: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let (len, sum) = (from.u32()?, from.u32()?);
    let payload = from.bytes(len as usize)?;
    if crc32c::crc32c(payload) != sum {
        return Err(Malformed);
    }
    Ok(payload)
}

pub(super) fn decode(from: &mut Reader<'_>) -> Result<Event, Malformed> {
    let mut payload = Reader(unseal(from)?);
    let event = match payload.varint()? {
        0 => Event::Snapshot(Known {
            totals: Totals::decode(&mut payload)?,
            ended: payload.list(9, |from| Ok((from.u64()?, from.varint()? != 0)))?.into_iter().collect(),
            retried: payload.list(8, Reader::u64)?.into_iter().collect(),
            next_sequence: payload.u64()?,
            events: payload.u64()?,
        }),
        1 => Event::Ended {
            sequence: payload.u64()?,
            keep: payload.varint()? != 0,
            outcome: Totals::decode(&mut payload)?,
            digests: decode_digests(&mut payload)?,
        },
        2 => Event::Retried { sequence: payload.u64()?, outcome: Totals::decode(&mut payload)? },
        3 => Event::Dropped { sequence: payload.u64()?, outcome: Totals::decode(&mut payload)? },
        _ => return Err(Malformed),
    };
    payload.end()?;
    Ok(event)
}

/// Digests of one key and one moment share them: most of a frame's do.
pub(crate) fn encode_digests(digests: &[Remembered], out: &mut Writer) {
    let groups = digests.chunk_by(|a, b| a.key == b.key && a.at_ms == b.at_ms);
    out.count(groups.clone().count());
    for group in groups {
        let first = &group[0];
        out.text(&first.key);
        out.u64(first.at_ms);
        out.count(group.len());
        group.iter().for_each(|one| out.bytes(&one.digest.0));
    }
}

pub(crate) fn decode_digests(from: &mut Reader<'_>) -> Result<Vec<Remembered>, Malformed> {
    let groups = from.list(10, |from| {
        let (key, at_ms) = (from.text()?, from.u64()?);
        from.list(16, |from| Ok(Remembered { key: key.clone(), digest: Digest(from.array()?), at_ms }))
    })?;
    Ok(groups.into_iter().flatten().collect())
}
