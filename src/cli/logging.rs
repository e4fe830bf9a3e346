//! Where the log goes and how it looks: to standard error, as text for a person at a terminal, as JSON for a machine.
//!
//! Invariant: nothing that is said stops what is done. Who says something puts a line into a queue, and one thread writes; whatever becomes of
//! standard error (its reader ended or sleeps, its disk is full), lines are dropped and counted, and nobody waits. A line goes into the next
//! successful write that says how many are missing.

use std::io::{self, IsTerminal, Write, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use otelgate::config::Log;
use otelgate::notes::{NoteLines, Notes};
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Bytes of lines that may wait to be written.
const QUEUE_BYTES: usize = 4 << 20;
/// The longest that an end, or the line `ready`, waits for the lines before it.
const FLUSH: Duration = Duration::from_millis(250);
/// Pause before a standard error that somebody made non-blocking is tried again.
const NOT_YET: Duration = Duration::from_millis(10);

/// Sets the log up for the whole process; lines that cannot be written are counted in `dropped`, bad ones go into `notes` too. What is returned writes the last lines
/// when it is dropped.
pub(super) fn start(log: &Log, dropped: Counter, notes: Arc<Notes>) -> anyhow::Result<LastLines> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let lines = Lines::start(stderr(), dropped).context("cannot start the thread that writes the log")?;
    let writer = lines.clone();
    let (filter, level) = reload::Layer::new(filter);
    // Without `log_internal_errors(false)` a line that cannot be written is said on standard error, which panics.
    let layer = fmt::layer().with_writer(move || writer.clone()).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter).with(NoteLines(notes));
    let set = match stderr().is_terminal() {
        true => registry.with(layer.with_target(false)).try_init(),
        false => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    set?;
    panic::set_hook(Box::new(panicked));
    Ok(LastLines { lines, level: Level(level) })
}

/// A panic's own message, which would otherwise be written by the thread that panics, and wait for a reader that sleeps.
fn panicked(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(thread = thread.name(), place, %backtrace, "panicked: {message}");
        }
        _ => tracing::error!(thread = thread.name(), place, "panicked: {message}"),
    }
}

/// Writes what is left in the queue when it is dropped, if that can be done at once.
pub(super) struct LastLines {
    lines: Lines,
    level: Level,
}

/// What of what is said is written, which may change.
#[derive(Clone)]
pub(super) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes over a level that the configuration's check has accepted.
    pub(super) fn set(&self, log: &Log) {
        let changed = EnvFilter::builder().parse(&log.level).map_err(anyhow::Error::from);
        if let Err(error) = changed.and_then(|filter| Ok(self.0.reload(filter)?)) {
            tracing::error!(%error, "the log's level stays as it was");
        }
    }
}

impl LastLines {
    /// To change what is written.
    pub(super) fn level(&self) -> Level {
        self.level.clone()
    }

    /// Does `then` when the lines so far are written, on a thread of its own.
    pub(super) fn after(&self, then: impl FnOnce() + Send + 'static) {
        let lines = self.lines.clone();
        let done = move || {
            lines.flush();
            then();
        };
        // Without a thread left there is nobody to say it either.
        drop(thread::Builder::new().name("ready".to_owned()).spawn(done));
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        self.lines.flush();
    }
}

/// The queue's end for those who say something.
#[derive(Clone)]
struct Lines {
    queue: Sender<Entry>,
    bytes: Arc<AtomicUsize>,
    dropped: Counter,
}

enum Entry {
    Line(Vec<u8>),
    /// Everything before it was written, or dropped.
    Flush(Sender<()>),
}

impl Lines {
    fn start(out: impl Write + Send + 'static, dropped: Counter) -> io::Result<Lines> {
        let (queue, entries) = mpsc::channel();
        let lines = Lines { queue, bytes: Arc::default(), dropped };
        let (bytes, dropped) = (lines.bytes.clone(), lines.dropped.clone());
        let work = move || write_all(&entries, &bytes, &dropped, &mut Out { out, torn: false });
        thread::Builder::new().name("log".to_owned()).spawn(work)?;
        Ok(lines)
    }

    fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.queue.send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH);
        }
    }
}

impl Write for Lines {
    /// Each call is one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queued = self.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let entry = || self.queue.send(Entry::Line(line.to_vec()));
        if queued.saturating_add(line.len()) > QUEUE_BYTES || entry().is_err() {
            self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread: writes until nobody is left who could say anything.
fn write_all(entries: &Receiver<Entry>, bytes: &AtomicUsize, dropped: &Counter, out: &mut Out<impl Write>) {
    let mut told = 0;
    for entry in entries {
        match entry {
            Entry::Flush(done) => drop(done.send(())),
            Entry::Line(line) => {
                let written = out.write(&line);
                bytes.fetch_sub(line.len(), Ordering::Relaxed);
                if written.is_err() {
                    dropped.inc();
                    continue;
                }
                let missing = dropped.get() - told;
                if missing > 0 {
                    told += missing;
                    tracing::warn!(missing, "lines of the log could not be written; they are missing before this one");
                }
            }
        }
    }
}

/// Standard error, and whether a line on it was left unfinished.
struct Out<W> {
    out: W,
    torn: bool,
}

impl<W: Write> Out<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.put(b"\n")?;
            self.torn = false;
        }
        self.put(line)
    }

    fn put(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let all = rest.len();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NOT_YET),
                Err(error) => {
                    self.torn |= rest.len() < all;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes so many bytes, and says that the disk is full until it is given more room.
    #[derive(Clone)]
    struct Full(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().expect("not poisoned");
            let some = bytes.len().min(disk.1);
            if some == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.1 -= some;
            disk.0.extend(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_the_next_ones_stand_alone() {
        let disk = Full(Arc::new(Mutex::new((Vec::new(), 8))));
        let dropped = Counter::default();
        let mut lines = Lines::start(disk.clone(), dropped.clone()).expect("a thread");
        for line in [&b"one\n"[..], b"second\n", b"third\n"] {
            lines.write_all(line).expect("never fails");
        }
        lines.flush();
        assert_eq!(dropped.get(), 2);
        disk.0.lock().expect("not poisoned").1 = 100;
        lines.write_all(b"fourth\n").expect("never fails");
        lines.flush();
        assert_eq!(disk.0.lock().expect("not poisoned").0, b"one\nseco\nfourth\n");
    }

    #[test]
    fn a_reader_that_sleeps_keeps_nobody_waiting() {
        struct Asleep(Receiver<()>);
        impl Write for Asleep {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (wake, asleep) = mpsc::channel();
        let dropped = Counter::default();
        let mut lines = Lines::start(Asleep(asleep), dropped.clone()).expect("a thread");
        let line = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            lines.write_all(&line).expect("never fails");
        }
        lines.flush();
        assert_eq!(dropped.get(), 6, "four fit the queue");
        drop(wake);
        lines.flush();
        lines.write_all(&line).expect("never fails");
        lines.flush();
        assert_eq!(dropped.get(), 6, "and it goes on when the reader does");
    }
}
