//! Spans: their field numbers, and the columns of `otel_traces` that the fields go to.

use super::bound::push;
use super::part::{Nested, OpenPart};
use super::raw_attribute::RawAttribute;
use super::request::{Request, id};
use super::table::{TableKind, span as column};
use super::wire::{Fault, Field, Fields, int32};

/// A span's fields, as far as they fit one place.
#[derive(Debug, Default)]
struct Span<'a> {
    trace_id: Option<&'a [u8; 16]>,
    span_id: Option<&'a [u8; 8]>,
    parent_span_id: Option<&'a [u8; 8]>,
    trace_state: &'a [u8],
    name: &'a [u8],
    kind: i32,
    start: u64,
    end: u64,
    status_message: &'a [u8],
    status_code: i32,
}

/// Reads a span and appends its row.
#[inline(never)] // With the walk around it, the walk of its fields would not stay in registers.
pub(super) fn span<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    let mut span = Span::default();
    let [events, links] = &mut request.lists;
    request.entries.clear();
    events.clear();
    links.clear();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(bytes)) => span.trace_id = id(bytes)?,
            (2, Field::Len(bytes)) => span.span_id = id(bytes)?,
            (3, Field::Len(state)) => span.trace_state = state,
            (4, Field::Len(bytes)) => span.parent_span_id = id(bytes)?,
            (5, Field::Len(name)) => span.name = name,
            (6, Field::Varint(kind)) => span.kind = int32(kind),
            (7, Field::Fixed64(nanos)) => span.start = nanos,
            (8, Field::Fixed64(nanos)) => span.end = nanos,
            (9, Field::Len(entry)) => RawAttribute::push(&mut request.entries, entry, fields.inner_depth()?)?,
            (11, Field::Len(event)) => push(events, event)?,
            (13, Field::Len(link)) => push(links, link)?,
            (15, Field::Len(status)) => span.status(status, fields.inner_depth()?)?,
            (10 | 12 | 14, Field::Varint(_)) | (16, Field::Fixed32(_)) => {}
            (1..=16, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let depth = fields.inner_depth()?;
    let score = 1 + u64::from(span.span_id.is_some());
    let Some(part) = request.rows.begin(TableKind::Traces, span.start, bytes.len(), score, 0)? else {
        return Ok(());
    };
    span.put(part);
    part.attributes(column::SPAN_ATTRIBUTES, &request.entries[..], depth)?;
    for event in &*events {
        put_event(part, event, depth, &mut request.nested)?;
    }
    part.close_nested(Nested::Events, events.len());
    for link in &*links {
        put_link(part, link, depth, &mut request.nested)?;
    }
    part.close_nested(Nested::Links, links.len());
    Ok(())
}

impl<'a> Span<'a> {
    fn status(&mut self, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
        let mut fields = Fields::new(bytes, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Len(message)) => self.status_message = message,
                (3, Field::Varint(code)) => self.status_code = int32(code),
                (2 | 3, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    fn put(&self, part: &mut OpenPart) {
        part.time(column::TIMESTAMP, self.start);
        part.id(column::TRACE_ID, self.trace_id);
        part.id(column::SPAN_ID, self.span_id);
        part.id(column::PARENT_SPAN_ID, self.parent_span_id);
        part.text(column::TRACE_STATE, self.trace_state);
        part.text(column::SPAN_NAME, self.name);
        part.text(column::SPAN_KIND, kind_name(self.kind));
        // A span that ends before it starts wraps around, as the collector's unsigned subtraction does.
        part.integer(column::DURATION, self.end.wrapping_sub(self.start));
        part.text(column::STATUS_CODE, status_name(self.status_code));
        part.text(column::STATUS_MESSAGE, self.status_message);
    }
}

fn kind_name(kind: i32) -> &'static [u8] {
    match kind {
        0 => b"Unspecified",
        1 => b"Internal",
        2 => b"Server",
        3 => b"Client",
        4 => b"Producer",
        5 => b"Consumer",
        _ => b"",
    }
}

fn status_name(code: i32) -> &'static [u8] {
    match code {
        0 => b"Unset",
        1 => b"Ok",
        2 => b"Error",
        _ => b"",
    }
}

fn put_event<'a>(
    part: &mut OpenPart,
    bytes: &'a [u8],
    depth: u8,
    attributes: &mut Vec<RawAttribute<'a>>,
) -> Result<(), Fault> {
    attributes.clear();
    let mut time = 0;
    let mut name: &[u8] = &[];
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Fixed64(nanos)) => time = nanos,
            (2, Field::Len(text)) => name = text,
            (3, Field::Len(entry)) => RawAttribute::push(attributes, entry, fields.inner_depth()?)?,
            (4, Field::Varint(_)) => {}
            (1..=4, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    part.time(column::EVENTS_TIMESTAMP, time);
    part.text(column::EVENTS_NAME, name);
    part.attributes(column::EVENTS_ATTRIBUTES, &attributes[..], depth + 1)
}

fn put_link<'a>(
    part: &mut OpenPart,
    bytes: &'a [u8],
    depth: u8,
    attributes: &mut Vec<RawAttribute<'a>>,
) -> Result<(), Fault> {
    attributes.clear();
    let mut trace_id = None;
    let mut span_id = None;
    let mut state: &[u8] = &[];
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(bytes)) => trace_id = id(bytes)?,
            (2, Field::Len(bytes)) => span_id = id(bytes)?,
            (3, Field::Len(text)) => state = text,
            (4, Field::Len(entry)) => RawAttribute::push(attributes, entry, fields.inner_depth()?)?,
            (5, Field::Varint(_)) | (6, Field::Fixed32(_)) => {}
            (1..=6, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    part.id::<16>(column::LINKS_TRACE_ID, trace_id);
    part.id::<8>(column::LINKS_SPAN_ID, span_id);
    part.text(column::LINKS_TRACE_STATE, state);
    part.attributes(column::LINKS_ATTRIBUTES, &attributes[..], depth + 1)
}
