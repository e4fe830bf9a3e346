//! Log records: their field numbers, and the columns of `otel_logs` and `hyperdx_sessions` that the fields go to.

use std::borrow::Cow;

use super::buffer::emptied;
use super::map::Duplicates;
use super::request::{Request, id};
use super::table::{TableKind, log as column};
use super::transform::{Merged, Severity};
use super::value::{AnyValue, Attribute};
use super::wire::{Fault, Field, Fields, int32};

/// Records with this attribute are a browser's session replay and go to the sessions' table.
const REPLAY_EVENT: &[u8] = b"rr-web.event";

/// A log record's fields, as far as they fit one place.
#[derive(Debug, Default)]
struct Record<'a> {
    time: u64,
    observed_time: u64,
    severity_number: u64,
    severity_text: &'a [u8],
    body: AnyValue<'a>,
    flags: u32,
    trace_id: Option<&'a [u8; 16]>,
    span_id: Option<&'a [u8; 8]>,
    event_name: &'a [u8],
}

/// Reads a log record and appends its row.
pub(super) fn record<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    let record = Record::read(bytes, depth, &mut request.attributes)?;
    let depth = Fields::new(bytes, depth).inner_depth()?;
    let max = request.rows.max_column_bytes();
    let replay = match request.attributes.iter().find(|attribute| *attribute.key == *REPLAY_EVENT) {
        Some(event) => has_text(&event.value, depth, max, &mut request.text)?,
        None => false,
    };
    let body = match &record.body {
        AnyValue::Text(Cow::Borrowed(text)) => text,
        body => {
            request.text.clear();
            body.put_text(&mut request.text, depth, max)?;
            &request.text[..]
        }
    };
    let transforms = !replay && request.rows.transforms_logs();
    let mut merged = Merged::AsTheyAre;
    let mut duplicates = Duplicates::Kept;
    if transforms {
        merged = request.merge.find(&request.attributes, &record.body, &mut request.key_bytes)?;
        duplicates = request.merge.duplicates(merged, &request.attributes);
    }
    let mut list = if request.merge.makes(merged) { emptied(std::mem::take(&mut request.merged)) } else { Vec::new() };
    let place = (depth, &mut request.key_bytes);
    let mut attributes = request.merge.list(merged, &request.attributes, &record.body, place, &mut list)?;
    let kind = if replay { TableKind::Sessions } else { TableKind::Logs };
    let nanos = if record.time == 0 { record.observed_time } else { record.time };
    let Some(part) = request.rows.begin(kind, nanos, bytes.len(), record.score(body.len()), 0)? else {
        return Ok(());
    };
    if !part.map(column::LOG_ATTRIBUTES, attributes, duplicates, depth)? {
        list = emptied(std::mem::take(&mut request.merged));
        merged = request.merge.find_exactly(&mut request.key_bytes)?;
        let place = (depth, &mut request.key_bytes);
        attributes = request.merge.list(merged, &request.attributes, &record.body, place, &mut list)?;
        part.map(column::LOG_ATTRIBUTES, attributes, Duplicates::LastOnly, depth)?;
    }
    let mut severity = Severity { text: Cow::Borrowed(record.severity_text), number: int32(record.severity_number) };
    if transforms {
        if !severity.is_set() {
            severity = Severity::from_attributes(attributes).unwrap_or_else(|| Severity::from_body(body));
        }
        severity.lower();
    }
    part.time(column::TIMESTAMP, nanos);
    part.id(column::TRACE_ID, record.trace_id);
    part.id(column::SPAN_ID, record.span_id);
    part.integer(column::TRACE_FLAGS, u64::from(record.flags));
    part.text(column::SEVERITY_TEXT, &severity.text);
    part.integer(column::SEVERITY_NUMBER, i64::from(severity.number).cast_unsigned());
    part.text(column::BODY, body);
    part.text(column::EVENT_NAME, record.event_name);
    drop(severity);
    if !list.is_empty() {
        request.merged = emptied(list);
    }
    Ok(())
}

/// Whether the collector's router sees a text in a value, be it an empty one: JSON knows no infinity and no not-a-number.
fn has_text(value: &AnyValue<'_>, depth: u8, max: u64, scratch: &mut Vec<u8>) -> Result<bool, Fault> {
    match value {
        AnyValue::Empty => Ok(false),
        AnyValue::Double(double) => Ok(double.is_finite()),
        AnyValue::Array(_) | AnyValue::Map(_) => {
            scratch.clear();
            value.put_text(scratch, depth + 1, max)?;
            Ok(!scratch.is_empty())
        }
        _ => Ok(true),
    }
}

impl<'a> Record<'a> {
    #[inline]
    fn read(bytes: &'a [u8], depth: u8, attributes: &mut Vec<Attribute<'a>>) -> Result<Record<'a>, Fault> {
        let mut record = Record::default();
        attributes.clear();
        let mut fields = Fields::new(bytes, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Fixed64(nanos)) => record.time = nanos,
                (2, Field::Varint(number)) => record.severity_number = number,
                (3, Field::Len(text)) => record.severity_text = text,
                (5, Field::Len(body)) => record.body.merge(body, fields.inner_depth()?)?,
                (6, Field::Len(entry)) => Attribute::read_into(attributes, entry, fields.inner_depth()?)?,
                (7, Field::Varint(_)) => {}
                (8, Field::Fixed32(flags)) => record.flags = flags,
                (9, Field::Len(bytes)) => record.trace_id = id(bytes)?,
                (10, Field::Len(bytes)) => record.span_id = id(bytes)?,
                (11, Field::Fixed64(nanos)) => record.observed_time = nanos,
                (12, Field::Len(name)) => record.event_name = name,
                (1..=3 | 5..=12, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(record)
    }

    /// How well the row can be found again: a span's id tells most, then the body's length, as long as it is no burden to a query.
    fn score(&self, body: usize) -> u64 {
        const LONGEST: usize = 4096;
        let body = if body <= LONGEST { body as u64 } else { 0 };
        1 + body + if self.span_id.is_some() { LONGEST as u64 } else { 0 }
    }
}
