//! How the process stops: readiness goes off, load balancers have time to see it (or the next otelgate takes the ports), the ports close, what is in flight is answered,
//! what was accepted is flushed. All of it within a deadline; a second signal ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config;
use crate::listen::Listeners;
use crate::readiness::Readiness;

/// SIGTERM and SIGINT, caught from the moment this is made.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Catches both signals.
    pub fn catch() -> io::Result<Self> {
        Ok(StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of either.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything in flight was answered and flushed: exit 0.
    Clean,
    /// `shutdown.deadline` passed first. Clients whose requests were not answered send them again.
    Late,
    /// A second signal came first.
    Forced,
}

/// Stops, after the first signal. `flush` is called when no request is in flight any more; `again` waits for the second signal.
pub(crate) async fn stop(
    times: config::Shutdown,
    readiness: &Readiness,
    listeners: &Listeners,
    flush: impl AsyncFnOnce(),
    again: impl Future<Output = ()>,
) -> Stopped {
    let orderly = async {
        tracing::info!(drain_delay = ?times.drain_delay, "stopping: no longer ready");
        readiness.stopping();
        tokio::select! {
            () = tokio::time::sleep(times.drain_delay) => {}
            // Nobody has to look away from ports that the next otelgate has.
            () = listeners.handed_over() => {}
        }
        tracing::info!("stopping: no connection is accepted any more, answering what is in flight");
        listeners.stop();
        listeners.drained().await;
        flush().await;
        tracing::info!("stopped");
        Stopped::Clean
    };
    tokio::select! {
        stopped = orderly => stopped,
        () = tokio::time::sleep(times.deadline) => {
            tracing::warn!(deadline = ?times.deadline, "stopped late: not everything in flight was answered");
            Stopped::Late
        }
        () = again => {
            tracing::warn!("stopped at once: a second signal came");
            Stopped::Forced
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    const TIMES: config::Shutdown =
        config::Shutdown { drain_delay: Duration::from_secs(5), deadline: Duration::from_secs(30) };

    fn nobody() -> Listeners {
        Listeners::without_ports()
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_goes_first_and_flushing_is_last() {
        let readiness = Readiness::default();
        readiness.check("listening").set(Ok(()));
        let flushed = Arc::new(Notify::new());
        let (listeners, seen) = (nobody(), Arc::clone(&flushed));
        let flush = async move || seen.notify_one();
        let stopping = stop(TIMES, &readiness, &listeners, flush, std::future::pending());
        tokio::pin!(stopping);
        let early = tokio::time::timeout(TIMES.drain_delay / 2, &mut stopping).await;
        assert!(early.is_err(), "the drain delay is waited for");
        assert!(!readiness.report().0, "and readiness is off meanwhile");
        assert_eq!(stopping.await, Stopped::Clean);
        flushed.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_hangs_ends_at_the_deadline_or_the_second_signal() {
        let readiness = Readiness::default();
        let listeners = nobody();
        let hang = async || std::future::pending().await;
        let late = stop(TIMES, &readiness, &listeners, hang, std::future::pending());
        assert_eq!(late.await, Stopped::Late);
        let again = tokio::time::sleep(Duration::from_secs(7));
        let forced = stop(TIMES, &readiness, &listeners, hang, again);
        assert_eq!(forced.await, Stopped::Forced);
    }
}
