//! What ClickStack's collector does to logs before it stores them (the statements of its `transform` processor):
//!
//! 1. an object in a text body, from the first `{` of a line to that line's last `}`, is merged into the attributes;
//!    attributes are flattened (`a.b`, `a.0`), equal keys become one, and the last value counts; a map body is merged into them as it is;
//! 2. a record without severity takes it from an attribute such as `level`, else from a word at the body's beginning, else it is `info`;
//! 3. the severity's text is lower-cased.
//!
//! A record whose body holds no brace and whose attributes are flat costs a search for that brace.

mod flatten;
mod json;
mod severity;

use std::borrow::Cow;

pub(super) use severity::Severity;

use self::flatten::{Flat, Node};
use super::bound::Entries;
use super::value::{Attribute, Value, entries};
use super::wire::Fault;

/// Merges the body into the attributes and flattens them. Of equal keys the last counts. `depth` is that of the attributes' messages,
/// and of the body; what is flattened may have at most `max` bytes.
pub(super) fn merge_body<'a>(
    attributes: &mut Vec<Attribute<'a>>,
    body: &Value<'a>,
    depth: u8,
    max: u64,
) -> Result<(), Fault> {
    let object = match body {
        Value::Text(Cow::Borrowed(text)) => object(text),
        _ => None,
    };
    let nested = attributes.iter().any(|attribute| matches!(attribute.value, Value::Array(_) | Value::Map(_)));
    if nested || object.is_some() {
        flatten(attributes, object.unwrap_or_default(), depth, max)?;
    }
    if let Value::Map(list) = body {
        for entry in entries(list, depth + 1, &mut Entries::new())? {
            attributes.push(entry.into_owned());
        }
    }
    Ok(())
}

/// The object in a text, if there is one and it is JSON.
fn object(text: &[u8]) -> Option<Vec<(Cow<'_, [u8]>, Node<'_>)>> {
    let mut rest = text;
    loop {
        rest = &rest[memchr::memchr(b'{', rest)?..];
        let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
        if let Some(end) = memchr::memrchr(b'}', line) {
            return json::object(&line[..=end]);
        }
        rest = &rest[line.len()..];
    }
}

/// Replaces attributes by flat ones: those with a key of the object's by the object's, then the object's others.
fn flatten<'a>(
    attributes: &mut Vec<Attribute<'a>>,
    mut object: Vec<(Cow<'a, [u8]>, Node<'a>)>,
    depth: u8,
    max: u64,
) -> Result<(), Fault> {
    let mut flat = Flat::new(max);
    let mut most = Entries::new();
    for attribute in attributes.drain(..) {
        let replaced = object.binary_search_by(|(key, _)| key.cmp(&attribute.key));
        match replaced.ok().and_then(|at| object.get_mut(at)) {
            Some((key, node)) if !matches!(node, Node::Gone) => {
                // What is replaced is never written, so nobody else finds out whether it was well-formed.
                attribute.value.check(depth + 1)?;
                let node = std::mem::replace(node, Node::Gone);
                flat.put(&[], key.clone(), node)?;
            }
            _ => flat.put(&[], attribute.key, Node::of(attribute.value, depth + 1, &mut most)?)?,
        }
    }
    for (key, node) in object {
        flat.put(&[], key, node)?;
    }
    attributes.append(&mut flat.attributes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(body: &str) -> Vec<(String, String)> {
        let mut attributes = vec![attribute("level", "debug"), attribute("zone", "a")];
        merge_body(&mut attributes, &Value::Text(Cow::Borrowed(body.as_bytes())), 4, 1 << 20).unwrap();
        let texts = attributes
            .iter()
            .map(|attribute| {
                let mut text = Vec::new();
                attribute.value.put_text(&mut text, 5, 1 << 20).unwrap();
                (String::from_utf8(attribute.key.to_vec()).unwrap(), String::from_utf8(text).unwrap())
            })
            .collect::<std::collections::BTreeMap<_, _>>();
        texts.into_iter().collect()
    }

    fn attribute(key: &'static str, value: &'static str) -> Attribute<'static> {
        Attribute { key: Cow::Borrowed(key.as_bytes()), value: Value::Text(Cow::Borrowed(value.as_bytes())) }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_object_in_the_text_is_merged_and_flattened() {
        assert_eq!(
            merged(
                r#"at 12:00 {"level":"info","n":1.50,"a":{"b":[true,null,{"c":"\u00e9"}],"":2},"e":{},"f":[]} done"#
            ),
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
    fn a_malformed_attribute_is_found_though_the_body_replaces_it() {
        let broken = Value::Array(Cow::Borrowed(&[0x0a, 9]));
        let mut attributes = vec![Attribute { key: Cow::Borrowed(b"a"), value: broken }];
        let body = Value::Text(Cow::Borrowed(br#"{"a":1}"#));
        assert!(matches!(merge_body(&mut attributes, &body, 4, 100), Err(Fault::Malformed(..))));
    }

    #[test]
    fn long_keys_over_many_leaves_are_limited() {
        let body = format!("{{\"{}\":[{}1]}}", "k".repeat(1000), "1,".repeat(1000));
        let mut attributes = Vec::new();
        let outcome = merge_body(&mut attributes, &Value::Text(Cow::Borrowed(body.as_bytes())), 4, 100_000);
        assert_eq!(outcome, Err(Fault::TooLarge("max_column_bytes", 100_000)));
    }
}
