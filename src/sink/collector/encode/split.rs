//! A resource's group that is larger than an export request may be is divided: at its scopes, and a scope that is still too large at its
//! records. What stands beside the children (the resource, the scope, their schema URLs) is repeated with each share of them.
//!
//! Field 2 holds the children at both levels, in all three signals. A metric with all its data points is a record here.

use crate::otlp::check::GROUP_DEPTH;
use crate::otlp::stamp::copy;
use crate::otlp::wire::{Fault, Field, Fields, field_len, put_field};

const CHILDREN: u8 = 2;
/// The setting that says how large an export request may be.
pub(super) const MAX_MESSAGE_BYTES: &str = "sink.forward.max_message_bytes";
/// The level of a scope's records, which are never divided.
const RECORD_DEPTH: u8 = GROUP_DEPTH + 2;

/// Hands out messages like `message`, each at most `max` bytes long as a field, that together hold all its children.
///
/// # Errors
/// [`Fault::TooLarge`] when one record, with what it belongs to, is over `max`; what `each` says.
pub(super) fn split(
    message: &[u8],
    depth: u8,
    max: usize,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let too_large = Fault::TooLarge(MAX_MESSAGE_BYTES, u64::try_from(max).unwrap_or(u64::MAX));
    divide(message, depth, max, too_large, each)
}

fn divide(
    message: &[u8],
    depth: u8,
    max: usize,
    too_large: Fault,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut share = Vec::new();
    copy(message, depth, &mut share, |number, _| Ok(number != u32::from(CHILDREN)))?;
    let header = share.len();
    // What a child may be so that it fits alone; the length before the share may grow by some bytes with it.
    let room = max.saturating_sub(field_len(header) + 9);
    let mut fields = Fields::new(message, depth);
    while let Some((number, field)) = fields.next()? {
        let (2, Field::Len(child)) = (number, field) else { continue };
        if field_len(child.len()) > room {
            if depth + 1 == RECORD_DEPTH {
                return Err(too_large);
            }
            flush(&mut share, header, each)?;
            divide(child, depth + 1, room, too_large, &mut |part| {
                put_field(&mut share, CHILDREN, part);
                flush(&mut share, header, each)
            })?;
            continue;
        }
        if share.len() - header + field_len(child.len()) > room {
            flush(&mut share, header, each)?;
        }
        put_field(&mut share, CHILDREN, child);
    }
    flush(&mut share, header, each)
}

/// Hands out what has gathered behind the header.
fn flush(share: &mut Vec<u8>, header: usize, each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    if share.len() > header {
        each(share)?;
        share.truncate(header);
    }
    Ok(())
}
