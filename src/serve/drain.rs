//! Before a machine is taken away: nothing is taken any more, and everything is delivered, however long that takes.
//!
//! A signal ends it as it ends serving: what is not delivered then stays in the spool.

use std::time::Duration;

use tracing::info;

use crate::admin::drain::{Drain, Stage};
use crate::admin::status::Behind;
use crate::gateway::Gateway;
use crate::listen::Listeners;
use crate::readiness::Readiness;
use crate::telemetry;

use super::store::Store;

/// What takes part in it.
pub(super) struct Draining<'a> {
    pub(super) order: &'a Drain,
    pub(super) readiness: &'a Readiness,
    pub(super) listeners: &'a Listeners,
    pub(super) gateway: &'a Gateway,
    pub(super) store: &'a Store,
    pub(super) telemetry: &'a telemetry::Running,
}

impl Draining<'_> {
    /// Returns when everything is delivered, and who ordered it has heard so.
    pub(super) async fn run(&self, behind: &Behind, drain_delay: Duration) {
        info!(?drain_delay, "draining: no longer ready");
        self.readiness.draining();
        tokio::time::sleep(drain_delay).await;
        info!("draining: no request is taken any more, delivering everything");
        self.order.reach(Stage::Delivering);
        self.listeners.send_away();
        self.gateway.shut().await;
        self.telemetry.finish().await;
        self.store.seal().await;
        if let Some(sources) = behind.get() {
            sources.delivered().await;
        }
        info!("drained: everything is delivered");
        self.order.told().await;
    }
}
