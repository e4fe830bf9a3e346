//! The disk of a process without a spool: appended pieces are kept as they are and read back without being copied.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
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
        let contents = self.0.read();
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > contents.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(Bytes::new());
        }
        let first = contents.pieces.partition_point(|(at, _)| *at <= offset) - 1;
        let mut from = usize::try_from(offset - contents.pieces[first].0).map_err(io::Error::other)?;
        let mut out = BytesMut::new();
        for (_, piece) in &contents.pieces[first..] {
            let wanted = len - out.len();
            let to = piece.len().min(from + wanted);
            if out.is_empty() && to - from == len {
                return Ok(piece.slice(from..to));
            }
            out.extend_from_slice(&piece[from..to]);
            from = 0;
            if out.len() == len {
                break;
            }
        }
        Ok(out.freeze())
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
        assert_eq!(&file.read_at(10, 0).unwrap()[..], b"");
        assert!(file.read_at(8, 3).is_err());
        file.truncate(6).unwrap();
        assert_eq!(&file.read_at(0, 6).unwrap()[..], b"hellow");
        assert_eq!(file.size().unwrap(), 6);
    }
}
