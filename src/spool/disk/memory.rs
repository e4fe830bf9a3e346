//! The disk of a process without a spool: appended pieces are kept as they are and read back without being copied.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{Disk, DiskFile};

type Contents = Arc<RwLock<Pieces>>;

/// Files in memory; gone with the process.
#[derive(Default)]
pub(crate) struct MemoryDisk {
    files: Mutex<HashMap<String, Contents>>,
}

#[derive(Default)]
struct Pieces {
    /// Each piece with the offset of its first byte.
    pieces: Vec<(u64, Bytes)>,
    len: u64,
}

struct MemoryFile(Contents);

impl Disk for MemoryDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files.lock();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let contents = Contents::default();
        files.insert(name.to_owned(), contents.clone());
        Ok(Box::new(MemoryFile(contents)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let files = self.files.lock();
        let contents = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile(contents.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let contents = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files.lock().remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let files = self.files.lock();
        let in_folder = files.iter().filter_map(|(name, contents)| {
            let (parent, file) = name.rsplit_once('/').unwrap_or(("", name));
            (parent == folder).then(|| (file.to_owned(), contents.read().len))
        });
        Ok(in_folder.collect())
    }

    fn sync_dir(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let mut contents = self.0.write();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let at = contents.len;
            contents.len += piece.len() as u64;
            contents.pieces.push((at, piece.clone()));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut slices = self.read_slices(offset, len)?;
        Ok(if slices.len() == 1 { slices.remove(0) } else { slices.concat().into() })
    }

    fn read_slices(&self, offset: u64, len: usize) -> io::Result<Vec<Bytes>> {
        let contents = self.0.read();
        let end = offset.checked_add(len as u64).filter(|end| *end <= contents.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let first = contents.pieces.partition_point(|(at, piece)| at + piece.len() as u64 <= offset);
        let there = contents.pieces.iter().skip(first).take_while(|(at, _)| *at < end && len > 0);
        let slice = |(at, piece): &(u64, Bytes)| {
            let (from, to) = (offset.saturating_sub(*at), (end - at).min(piece.len() as u64));
            Ok(piece.slice(usize::try_from(from)?..usize::try_from(to)?))
        };
        there.map(slice).collect::<Result<_, std::num::TryFromIntError>>().map_err(io::Error::other)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut contents = self.0.write();
        while let Some((at, piece)) = contents.pieces.pop() {
            if at + piece.len() as u64 <= len {
                contents.pieces.push((at, piece));
                break;
            }
            if at < len {
                let keep = usize::try_from(len - at).map_err(io::Error::other)?;
                contents.pieces.push((at, piece.slice(..keep)));
                break;
            }
        }
        contents.len = contents.len.min(len);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_piece_without_copying_and_joins_pieces() {
        let disk = MemoryDisk::default();
        let mut file = disk.create("a").unwrap();
        let piece = Bytes::from_static(b"hello");
        file.append(&[piece.clone(), Bytes::from_static(b"world")]).unwrap();
        assert_eq!(file.read_at(1, 4).unwrap().as_ptr(), piece[1..].as_ptr());
        assert_eq!(&file.read_at(3, 4).unwrap()[..], b"lowo");
        assert_eq!(file.read_slices(3, 4).unwrap(), [&b"lo"[..], b"wo"]);
        assert_eq!(file.read_slices(5, 5).unwrap()[0].len(), 5);
        assert_eq!(&file.read_at(10, 0).unwrap()[..], b"");
        assert!(file.read_at(8, 3).is_err());
        file.truncate(6).unwrap();
        assert_eq!(&file.read_at(0, 6).unwrap()[..], b"hellow");
        assert_eq!(file.size().unwrap(), 6);
    }
}
