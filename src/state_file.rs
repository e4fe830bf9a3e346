//! Small files that must be whole after a crash: the old content or the new one, readable for their owner only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

/// Replaces a file's content, or makes the file. When this returns `Ok`, the new content survives a power loss.
///
/// # Errors
/// Whatever kept it from being written; the old content is there then.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    put(path, content, |_| Ok(()))
}

/// [`replace`] for a file that somebody else reads too: with this mode, owner and group.
///
/// # Errors
/// As [`replace`]; also when the owner is another and this process may not give files away.
pub(crate) fn replace_as(path: &Path, content: &[u8], mode: u32, (owner, group): (u32, u32)) -> io::Result<()> {
    put(path, content, |file| {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (owner, group) {
            fchown(file, Some(owner), Some(group))?;
        }
        // After the owner, whose change takes bits away.
        file.set_permissions(Permissions::from_mode(mode))
    })
}

/// Where the file lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn put(path: &Path, content: &[u8], prepare: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = folder.join(name);
    // What a crash left behind may have another owner's mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    let written = file.write_all(content).and_then(|()| prepare(&file)).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaces_whole_for_its_owner_only_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(folder.path().join("file.new"), "of a crash").unwrap();
        for content in ["first", "second"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
