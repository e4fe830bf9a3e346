//! YAML as Compose writes it: with anchors, aliases and merge keys, which otelgate's own configuration does without.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, StrInput};

/// A value. Tags (`!reset`, `!override`) are passed over.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// A text, a number, a word.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Fields in their order.
    Map(Vec<(String, Value)>),
}

/// Values that a file may have, aliases counted as what they stand for: a file of a page can stand for more than a machine holds.
const MOST: usize = 100_000;
/// Keeps the recursion from the stack's end.
const DEEPEST: usize = 64;
static NULL: Value = Value::Null;

impl Value {
    /// A field; nothing where there is none.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.fields().find(|(field, _)| *field == name).map_or(&NULL, |(_, value)| value)
    }

    /// A map's fields, the last of a name first; those that came with `<<` last.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        let fields = if let Value::Map(fields) = self { fields.as_slice() } else { &[] };
        fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A list's items.
    pub(super) fn items(&self) -> impl Iterator<Item = &Value> {
        let items = if let Value::List(items) = self { items.as_slice() } else { &[] };
        items.iter()
    }

    /// The text; empty for anything else.
    pub(super) fn text(&self) -> &str {
        if let Value::Text(text) = self { text } else { "" }
    }

    fn size(&self) -> usize {
        match self {
            Value::Null | Value::Text(_) => 1,
            Value::List(items) => 1 + items.iter().map(Value::size).sum::<usize>(),
            Value::Map(fields) => 1 + fields.iter().map(|(_, value)| value.size()).sum::<usize>(),
        }
    }
}

/// Reads the first document.
///
/// # Errors
/// It is not YAML, or too much of it.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), left: MOST };
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(Value::Null),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => return reader.value(event, 0),
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Value>,
    left: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, String> {
        match self.events.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(format!("not YAML: {error}")),
            None => Ok(Event::StreamEnd),
        }
    }

    fn value(&mut self, event: Event<'t>, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        let (value, anchor) = match event {
            Event::Alias(of) => (self.anchors.get(&of).cloned().unwrap_or(Value::Null), 0),
            Event::Scalar(text, _, anchor, _) => (Value::Text(text.into_owned()), anchor),
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break (Value::List(items), anchor),
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, _) => {
                let (mut fields, mut merged) = (Vec::new(), Vec::new());
                loop {
                    let name = match self.next()? {
                        Event::MappingEnd => break,
                        event => self.value(event, depth + 1)?,
                    };
                    let event = self.next()?;
                    match (name.text(), self.value(event, depth + 1)?) {
                        ("<<", Value::Map(more)) => merged.extend(more),
                        ("<<", Value::List(all)) => all.into_iter().for_each(|one| {
                            if let Value::Map(more) = one {
                                merged.extend(more);
                            }
                        }),
                        (name, value) => fields.push((name.to_owned(), value)),
                    }
                }
                fields.extend(merged);
                (Value::Map(fields), anchor)
            }
            _ => return Err("not YAML".to_owned()),
        };
        self.left = self.left.checked_sub(value.size()).ok_or("it stands for more than any Compose file has")?;
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_aliases_merges_and_tags_are_read() {
        let text = "x-a: &a { image: one, ports: [\"1\"] }\nservices:\n  b:\n    <<: *a\n    image: two\n    ports: !reset []\n  c: *a\n";
        let services = read(text).unwrap().get("services").clone();
        assert_eq!((services.get("b").get("image").text(), services.get("b").get("ports").items().count()), ("two", 0));
        assert_eq!((services.get("c").get("image").text(), services.get("c").get("ports").items().count()), ("one", 1));
    }

    #[test]
    fn what_is_no_file_of_compose_ends() {
        assert!(read("a: [").is_err() && read(&"[".repeat(1000)).is_err());
        assert_eq!(read("").unwrap(), Value::Null);
        let bomb: String =
            (1..9).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))).collect();
        assert!(read(&format!("a0: &a0 [x]\n{bomb}")).is_err());
    }
}
