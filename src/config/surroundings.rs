//! All that a check may know besides the text: the environment and other files, behind one small trait.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::SystemTime;

/// Where `${env:…}` and `${file:…}`, certificates and keys.yaml come from. Tests bring their own.
pub trait Surroundings {
    /// An environment variable; `None` when it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's bytes.
    ///
    /// # Errors
    /// Whatever kept the file from being read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether every user of the machine may read the file.
    fn readable_by_others(&self, path: &Path) -> bool;

    /// The addresses of a name.
    ///
    /// # Errors
    /// Whatever kept it from being found.
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }

    /// The time by which certificates are judged.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// This process: its environment and its file system.
#[derive(Debug, Clone, Copy)]
pub struct Process;

/// A certificate or keys file larger than this is not one.
const MAX_FILE_BYTES: u64 = 16 << 20;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        use io::Read;
        let file = std::fs::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other("larger than 16 MiB"));
        }
        Ok(bytes)
    }

    fn readable_by_others(&self, path: &Path) -> bool {
        crate::file_stamp::is_readable_by_others(path)
    }
}
