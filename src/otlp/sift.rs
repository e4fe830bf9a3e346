//! A request without the records that nest too deep, so that they cost themselves and not their neighbours.
//!
//! Off the path: a request comes here after an encoder met such a record. Every byte is walked twice at the most, and what comes out is no longer
//! than what went in.

use super::check;
use super::descriptor::{self, FieldDescriptor, FieldKind, MessageDescriptor};
use super::wire::{Fault, Field, Fields, put_varint};
use crate::signal::Signal;

/// How many messages lie between a request and its records at the most: groups, scopes, metrics, a metric's data.
const LEVELS: u8 = 4;

/// The request without those records, and how many they were.
///
/// # Errors
/// [`Fault::Malformed`] where a record, or the way to it, is not well-formed.
pub(crate) fn without_deep(signal: Signal, request: &[u8]) -> Result<(Vec<u8>, u64), Fault> {
    let mut sift = Sift { out: Vec::with_capacity(request.len()), dropped: 0 };
    sift.message(descriptor::request(signal), request, 0)?;
    Ok((sift.out, sift.dropped))
}

struct Sift {
    out: Vec<u8>,
    dropped: u64,
}

impl Sift {
    fn message(&mut self, of: &MessageDescriptor, bytes: &[u8], depth: u8) -> Result<(), Fault> {
        let mut fields = Fields::new(bytes, depth);
        let mut start = 0;
        while let Some((number, field)) = fields.next()? {
            let end = fields.position();
            let whole = bytes.get(start..end).unwrap_or_default();
            start = end;
            let known = of.fields.iter().find(|known| known.number == number);
            match (known, field) {
                (Some(FieldDescriptor { record: true, kind: FieldKind::Message(record), .. }), Field::Len(message)) => {
                    match check::message(record, message, fields.inner_depth()?) {
                        Ok(()) => self.out.extend_from_slice(whole),
                        Err(Fault::TooDeep(_)) => self.dropped += 1,
                        Err(other) => return Err(other),
                    }
                }
                (Some(FieldDescriptor { kind: FieldKind::Message(inner), .. }), Field::Len(message))
                    if depth < LEVELS && holds_records(inner, LEVELS - depth) =>
                {
                    self.inner(number, inner, message, fields.inner_depth()?)?;
                }
                _ => self.out.extend_from_slice(whole),
            }
        }
        Ok(())
    }

    /// A message that may get shorter: it is written behind where it belongs, then moved.
    fn inner(&mut self, number: u32, of: &MessageDescriptor, message: &[u8], depth: u8) -> Result<(), Fault> {
        let start = self.out.len();
        self.message(of, message, depth)?;
        let end = self.out.len();
        put_varint(&mut self.out, (number << 3 | 2) as usize);
        put_varint(&mut self.out, end - start);
        let prefix = self.out.len() - end;
        if let Some(moved) = self.out.get_mut(start..) {
            moved.rotate_right(prefix);
        }
        Ok(())
    }
}

/// Whether records lie at most so many messages deep in such a message.
fn holds_records(message: &MessageDescriptor, levels: u8) -> bool {
    levels > 0
        && message.fields.iter().any(|field| {
            field.record || matches!(field.kind, FieldKind::Message(inner) if holds_records(inner, levels - 1))
        })
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use prost::Message as _;
    use stack::Samples;

    use super::*;
    use crate::otlp::wire::put_field;

    /// A value that nests so many messages deep.
    fn nested(levels: usize) -> Vec<u8> {
        let mut value = Vec::new();
        for level in 0..levels {
            let mut outer = Vec::new();
            put_field(&mut outer, if (levels - level) % 2 == 1 { 1 } else { 5 }, &value);
            value = outer;
        }
        value
    }

    /// An attribute with such a value, behind what is in `message`.
    fn with_attribute(mut message: Vec<u8>, number: u8, levels: usize) -> Vec<u8> {
        let (mut entry, mut value) = (Vec::new(), Vec::new());
        put_field(&mut value, 5, &nested(levels));
        put_field(&mut entry, 2, &value);
        put_field(&mut message, number, &entry);
        message
    }

    fn logs(records: &[Vec<u8>]) -> Vec<u8> {
        let mut scope = Vec::new();
        records.iter().for_each(|record| put_field(&mut scope, 2, record));
        let (mut group, mut request) = (Vec::new(), Vec::new());
        put_field(&mut group, 2, &scope);
        put_field(&mut group, 3, b"url");
        put_field(&mut request, 1, &group);
        request
    }

    #[test]
    fn only_what_nests_too_deep_is_left_out() {
        let whole = Samples::new(3).logs(1).resource_logs.swap_remove(0).scope_logs.swap_remove(0).log_records;
        let good: Vec<Vec<u8>> = whole.iter().map(prost::Message::encode_to_vec).collect();
        let deep = with_attribute(good[0].clone(), 6, 100);
        let mixed = logs(&[deep.clone(), good[0].clone(), deep, with_attribute(Vec::new(), 6, 80)]);
        let (sifted, dropped) = without_deep(Signal::Logs, &mixed).unwrap();
        assert_eq!(dropped, 2);
        assert_eq!(sifted, logs(&[good[0].clone(), with_attribute(Vec::new(), 6, 80)]));
        assert!(ExportLogsServiceRequest::decode(&sifted[..]).is_ok());
    }

    #[test]
    fn a_data_point_is_a_record_and_a_resource_is_none() {
        let request = Samples::new(3).metrics(50);
        let bytes = request.encode_to_vec();
        assert_eq!(without_deep(Signal::Metrics, &bytes), Ok((bytes, 0)));
        let point = with_attribute(Vec::new(), 7, 100);
        let (mut gauge, mut metric, mut scope) = (Vec::new(), Vec::new(), Vec::new());
        put_field(&mut gauge, 1, &point);
        put_field(&mut gauge, 1, b"\x21abcdefgh");
        put_field(&mut metric, 5, &gauge);
        put_field(&mut scope, 2, &metric);
        let (mut group, mut whole) = (Vec::new(), Vec::new());
        put_field(&mut group, 2, &scope);
        put_field(&mut whole, 1, &group);
        let (sifted, dropped) = without_deep(Signal::Metrics, &whole).unwrap();
        let request = ExportMetricsServiceRequest::decode(&sifted[..]).unwrap();
        assert_eq!((dropped, request.encoded_len()), (1, sifted.len()));
        let (mut group, mut whole) = (Vec::new(), Vec::new());
        put_field(&mut group, 1, &with_attribute(Vec::new(), 1, 100));
        put_field(&mut whole, 1, &group);
        assert_eq!(without_deep(Signal::Metrics, &whole), Ok((whole, 0)), "nobody's record nests too deep");
    }

    #[test]
    fn what_is_malformed_stays_malformed() {
        let id = logs(&[with_attribute(Vec::new(), 6, 100), b"\x52\x01a".to_vec()]);
        assert!(matches!(without_deep(Signal::Logs, &id), Err(Fault::Malformed(..))));
        assert!(matches!(without_deep(Signal::Logs, b"\x0a\x05"), Err(Fault::Malformed(..))));
    }
}
