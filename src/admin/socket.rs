//! The admin listener's Unix socket: who may open its file may give orders.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Its owner and its group.
const MODE: u32 = 0o660;

/// A bound socket, whose file goes away with it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub(super) listener: UnixListener,
    pub(super) _file: SocketFile,
}

impl AdminSocket {
    /// Binds the socket, in the place of one that a process before this one left.
    ///
    /// # Errors
    /// The file cannot be made, or somebody listens there, or there is something that is no socket. Names the file.
    pub(crate) fn bind(path: &Path) -> io::Result<AdminSocket> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("admin.socket {}: {error}", path.display()));
        remove_left_over(path).map_err(named)?;
        // Until its mode is set, the owner alone can open it: connecting takes the right to write.
        let listener = UnixListener::bind(path).map_err(named)?;
        let inode = fs::metadata(path).map_err(named)?.ino();
        let file = SocketFile { path: path.to_owned(), inode };
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(named)?;
        Ok(AdminSocket { listener, _file: file })
    }
}

fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(there) if !there.file_type().is_socket() => Err(io::Error::other("is there already, and is no socket")),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        },
    }
}

/// Removes the socket's file when it is dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_has_it_and_what_a_dead_one_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let second = AdminSocket::bind(&path).unwrap_err().to_string();
        assert!(second.contains("admin.sock") && second.contains("another process"), "{second}");
        // As after SIGKILL: the listener is gone, its file is not.
        let AdminSocket { listener, _file } = first;
        std::mem::forget(_file);
        drop(listener);
        let third = AdminSocket::bind(&path).unwrap();
        drop(third);
        assert!(!path.exists());
        fs::write(&path, "not mine").unwrap();
        assert!(AdminSocket::bind(&path).unwrap_err().to_string().contains("no socket"));
    }
}
