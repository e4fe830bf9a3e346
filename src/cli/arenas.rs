//! glibc keeps what is freed in an arena a thread. Requests and blocks of megabytes come and go on every thread, so under a load that lasts
//! for minutes the arenas hold twice the memory of what is in them (benches/README.md). glibc reads how many it may have from the environment
//! only, when the program starts.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Starts the program again, as the same process, with two arenas, unless a person has decided about them. Goes on as it is where that
/// cannot be done.
pub(super) fn limit() {
    let decided = [ARENAS, "GLIBC_TUNABLES"].iter().any(|name| env::var_os(name).is_some());
    if decided || !cfg!(target_env = "gnu") {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Comes back only where it fails.
    let _ = again.args(arguments).env(ARENAS, "2").exec();
}
