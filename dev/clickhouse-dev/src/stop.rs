//! SIGTERM and SIGINT end the engine cleanly: the query that keeps it running is killed, and the engine's call returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::server;

/// A process that has not ended by itself after this long is ended as it stands; what was inserted is on disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a signal in a thread of its own (the engine takes the main one); true from then on.
pub(crate) fn on_signal(port: u16) -> Arc<AtomicBool> {
    let stopping = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stopping);
    std::thread::spawn(move || {
        if wait().is_err() {
            return;
        }
        set.store(true, Ordering::Release);
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            // Again and again: before the engine serves there is nothing to kill yet.
            let _ = server::query(port, "KILL QUERY WHERE query LIKE 'SELECT sleepEachRow(1)%' ASYNC");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::process::exit(1);
    });
    stopping
}

/// Asks the process to end, as SIGTERM does, once standard input is at its end.
pub(crate) fn when_stdin_closes() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = kill_process(getpid(), Signal::TERM);
    });
}

fn wait() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
