//! Bodies that are merged into attributes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value as Tree;

use super::*;

/// What the attributes become, the last of equal keys.
fn merge(attributes: &[Attribute<'_>], body: &[u8], max: u64) -> Result<BTreeMap<String, String>, Fault> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok(Merge::default()
        .texts(attributes, body, max)?
        .into_iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect())
}

fn merged(body: &str) -> Vec<(String, String)> {
    let attributes = [attribute("level", "debug"), attribute("zone", "a")];
    merge(&attributes, body.as_bytes(), 1 << 20).unwrap().into_iter().collect()
}

fn attribute(key: &'static str, value: &'static str) -> Attribute<'static> {
    Attribute { key: Cow::Borrowed(key.as_bytes()), value: AnyValue::Text(Cow::Borrowed(value.as_bytes())) }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_object_in_the_text_is_merged_and_flattened() {
    assert_eq!(
        merged(r#"at 12:00 {"level":"info","n":1.50,"a":{"b":[true,null,{"c":"\u00e9"}],"":2},"e":{},"f":[]} done"#),
        pairs(&[
            ("a.", "2"),
            ("a.b.0", "true"),
            ("a.b.1", ""),
            ("a.b.2.c", "é"),
            ("level", "info"),
            ("n", "1.5"),
            ("zone", "a")
        ])
    );
}

#[test]
fn lists_in_lists_lose_a_dot_as_they_do_in_the_collector() {
    assert_eq!(
        merged(r#"{"a":[[1,[2]],{"b":3}]}"#),
        pairs(&[("a.00", "1"), ("a.01.0", "2"), ("a.1.b", "3"), ("level", "debug"), ("zone", "a")])
    );
}

#[test]
fn what_is_not_an_object_on_one_line_changes_nothing() {
    let plain = pairs(&[("level", "debug"), ("zone", "a")]);
    for body in ["plain", "{", "}{", "{\n}", "{a}", "{\"a\":1} {\"b\":2}", "[1]", "{\"a\":1e999}"] {
        assert_eq!(merged(body), plain, "{body}");
    }
    assert_eq!(merged("{ first\n{\"a\":01}").len(), 3);
}

#[test]
fn the_last_of_equal_keys_counts() {
    assert_eq!(merged(r#"{"a":1,"a":{"b":2}}"#), pairs(&[("a.b", "2"), ("level", "debug"), ("zone", "a")]));
}

#[test]
fn of_equal_flat_keys_the_last_in_the_order_of_keys_counts() {
    let level = ("level", "debug");
    for (body, flat) in [
        (r#"{"a.b":2,"a":{"b":1}}"#, vec![("a.b", "2"), level, ("zone", "a")]),
        (r#"{"a":{"x":1},"a":{"y":2}}"#, vec![("a.y", "2"), level, ("zone", "a")]),
        (r#"{"a":{"x":1},"a":3}"#, vec![("a", "3"), level, ("zone", "a")]),
        (r#"{"a":1,"a":[]}"#, vec![level, ("zone", "a")]),
        (r#"{"zone":{"x":1},"level":"a"}"#, vec![("level", "a"), ("zone.x", "1")]),
    ] {
        assert_eq!(merged(body), pairs(&flat), "{body}");
    }
    let twice = [attribute("a", "1"), attribute("a", "2")];
    assert_eq!(merge(&twice, br#"{"a":3}"#, 100).unwrap()["a"], "2", "only the first of them is replaced");
}

#[test]
fn a_malformed_attribute_is_found_though_the_body_replaces_it() {
    let broken = AnyValue::Array(&[0x0a, 9]);
    let attributes = [Attribute { key: Cow::Borrowed(b"a"), value: broken }];
    assert!(matches!(merge(&attributes, br#"{"a":1}"#, 100), Err(Fault::Malformed(..))));
}

#[test]
fn long_keys_over_many_leaves_are_limited() {
    let long = format!("{{\"{}\":[{}1]}}", "k".repeat(1000), "1,".repeat(1000));
    assert_eq!(merge(&[], long.as_bytes(), 100_000), Err(Fault::TooLarge("max_column_bytes", 100_000)));
    assert_eq!(merge(&[], format!("{long} }}").as_bytes(), 100_000), Ok(BTreeMap::new()), "it is no JSON");
}

/// A JSON value as text: few different keys, odd ones among them, white space anywhere. `leaves` picks its leaves.
fn json(rng: &mut StdRng, leaves: &mut StdRng, depth: u32, out: &mut String) {
    const KEYS: [&str; 9] = ["a", "b", "a.b", "", "0", "zone", "long key \u{e9}", r"\u0061", r#"q\"\\"#];
    const LEAVES: [&str; 20] = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "1.50",
        "0.1",
        "129.9",
        "0.000001",
        "0.0000001",
        "1e3",
        "12E-9",
        "123456789012345",
        "12345678901234567890",
        "0.1234567890123456789",
        r#""""#,
        r#""text \n \ud83d\ude00 <&>""#,
        r#""plain text of some length""#,
        "-0.5",
    ];
    let mut space = |out: &mut String| out.push_str(["", "", "", " ", "\t"][rng.random_range(0..5)]);
    space(out);
    match if depth == 0 { 0 } else { rng.random_range(0..6) } {
        kind @ 0..3 if depth < 4 => {
            let map = depth == 0 || kind < 2;
            out.push(if map { '{' } else { '[' });
            for index in 0..rng.random_range(0..5) {
                if index > 0 {
                    out.push(',');
                }
                if map {
                    *out += &format!("\"{}\":", KEYS[rng.random_range(0..KEYS.len())]);
                }
                json(rng, leaves, depth + 1, out);
            }
            out.push(if map { '}' } else { ']' });
        }
        _ => out.push_str(LEAVES[leaves.random_range(0..LEAVES.len())]),
    }
}

#[test]
fn what_one_form_could_not_read_is_not_skipped_for_the_next() {
    let own = [attribute("a", "own")];
    let mut known = Merge::default();
    for body in [r#"{"q":""}"#, r#"{"q":"","b":true}"#, r#"{"q":"","b":txue}"#] {
        let fresh = Merge::default().texts(&own, body.as_bytes(), 100).unwrap();
        assert_eq!(known.texts(&own, body.as_bytes(), 100).unwrap(), fresh, "{body}");
    }
}

/// The plainest way: serde_json's tree, whose maps are sorted.
fn flatten(path: &str, tree: &Tree, dotted: bool, flat: &mut BTreeMap<String, String>) {
    match tree {
        Tree::Object(members) => {
            let dot = if path.is_empty() { "" } else { "." };
            members.iter().for_each(|(key, tree)| flatten(&format!("{path}{dot}{key}"), tree, true, flat));
        }
        Tree::Array(elements) => {
            let dot = if dotted { "." } else { "" };
            for (index, tree) in elements.iter().enumerate() {
                flatten(&format!("{path}{dot}{index}"), tree, !dotted, flat);
            }
        }
        leaf => {
            let text = match leaf {
                Tree::Null => String::new(),
                Tree::String(text) => text.clone(),
                Tree::Number(number) => {
                    let mut text = Vec::new();
                    AnyValue::Double(number.as_f64().unwrap()).put_text(&mut text, 0, 100).unwrap();
                    String::from_utf8(text).unwrap()
                }
                other => other.to_string(),
            };
            flat.insert(path.to_owned(), text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bodies_become_what_serde_json_reads_in_them(seed: u32) {
        let mut rng = StdRng::seed_from_u64(seed.into());
        let mut body = String::new();
        json(&mut rng, &mut StdRng::seed_from_u64(u64::from(seed) + 1), 0, &mut body);
        let Tree::Object(mut tree) = serde_json::from_str(&body).unwrap() else { panic!("{body}") };
        let keys: Vec<&str> = ["a", "zone", "a.b", "b"].into_iter().filter(|_| rng.random_bool(0.3)).collect();
        let attributes: Vec<_> = keys.iter().map(|key| attribute(key, "own")).collect();
        let mut flat = BTreeMap::new();
        for key in keys {
            // The collector's merge replaces an attribute in its place, and adds the others behind.
            let one = match tree.remove(key) {
                Some(value) => value,
                None => Tree::String("own".to_owned()),
            };
            flatten(key, &one, true, &mut flat);
        }
        flatten("", &Tree::Object(tree), true, &mut flat);
        prop_assert_eq!(merge(&attributes, body.as_bytes(), 1 << 20).unwrap(), flat, "{}", body);
    }

    #[test]
    fn forms_that_are_known_change_nothing(seed: u32) {
        let mut rng = StdRng::seed_from_u64(seed.into());
        let seeds: [u64; 4] = rng.random();
        let mut bodies = Vec::new();
        for _ in 0..20 {
            let mut body = String::new();
            let form = seeds[rng.random_range(0..seeds.len())];
            json(&mut StdRng::seed_from_u64(form), &mut rng, 0, &mut body);
            let mut body = body.into_bytes();
            if rng.random_bool(0.2) {
                let at = rng.random_range(0..body.len());
                body[at] = b"{}[],:\"\\ x1"[rng.random_range(0..11)];
            }
            bodies.push(body);
        }
        let own = ["a", "b", "zone"].map(|key| attribute(key, "own"));
        let mut known = Merge::default();
        for body in &bodies {
            let own = &own[..rng.random_range(0..=own.len())];
            let max = if rng.random_bool(0.9) { 1 << 20 } else { 10 };
            prop_assert_eq!(
                known.texts(own, body, max),
                Merge::default().texts(own, body, max),
                "{}", String::from_utf8_lossy(body)
            );
        }
    }
}
