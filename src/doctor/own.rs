//! otelgate's own: the configuration, its keys and files, the spool's disk, and what the machine gives.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{statfs, statvfs};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::blocking;
use crate::config::{KeyEntry, Loaded, show_size};

/// Keys that end within this time are a warning, as a running otelgate has it.
const SOON: Duration = Duration::from_secs(7 * 86_400);
/// A disk that takes longer for one fsync holds up every answer.
const SLOW_FSYNC: Duration = Duration::from_millis(100);
/// Files that are open besides connections.
const RESERVED_FILES: u64 = 256;
#[cfg(target_os = "linux")]
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// What the check of the configuration says: certificates, key files, limits that contradict each other.
pub(super) fn remarks(loaded: &Loaded, how: &str) -> Vec<Finding> {
    let ok = Finding::ok("configuration", "no mistakes", how);
    let faults = loaded.faults.iter().map(|fault| ok.clone().wrong(fault.to_string(), "as it says"));
    let warnings = loaded.warnings.iter().map(|warning| ok.clone().warning(warning.to_string(), "as it says"));
    let found: Vec<Finding> = faults.chain(warnings).collect();
    if found.is_empty() { vec![ok] } else { found }
}

/// Looks at this machine.
pub(super) async fn look(file: &Path, loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let mut found = vec![
        keys(&loaded.keys, SystemTime::now()),
        memory(total_memory(), config.request.max_memory),
        files(getrlimit(Resource::Nofile).maximum, config.listen.max_connections as u64),
    ];
    for path in [Some(file), config.keys.file.as_deref()].into_iter().flatten() {
        found.push(writable(path, fs::metadata(path).ok().map(|file| file.permissions().mode())));
    }
    if let Some(spool) = &config.spool {
        let (dir, most) = (spool.dir.clone(), spool.max_bytes);
        // A disk that hangs is found out by whoever waits for it.
        found.extend(blocking::run(move || disk(&dir, most)).await.unwrap_or_default());
    }
    found
}

fn disk(dir: &Path, most: u64) -> Vec<Finding> {
    let how = format!("looked at {}", dir.display());
    // It is made at the first start.
    let Some(there) = dir.ancestors().find(|folder| folder.is_dir()) else {
        return vec![Finding::cannot_tell("spool's disk", "no folder above it is there", how)];
    };
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    let shared = device(there) == device(Path::new("/"));
    let space = statvfs(there).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)).ok();
    vec![
        place(in_memory(there), shared, how.clone()),
        room(space, used(dir), most, how),
        speed(fsync(there), format!("wrote and synced 4 KiB in {}, five times", there.display())),
    ]
}

#[cfg(target_os = "linux")]
fn in_memory(path: &Path) -> Option<bool> {
    statfs(path).ok().map(|fs| fs.f_type == TMPFS)
}

#[cfg(not(target_os = "linux"))]
fn in_memory(path: &Path) -> Option<bool> {
    statfs(path).ok().map(|_| false)
}

fn used(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

fn fsync(dir: &Path) -> io::Result<Duration> {
    let path = dir.join(format!(".otelgate-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let mut once = || {
        let began = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).map(|()| began.elapsed())
    };
    let slowest = (0..5).map(|_| once()).try_fold(Duration::ZERO, |most, time| time.map(|time| most.max(time)));
    fs::remove_file(&path)?;
    slowest
}

fn total_memory() -> Option<u64> {
    let of_machine = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.saturating_mul(1024))
    };
    let of_group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    of_machine().into_iter().chain(of_group).min()
}

pub(super) fn keys(entries: &[KeyEntry], now: SystemTime) -> Finding {
    let ok = Finding::ok("keys", format!("{} entries, all with an end", entries.len()), "read keys.file");
    let names = |of: &dyn Fn(&KeyEntry) -> bool| {
        // That the old key of a rotated one ends is what was asked for.
        let current = entries.iter().filter(|entry| entry.enabled && !entry.is_old());
        current.filter(|entry| of(entry)).map(KeyEntry::name).collect::<Vec<_>>().join(", ")
    };
    let ends = |entry: &KeyEntry| entry.expires().and_then(|ends| ends.duration_since(now).ok());
    let over = names(&|entry| entry.expires().is_some() && ends(entry).is_none());
    let soon = names(&|entry| ends(entry).is_some_and(|left| left < SOON));
    let never = names(&|entry| entry.expires().is_none());
    if !over.is_empty() {
        return ok.wrong(
            format!("over, and refused: {over}"),
            "whom it belongs to needs a new one (`otelgate keys new --name NEW --write --config FILE`) or a later `expires`; \
             where nobody does: `otelgate keys revoke NAME --config FILE`",
        );
    }
    if !soon.is_empty() {
        return ok.warning(
            format!("end within 7 days: {soon}"),
            "write a later `expires` into the entries, then `otelgate keys rotate NAME --config FILE` for those with a key",
        );
    }
    if !never.is_empty() {
        let what = format!("good for ever, also when somebody else has them: {never}");
        return ok.warning(what, "write `expires: 2027-06-01T00:00:00Z` into the entries, and rotate them before");
    }
    ok
}

pub(super) fn writable(path: &Path, mode: Option<u32>) -> Finding {
    let how = format!("looked at the mode of {}", path.display());
    let Some(mode) = mode else { return Finding::cannot_tell("file modes", "it cannot be looked at", how) };
    let ok = Finding::ok("file modes", format!("{:o}", mode & 0o777), how);
    match mode & 0o002 {
        0 => ok,
        _ => ok.wrong(
            format!("{:o}: every user of this machine may change who sends, and where to", mode & 0o777),
            format!("chmod o-w {}", path.display()),
        ),
    }
}

pub(super) fn memory(total: Option<u64>, most: u64) -> Finding {
    let how = "compared request.max_memory with /proc/meminfo and the control group";
    let Some(total) = total else { return Finding::cannot_tell("memory", "how much there is is not known", how) };
    let what = format!("requests may hold {} of {}", show_size(most), show_size(total));
    let ok = Finding::ok("memory", what.clone(), how);
    match most {
        most if most >= total => ok.wrong(format!("{what}: a flood ends the process"), "lower request.max_memory"),
        most if most > total / 2 => ok.warning(
            format!("{what}, and batches, connections and the rest need some too"),
            "lower request.max_memory",
        ),
        _ => ok,
    }
}

pub(super) fn files(limit: Option<u64>, connections: u64) -> Finding {
    let shown = limit.map_or("any number of".to_owned(), |limit| limit.to_string());
    let what = format!("{shown} files may be open, {connections} connections are allowed");
    let ok = Finding::ok("open files", what.clone(), "asked for this process's hard limit");
    match limit {
        Some(limit) if limit < connections + RESERVED_FILES => ok.warning(
            format!("{what}: fewer fit"),
            "raise LimitNOFILE (systemd) or --ulimit nofile (Docker), or lower listen.max_connections",
        ),
        _ => ok,
    }
}

pub(super) fn place(in_memory: Option<bool>, shared: bool, how: String) -> Finding {
    let ok = Finding::ok("spool's disk", "a disk of its own", how);
    match in_memory {
        Some(true) => ok.wrong(
            "it lies in memory (tmpfs): what was acknowledged is gone after a restart of the machine",
            "put spool.dir (or state_dir) on a disk",
        ),
        _ if shared => ok.warning(
            "it is on the disk of the system: a full log folder stops it, and it stops the system",
            "mount a disk at spool.dir",
        ),
        _ => ok,
    }
}

pub(super) fn room(free: Option<u64>, used: u64, most: u64, how: String) -> Finding {
    let Some(free) = free else { return Finding::cannot_tell("spool's room", "the disk does not say", how) };
    let what =
        format!("{} free, the spool holds {} and may grow to {}", show_size(free), show_size(used), show_size(most));
    let ok = Finding::ok("spool's room", what.clone(), how);
    match free {
        free if free < most.saturating_sub(used) => ok.warning(
            format!("{what}: the disk is full before the spool is"),
            "lower spool.max_bytes, or give it more disk",
        ),
        _ => ok,
    }
}

pub(super) fn speed(slowest: io::Result<Duration>, how: String) -> Finding {
    match slowest {
        Err(error) => Finding::cannot_tell("spool's fsync", error.to_string(), how),
        Ok(time) => {
            let ok = Finding::ok("spool's fsync", format!("{time:.1?} at most"), how);
            match time {
                time if time > SLOW_FSYNC => ok.warning(
                    format!("{time:.1?} at most: every answer waits for one"),
                    "use a disk with a faster fsync (local SSD)",
                ),
                _ => ok,
            }
        }
    }
}
