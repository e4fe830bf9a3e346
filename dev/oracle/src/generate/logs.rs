//! Random log records, with the bodies, severities and attributes that ClickStack's transforms look at.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use rand::RngExt;

use super::Generator;
use super::values::{attribute, text_attribute, text_value};

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
const SEVERITY_TEXTS: [&str; 9] = ["INFO", "Warn", "ÄRGER", "İ", "error", "ΣΑΣ", "ẞǅⒶ", "KÅ", "𐐀"];
/// What JSON is made of, and some that it is not.
const JSON_CHARS: [char; 34] = [
    '{', '}', '[', ']', '"', ':', ',', '\\', '/', 'u', 'n', 't', 'f', 'x', '0', '1', '9', '-', '+', '.', 'e', 'E', ' ',
    '\t', '\n', '\r', '\u{0}', '\u{1}', '\u{7f}', '\'', 'ü', '\u{2028}', '🦀', '#',
];

const BROKEN: [&str; 24] = [
    "{",
    "{}",
    "{ }",
    "{\"a\":}",
    "{a: 1}",
    "{\"a\": 1",
    "{\"a\": 1} }",
    "{{\"a\": 1}}",
    "{\"a\":1,}",
    "[{\"a\":1}]",
    "{\"a\": 01}",
    "{\"a\": 1.}",
    "{\"a\": .5}",
    "{\"a\": +1}",
    "{\"a\": -}",
    "{\"a\": 1e}",
    "{\"a\": nul}",
    "{\"a\": truex}",
    "{\"a\": NaN}",
    "{\"a\": 'x'}",
    "{\"a\": \"\\x\"}",
    "{\"a\": \"\\u12\"}",
    "{\"a\"\t:\r1\n}",
    "{\"a\": \"x\ty\"}",
];

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
            attributes.push(attribute("rr-web.event", self.value(2)));
        }
        if self.chance(0.2) {
            let (field, level) = (self.pick(&LEVEL_FIELDS), self.pick(&LEVELS));
            attributes.push(text_attribute(field, level));
        }
        if self.chance(0.03) {
            self.count("attribute level that is no text");
            attributes.push(attribute(self.pick(&LEVEL_FIELDS), self.value(1)));
        }
        LogRecord {
            time_unix_nano: if self.chance(0.2) { 0 } else { time },
            observed_time_unix_nano: if self.chance(0.1) { 0 } else { time.saturating_add(1) },
            severity_number: if self.chance(0.8) { 0 } else { self.pick(&[1, 5, 9, 13, 17, 21, 24, 25, 255, 256, -1]) },
            severity_text: self.severity_text(),
            body: self.body(),
            attributes,
            dropped_attributes_count: self.dropped(),
            flags: self.pick(&[0, 1, 255, 256, u32::MAX]),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.pick(&["", "event", "ü"]).to_owned(),
        }
    }

    fn severity_text(&mut self) -> String {
        match self.below(10) {
            0..=6 => String::new(),
            7 => {
                self.count("severity text: any");
                self.text()
            }
            _ => {
                self.count("severity text: in capitals");
                self.pick(&SEVERITY_TEXTS).to_owned()
            }
        }
    }

    fn body(&mut self) -> Option<AnyValue> {
        let text = match self.below(14) {
            0 => {
                self.count("body: none");
                return None;
            }
            1 => {
                self.count("body: any value");
                return self.value(3);
            }
            2 => {
                self.count("body: map");
                return Some(AnyValue { value: Some(Value::KvlistValue(self.map_body())) });
            }
            3 | 4 => {
                self.count("body: JSON object");
                self.json(2)
            }
            5 => {
                self.count("body: JSON object inside text");
                let json = self.json(1);
                let (before, after) = (
                    self.pick(&["prefix ", "[x] ", "a { b ", "}\n"]),
                    self.pick(&["", " suffix", "\n{\"second\": 1}", "}"]),
                );
                format!("{before}{json}{after}")
            }
            6 => {
                self.count("body: JSON with a flaw");
                self.flawed_json()
            }
            7 => {
                self.count("body: broken JSON");
                self.pick(&BROKEN).to_owned()
            }
            8 => {
                self.count("body: long text");
                let (padding, keyword) = (self.below(300), self.pick(&KEYWORDS));
                format!("{} {keyword} happened", self.pick(&["xü", "日", "x "]).repeat(padding))
            }
            9 => {
                self.count("body: a word at the end of what is searched");
                let (padding, keyword) = (self.rng.random_range(244..260), self.pick(&KEYWORDS));
                format!("{} {keyword}{}", "x".repeat(padding), self.pick(&["", " and more"]))
            }
            10 => {
                self.count("body: of 254 to 258 bytes");
                self.about_as_long_as_is_searched()
            }
            _ => {
                self.count("body: text with keyword");
                let (before, keyword) =
                    (self.pick(&["", "an ", "the-", "no", "[", "ü", "_", "7"]), self.pick(&KEYWORDS));
                format!("{before}{keyword}{}", self.pick(&["", "s", " occurred", "ing error", "ü"]))
            }
        };
        text_value(&text)
    }

    fn about_as_long_as_is_searched(&mut self) -> String {
        let keyword = self.pick(&KEYWORDS);
        let (mut text, length) = (format!("{keyword} "), self.pick(&[254, 255, 256, 257, 258]));
        while text.len() < length {
            text.push(if text.len() + 2 <= length { 'ü' } else { 'x' });
        }
        text
    }

    /// A JSON object in which a character is put, taken or replaced.
    fn flawed_json(&mut self) -> String {
        let mut chars: Vec<char> = self.json_without_clash(2).chars().collect();
        for _ in 0..=self.below(2) {
            let (at, other) = (self.below(chars.len()), self.pick(&JSON_CHARS));
            match self.below(3) {
                0 => chars.insert(at, other),
                1 if chars.len() > 1 => drop(chars.remove(at)),
                _ => chars[at] = other,
            }
        }
        chars.into_iter().collect()
    }

    fn map_body(&mut self) -> KeyValueList {
        let mut values = self.attributes(3);
        if self.chance(0.5) {
            let (field, level) = (self.pick(&LEVEL_FIELDS), self.pick(&LEVELS));
            values.push(text_attribute(field, level));
        }
        KeyValueList { values }
    }

    /// A JSON object as text, often with a level field.
    fn json(&mut self, depth: usize) -> String {
        let mut members = Vec::new();
        if self.chance(0.6) {
            let (field, level) = (self.pick(&LEVEL_FIELDS), self.pick(&LEVELS));
            members.push(format!("\"{field}\":\"{level}\""));
        }
        if self.chance(0.05) {
            self.count("JSON: a level that is no text");
            members.push(format!(
                "\"{}\": {}",
                self.pick(&LEVEL_FIELDS),
                self.pick(&["30", "null", "true", "[\"error\"]", "{}"])
            ));
        }
        if self.chance(0.05) && !members.iter().any(|member| member.starts_with("\"log.level\"")) {
            self.count("JSON: a level in an object");
            members.push(format!("\"log\": {{\"level\": \"{}\"}}", self.pick(&LEVELS)));
        }
        if self.chance(0.05) {
            self.count("JSON: the same key twice");
            members.push("\"twice\": 1, \"twice\": \"last\"".to_owned());
        }
        if self.clashes && self.chance(0.05) {
            self.count("JSON: keys that clash when flat");
            let number = self.below(3);
            members.push(format!("\"clash\": {{\"a\": \"nested {number}\"}}, \"clash.a\": \"flat {number}\""));
        }
        let more = self.below(4);
        for _ in 0..more {
            let (key, value) = (self.below(8), self.json_value(depth));
            members.push(format!("\"key.{key}\": {value}"));
        }
        format!("{{{}}}", members.join(self.pick(&[",", ", ", ",\n  "])))
    }

    /// Where clashing keys would not be the ones that are known to clash.
    fn json_without_clash(&mut self, depth: usize) -> String {
        let clashes = std::mem::replace(&mut self.clashes, false);
        let json = self.json(depth);
        self.clashes = clashes;
        json
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
            _ => self.json_without_clash(depth - 1),
        }
    }
}
