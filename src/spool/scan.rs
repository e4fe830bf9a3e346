//! Reading a file that a process before this one left: whatever its bytes are, this neither panics nor makes room for more than
//! they are.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::contents::read_meta;
use super::counts::Counts;
use super::disk::DiskFile;
use super::format::frame::Meta;
use super::format::note::Note;
use super::format::record::{Before, HEAD_LEN, HEADER_LEN, Head, Header, HeaderError, Kind, Token};
use super::index::{FrameAt, Index};
use super::tail::Footer;

/// A read that fails this often counts as damage: the start goes on.
const READ_ATTEMPTS: usize = 3;
/// How much is searched at a time for the next whole record.
const WINDOW: u64 = 1 << 20;
/// What is lost of a frame that cannot be read belongs to nobody who is known.
const UNKNOWN: &str = "(unknown)";

/// What a file holds.
pub(crate) struct Scan {
    pub(crate) header: Header,
    pub(crate) index: Index,
    pub(crate) notes: Vec<Note>,
    /// A footer or a note was found: the batch takes no more frames.
    pub(crate) sealed: bool,
    /// Where the last whole record ends; what follows is torn.
    pub(crate) end: u64,
    /// Length of what was looked at.
    pub(crate) size: u64,
    pub(crate) records: u32,
    pub(crate) total: Before,
    /// Something between two whole records is not what was written.
    pub(crate) damaged: bool,
    /// Something between two notes, or after the footer, is not what was written.
    pub(crate) lost_notes: bool,
    pub(crate) lost: Counts,
    /// Records between the whole ones that were torn in the last write: nobody was told that they are kept.
    pub(crate) torn: Vec<u32>,
}

/// Reads a file's first `size` bytes; frames' bodies only where a torn tail must be found.
///
/// # Errors
/// It has no header that can be read.
pub(crate) fn scan(file: &dyn DiskFile, size: u64) -> Result<Scan, HeaderError> {
    let len = usize::try_from(size).map_or(HEADER_LEN, |size| size.min(HEADER_LEN));
    let header = Header::decode(&read(file, 0, len).ok_or(HeaderError::Unreadable)?)?;
    let mut walk = Walk {
        file,
        size,
        token: header.token,
        scan: Scan {
            header,
            index: Index::default(),
            notes: Vec::new(),
            sealed: false,
            end: HEADER_LEN as u64,
            size,
            records: 0,
            total: Before::default(),
            damaged: false,
            lost_notes: false,
            lost: Counts::default(),
            torn: Vec::new(),
        },
        frames: Vec::new(),
        footer: None,
    };
    walk.run();
    Ok(walk.finish())
}

struct Walk<'a> {
    file: &'a dyn DiskFile,
    size: u64,
    token: Token,
    scan: Scan,
    frames: Vec<Found>,
    footer: Option<Footer>,
}

/// A record whose head and meta are whole.
struct Record {
    head: Head,
    meta: Bytes,
    at: u64,
    end: u64,
}

/// A frame, and where what stands before it ended.
struct Found {
    meta: Meta,
    at: FrameAt,
    head: Head,
    previous_end: u64,
    gap: bool,
}

impl Walk<'_> {
    fn run(&mut self) {
        while self.scan.end < self.size {
            let at = self.scan.end;
            let (record, gap) = match self.record(at) {
                Some(record) => (Some(record), false),
                None => (self.next_record(at + 1), true),
            };
            let Some(record) = record else {
                break;
            };
            let gap = gap || record.head.number != self.scan.records;
            self.scan.records = record.head.number.saturating_add(1);
            self.scan.end = record.end;
            match record.head.kind {
                Kind::Frame => self.take_frame(&record, at, gap),
                Kind::Footer | Kind::Note => self.take_ending(&record, gap),
            }
        }
    }

    fn take_frame(&mut self, record: &Record, previous_end: u64, gap: bool) {
        let head = record.head;
        let Ok(meta) = Meta::decode(&record.meta) else {
            self.scan.damaged = true;
            return;
        };
        let at = FrameAt {
            frame: head.number,
            meta_offset: record.at + HEAD_LEN as u64,
            meta_len: head.meta_len,
            meta_sum: head.meta_sum,
        };
        self.frames.push(Found { meta, at, head, previous_end, gap });
    }

    fn take_ending(&mut self, record: &Record, gap: bool) {
        self.scan.lost_notes |= gap && self.scan.sealed;
        self.scan.sealed = true;
        self.scan.damaged |= gap;
        self.scan.total = record.head.before;
        if record.head.kind == Kind::Footer {
            self.footer = Footer::decode(&record.meta).ok();
            return;
        }
        match Note::decode_all(&record.meta) {
            Ok(notes) => self.scan.notes.extend(notes),
            Err(_) => (self.scan.damaged, self.scan.lost_notes) = (true, true),
        }
    }

    fn finish(mut self) -> Scan {
        if self.scan.sealed {
            self.scan.torn = self.footer.as_ref().map(|footer| footer.torn.clone()).unwrap_or_default();
            let torn = &self.scan.torn;
            self.frames.retain(|found| !torn.contains(&found.head.number));
        } else {
            self.cut_torn_bodies();
        }
        let sealed_total = self.scan.sealed.then_some(self.scan.total);
        let (mut total, mut next) = (Before::default(), 0);
        for found in std::mem::take(&mut self.frames) {
            if found.gap || found.head.number != next {
                self.judge_gap(next, found.head.number, total, found.head.before);
            }
            (total, next) = (found.after(), found.head.number.saturating_add(1));
            if self.scan.index.push(&found.meta, found.at, found.head.body_len).is_err() {
                self.scan.damaged = true;
                self.scan.lost.add(&Counts::of(&found.meta));
            }
        }
        self.scan.lose(total, sealed_total.unwrap_or(total));
        self.scan.total = sealed_total.unwrap_or(total);
        if let Some(Footer { counts: mut whole, .. }) = self.footer {
            // The footer knows whose rows they were.
            whole.subtract(&self.scan.index.counts);
            self.scan.lost = whole;
        }
        self.scan
    }

    /// The records `from..to` are not there: torn when all of them are known to be, damaged otherwise.
    fn judge_gap(&mut self, from: u32, to: u32, seen: Before, known: Before) {
        if from < to && (from..to).all(|number| self.scan.torn.contains(&number)) {
            return;
        }
        self.scan.damaged = true;
        self.scan.lose(seen, known);
    }

    /// In the last write of a file that was never sealed any frame may be torn: it was never acknowledged, as far as can be
    /// told. At the end it is cut; before a whole one it is passed over.
    fn cut_torn_bodies(&mut self) {
        while let Some(last) = self.frames.pop() {
            if self.body_is_whole(&last.meta, &last.at) {
                self.frames.push(last);
                break;
            }
            self.scan.end = last.previous_end;
            self.scan.records = self.frames.last().map_or(0, |frame| frame.at.frame.saturating_add(1));
        }
        let Some(last) = self.frames.last().map(|last| last.head) else {
            return;
        };
        let frames = std::mem::take(&mut self.frames);
        let whole = |found: &Found| found.head.number < last.group || self.body_is_whole(&found.meta, &found.at);
        let frames: Vec<Found> = frames.into_iter().filter(whole).collect();
        let known: BTreeSet<u32> = frames.iter().map(|found| found.head.number).collect();
        // A number that the file has no room for is not believed.
        let most = u32::try_from(self.size / HEAD_LEN as u64).unwrap_or(u32::MAX);
        let missing = (last.group..last.number.min(most)).filter(|number| !known.contains(number));
        self.scan.torn = missing.collect();
        self.frames = frames;
    }

    fn body_is_whole(&self, meta: &Meta, at: &FrameAt) -> bool {
        let mut offset = at.meta_offset + u64::from(at.meta_len);
        meta.parts.iter().all(|part| {
            let bytes = usize::try_from(part.len).ok().and_then(|len| read(self.file, offset, len));
            offset += part.len;
            bytes.is_some_and(|bytes| crc32c::crc32c(&bytes) == part.sum)
        })
    }

    /// The record at `at`, if its head and meta are whole and its body lies within the file.
    fn record(&self, at: u64) -> Option<Record> {
        let left = self.size.checked_sub(at)?;
        if left < HEAD_LEN as u64 {
            return None;
        }
        let head = read(self.file, at, HEAD_LEN)?;
        let head = Head::decode(head.first_chunk()?, self.token).ok()?;
        let len = head.record_len().filter(|len| *len <= left)?;
        let meta = read(self.file, at + HEAD_LEN as u64, head.meta_len as usize)?;
        (crc32c::crc32c(&meta) == head.meta_sum).then_some(Record { head, meta, at, end: at + len })
    }

    /// The first whole record that begins at `from` or later.
    fn next_record(&self, mut from: u64) -> Option<Record> {
        let mark = memchr::memmem::Finder::new(&self.token.0);
        while from.checked_add(HEAD_LEN as u64)? <= self.size {
            let len = (self.size - from).min(WINDOW);
            let window = read(self.file, from, usize::try_from(len).ok()?).unwrap_or_default();
            for found in mark.find_iter(&window) {
                if let Some(record) = self.record(from + found as u64) {
                    return Some(record);
                }
            }
            // A mark may lie across the end of the window.
            from += len.max(self.token.0.len() as u64) - (self.token.0.len() as u64 - 1);
        }
        None
    }
}

/// Bytes that can be read; an error that stays is as good as damage.
fn read(file: &dyn DiskFile, offset: u64, len: usize) -> Option<Bytes> {
    let mut attempts = (0..READ_ATTEMPTS).map(|_| file.read_at(offset, len));
    attempts.find_map(io::Result::ok)
}

impl Found {
    /// Requests and rows of all frames up to this one.
    fn after(&self) -> Before {
        let Before { requests, rows } = self.head.before;
        Before {
            requests: requests.saturating_add(self.meta.requests.len() as u64),
            rows: rows.saturating_add(self.meta.rows()),
        }
    }
}

impl Scan {
    /// Frames that could not be read held what lies between two totals.
    fn lose(&mut self, seen: Before, known: Before) {
        let unknown = Arc::from(UNKNOWN);
        let requests = known.requests.saturating_sub(seen.requests);
        self.lost.add_requests(&unknown, requests);
        let rows = known.rows.saturating_sub(seen.rows);
        self.lost.add_rows(&unknown, &unknown, rows);
    }

    /// Digests of the whole frames with the time they were kept, from frames sealed at `since_ms` or later.
    pub(crate) fn digests(&self, file: &dyn DiskFile, since_ms: u64) -> Vec<super::digests::Remembered> {
        if self.index.newest_ms < since_ms {
            return Vec::new();
        }
        let metas = self.index.frames.iter().filter_map(|at| read_meta(file, at).ok().flatten());
        let recent = metas.filter(|meta| meta.sealed_ms >= since_ms);
        recent.flat_map(|meta| meta.digests().collect::<Vec<_>>()).collect()
    }
}
