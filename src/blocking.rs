//! Work that waits for a disk, or takes long, goes to a thread that may wait: the reactor's own threads serve every connection, the health
//! routes too, and one that hangs on a disk hangs all of them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

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

/// What a thread for long work is less than others, in steps of `nice`: one that serves the network, however little it needs, has the processor at once.
const NICER: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// Threads for long work, as many as there are cores, and the line in which it waits for them.
static LONG: LazyLock<mpsc::Sender<Work>> = LazyLock::new(|| {
    let (line, works) = mpsc::channel::<Work>();
    let works = Arc::new(Mutex::new(works));
    for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
        let works = works.clone();
        // Without a thread nobody has the line's end, which `run_long` sees.
        let _ = thread::Builder::new().name("long-work".to_owned()).spawn(move || {
            // Of this thread alone (Linux).
            let _ = rustix::process::nice(NICER);
            loop {
                let Ok(work) = works.lock().recv() else { return };
                work();
            }
        });
    }
    line
});

/// [`run`] for work that needs a processor for long: it gets what those who serve the network leave.
///
/// # Errors
/// [`Lost`]: it left no result.
pub(crate) async fn run_long<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    let (done, result) = oneshot::channel();
    let work: Work = Box::new(move || {
        if let Ok(made) = catch_unwind(AssertUnwindSafe(work)) {
            drop(done.send(made));
        }
    });
    if let Err(mpsc::SendError(work)) = LONG.send(work) {
        run(work).await?;
    }
    result.await.map_err(|_| Lost::Panicked)
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
        for _ in 0..100 {
            assert_eq!(run_long::<()>(|| panic!("on purpose")).await, Err(Lost::Panicked));
        }
        assert_eq!(run_long(|| 5).await, Ok(5), "the threads outlive it");
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
