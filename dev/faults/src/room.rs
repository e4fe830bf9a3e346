//! Where a spool lies: on a small file system of its own, which can be filled up, where the system lets us mount one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Size of the small file system.
const SIZE: &str = "64m";

/// A folder for a spool.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    mounted: bool,
}

impl Room {
    /// A folder below `folder`; on a tmpfs of its own with `small`, where the system allows it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path, small: bool) -> Result<Room> {
        let folder = folder.join("disk");
        fs::create_dir_all(&folder)?;
        let mounted = small && {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE},mode=0700"), "tmpfs"]).arg(&folder);
            mount.output().is_ok_and(|output| output.status.success())
        };
        Ok(Room { folder, mounted })
    }

    /// The spool's folder.
    pub fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// Whether it can be filled up.
    pub fn can_be_full(&self) -> bool {
        self.mounted
    }

    /// Fills the file system to its last byte.
    ///
    /// # Errors
    /// It is not one that may be filled.
    pub fn fill(&self) -> Result<()> {
        self.mounted.then_some(()).context("not a file system of its own")?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.filler())?;
        let block = vec![0_u8; 64 * 1024];
        // Ends with ENOSPC, large blocks first and then what is left.
        for size in [block.len(), 4096, 1] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// The file system does not let go of it.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("the filler")
    }

    /// Files of batches that are in the spool, oldest first; what is in quarantine is not among them.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn batches(&self) -> Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.spool())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "batch"))
            .collect();
        files.sort();
        Ok(files)
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.mounted {
            // What is left in the spool stays for people, beside the log.
            let left = self.folder.with_file_name("spool-left");
            drop(Command::new("cp").arg("-r").arg(self.spool()).arg(left).output());
            // Lazy: a process that was killed a moment ago may still hold a file.
            drop(Command::new("umount").arg("-l").arg(&self.folder).output());
        }
    }
}
