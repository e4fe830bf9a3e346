//! Random log records, with the bodies, severities and attributes that ClickStack's transforms look at.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use super::values::{attribute, text_attribute, text_value};
use super::{Generator, distinct};

const LEVEL_FIELDS: [&str; 7] = ["level", "Level", "LEVEL", "severity", "Severity", "SEVERITY", "log.level"];
const LEVELS: [&str; 16] = [
    "alert",
    "CRITICAL",
    "Emergency",
    "fatal",
    "ERROR",
    "err",
    "Warning",
    "notice",
    "INFO",
    "information",
    "debug",
    "DBUG",
    "Trace",
    "verbose",
    "",
    "fatal error",
];
const KEYWORDS: [&str; 11] =
    ["alert", "crit", "emerg", "FATAL", "error", "Err", "warn", "Notice", "debug", "dbug", "trace"];
const SEVERITY_TEXTS: [&str; 8] = ["", "", "", "INFO", "Warn", "ÄRGER", "İ", "error"];

impl Generator {
    /// A request of log records.
    pub(crate) fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = self.several(3, |generator| ResourceLogs {
            resource: generator.resource(),
            scope_logs: generator.several(3, |generator| ScopeLogs {
                scope: generator.scope(),
                log_records: generator.several(5, Generator::log),
                schema_url: generator.schema_url(),
            }),
            schema_url: generator.schema_url(),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    fn log(&mut self) -> LogRecord {
        let time = self.time();
        let mut attributes = self.attributes(3);
        if self.chance(0.1) {
            self.count("attribute rr-web.event");
            attributes.push(attribute("rr-web.event", self.value(1)));
        }
        if self.chance(0.1) {
            let (field, level) = (self.pick(&LEVEL_FIELDS), self.pick(&LEVELS));
            attributes.push(text_attribute(field, level));
        }
        LogRecord {
            time_unix_nano: if self.chance(0.2) { 0 } else { time },
            observed_time_unix_nano: if self.chance(0.1) { 0 } else { time + 1 },
            severity_number: if self.chance(0.6) { 0 } else { self.pick(&[1, 5, 9, 13, 17, 21, 24, 25, 255, 256, -1]) },
            severity_text: self.pick(&SEVERITY_TEXTS).to_owned(),
            body: self.body(),
            attributes: distinct(attributes),
            dropped_attributes_count: 0,
            flags: self.pick(&[0, 1, 255, 256, u32::MAX]),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.pick(&["", "event", "ü"]).to_owned(),
        }
    }

    fn count(&mut self, branch: &'static str) {
        *self.branches.entry(branch).or_default() += 1;
    }

    fn body(&mut self) -> Option<AnyValue> {
        match self.below(10) {
            0 => {
                self.count("body: none");
                None
            }
            1 => {
                self.count("body: any value");
                self.value(3)
            }
            2 => {
                self.count("body: map");
                Some(AnyValue { value: Some(Value::KvlistValue(self.map_body())) })
            }
            3 | 4 => {
                self.count("body: JSON object");
                let json = self.json(2);
                text_value(&json)
            }
            5 => {
                self.count("body: JSON object inside text");
                let json = self.json(1);
                text_value(&format!(
                    "{}{json}{}",
                    self.pick(&["prefix ", "[x] ", "a { b "]),
                    self.pick(&["", " suffix", "\n{\"second\": 1}"])
                ))
            }
            6 => {
                self.count("body: broken JSON");
                text_value(self.pick(&[
                    "{",
                    "{}",
                    "{\"a\":}",
                    "{a: 1}",
                    "{\"a\": 1",
                    "{\"a\": 1} }",
                    "{{\"a\": 1}}",
                    "{\"a\":1,}",
                    "[{\"a\":1}]",
                    "{\"a\": 01}",
                ]))
            }
            7 => {
                self.count("body: long text");
                let (padding, keyword) = (self.below(300), self.pick(&KEYWORDS));
                text_value(&format!("{} {keyword} happened", "xü".repeat(padding)))
            }
            _ => {
                self.count("body: text with keyword");
                let (before, keyword) = (self.pick(&["", "an ", "the-", "no", "[", "ü"]), self.pick(&KEYWORDS));
                text_value(&format!("{before}{keyword}{}", self.pick(&["", "s", " occurred", "ing error"])))
            }
        }
    }

    fn map_body(&mut self) -> KeyValueList {
        let mut values = self.attributes(3);
        if self.chance(0.5) {
            let (field, level) = (self.pick(&LEVEL_FIELDS), self.pick(&LEVELS));
            values.push(text_attribute(field, level));
        }
        KeyValueList { values: distinct(values) }
    }

    /// A JSON object as text, often with a level field.
    fn json(&mut self, depth: usize) -> String {
        let mut members = Vec::new();
        if self.chance(0.6) {
            let (field, level) = (self.pick(&LEVEL_FIELDS), self.pick(&LEVELS));
            members.push(format!("\"{field}\":\"{level}\""));
        }
        let more = self.below(4);
        for _ in 0..more {
            let (key, value) = (self.below(8), self.json_value(depth));
            members.push(format!("\"key.{key}\": {value}"));
        }
        format!("{{{}}}", members.join(self.pick(&[",", ", ", ",\n  "])))
    }

    fn json_value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => self.pick(&["null", "true", "false"]).to_owned(),
            1 => self
                .pick(&[
                    "0",
                    "-0",
                    "1",
                    "-17",
                    "9007199254740993",
                    "9223372036854775807",
                    "1e3",
                    "1.5",
                    "1E400",
                    "-2.5e-7",
                    "123456789012345678901234567890",
                ])
                .to_owned(),
            2 => self
                .pick(&[
                    "\"\"",
                    "\"text\"",
                    "\"a\\u0041\\n\\\"b\"",
                    "\"\\ud83e\\udd80\"",
                    "\"\\ud800\"",
                    "\"<&>\"",
                    "\"ü\"",
                ])
                .to_owned(),
            3 => format!("\"level {}\"", self.below(3)),
            4 => self.below(1000).to_string(),
            5 => "1.25".to_owned(),
            6 => {
                let items = self.several(3, |generator| generator.json_value(depth - 1));
                format!("[{}]", items.join(","))
            }
            _ => self.json(depth - 1),
        }
    }
}
