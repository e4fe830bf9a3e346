//! A core dump holds what the process holds: keys of requests under way, passwords, telemetry. And who may dump a process may read its memory while it runs.

use std::io;

/// Forbids dumps of this process, and other processes of the same user to attach to it or to read its memory (`PR_SET_DUMPABLE`, prctl(2)). The next `execve` allows
/// them again.
///
/// # Errors
/// The system's.
#[cfg(target_os = "linux")]
pub(super) fn forbid() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Forbids dumps of this process.
///
/// # Errors
/// The system's.
#[cfg(not(target_os = "linux"))]
pub(super) fn forbid() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
