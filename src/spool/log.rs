//! The end of a sealed file, where its footer and its notes go.

use std::io;

use super::disk::DiskFile;
use super::format::record::{Before, Head, Kind, Token};

/// The end of a sealed file, where notes go.
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) records: u32,
    pub(crate) total: Before,
    /// A write failed and could not be cut away: what follows `len` is not known, so nothing may be appended after it.
    pub(crate) broken: bool,
}

impl Log {
    /// Appends a record without a body and syncs it.
    pub(crate) fn append(
        &mut self,
        file: &mut dyn DiskFile,
        token: Token,
        kind: Kind,
        meta: Vec<u8>,
    ) -> io::Result<()> {
        if self.broken {
            file.truncate(self.len)?;
            file.sync()?;
            self.broken = false;
        }
        let head = Head {
            kind,
            number: self.records,
            meta_len: u32::try_from(meta.len()).map_err(io::Error::other)?,
            body_len: 0,
            before: self.total,
            meta_sum: crc32c::crc32c(&meta),
        };
        let mut record = head.encode(token);
        record.extend(meta);
        let len = record.len() as u64;
        let written = file.append(&[record.into()]).and_then(|()| file.sync());
        if let Err(error) = written {
            self.broken = true;
            return Err(error);
        }
        self.len += len;
        self.records += 1;
        Ok(())
    }
}
