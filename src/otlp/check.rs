//! Whether bytes are a well-formed OTLP message, and how many records lie in them, without building anything.
//!
//! One table of OTLP's messages ([`descriptor`]) drives one walk for all signals. It takes what a
//! server that decodes the bytes takes: every known field has its own wire type, ids have their length, lengths end where they say.

use super::descriptor::{self, FieldDescriptor, FieldKind, MessageDescriptor};
use super::wire::{Fault, Field, Fields, MAX_DEPTH};
use crate::signal::Signal;

/// How deep a resource's group lies in a request.
pub(crate) const GROUP_DEPTH: u8 = 1;

/// Checks one resource's group of a request (`ResourceSpans`, `ResourceLogs`, `ResourceMetrics`) down to its last field.
///
/// # Errors
/// [`Fault::Malformed`].
pub(crate) fn group(signal: Signal, bytes: &[u8]) -> Result<(), Fault> {
    let [FieldDescriptor { kind: FieldKind::Message(group), .. }] = descriptor::request(signal).fields else {
        return Ok(());
    };
    message(group, bytes, GROUP_DEPTH)
}

/// Checks a message that lies so deep in a request.
///
/// # Errors
/// [`Fault::Malformed`]; [`Fault::TooDeep`], which bounds the recursion.
pub(crate) fn message(of: &MessageDescriptor, bytes: &[u8], depth: u8) -> Result<(), Fault> {
    let mut fields = Fields::new(bytes, depth);
    let mut last = 0;
    while let Some((number, field)) = fields.next()? {
        let Some(known) = find(of.fields, number, &mut last) else {
            continue;
        };
        match (known.kind, field) {
            (FieldKind::Message(inner), Field::Len(bytes)) => {
                let depth = fields.inner_depth()?;
                let usual = std::ptr::eq(inner, &descriptor::KEY_VALUE) && depth < MAX_DEPTH && is_usual(bytes);
                if !usual {
                    message(inner, bytes, depth)?;
                }
            }
            (FieldKind::Text | FieldKind::Base64, Field::Len(_)) => {}
            (FieldKind::Hex(len), Field::Len(id)) => {
                if !id.is_empty() && id.len() != len {
                    return Err(fields.fault("a trace or span id of the wrong length"));
                }
            }
            (kind, field) => number_field(kind, field, known.repeated, &fields)?,
        }
    }
    Ok(())
}

/// Whether this is a well-formed attribute of the shape that most have: a short key, then a value that is a short text or a number. Half of a request's fields lie
/// in attributes, and to look at all of one at once takes a fraction of the time. `false` says nothing.
fn is_usual(attribute: &[u8]) -> bool {
    let [0x0a, len @ ..0x80, rest @ ..] = attribute else { return false };
    let Some((_key, [0x12, len @ ..0x80, value @ ..])) = rest.split_at_checked(usize::from(*len)) else { return false };
    if value.len() != usize::from(*len) {
        return false;
    }
    match value {
        [0x0a, len @ ..0x80, text @ ..] => text.len() == usize::from(*len),
        [0x10 | 0x18, ..0x80] | [0x10 | 0x18, 0x80..=0xff, ..0x80] => true,
        [0x21, number @ ..] => number.len() == 8,
        _ => false,
    }
}

/// The field with this number. Fields mostly come in the order of the table, so the search begins where the last one ended.
fn find<'m>(known: &'m [FieldDescriptor], number: u32, last: &mut usize) -> Option<&'m FieldDescriptor> {
    for at in [*last, *last + 1] {
        if let Some(field) = known.get(at)
            && field.number == number
        {
            *last = at;
            return Some(field);
        }
    }
    let at = known.iter().position(|field| field.number == number)?;
    *last = at;
    known.get(at)
}

fn number_field(kind: FieldKind, field: Field<'_>, repeated: bool, fields: &Fields<'_>) -> Result<(), Fault> {
    match (kind.wire_type(), field) {
        (1, Field::Fixed64(_)) | (5, Field::Fixed32(_)) | (0, Field::Varint(_)) => Ok(()),
        (0, Field::Len(packed)) if repeated => super::wire::packed_varints(packed, |_| ()),
        (1, Field::Len(packed)) if repeated => super::wire::packed_fixed64(packed).map(drop),
        _ => fields.wrong_type(),
    }
}

/// Spans, log records or data points in a resource's group. Steps over each of them in one addition.
///
/// # Errors
/// [`Fault::Malformed`] where the way down to the records is not well-formed.
pub(crate) fn records(signal: Signal, group: &[u8]) -> Result<u64, Fault> {
    let mut records = 0;
    each_child(group, GROUP_DEPTH, |scope| {
        each_child(scope, GROUP_DEPTH + 1, |record| {
            records += if signal == Signal::Metrics { points(record)? } else { 1 };
            Ok(())
        })
    })?;
    Ok(records)
}

/// How many records a whole request holds.
///
/// # Errors
/// Those of protobuf's wire format.
pub(crate) fn records_of_all(signal: Signal, request: &[u8]) -> Result<u64, Fault> {
    let (mut fields, mut all) = (Fields::new(request, 0), 0_u64);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Len(group)) = (number, field) {
            all = all.saturating_add(records(signal, group)?);
        }
    }
    Ok(all)
}

/// The children of a resource's group, and those of a scope's, are its field 2 in all three signals.
fn each_child<'a>(
    bytes: &'a [u8],
    depth: u8,
    mut child: impl FnMut(&'a [u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        if let (2, Field::Len(bytes)) = (number, field) {
            child(bytes)?;
        }
    }
    Ok(())
}

/// The data points of a metric: field 1 of its kind's message. Of several kinds the last one counts, pieces of one kind belong together.
fn points(metric: &[u8]) -> Result<u64, Fault> {
    let (mut kind, mut count) = (0, 0);
    let mut fields = Fields::new(metric, GROUP_DEPTH + 2);
    while let Some((number, field)) = fields.next()? {
        if let (5 | 7 | 9 | 10 | 11, Field::Len(data)) = (number, field) {
            if number != kind {
                (kind, count) = (number, 0);
            }
            let mut points = Fields::new(data, GROUP_DEPTH + 3);
            while let Some((number, field)) = points.next()? {
                count += u64::from(matches!((number, field), (1, Field::Len(_))));
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// Of every attribute of a few short bytes: what is taken at a glance is taken field by field.
    #[test]
    fn what_is_usual_is_well_formed() {
        let mut random = rand::rngs::StdRng::seed_from_u64(5);
        let (mut usual, mut unusual) = (0, 0);
        let shapes: [&[u8]; 5] = [
            b"\x0a\x03key\x12\x04\x0a\x02ab",
            b"\x0a\x03key\x12\x02\x18\x05",
            b"\x0a\x03key\x12\x03\x18\x85\x01",
            b"\x0a\x03key\x12\x02\x10\x01",
            b"\x0a\x03key\x12\x09\x21\x00\x00\x00\x00\x00\x00\xf0\x3f",
        ];
        for round in 0..20_000 {
            let mut attribute = shapes[round % shapes.len()].to_vec();
            assert!(is_usual(&attribute));
            for _ in 0..random.random_range(1..4) {
                match random.random_range(0..4) {
                    0 => drop(attribute.pop()),
                    1 => attribute.push(random.random()),
                    _ if attribute.is_empty() => {}
                    _ => {
                        let at = random.random_range(0..attribute.len());
                        attribute[at] = random.random_range(0..0x40);
                    }
                }
            }
            let well_formed = message(&descriptor::KEY_VALUE, &attribute, 3).is_ok();
            if is_usual(&attribute) {
                assert!(well_formed, "{attribute:x?}");
                usual += 1;
            } else {
                unusual += 1;
            }
        }
        assert!(usual > 1000 && unusual > 1000, "{usual} {unusual}");
    }
}
