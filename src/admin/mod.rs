//! Health, readiness and metrics, on a listener of their own, loopback by default.
//!
//! Nothing here needs a key, so nothing here serves a secret: no key, no password, no record. What is in the spool, and orders about it, need a
//! [`right`].

pub(crate) mod drain;
mod page;
pub(crate) mod right;
mod socket;
pub(crate) mod spool;
pub(crate) mod status;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use drain::Drain;
use right::Caller;
pub(crate) use right::Right;
pub(crate) use socket::AdminSocket;
use status::Behind;

/// What the routes show.
#[derive(Debug, Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

/// `/livez`, `/readyz` and `/metrics`; other routes are merged into it.
pub(crate) fn router(metrics: Arc<Metrics>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(Shown { metrics, readiness })
}

/// The status page, where the spool is and what becomes of rows, and the order to drain, for those who have the `right`.
pub(crate) fn people(behind: Behind, drain: Drain, right: Right) -> Router {
    let routes = status::router(behind.clone()).merge(spool::router(behind.clone())).merge(page::router());
    let routes = routes.merge(drain::router(behind, drain));
    routes.layer(axum::middleware::from_fn_with_state(right, right::ask))
}

/// Serves `router` for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    axum::serve(listener, router.into_make_service_with_connect_info::<Caller>()).await
}

/// The same on a Unix socket.
pub(crate) async fn serve_socket(socket: AdminSocket, router: Router) -> io::Result<()> {
    let AdminSocket { listener, _file } = socket;
    axum::serve(listener, router.into_make_service_with_connect_info::<Caller>()).await
}

async fn readyz(State(shown): State<Shown>) -> Response {
    shown.readiness.refresh().await;
    let (ready, lines) = shown.readiness.report();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, lines).into_response()
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match shown.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = router.clone().oneshot(request).await.expect("infallible");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body");
        let text = String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8");
        (status, text)
    }

    #[tokio::test]
    async fn the_three_routes_answer() {
        let metrics = Arc::new(Metrics::default());
        let readiness = Readiness::default();
        let router = router(Arc::clone(&metrics), readiness.clone());
        let listening = readiness.check("listening");
        assert_eq!(ask(&router, "/livez").await, (StatusCode::OK, "ok\n".into()));
        assert_eq!(
            ask(&router, "/readyz").await,
            (StatusCode::SERVICE_UNAVAILABLE, "no listening: not known yet\n".into())
        );
        listening.set(Ok(()));
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::OK, "ok listening\n".into()));
        metrics.connections_open.set(3);
        let (status, text) = ask(&router, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("otelgate_connections_open 3\n"));
        assert_eq!(ask(&router, "/else").await.0, StatusCode::NOT_FOUND);
    }
}
