//! The OpenTelemetry Rust SDK's own exporters as clients: tonic (gRPC) and HTTP.

use std::path::Path;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::support::clickhouse;
use crate::support::edge::{Edge, KEY, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_exporters_deliver() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "sdk", ..Setup::default() }).await;
    let endpoint = edge.gateway.otlp[0].replace("127.0.0.1", "localhost");
    let ca = &edge.certificates.ca;
    export("sdk-grpc", grpc(&endpoint, ca, KEY)).await;
    let (url, ca) = (endpoint.clone(), ca.clone());
    let exporter = tokio::task::spawn_blocking(move || http(&url, &ca)).await.expect("a thread");
    export("sdk-http", exporter).await;
    let stored = clickhouse
        .query(
            &format!(
                "SELECT ServiceName, count(), any(SpanAttributes['answer']) FROM {}.otel_traces GROUP BY ServiceName ORDER BY ServiceName",
                edge.database
            ),
            "TabSeparated",
        )
        .await
        .expect("rows");
    assert_eq!(stored, "sdk-grpc\t10\t42\nsdk-http\t10\t42\n");
    edge.stop().await;
}

/// The gRPC exporter of an edge that this CA vouches for.
pub fn grpc(endpoint: &str, ca: &Path, key: &str) -> SpanExporter {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(ca).expect("the CA")));
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {key}").parse().expect("a header"));
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_tls_config(tls).with_metadata(metadata);
    exporter.with_timeout(Duration::from_secs(20)).build().expect("an exporter")
}

fn http(endpoint: &str, ca: &Path) -> SpanExporter {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).expect("the CA")).expect("PEM");
    let client = reqwest::blocking::Client::builder().tls_certs_only([ca]).build().expect("a client");
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(client)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_headers([("x-api-key".to_owned(), KEY.to_owned())].into())
        .with_timeout(Duration::from_secs(20))
        .build()
        .expect("an exporter")
}

/// Ten spans of a service, of now, in one export.
pub async fn export(service: &'static str, exporter: SpanExporter) {
    let resource = Resource::builder().with_service_name(service).build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let tracer = provider.tracer("tests");
    for _ in 0..10 {
        let mut span = tracer.start("work");
        span.set_attribute(KeyValue::new("answer", 42));
        span.end();
    }
    tokio::task::spawn_blocking(move || provider.shutdown()).await.expect("a thread").expect("exported");
}
