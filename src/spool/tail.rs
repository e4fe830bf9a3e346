//! The end of a sealed file, where its footer and its notes go.

use std::io;

use super::counts::Counts;
use super::disk::DiskFile;
use super::format::note::Note;
use super::format::record::{Before, Head, Header, Kind};
use super::format::wire::{Malformed, Reader, Writer};
use super::store::Store;

/// The end of a sealed file.
pub(crate) struct Tail {
    pub(crate) len: u64,
    pub(crate) records: u32,
    pub(crate) total: Before,
    /// A write failed and could not be cut away: what follows `len` is not known, so nothing may be appended after it.
    pub(crate) broken: bool,
    /// The footer, until it is written.
    pub(crate) footer: Option<Footer>,
}

/// What stands between the frames and the notes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// What the frames held when they were written: what is missing later is lost.
    pub(crate) counts: Counts,
    /// Records that were torn in the file's last write before it was sealed: nobody was told that they are kept.
    pub(crate) torn: Vec<u32>,
}

impl Footer {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.counts.encode(&mut out);
        out.count(self.torn.len());
        self.torn.iter().for_each(|number| out.u32(*number));
        out.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Footer, Malformed> {
        let mut from = Reader(bytes);
        let footer = Footer { counts: Counts::decode(&mut from)?, torn: from.list(4, Reader::u32)? };
        from.end()?;
        Ok(footer)
    }
}

impl Tail {
    /// Writes the footer, if it is not written yet, and then the notes, with one write and one sync.
    ///
    /// # Errors
    /// Whatever the disk says; what was begun is cut away before the next try.
    pub(crate) fn append(
        &mut self,
        store: &Store,
        file: &mut dyn DiskFile,
        header: &Header,
        notes: &[Note],
    ) -> io::Result<()> {
        if self.broken {
            file.truncate(self.len)?;
            file.sync()?;
            // It would cut away what is appended now.
            store.remove_cut(header.sequence)?;
            self.broken = false;
        }
        let footer = self.footer.as_ref().map(|footer| (Kind::Footer, footer.encode()));
        let notes = (!notes.is_empty()).then(|| (Kind::Note, Note::encode_all(notes)));
        let (mut records, mut number) = (Vec::new(), self.records);
        for (kind, meta) in footer.into_iter().chain(notes) {
            let head = Head {
                kind,
                number,
                group: self.records,
                meta_len: u32::try_from(meta.len()).map_err(io::Error::other)?,
                body_len: 0,
                before: self.total,
                meta_sum: crc32c::crc32c(&meta),
            };
            records.extend(head.encode(header.token));
            records.extend(meta);
            number += 1;
        }
        let len = records.len() as u64;
        if let Err(error) = file.append(&[records.into()]).and_then(|()| file.sync()) {
            self.broken = true;
            return Err(error);
        }
        self.footer = None;
        self.len += len;
        self.records = number;
        Ok(())
    }
}
