//! Log records: plain lines, JSON objects in a string, and maps.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use super::Samples;
use super::attributes::{any, attribute, int, text};

const LEVELS: [(i32, &str); 4] = [(9, "INFO"), (9, "info"), (13, "WARN"), (17, "ERROR")];

pub(crate) fn request(samples: &mut Samples, records: usize) -> ExportLogsServiceRequest {
    let resource = samples.resource();
    let scope = samples.scope();
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records: (0..records).map(|_| record(samples)).collect(),
                schema_url: String::new(),
            }],
            schema_url: "https://opentelemetry.io/schemas/1.36.0".to_owned(),
        }],
    }
}

fn record(samples: &mut Samples) -> LogRecord {
    let time = samples.tick();
    let body = body(samples);
    let (severity_number, severity_text) = if samples.chance(0.7) { samples.pick(&LEVELS) } else { (0, "") };
    let traced = samples.chance(0.5);
    let mut attributes = vec![
        text("log.file.name", "0.log"),
        text("log.iostream", samples.pick(&["stdout", "stderr"])),
        text("code.function.name", "com.example.shop.orders.OrderService.place"),
        int("code.line.number", samples.below(400)),
        attribute("retry", Value::BoolValue(samples.chance(0.1))),
    ];
    samples.number(&mut attributes);
    LogRecord {
        time_unix_nano: if samples.chance(0.9) { time } else { 0 },
        observed_time_unix_nano: time + 1_000_000,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(body),
        attributes,
        flags: u32::from(traced),
        trace_id: if traced { samples.id::<16>() } else { Vec::new() },
        span_id: if traced { samples.id::<8>() } else { Vec::new() },
        ..LogRecord::default()
    }
}

fn body(samples: &mut Samples) -> AnyValue {
    let order = samples.below(900_000);
    let took = f64::from(order % 5000) / 16.0;
    match samples.below(10) {
        0..5 => any(Value::StringValue(format!(
            "2026-08-01T12:00:00.000Z INFO [orders] placed order {order} for customer {} in {took} ms, total=129.90 EUR, items=4, warehouse=fra-2",
            order % 7919
        ))),
        5..9 => any(Value::StringValue(format!(
            r#"{{"level":"info","logger":"orders","msg":"order placed","order":{{"id":{order},"total":129.9,"currency":"EUR","items":[1,2,3]}},"customer":"c-{}","took_ms":{took},"cached":false}}"#,
            order % 7919
        ))),
        _ => any(Value::KvlistValue(KeyValueList {
            values: vec![
                text("message", "order placed"),
                int("order.id", order),
                attribute("took_ms", Value::DoubleValue(took)),
            ],
        })),
    }
}
