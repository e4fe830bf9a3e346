//! What tells that a file was changed or replaced: for files that are read again while the program runs.

use std::path::Path;
use std::time::SystemTime;

/// A file's time, length and inode; none when it cannot be looked at.
pub(crate) type FileStamp = Option<(SystemTime, u64, u64)>;

/// The stamp of each file, in this order.
pub(crate) fn stamps<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<FileStamp> {
    use std::os::unix::fs::MetadataExt;
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    files.into_iter().map(stamp).collect()
}
