//! What stands behind the collector: an OTLP/HTTP endpoint that counts how often each record arrived.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::net::TcpListener;

use crate::requests::SEQUENCE;

/// Records by service and table, and how often each number arrived.
pub(super) type Arrived = BTreeMap<(String, &'static str), BTreeMap<i64, u64>>;

/// The endpoint; it serves until the process ends.
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) endpoint: String,
    arrived: Arc<Mutex<Arrived>>,
}

impl Receiver {
    pub(super) async fn start() -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let arrived: Arc<Mutex<Arrived>> = Arc::default();
        let serving = arrived.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let arrived = serving.clone();
                let service = hyper::service::service_fn(move |request| take(arrived.clone(), request));
                tokio::spawn(async move {
                    // A connection that breaks is the collector's end.
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Receiver { endpoint, arrived })
    }

    /// What has arrived so far.
    pub(super) fn arrived(&self) -> Arrived {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(arrived: Arc<Mutex<Arrived>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut response = Response::new(Full::default());
    *response.status_mut() = match request.into_body().collect().await {
        Ok(body) => match records(&path, &body.to_bytes()) {
            Ok(records) => {
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                for (service, table, number) in records {
                    *arrived.entry((service, table)).or_default().entry(number).or_default() += 1;
                }
                StatusCode::OK
            }
            Err(_) => StatusCode::BAD_REQUEST,
        },
        Err(_) => StatusCode::BAD_REQUEST,
    };
    Ok(response)
}

/// Service, table and number of each record.
fn records(path: &str, body: &[u8]) -> Result<Vec<(String, &'static str, i64)>, prost::DecodeError> {
    let mut all = Vec::new();
    let mut add = |of: &Option<Resource>, table, attributes: &[KeyValue]| {
        let text = |value: &Value| if let Value::StringValue(text) = value { Some(text.clone()) } else { None };
        let number = |value: &Value| if let Value::IntValue(number) = value { Some(*number) } else { None };
        let resource = of.as_ref().map_or(&[][..], |resource| &resource.attributes);
        let service = find(resource, "service.name").and_then(text).unwrap_or_default();
        all.push((service, table, find(attributes, SEQUENCE).and_then(number).unwrap_or(-1)));
    };
    match path {
        "/v1/traces" => {
            for group in ExportTraceServiceRequest::decode(body)?.resource_spans {
                let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
                spans.for_each(|span| add(&group.resource, "otel_traces", &span.attributes));
            }
        }
        "/v1/logs" => {
            for group in ExportLogsServiceRequest::decode(body)?.resource_logs {
                let logs = group.scope_logs.iter().flat_map(|scope| &scope.log_records);
                logs.for_each(|log| add(&group.resource, "otel_logs", &log.attributes));
            }
        }
        _ => {
            for group in ExportMetricsServiceRequest::decode(body)?.resource_metrics {
                for metric in group.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                    let (table, points) = match &metric.data {
                        Some(Data::Gauge(gauge)) => ("otel_metrics_gauge", &gauge.data_points[..]),
                        Some(Data::Sum(sum)) => ("otel_metrics_sum", &sum.data_points[..]),
                        _ => ("none", &[][..]),
                    };
                    points.iter().for_each(|point| add(&group.resource, table, &point.attributes));
                }
            }
        }
    }
    Ok(all)
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref().and_then(|AnyValue { value }| value.as_ref())
}
