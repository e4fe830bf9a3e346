//! The pieces that hold a range of a part's records: what is sent of a refused batch when it is divided down to single requests.

use bytes::Bytes;

use crate::otlp::check::records;
use crate::otlp::wire::{Fault, Field, Fields};
use crate::signal::Signal;

/// The pieces of `body` whose records are `count` ones after the first `start`. The range's ends are ends of requests, and so of
/// pieces.
///
/// # Errors
/// `body` is not what a chunk was sealed into.
pub(in crate::sink::collector) fn cut(
    signal: Signal,
    body: &[Bytes],
    (start, count): (u64, u64),
) -> Result<Vec<Bytes>, Fault> {
    if signal == Signal::Profiles {
        // One request, which is not divided.
        return Ok(body.to_vec());
    }
    let end = start.saturating_add(count);
    let (mut at, mut chosen) = (0_u64, Vec::new());
    for bytes in body {
        let mut fields = Fields::new(bytes, 0);
        let mut from = 0;
        while let Some((number, field)) = fields.next()? {
            let to = fields.position();
            let (1, Field::Len(group)) = (number, field) else {
                return fields.wrong_type();
            };
            if (start..end).contains(&at) {
                chosen.push(bytes.slice(from..to));
            }
            at = at.saturating_add(records(signal, group)?);
            from = to;
        }
    }
    Ok(chosen)
}
