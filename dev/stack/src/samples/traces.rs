//! Spans of HTTP servers and clients, databases and queues.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::Samples;
use super::attributes::{attribute, int, text};

const ROUTES: [&str; 6] = [
    "/api/v1/cart/{cartId}",
    "/api/v1/products",
    "/api/v1/products/{productId}/reviews",
    "/api/v1/checkout",
    "/healthz",
    "/api/v1/users/{userId}/orders",
];

pub(crate) fn request(samples: &mut Samples, records: usize) -> ExportTraceServiceRequest {
    let resource = samples.resource();
    let mut scope_spans = Vec::new();
    let mut left = records;
    while left > 0 {
        let count = left.min(250);
        left -= count;
        scope_spans.push(ScopeSpans {
            scope: Some(samples.scope()),
            spans: (0..count).map(|_| span(samples)).collect(),
            schema_url: "https://opentelemetry.io/schemas/1.36.0".to_owned(),
        });
    }
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            schema_url: "https://opentelemetry.io/schemas/1.36.0".to_owned(),
        }],
    }
}

fn span(samples: &mut Samples) -> Span {
    let start = samples.tick();
    let duration = u64::from(samples.below(80_000_000)) + 20_000;
    let route = samples.pick(&ROUTES);
    let (name, kind, mut attributes) = match samples.below(10) {
        0..6 => (format!("GET {route}"), 2, server(samples, route)),
        6..9 => ("SELECT shop.orders".to_owned(), 3, database(samples)),
        _ => ("orders publish".to_owned(), 4, messaging(samples)),
    };
    samples.number(&mut attributes);
    let failed = samples.chance(0.03);
    Span {
        trace_id: samples.id::<16>(),
        span_id: samples.id::<8>(),
        parent_span_id: if samples.chance(0.8) { samples.id::<8>() } else { Vec::new() },
        flags: 0x101,
        name,
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + duration,
        attributes,
        events: if failed { vec![exception(start + duration)] } else { Vec::new() },
        links: if samples.chance(0.05) { vec![link(samples)] } else { Vec::new() },
        status: Some(Status {
            code: if failed { 2 } else { 0 },
            message: if failed { "upstream timed out".to_owned() } else { String::new() },
        }),
        ..Span::default()
    }
}

fn server(samples: &mut Samples, route: &str) -> Vec<KeyValue> {
    let user = samples.below(50_000);
    let path = format!("/api/v1/users/{user}/orders?page={}&size=50", user % 17);
    vec![
        text("http.request.method", "GET"),
        text("http.route", route),
        text("url.scheme", "https"),
        text("url.path", path),
        text("server.address", "shop.example.com"),
        int("server.port", 443),
        int("http.response.status_code", if user.is_multiple_of(40) { 500 } else { 200 }),
        text("network.protocol.version", "1.1"),
        text("client.address", format!("203.0.113.{}", user % 250)),
        text(
            "user_agent.original",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
        ),
        int("http.response.body.size", user * 3),
        attribute("enduser.is_guest", Value::BoolValue(user.is_multiple_of(3))),
        int("thread.id", user % 64),
        text("thread.name", format!("http-nio-8080-exec-{}", user % 64)),
    ]
}

fn database(samples: &mut Samples) -> Vec<KeyValue> {
    let order = samples.below(900_000);
    vec![
        text("db.system.name", "postgresql"),
        text("db.namespace", "shop"),
        text("db.operation.name", "SELECT"),
        text("db.collection.name", "orders"),
        text(
            "db.query.text",
            "SELECT id, customer_id, total, currency, status, created_at FROM orders WHERE customer_id = $1 AND status <> $2 ORDER BY created_at DESC LIMIT 50",
        ),
        text("server.address", "postgres.shop.svc.cluster.local"),
        int("server.port", 5432),
        int("db.response.returned_rows", order % 50),
        attribute("db.client.wait_ms", Value::DoubleValue(f64::from(order) / 1024.0)),
        int("thread.id", order % 64),
        text("thread.name", format!("http-nio-8080-exec-{}", order % 64)),
        text("code.function.name", "com.example.shop.orders.OrderRepository.findOpenByCustomer"),
    ]
}

fn messaging(samples: &mut Samples) -> Vec<KeyValue> {
    let message = samples.below(1_000_000);
    vec![
        text("messaging.system", "kafka"),
        text("messaging.operation.name", "publish"),
        text("messaging.destination.name", "orders"),
        text("messaging.destination.partition.id", (message % 12).to_string()),
        text("messaging.client.id", "shop-producer-1"),
        int("messaging.kafka.message.offset", message),
        int("messaging.message.body.size", 512 + message % 4096),
        text("messaging.message.id", format!("018f3c2e-7d4a-7c9e-b1a2-{message:012x}")),
        text("server.address", "kafka-0.kafka.shop.svc.cluster.local"),
        int("server.port", 9092),
        text("thread.name", "kafka-producer-network-thread | shop-producer-1"),
    ]
}

fn exception(time_unix_nano: u64) -> Event {
    Event {
        time_unix_nano,
        name: "exception".to_owned(),
        attributes: vec![
            text("exception.type", "java.net.SocketTimeoutException"),
            text("exception.message", "Read timed out"),
            text(
                "exception.stacktrace",
                "java.net.SocketTimeoutException: Read timed out\n\tat com.example.shop.Gateway.call(Gateway.java:118)\n\tat com.example.shop.Checkout.pay(Checkout.java:64)",
            ),
        ],
        ..Event::default()
    }
}

fn link(samples: &mut Samples) -> Link {
    Link {
        trace_id: samples.id::<16>(),
        span_id: samples.id::<8>(),
        trace_state: "vendor=1".to_owned(),
        attributes: vec![text("link.reason", "batch")],
        ..Link::default()
    }
}
