//! From ready to the end: until a signal comes, or everything is delivered before a machine is taken away, however long that takes.
//!
//! A signal ends a drain as it ends serving: what is not delivered then stays in the spool.

use std::time::Duration;

use tracing::info;

use crate::admin::drain::{Drain, Stage};
use crate::admin::status::Behind;
use crate::config::Shutdown;
use crate::gateway::Gateway;
use crate::listen::Listeners;
use crate::readiness::Readiness;
use crate::shutdown::{self, StopSignals, Stopped};
use crate::telemetry;

use super::store::Store;

/// What takes part in the end.
pub(super) struct Running<'a> {
    pub(super) order: &'a Drain,
    pub(super) behind: &'a Behind,
    pub(super) readiness: &'a Readiness,
    pub(super) listeners: &'a Listeners,
    pub(super) gateway: &'a Gateway,
    pub(super) store: &'a Store,
    pub(super) telemetry: &'a telemetry::Running,
}

impl Running<'_> {
    /// Returns at the first of `signals`, or after a drain that was ordered, or that a signal ended. `times` are those of the stop that follows.
    pub(super) async fn until_told(&self, signals: &mut StopSignals, times: &mut Shutdown) {
        tokio::select! {
            () = signals.next() => return,
            () = self.order.ordered() => {}
        }
        tokio::select! {
            () = signals.next() => {}
            () = self.drain(times.drain_delay) => {}
        }
        // Who was to look away has had the time for it.
        times.drain_delay = Duration::ZERO;
    }

    /// Returns when everything is delivered, and who ordered it has heard so.
    async fn drain(&self, drain_delay: Duration) {
        info!(?drain_delay, "draining: no longer ready");
        self.readiness.draining();
        tokio::time::sleep(drain_delay).await;
        info!("draining: no request is taken any more, delivering everything");
        self.order.reach(Stage::Delivering);
        self.listeners.send_away();
        self.gateway.shut().await;
        self.telemetry.finish().await;
        self.store.seal().await;
        if let Some(sources) = self.behind.get() {
            sources.delivered().await;
        }
        info!("drained: everything is delivered");
        self.order.told().await;
    }

    /// The stop: a further signal cuts it short.
    pub(super) async fn stop(&self, times: Shutdown, mut signals: StopSignals) -> Stopped {
        // Between the last request and the end: who waits for a batch is answered only when it is sealed.
        let flush = async || {
            self.telemetry.finish().await;
            self.store.close().await;
        };
        shutdown::stop(times, self.readiness, self.listeners, flush, signals.next()).await
    }
}
