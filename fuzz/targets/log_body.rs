//! The reader of JSON in log bodies. It never panics, and what serde_json takes for an object on one line becomes the same attributes.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use otelgate::sink::clickhouse::encode::fuzzing::body_attributes;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let found = body_attributes(body).expect("nothing is too large");
    let one_line = body.first() == Some(&b'{') && body.last() == Some(&b'}') && !body.contains(&b'\n');
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return };
    if !one_line {
        return;
    }
    let mut expected = BTreeMap::new();
    flatten(String::new(), Value::Object(object), true, &mut expected);
    // Of equal keys the last counts.
    let found: BTreeMap<Vec<u8>, Vec<u8>> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (key, value) in expected {
        let text = found.get(key.as_bytes()).expect("the key");
        match value {
            Value::Null => assert!(text.is_empty()),
            Value::String(string) => assert_eq!(text, string.as_bytes()),
            Value::Number(number) => {
                let text = std::str::from_utf8(text).expect("digits");
                assert_eq!(text.parse::<f64>().ok(), number.as_f64());
            }
            other => assert_eq!(text, other.to_string().as_bytes()),
        }
    }
});

fn flatten(path: String, value: Value, dotted: bool, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            let dot = if path.is_empty() { "" } else { "." };
            members.into_iter().for_each(|(key, value)| flatten(format!("{path}{dot}{key}"), value, true, flat));
        }
        Value::Array(elements) => {
            let dot = if dotted { "." } else { "" };
            for (index, value) in elements.into_iter().enumerate() {
                flatten(format!("{path}{dot}{index}"), value, !dotted, flat);
            }
        }
        leaf => drop(flat.insert(path, leaf)),
    }
}
