//! The same message in other bytes: fields in another order, messages in pieces, and fields that nobody knows.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::signal::Signal;

/// A message's type, as far as it decides which of its fields hold messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Type {
    Request(Signal),
    ResourceGroup(Signal),
    ScopeGroup(Signal),
    Resource,
    Scope,
    Span,
    Event,
    Link,
    Status,
    Record,
    Metric,
    Points(u32),
    NumberPoint,
    HistogramPoint,
    ExponentialPoint,
    SummaryPoint,
    Buckets,
    Exemplar,
    Entry,
    Any,
    Array,
    List,
    Leaf,
}

impl Type {
    /// The type of a field's message, and whether there is one of it (so that it may come in pieces); not where it is one of several, of which the
    /// last counts.
    fn field(self, number: u32) -> Option<(Type, bool)> {
        Some(match (self, number) {
            (Type::Request(signal), 1) => (Type::ResourceGroup(signal), false),
            (Type::ResourceGroup(_), 1) => (Type::Resource, true),
            (Type::ResourceGroup(signal), 2) => (Type::ScopeGroup(signal), false),
            (Type::ScopeGroup(_), 1) => (Type::Scope, true),
            (Type::ScopeGroup(Signal::Traces), 2) => (Type::Span, false),
            (Type::ScopeGroup(Signal::Logs), 2) => (Type::Record, false),
            (Type::ScopeGroup(Signal::Metrics), 2) => (Type::Metric, false),
            (Type::Resource, 1) | (Type::Scope, 3) | (Type::Span, 9) | (Type::Event, 3) | (Type::Link, 4) => {
                (Type::Entry, false)
            }
            (Type::Resource, 3) => (Type::Leaf, false),
            (Type::Span, 11) => (Type::Event, false),
            (Type::Span, 13) => (Type::Link, false),
            (Type::Span, 15) => (Type::Status, true),
            (Type::Record, 5) => (Type::Any, true),
            (Type::Record, 6) | (Type::Metric, 12) | (Type::Exemplar, 7) => (Type::Entry, false),
            (Type::Metric, 5 | 7 | 9 | 10 | 11) => (Type::Points(number), false),
            (Type::Points(5 | 7), 1) => (Type::NumberPoint, false),
            (Type::Points(9), 1) => (Type::HistogramPoint, false),
            (Type::Points(10), 1) => (Type::ExponentialPoint, false),
            (Type::Points(11), 1) => (Type::SummaryPoint, false),
            (Type::NumberPoint | Type::SummaryPoint, 7) | (Type::HistogramPoint, 9) | (Type::ExponentialPoint, 1) => {
                (Type::Entry, false)
            }
            (Type::NumberPoint, 5) | (Type::HistogramPoint, 8) | (Type::ExponentialPoint, 11) => {
                (Type::Exemplar, false)
            }
            (Type::ExponentialPoint, 8 | 9) => (Type::Buckets, true),
            (Type::SummaryPoint, 6) => (Type::Leaf, false),
            (Type::Entry, 2) => (Type::Any, true),
            (Type::Any, 5) => (Type::Array, false),
            (Type::Any, 6) => (Type::List, false),
            (Type::Array, 1) => (Type::Any, false),
            (Type::List, 1) => (Type::Entry, false),
            _ => return None,
        })
    }
}

/// A field: its number, and its bytes with the tag.
type Field = (u32, Vec<u8>);

/// Other bytes for the same message.
pub(super) fn scramble(kind: Type, message: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut fields: Vec<Field> = Vec::new();
    for (number, wire, payload) in split(message) {
        match kind.field(number) {
            Some((inner, single)) if wire == 2 => {
                if single && rng.random_bool(0.3) {
                    let pieces = split(payload);
                    let at = rng.random_range(0..=pieces.len());
                    for piece in [&pieces[..at], &pieces[at..]] {
                        let piece: Vec<u8> =
                            piece.iter().flat_map(|(number, wire, payload)| field(*number, *wire, payload)).collect();
                        fields.push((number, field(number, 2, &scramble(inner, &piece, rng))));
                    }
                } else {
                    fields.push((number, field(number, 2, &scramble(inner, payload, rng))));
                }
            }
            _ => fields.push((number, field(number, wire, payload))),
        }
    }
    if rng.random_bool(0.3) {
        fields.push(unknown(rng));
    }
    shuffle(fields, rng)
}

/// Shuffles fields of different numbers; those of one number keep their order.
fn shuffle(fields: Vec<Field>, rng: &mut StdRng) -> Vec<u8> {
    let mut queues: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for (number, bytes) in fields {
        match queues.iter_mut().find(|(other, _)| *other == number) {
            Some((_, queue)) => queue.push(bytes),
            None => queues.push((number, vec![bytes])),
        }
    }
    let mut out = Vec::new();
    while !queues.is_empty() {
        let at = rng.random_range(0..queues.len());
        out.extend(queues[at].1.remove(0));
        if queues[at].1.is_empty() {
            queues.swap_remove(at);
        }
    }
    out
}

fn unknown(rng: &mut StdRng) -> Field {
    let number = rng.random_range(100..100_000);
    let bytes = match rng.random_range(0..5) {
        0 => field(number, 0, &varint(rng.next_u64())),
        1 => field(number, 1, &rng.next_u64().to_le_bytes()),
        2 => field(number, 2, b"unknown"),
        3 => field(number, 5, &[1, 2, 3, 4]),
        _ => {
            let inside = [field(7, 3, &field(3, 0, &[1])), varint(7 << 3 | 4), field(9, 2, b"x")].concat();
            [field(number, 3, &inside), varint(u64::from(number) << 3 | 4)].concat()
        }
    };
    (number, bytes)
}

pub(super) fn field(number: u32, wire: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = varint(u64::from(number) << 3 | u64::from(wire));
    if wire == 2 {
        bytes.extend(varint(payload.len() as u64));
    }
    bytes.extend(payload);
    bytes
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::varint::put(&mut bytes, value);
    bytes
}

/// The fields of a well-formed message as prost writes it: number, wire type, payload.
fn split(mut message: &[u8]) -> Vec<(u32, u8, &[u8])> {
    fn read(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = read(&mut message);
        let wire = (key & 7) as u8;
        let len = match wire {
            0 => message.iter().position(|byte| *byte < 0x80).unwrap() + 1,
            1 => 8,
            2 => read(&mut message) as usize,
            5 => 4,
            _ => panic!("wire type {wire}"),
        };
        let (payload, rest) = message.split_at(len);
        fields.push(((key >> 3) as u32, wire, payload));
        message = rest;
    }
    fields
}
