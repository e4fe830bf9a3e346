//! gRPC's standard health service (`grpc.health.v1.Health`), and `GET /healthz` for balancers that ask over HTTP, answered without a key on every OTLP port.
//! Both follow readiness, and tell strangers no more than yes or no: what is wrong stands in `/readyz` of the admin listener.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::ServiceExt;

use crate::readiness::Readiness;
use crate::reply::{self, ReplyBody};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const PLAIN: &str = "/healthz";
/// A service's name is all that is asked; nobody needs a key to ask.
const MAX_REQUEST_BYTES: usize = 4096;

/// Whether this is a method of the service, or the plain question.
pub(super) fn is_asked(head: &Parts) -> bool {
    match head.uri.path() {
        CHECK | WATCH => true,
        PLAIN => head.method == Method::GET || head.method == Method::HEAD,
        _ => false,
    }
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
        let path = request.uri().path();
        if path != WATCH
            && let Some(readiness) = self.readiness.get()
        {
            readiness.refresh().await;
        }
        if path == PLAIN {
            return self.plain();
        }
        let Ok(response) = self.server.clone().oneshot(request).await;
        response.map(ReplyBody::from)
    }

    fn plain(&self) -> Response<ReplyBody> {
        let (status, words) = match self.readiness.get().map(Readiness::report) {
            Some((true, _)) => (StatusCode::OK, "ok\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        };
        reply::text(status, Bytes::from_static(words.as_bytes()))
    }
}
