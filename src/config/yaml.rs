//! YAML text as a tree in which every value and every field's name knows its place.
//!
//! Built from the parser's events instead of a ready-made tree, because a ready-made one keeps only the last of two
//! fields with the same name, and turns `0123` into a number before anybody can say that it was a password. Here
//! scalars stay the text that was written.

use std::borrow::Cow;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

/// A place in a file; both numbers start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    /// Line.
    pub(crate) line: usize,
    /// Column, in characters.
    pub(crate) column: usize,
}

impl From<Marker> for Mark {
    fn from(marker: Marker) -> Self {
        Mark { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) mark: Mark,
    /// Its first character in the text, and the one after its last; spaces and a comment may stand behind what is in quotes.
    pub(super) chars: Range<usize>,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Nothing was written: empty, `~` or `null`.
    Null,
    /// Everything that is not a list or a map.
    Scalar(String),
    List(Vec<Node>),
    /// Fields in the order of the file, duplicates included.
    Map(Vec<Field>),
}

impl Kind {
    /// For a person who wrote one thing where another was expected.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a section",
        }
    }
}

/// One `name: value`.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) mark: Mark,
    /// The name's characters in the text.
    pub(super) chars: Range<usize>,
    pub(super) value: Node,
}

/// Why a text is not a document that can be read further; there is one such reason at most.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) mark: Mark,
    pub(super) why: String,
}

/// Deeper than any configuration; keeps the recursion from the stack's end.
const MAX_DEPTH: usize = 32;

/// Reads the one document of `text`. An empty text is [`Kind::Null`].
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let mut events = Events(Parser::new_from_str(text));
    let mut document = None;
    loop {
        let (event, span) = events.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if document.is_some() => {
                return Err(unreadable(span, "a second document; write one document a file"));
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => document = Some(node(&mut events, event, span, 0)?),
        }
    }
    Ok(document.unwrap_or(Node { mark: Mark { line: 1, column: 1 }, chars: 0..0, kind: Kind::Null }))
}

struct Events<'t>(Parser<'t, StrInput<'t>>);

impl<'t> Events<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Unreadable> {
        match self.0.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(unreadable(Span::empty(*error.marker()), format!("not YAML: {}", error.info()))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }
}

fn unreadable(span: Span, why: impl Into<String>) -> Unreadable {
    Unreadable { mark: span.start.into(), why: why.into() }
}

fn node<'t>(events: &mut Events<'t>, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Unreadable> {
    if depth > MAX_DEPTH {
        return Err(unreadable(span, "nested too deeply"));
    }
    let (kind, end) = match event {
        Event::Scalar(text, style, ..) => (scalar(text, style), span.end.index()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next()? {
                    (Event::SequenceEnd, end) => {
                        let end = end_of(end, items.last(), span);
                        break (Kind::List(items), end);
                    }
                    (event, span) => items.push(node(events, event, span, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let (fields, end) = fields(events, depth)?;
            let end = end_of(end, fields.last().map(|field| &field.value), span);
            (Kind::Map(fields), end)
        }
        Event::Alias(_) => {
            return Err(unreadable(span, "an alias (`*name`); write the value again"));
        }
        _ => return Err(unreadable(span, "not YAML")),
    };
    Ok(Node { mark: span.start.into(), chars: span.start.index()..end, kind })
}

/// A list or section in brackets ends with them, another one with the last that is in it.
fn end_of(end: Span, last: Option<&Node>, begin: Span) -> usize {
    match (end.is_empty(), last) {
        // The parser's end is behind what follows the bracket.
        (false, _) => end.start.index() + 1,
        (true, Some(last)) => last.chars.end,
        (true, None) => begin.end.index(),
    }
}

fn fields(events: &mut Events<'_>, depth: usize) -> Result<(Vec<Field>, Span), Unreadable> {
    let mut fields = Vec::new();
    loop {
        let (event, span) = events.next()?;
        let name = match event {
            Event::MappingEnd => return Ok((fields, span)),
            Event::Scalar(name, ..) => name.into_owned(),
            _ => return Err(unreadable(span, "a field's name must be a plain word")),
        };
        let (event, value_span) = events.next()?;
        let value = node(events, event, value_span, depth + 1)?;
        fields.push(Field { name, mark: span.start.into(), chars: span.start.index()..span.end.index(), value });
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Kind {
    match (style, text.as_ref()) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Kind::Null,
        _ => Kind::Scalar(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_value_knows_its_place() {
        let root = read("# a comment\nlisten:\n  otlp: [\"a\", b]\n  admin: 0123\n").unwrap();
        let Kind::Map(top) = root.kind else { panic!("a map") };
        assert_eq!(top[0].mark, Mark { line: 2, column: 1 });
        let Kind::Map(listen) = &top[0].value.kind else { panic!("a map") };
        assert_eq!(listen[0].mark, Mark { line: 3, column: 3 });
        let Kind::List(otlp) = &listen[0].value.kind else { panic!("a list") };
        assert_eq!(otlp[1].mark, Mark { line: 3, column: 15 });
        assert!(matches!(&listen[1].value.kind, Kind::Scalar(text) if text == "0123"));
    }

    #[test]
    fn duplicates_are_kept_and_the_rest_is_refused() {
        let Kind::Map(fields) = read("a: 1\na: 2\n").unwrap().kind else { panic!("a map") };
        assert_eq!(fields.len(), 2);
        for (text, line) in
            [("a: &x 1\nb: *x\n", 2), ("a: 1\n---\nb: 1\n", 2), ("a: [1\nb: 2\n", 2), ("{a: 1}: 2\n", 1)]
        {
            let error = read(text).unwrap_err();
            assert_eq!(error.mark.line, line, "{text}: {}", error.why);
        }
        assert!(read(&"[".repeat(10_000)).is_err());
        assert!(matches!(read("# nothing\n").unwrap().kind, Kind::Null));
    }
}
