//! A short, realistic stream of all three signals, through the OpenTelemetry Rust SDK and its OTLP/gRPC exporters.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context as TraceContext, KeyValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Records of each signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) spans: u64,
    pub(crate) logs: u64,
    pub(crate) points: u64,
}

const ORDERS: u64 = 50;

/// Sends [`ORDERS`] orders of a shop: two spans and a log record each, and their metrics. Answers what was sent.
pub(crate) async fn send(endpoint: &str, ca: &Path, key: &str) -> Result<Counts> {
    let pem = std::fs::read(ca)?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)).domain_name("localhost");
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", key.parse().context("the key fits no header")?);
    let resource = Resource::builder()
        .with_service_name("checkout")
        .with_attribute(KeyValue::new("deployment.environment.name", "demo"))
        .build();

    let spans = exporter(SpanExporter::builder().with_tonic(), endpoint, &tls, &metadata).build()?;
    let tracers = SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans).build();
    let logs = exporter(LogExporter::builder().with_tonic(), endpoint, &tls, &metadata).build()?;
    let loggers = SdkLoggerProvider::builder().with_resource(resource.clone()).with_batch_exporter(logs).build();
    let metrics = exporter(MetricExporter::builder().with_tonic(), endpoint, &tls, &metadata).build()?;
    let reader = PeriodicReader::builder(metrics).with_interval(Duration::from_secs(3600)).build();
    let meters = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();

    take_orders(&tracers, &loggers, &meters);
    // Shutting down blocks until everything queued was exported.
    tokio::task::spawn_blocking(move || -> Result<()> {
        tracers.shutdown().context("exporting traces")?;
        loggers.shutdown().context("exporting logs")?;
        meters.shutdown().context("exporting metrics")
    })
    .await??;
    Ok(Counts { spans: 2 * ORDERS, logs: ORDERS, points: 2 })
}

fn exporter<B: WithExportConfig + WithTonicConfig>(
    builder: B,
    endpoint: &str,
    tls: &ClientTlsConfig,
    metadata: &MetadataMap,
) -> B {
    builder
        .with_endpoint(endpoint)
        .with_tls_config(tls.clone())
        .with_metadata(metadata.clone())
        .with_timeout(Duration::from_secs(10))
}

fn take_orders(tracers: &SdkTracerProvider, loggers: &SdkLoggerProvider, meters: &SdkMeterProvider) {
    let tracer = tracers.tracer("shop");
    let logger = loggers.logger("shop");
    let meter = meters.meter("shop");
    let orders = meter.u64_counter("shop.orders").with_description("Orders taken").build();
    let amounts = meter.f64_histogram("shop.order.amount").with_unit("EUR").build();
    for order in 0..ORDERS {
        let began = SystemTime::now() - Duration::from_millis(40 + order);
        let amount = 9.5 + order as f64;
        let request = tracer
            .span_builder("POST /orders")
            .with_kind(SpanKind::Server)
            .with_start_time(began)
            .with_attributes([KeyValue::new("http.route", "/orders"), KeyValue::new("http.response.status_code", 201)])
            .start(&tracer);
        let request = TraceContext::current_with_span(request);
        let payment = tracer
            .span_builder("charge card")
            .with_kind(SpanKind::Client)
            .with_start_time(began + Duration::from_millis(15))
            .start_with_context(&tracer, &request);
        let payment = request.with_span(payment);
        payment.span().add_event("authorised", vec![KeyValue::new("payment.provider", "example")]);
        payment.span().set_status(Status::Ok);
        payment.span().end();
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Info);
        record.set_severity_text("INFO");
        record.set_body(AnyValue::from(format!("order {order} taken")));
        record.add_attribute("order.id", i64::try_from(order).unwrap_or_default());
        logger.emit(record);
        request.span().end();
        orders.add(1, &[KeyValue::new("shop.region", "eu")]);
        amounts.record(amount, &[KeyValue::new("shop.region", "eu")]);
    }
}
