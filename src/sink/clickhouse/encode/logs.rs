//! Log records: their field numbers, and the columns of `otel_logs` and `hyperdx_sessions` that the fields go to.

use super::table::{TableKind, log as column};
use super::value::{Attribute, Value};
use super::walk::{Request, id};
use super::wire::{Fault, Field, Fields};

/// Records with this attribute are a browser's session replay and go to the sessions' table.
const REPLAY_EVENT: &[u8] = b"rr-web.event";

/// A log record's fields, as far as they fit one place.
#[derive(Debug, Default)]
struct Record<'a> {
    time: u64,
    observed_time: u64,
    severity_number: u64,
    severity_text: &'a [u8],
    body: Value<'a>,
    flags: u32,
    trace_id: Option<&'a [u8; 16]>,
    span_id: Option<&'a [u8; 8]>,
    event_name: &'a [u8],
}

/// Reads a log record and appends its row.
pub(super) fn record<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    let mut record = Record::default();
    request.attributes.clear();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Fixed64(nanos)) => record.time = nanos,
            (2, Field::Varint(number)) => record.severity_number = number,
            (3, Field::Len(text)) => record.severity_text = text,
            (5, Field::Len(body)) => record.body.merge(body, fields.inner_depth()?)?,
            (6, Field::Len(entry)) => request.attributes.push(Attribute::read(entry, fields.inner_depth()?)?),
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
    let depth = fields.inner_depth()?;
    let replay = request
        .attributes
        .iter()
        .any(|attribute| *attribute.key == *REPLAY_EVENT && !matches!(attribute.value, Value::Empty));
    let kind = if replay { TableKind::Sessions } else { TableKind::Logs };
    let nanos = if record.time == 0 { record.observed_time } else { record.time };
    let score = record.score();
    let part = request.rows.begin(kind, nanos, bytes.len(), score, 0)?;
    part.time(column::TIMESTAMP, nanos);
    part.id(column::TRACE_ID, record.trace_id);
    part.id(column::SPAN_ID, record.span_id);
    part.integer(column::TRACE_FLAGS, u64::from(record.flags));
    part.text(column::SEVERITY_TEXT, record.severity_text);
    part.integer(column::SEVERITY_NUMBER, record.severity_number);
    part.value(column::BODY, &record.body, depth)?;
    part.attributes(column::LOG_ATTRIBUTES, &mut request.attributes, depth)?;
    part.text(column::EVENT_NAME, record.event_name);
    Ok(())
}

impl Record<'_> {
    /// How well the row can be found again: a span's id tells most, then the body's length, as long as it is no burden to a query.
    fn score(&self) -> u64 {
        const LONGEST: usize = 4096;
        let body = match &self.body {
            Value::Text(text) if text.len() <= LONGEST => text.len() as u64,
            _ => 0,
        };
        1 + body + if self.span_id.is_some() { LONGEST as u64 } else { 0 }
    }
}
