//! Transcoded JSON against opentelemetry-proto's own JSON and protobuf, and each rule of OTLP/JSON by example.

pub(crate) mod random;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;
use prost::Message;
use stack::Samples;

use self::random::Random;
use super::*;
use crate::memory::double::Counted;

const MAX: u64 = 64 << 20;

fn transcoded(signal: Signal, text: &[u8]) -> Result<Bytes, Refusal> {
    Ok(transcode_here(Counted::new(u64::MAX), signal, text, MAX)?.0)
}

/// The protobuf of `message`'s JSON, decoded, is `message`.
fn comes_back<M>(signal: Signal, message: &M)
where
    M: Message + Default + serde::Serialize,
{
    let text = serde_json::to_vec(message).unwrap();
    let bytes = transcoded(signal, &text).unwrap_or_else(|refusal| {
        panic!("{refusal}: {}", String::from_utf8_lossy(&text));
    });
    // Bit by bit: -0.0 equals 0.0.
    assert!(M::decode(bytes).unwrap().encode_to_vec() == message.encode_to_vec(), "{}", String::from_utf8_lossy(&text));
}

proptest! {
    #[test]
    fn every_request_comes_back(seed: u64) {
        let mut random = Random::new(seed);
        comes_back(Signal::Traces, &random.traces());
        comes_back(Signal::Logs, &random.logs());
        comes_back(Signal::Metrics, &random.metrics());
    }

    #[test]
    fn no_text_panics(text: Vec<u8>, seed: u64, at: u16, flip in 1_u8..) {
        let _ = transcoded(Signal::Logs, &text);
        let mut text = serde_json::to_vec(&Random::new(seed).metrics()).unwrap();
        let at = usize::from(at) % text.len();
        text[at] ^= flip;
        let _ = transcoded(Signal::Metrics, &text);
        let _ = transcoded(Signal::Metrics, &text[..at]);
    }
}

#[test]
fn realistic_requests_come_back() {
    let mut samples = Samples::new(1);
    comes_back::<ExportTraceServiceRequest>(Signal::Traces, &samples.traces(500));
    comes_back::<ExportLogsServiceRequest>(Signal::Logs, &samples.logs(500));
    comes_back::<ExportMetricsServiceRequest>(Signal::Metrics, &samples.metrics(500));
}

/// The log record of a request that holds only it.
fn record(fields: &str) -> Result<LogRecord, Refusal> {
    let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#);
    let request = ExportLogsServiceRequest::decode(transcoded(Signal::Logs, text.as_bytes())?);
    let mut scope_logs = request.unwrap().resource_logs.swap_remove(0).scope_logs;
    Ok(scope_logs.swap_remove(0).log_records.swap_remove(0))
}

fn body(value: &str) -> Option<Value> {
    record(&format!(r#""body":{value}"#)).unwrap().body?.value
}

fn why(fields: &str) -> String {
    match record(fields) {
        Err(Refusal::Malformed(why)) => why,
        other => panic!("{fields}: {other:?}"),
    }
}

#[test]
fn ids_are_hex_and_other_bytes_base64() {
    let digits = "00fFaB0102030405060708090a0b0c0D";
    assert_eq!(record(&format!(r#""traceId":"{digits}""#)).unwrap().trace_id[..4], [0, 255, 0xab, 1]);
    assert!(record(r#""spanId":"""#).unwrap().span_id.is_empty());
    for text in ["-_9h", "+/9h"] {
        assert_eq!(body(&format!(r#"{{"bytesValue":"{text}"}}"#)), Some(Value::BytesValue(vec![251, 255, 97])));
    }
    why(r#""traceId":"abc""#);
    why(r#""traceId":"0102""#);
    why(&format!(r#""spanId":"{}""#, "01".repeat(200)));
    why(r#""traceId":"qrvM""#);
    why(r#""body":{"bytesValue":"!"}"#);
}

#[test]
fn numbers_come_as_numbers_or_strings() {
    for time in
        ["18446744073709551615", "\"18446744073709551615\"", "1.8446744073709551615e19", "\"18446744073709551615.0\""]
    {
        assert_eq!(record(&format!(r#""timeUnixNano":{time}"#)).unwrap().time_unix_nano, u64::MAX);
    }
    assert_eq!(record(r#""timeUnixNano":1.5e18"#).unwrap().time_unix_nano, 1_500_000_000_000_000_000);
    assert_eq!(body(r#"{"intValue":"-9223372036854775808"}"#), Some(Value::IntValue(i64::MIN)));
    assert_eq!(body(r#"{"doubleValue":"-Infinity"}"#), Some(Value::DoubleValue(f64::NEG_INFINITY)));
    assert_eq!(body(r#"{"doubleValue":"0.1"}"#), Some(Value::DoubleValue(0.1)));
    assert_eq!(body(r#"{"doubleValue":3}"#), Some(Value::DoubleValue(3.0)));
    let Some(Value::DoubleValue(nan)) = body(r#"{"doubleValue":"NaN"}"#) else {
        panic!("not a double");
    };
    assert!(nan.is_nan());
}

#[test]
fn what_does_not_fit_its_field_is_refused() {
    for fields in [
        r#""timeUnixNano":-1"#,
        r#""timeUnixNano":18446744073709551616"#,
        r#""timeUnixNano":1.5"#,
        r#""timeUnixNano":"soon""#,
        r#""timeUnixNano":true"#,
        r#""flags":4294967296"#,
        r#""severityNumber":2147483648"#,
        r#""severityNumber":"SEVERITY_NUMBER_LOUD""#,
        r#""severityNumber":"9""#,
        r#""severityNumber":9.5"#,
        r#""severityText":9"#,
        r#""body":"text""#,
        r#""body":[]"#,
        r#""body":{"intValue":"9223372036854775808"}"#,
        r#""body":{"doubleValue":1e999}"#,
        r#""body":{"doubleValue":"1e999"}"#,
        r#""body":{"boolValue":1}"#,
        r#""attributes":{}"#,
        r#""attributes":"a""#,
        r#""attributes":[1]"#,
    ] {
        why(fields);
    }
}

#[test]
fn unknown_names_are_skipped_and_null_is_absent() {
    let empty = LogRecord::default();
    for fields in [
        r#""severityTexts":"many","Body":{},"x":[{"y":null}, 1.5, -1, "\u00e9", true],"x":{"":{}}"#,
        r#""body":null,"attributes":null,"timeUnixNano":null,"traceId":null,"attributes":[],"severityText":null"#,
    ] {
        assert_eq!(record(fields).unwrap(), empty, "{fields}");
    }
    assert_eq!(transcoded(Signal::Logs, b"null"), Ok(Bytes::new()));
    assert_eq!(body(r#"{"intValue":null}"#), None);
    // As the collector has it.
    assert_eq!(body(r#"{"stringValue":null}"#), Some(Value::StringValue(String::new())));
    assert_eq!(record(r#""severityText":"a","severityText":null"#).unwrap(), empty);
    let Some(Value::ArrayValue(array)) = body(r#"{"arrayValue":{"values":[null,{}]}}"#) else {
        panic!("not an array");
    };
    assert_eq!(array.values, [AnyValue::default(), AnyValue::default()]);
}

#[test]
fn what_comes_twice_merges_as_in_protobuf() {
    assert_eq!(record(r#""flags":1,"flags":2"#).unwrap().flags, 2);
    assert_eq!(record(r#""attributes":[{}],"attributes":[{}]"#).unwrap().attributes.len(), 2);
    assert_eq!(body(r#"{"intValue":1,"boolValue":true}"#), Some(Value::BoolValue(true)));
    assert_eq!(body(r#"{"stringValue":"a"},"body":{}"#), Some(Value::StringValue("a".to_owned())));
}

#[test]
fn of_several_values_the_last_one_replaces_the_others() {
    let values = |text: &str| match body(text) {
        Some(Value::ArrayValue(array)) => array.values.len(),
        Some(Value::KvlistValue(list)) => list.values.len(),
        other => panic!("{other:?}"),
    };
    let list = r#""kvlistValue":{"values":[{}]}"#;
    let array = r#""arrayValue":{"values":[{},{}]}"#;
    assert_eq!(values(&format!("{{{array},{array}}}")), 2);
    assert_eq!(values(&format!("{{{array},{list},{list}}}")), 1);
    assert_eq!(values(&format!(r#"{{{array},"array_value":null}}"#)), 0);
    assert_eq!(values(&format!(r#"{{{list}}},"body":{{}},"body":{{{list}}}"#)), 1);
    assert_eq!(values(r#"{"arrayValue":{"values":[{}],"values":[{}]}}"#), 2);
    let gauge = r#""gauge":{"dataPoints":[{}]}"#;
    let text =
        format!(r#"{{"resource_metrics":[{{"scope_metrics":[{{"metrics":[{{{gauge},"name":"a",{gauge}}}]}}]}}]}}"#);
    let request = ExportMetricsServiceRequest::decode(transcoded(Signal::Metrics, text.as_bytes()).unwrap()).unwrap();
    match &request.resource_metrics[0].scope_metrics[0].metrics[0].data {
        Some(Data::Gauge(gauge)) => assert_eq!(gauge.data_points.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_come_in_both_forms_and_enums_have_names() {
    let expected = LogRecord {
        severity_number: 9,
        severity_text: "info".to_owned(),
        observed_time_unix_nano: 5,
        ..LogRecord::default()
    };
    for fields in [
        r#""severityNumber":9,"severityText":"info","observedTimeUnixNano":"5""#,
        r#""severity_number":"SEVERITY_NUMBER_INFO","severity_text":"info","observed_time_unix_nano":5"#,
        r#""severity\u005fnumber":9.0,"\u0073everityText":"inf\u006f","observed_time_unix_nano":"\u0035""#,
    ] {
        assert_eq!(record(fields).unwrap(), expected, "{fields}");
    }
    let empty = LogRecord::default();
    for fields in [r#""SeverityText":"x""#, r#""severity_Text":"x""#, r#""severityText_":"x""#, r#""severitytext":"x""#]
    {
        assert_eq!(record(fields).unwrap(), empty, "{fields}");
    }
}

#[test]
fn half_a_surrogate_pair_costs_nobody_anything() {
    assert_eq!(body(r#"{"stringValue":"cut \ud83d"}"#), Some(Value::StringValue("cut \u{fffd}".to_owned())));
    assert_eq!(body(r#"{"stringValue":"\ud83e\udd80\udd80"}"#), Some(Value::StringValue("🦀\u{fffd}".to_owned())));
}

#[test]
fn strings_are_taken_byte_by_byte() {
    let text = b"{\"resourceLogs\":[{\"schemaUrl\":\"a\xff\n\tb\"}]}";
    let request = transcoded(Signal::Logs, text).unwrap();
    assert_eq!(&request[..], b"\x0a\x07\x1a\x05a\xff\n\tb");
}

#[test]
fn a_list_of_numbers_is_packed_and_may_not_hold_null() {
    let metric = |counts: &str| {
        let point = format!(r#"{{"bucketCounts":{counts}}}"#);
        let text = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
        );
        let request = ExportMetricsServiceRequest::decode(transcoded(Signal::Metrics, text.as_bytes())?).unwrap();
        match &request.resource_metrics[0].scope_metrics[0].metrics[0].data {
            Some(Data::Histogram(histogram)) => Ok(histogram.data_points[0].bucket_counts.clone()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(metric("[1,\"2\",3.0]"), Ok(vec![1, 2, 3]));
    assert_eq!(metric("[]"), Ok(vec![]));
    for wrong in ["[null]", "[[1]]", "1"] {
        assert!(matches!(metric(wrong), Err(Refusal::Malformed(_))), "{wrong}");
    }
}

#[test]
fn a_refusal_names_place_and_field_and_repeats_nothing() {
    let why = |text: &[u8]| match transcoded(Signal::Logs, text) {
        Err(Refusal::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    let secret = why(b"{\"resourceLogs\":[\n{\"schemaUrl\":\"a\",\"resource\":\"hunter2\"}]}");
    assert!(secret.contains("resource ") && secret.contains("line 2"), "{secret}");
    assert!(!secret.contains("hunter2"), "{secret}");
    for text in [
        &b""[..],
        b"[]",
        b"1",
        b"{",
        b"{} {}",
        b"{}x",
        b"{\"a\":\"\\ud8g0\"}",
        b"\xef\xbb\xbf{}",
        b"{\"resourceLogs\":[{},]}",
        b"{\"resourceLogs\":[,{}]}",
        b"{,}",
    ] {
        why(text);
    }
    assert!(why(b"{\"resourceLogs\":{}}").contains("resource_logs holds something else"));
    assert!(why(b"{\"resourceLogs\":[}").contains("not well-formed at line 1 column 18"));
    assert!(why(b"{\"resourceLogs\":[").contains("cut short"));
    assert_eq!(transcoded(Signal::Logs, b" {} \n"), Ok(Bytes::new()));
}

#[test]
fn depth_is_bounded_in_known_and_unknown_fields() {
    let nested = |depth: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        format!(r#""body":{open}{}"#, "]}}".repeat(depth))
    };
    assert!(record(&nested(30)).is_ok());
    assert!(why(&format!(r#""x":{}"#, "[".repeat(1 << 20))).contains("nests deeper than 128"));
    assert!(why(&nested(100_000)).contains("nests deeper than 128"));
    assert_eq!(record(&format!(r#""x":{}{}"#, "[".repeat(5000), "]".repeat(5000))).unwrap(), LogRecord::default());
}

#[test]
fn a_record_that_nests_too_deep_costs_itself() {
    let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(50), "]}}".repeat(50));
    let good = r#"{"body":{"stringValue":"good"}}"#;
    let records =
        format!(r#"{good},{{"severityText":"bad","body":{deep}}},{good},{{"attributes":[{{"value":{deep}}}]}}"#);
    let text = |scope: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{scope}]}}]}}"#);
    let transcode = |text: String| transcode_here(Counted::new(u64::MAX), Signal::Logs, text.as_bytes(), MAX);
    let (bytes, dropped) = transcode(text(&format!(r#"{{"logRecords":[{records}]}}"#))).unwrap();
    let (kept, _) = transcode(text(&format!(r#"{{"logRecords":[{good},{good}]}}"#))).unwrap();
    assert_eq!((bytes, dropped), (kept, 2));
    // A scope is no record.
    let scope = format!(r#"{{"scope":{{"attributes":[{{"value":{deep}}}]}},"logRecords":[{good}]}}"#);
    assert!(matches!(transcode(text(&scope)), Err(Refusal::Malformed(why)) if why.contains("deeper than 128")));
    // What is no JSON is none.
    assert!(transcode(text(&format!(r#"{{"logRecords":[{{"body":{deep},}}]}}"#))).is_err());
}

#[tokio::test]
async fn memory_is_counted_and_given_back() {
    let text = serde_json::to_vec(&Samples::new(2).logs(2000)).unwrap();
    for text in [text.clone(), b"{}".to_vec()] {
        let memory = Counted::new(u64::MAX);
        let watch = memory.clone();
        let made = to_protobuf(memory, Signal::Logs, Bytes::from(text), 0, MAX).await.unwrap();
        let held = made.bytes.len() as u64;
        assert!((held..=2 * held + (8 << 10)).contains(&watch.used()), "{held}");
    }
    let refused = |room, max| transcode_here(Counted::new(room), Signal::Logs, &text, max);
    assert!(matches!(refused(100 << 10, MAX), Err(Refusal::Unavailable { .. })));
    assert!(matches!(refused(u64::MAX, 100 << 10), Err(Refusal::TooLarge { .. })));
}
