//! gRPC's standard health service (`grpc.health.v1.Health`), answered without a key on every OTLP port. Its statuses follow readiness.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::ServiceExt;

use crate::readiness::Readiness;
use crate::reply::ReplyBody;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// A service's name is all that is asked; nobody needs a key to ask.
const MAX_REQUEST_BYTES: usize = 4096;
/// Whether this path is a method of the service.
pub(super) fn is_asked(path: &str) -> bool {
    path == CHECK || path == WATCH
}

/// The health service of the OTLP ports.
#[derive(Debug, Clone)]
pub(super) struct Health {
    server: HealthServer<HealthService>,
    reporter: HealthReporter,
    /// Those whose health may be asked; the empty name is the whole process.
    services: Arc<[&'static str]>,
    /// Whom to tell that somebody wants to know; set by [`Health::follow`].
    readiness: Arc<OnceLock<Readiness>>,
}

impl Health {
    /// Serves nothing but NOT_FOUND until [`Health::follow`] has looked once; then these services, and the whole process.
    pub(super) fn new(services: &[&'static str]) -> Self {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        let server = HealthServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
        let services = services.iter().copied().chain([""]).collect();
        Health { server, reporter, services, readiness: Arc::default() }
    }

    /// Says what readiness says, for as long as it is polled.
    pub(super) async fn follow(self, readiness: Readiness) {
        let (mut changes, mut said) = (readiness.changes(), None);
        // Nobody else sets it.
        let _ = self.readiness.set(readiness.clone());
        loop {
            let (ready, _) = readiness.report();
            if said != Some(ready) {
                let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                for service in self.services.iter().copied() {
                    self.reporter.set_service_status(service, status).await;
                }
                said = Some(ready);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        if request.uri().path() == CHECK
            && let Some(readiness) = self.readiness.get()
        {
            readiness.refresh().await;
        }
        let Ok(response) = self.server.clone().oneshot(request).await;
        response.map(ReplyBody::from)
    }
}
