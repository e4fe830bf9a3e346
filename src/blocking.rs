//! Work that waits for a disk, or takes long, goes to a thread that may wait: the reactor's own threads serve every connection, the health
//! routes too, and one that hangs on a disk hangs all of them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::reply::{Away, Refusal};

/// Why work that was handed to another thread left no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// It panicked.
    #[error("the work panicked")]
    Panicked,
    /// The process ends, and it was never begun.
    #[error("the process is stopping")]
    Stopping,
}

/// Runs `work` on a thread for blocking work. It goes on to its end also when nobody waits for it any more, so that what it holds is given back
/// by it alone.
///
/// # Errors
/// [`Lost`]: it left no result.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| if error.is_panic() { Lost::Panicked } else { Lost::Stopping })
}

/// [`run`] for work that waits for a disk only where there is one: other work is done here, for handing it over costs more than it.
///
/// # Errors
/// [`Lost`]: it left no result.
pub(crate) async fn run_if<T: Send + 'static>(
    waits: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    match waits {
        true => run(work).await,
        false => catch_unwind(AssertUnwindSafe(work)).map_err(|_| Lost::Panicked),
    }
}

/// [`run`] for what reads or writes files.
///
/// # Errors
/// What `work` says, or [`Lost`] in words.
pub(crate) async fn run_io<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    run(work).await?
}

/// [`run_if`] for what reads or writes files where there is a disk.
///
/// # Errors
/// What `work` says, or [`Lost`] in words.
pub(crate) async fn run_io_if<T: Send + 'static>(
    waits: bool,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    run_if(waits, work).await?
}

/// Runs CPU-bound work here; a `large` one moves the thread's other tasks to another thread first, where the runtime can.
pub(crate) fn in_place<T>(large: bool, work: impl FnOnce() -> T) -> T {
    let can_move =
        || Handle::try_current().is_ok_and(|runtime| matches!(runtime.runtime_flavor(), RuntimeFlavor::MultiThread));
    if large && can_move() { tokio::task::block_in_place(work) } else { work() }
}

impl From<Lost> for io::Error {
    fn from(lost: Lost) -> io::Error {
        io::Error::other(lost)
    }
}

impl From<Lost> for Refusal {
    /// A request whose decoding panics would panic again, so it is not to be sent again.
    fn from(lost: Lost) -> Refusal {
        match lost {
            Lost::Panicked => Refusal::Malformed("the request could not be decoded".to_owned()),
            Lost::Stopping => Refusal::Unavailable { away: Away::Stopping, retry_after: Duration::from_secs(1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_lost_work_and_not_the_reactors_end() {
        assert_eq!(run(|| 5).await, Ok(5));
        assert_eq!(run::<()>(|| panic!("on purpose")).await, Err(Lost::Panicked));
        let here = std::thread::current().id();
        for waits in [true, false] {
            assert_eq!(run_if(waits, move || std::thread::current().id() == here).await, Ok(!waits));
            assert_eq!(run_if::<()>(waits, || panic!("on purpose")).await, Err(Lost::Panicked));
            let error = run_io_if::<()>(waits, || panic!("on purpose")).await.unwrap_err();
            assert_eq!(error.to_string(), "the work panicked");
        }
        assert!(matches!(Refusal::from(Lost::Panicked), Refusal::Malformed(_)));
        let error = run_io::<()>(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(error.to_string(), "the work panicked");
    }
}
