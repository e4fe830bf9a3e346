//! Files that are not written yet: the configuration can be checked with them, and all or none are written.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use otelgate::config::{Process, Surroundings};

use super::super::Usage;

/// Text and mode by path.
pub(super) struct Draft {
    dir: PathBuf,
    files: BTreeMap<PathBuf, (String, u32)>,
}

impl Draft {
    pub(super) fn new(dir: &Path) -> Draft {
        Draft { dir: dir.to_owned(), files: BTreeMap::new() }
    }

    /// A file that everybody may read.
    pub(super) fn public(&mut self, name: &str, text: String) {
        self.files.insert(self.path(name), (text, 0o644));
    }

    /// A file for its owner alone.
    pub(super) fn secret(&mut self, name: &str, text: String) {
        self.files.insert(self.path(name), (text, 0o600));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// # Errors
    /// Something is there already.
    pub(super) fn refuse_if_there(&self) -> Result<(), Usage> {
        let there: Vec<String> = self
            .paths()
            .filter(|path| fs::symlink_metadata(path).is_ok())
            .map(|path| path.display().to_string())
            .collect();
        match there.is_empty() {
            true => Ok(()),
            false => Err(Usage(format!(
                "there already, and never overwritten: {}; --dir DIR names another folder",
                there.join(", ")
            ))),
        }
    }

    /// Writes all of them, or takes away what was written of them.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        self.refuse_if_there()?;
        let mut written: Vec<&Path> = Vec::new();
        for (path, (text, mode)) in &self.files {
            if let Err(error) = write(path, text, *mode) {
                for path in written {
                    let _ = fs::remove_file(path);
                }
                return Err(error).with_context(|| format!("cannot write {}; nothing is written", path.display()));
            }
            written.push(path);
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let done = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if done.is_err() {
        let _ = fs::remove_file(path);
    }
    done
}

impl Surroundings for Draft {
    fn variable(&self, name: &str) -> Option<String> {
        Process.variable(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.files.get(path) {
            Some((text, _)) => Ok(text.clone().into_bytes()),
            None => Process.read(path),
        }
    }

    fn readable_by_others(&self, path: &Path) -> bool {
        self.files.get(path).map_or_else(|| Process.readable_by_others(path), |(_, mode)| mode & 0o004 != 0)
    }
}
