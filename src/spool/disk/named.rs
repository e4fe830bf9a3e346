//! Errors of files name them, once: what the operating system says does not.

use std::io;
use std::path::{Path, PathBuf};

/// An error with its file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
struct Named {
    path: PathBuf,
    /// Not the source: it is said already.
    error: io::Error,
}

/// Names the file; the kind stays.
pub(super) fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error + use<> {
    let path = path.to_owned();
    move |error| {
        // Files that are open elsewhere say nothing about this one; the error has no kind of its own.
        let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        let kind = match code {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => io::ErrorKind::ResourceBusy,
            _ => error.kind(),
        };
        io::Error::new(kind, Named { path, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_once_and_the_kind_stays() {
        let error = std::fs::File::open("/nowhere/at-all").map_err(named(Path::new("/nowhere/at-all"))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "/nowhere/at-all: No such file or directory (os error 2)");
        assert!(std::error::Error::source(&error).is_none());
        let busy = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert_eq!(named(Path::new("a"))(busy).kind(), io::ErrorKind::ResourceBusy);
    }
}
