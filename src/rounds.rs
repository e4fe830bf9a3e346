//! One look around every two seconds for everything that changes without telling anybody: files, a disk's room, figures for the metrics. An idle
//! program pays for each of its wake-ups, so one thread does all of it, and not one timer a thing.
//!
//! Invariant: a look that hangs, as on a disk that does not answer, holds up the others for a few seconds at most: a guard sees it, and another
//! thread goes round without it.

mod changes;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[cfg(test)]
pub(crate) use changes::WRITTEN_AFTER;
pub(crate) use changes::{Changes, Files};

/// From one round to the next.
const EVERY: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });
/// How often the guard looks whether the rounds go on.
const GUARD_EVERY: Duration = EVERY.saturating_mul(3);

/// What is done in each round; clones share it. The rounds end with the last of them.
#[derive(Clone)]
pub(crate) struct Rounds(Arc<Shared>);

#[derive(Default)]
struct Shared {
    looks: Mutex<Vec<Arc<Look>>>,
    /// Who goes round.
    walker: Mutex<Option<Thread>>,
}

struct Look {
    look: Mutex<Box<dyn FnMut() + Send>>,
    late: Box<dyn Fn() + Send + Sync>,
    /// When the one that is under way began.
    began: Mutex<Option<Instant>>,
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} looks", self.0.looks.lock().len())
    }
}

impl Rounds {
    /// Starts to go round.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<Rounds> {
        let shared = Arc::new(Shared::default());
        walk(&shared)?;
        let guarded = Arc::downgrade(&shared);
        thread::Builder::new().name("rounds-guard".to_owned()).spawn(move || guard(&guarded))?;
        Ok(Rounds(shared))
    }

    /// Adds what may block; its first time is soon.
    pub(crate) fn add(&self, look: impl FnMut() + Send + 'static) {
        self.add_or(look, || {});
    }

    /// As [`Rounds::add`]; `late` is called for as long as it is not back from an earlier round.
    pub(crate) fn add_or(&self, look: impl FnMut() + Send + 'static, late: impl Fn() + Send + Sync + 'static) {
        let look = Look { look: Mutex::new(Box::new(look)), late: Box::new(late), began: Mutex::default() };
        self.0.looks.lock().push(Arc::new(look));
        self.0.walker.lock().as_ref().inspect(|walker| walker.unpark());
    }
}

/// A new thread goes round from now on.
fn walk(shared: &Arc<Shared>) -> io::Result<()> {
    let mut walker = shared.walker.lock();
    let weak = Arc::downgrade(shared);
    let started = thread::Builder::new().name("rounds".to_owned()).spawn(move || {
        while let Some(shared) = weak.upgrade() {
            let looks = shared.looks.lock().clone();
            looks.iter().for_each(|look| look.take());
            // Another one goes where this one hung.
            if shared.walker.lock().as_ref().is_none_or(|walker| walker.id() != thread::current().id()) {
                return;
            }
            drop(shared);
            thread::park_timeout(EVERY);
        }
    })?;
    *walker = Some(started.thread().clone());
    Ok(())
}

fn guard(rounds: &Weak<Shared>) {
    let mut left_out = Vec::new();
    loop {
        thread::park_timeout(GUARD_EVERY);
        let Some(shared) = rounds.upgrade() else { return };
        let hang: Vec<_> = shared.looks.lock().iter().filter(|look| look.hangs()).cloned().collect();
        let is_new = |look: &Arc<Look>| !left_out.iter().any(|old| Arc::ptr_eq(old, look));
        // Where there is no thread to be had, the next time may be better.
        if !hang.iter().any(is_new) || walk(&shared).is_ok() {
            left_out = hang;
        }
    }
}

impl Look {
    fn take(&self) {
        let Some(mut look) = self.look.try_lock() else {
            if self.hangs() {
                (self.late)();
            }
            return;
        };
        *self.began.lock() = Some(Instant::now());
        // One that panics was told of by the hook, and comes again; the others have their turn all the same.
        let _ = catch_unwind(AssertUnwindSafe(&mut *look));
        *self.began.lock() = None;
    }

    fn hangs(&self) -> bool {
        self.began.lock().is_some_and(|began| began.elapsed() >= EVERY)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn more_than(count: &AtomicU32, than: u32) {
        while count.load(Ordering::Relaxed) <= than {
            thread::sleep(EVERY / 10);
        }
    }

    #[test]
    fn one_that_hangs_or_panics_holds_up_no_other() {
        let (rounds, counts) = (Rounds::start().unwrap(), Arc::new([const { AtomicU32::new(0) }; 3]));
        let [panicked, lates, others] = [0, 1, 2].map(|number| {
            let counts = counts.clone();
            move || counts[number].fetch_add(1, Ordering::Relaxed)
        });
        rounds.add(move || {
            panicked();
            panic!("on purpose");
        });
        let (answer, hangs) = mpsc::channel::<()>();
        rounds.add_or(
            move || {
                let _ = hangs.recv();
            },
            move || {
                lates();
            },
        );
        rounds.add(move || {
            others();
        });
        more_than(&counts[0], 2);
        more_than(&counts[1], 2);
        let before = counts[2].load(Ordering::Relaxed);
        more_than(&counts[2], before + 2);
        drop(answer);
    }
}
