//! Where the times stand in a serialised body, found without knowledge of the messages: the same records made at two moments differ in
//! their times only, and OTLP writes those as fixed64.

use anyhow::{Result, ensure};

/// How much later the second of the two bodies is, in nanoseconds. Odd, so that the first byte of each time differs.
pub(crate) const LATER: u64 = 1_000_000_007;

const SIZE: usize = size_of::<u64>();

/// The offsets of all times.
///
/// # Errors
/// When the bodies differ in anything else.
pub(crate) fn find(body: &[u8], later: &[u8]) -> Result<Vec<usize>> {
    ensure!(body.len() == later.len(), "the same records have different sizes at different times");
    let mut offsets = Vec::new();
    let mut at = 0;
    while at < body.len() {
        if body[at] == later[at] {
            at += 1;
            continue;
        }
        let (one, other) = (time(body, at), time(later, at));
        let is_time = one.zip(other).is_some_and(|(one, other)| one.checked_add(LATER) == Some(other));
        ensure!(is_time, "the bodies differ in more than their times");
        offsets.push(at);
        at += SIZE;
    }
    ensure!(!offsets.is_empty(), "no time was found");
    Ok(offsets)
}

/// Moves all times alike, so that the latest is `now`.
pub(crate) fn bring_to(body: &mut [u8], offsets: &[usize], now: u64) {
    let latest = offsets.iter().filter_map(|at| time(body, *at)).max().unwrap_or(now);
    let shift = now.wrapping_sub(latest);
    for at in offsets {
        if let Some(moved) = time(body, *at).map(|time| time.wrapping_add(shift)) {
            body[*at..at + SIZE].copy_from_slice(&moved.to_le_bytes());
        }
    }
}

fn time(body: &[u8], at: usize) -> Option<u64> {
    let bytes = body.get(at..at + SIZE)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use stack::Samples;

    use super::*;

    const START: u64 = 1_790_000_000_000_000_000;

    #[test]
    fn a_body_brought_to_a_moment_is_the_body_made_then() {
        let make: [fn(&mut Samples) -> Vec<u8>; 3] =
            [|s| s.traces_bytes(50), |s| s.logs_bytes(50), |s| s.metrics_bytes(50)];
        for bytes in make {
            let at = |start| bytes(&mut Samples::new(3).at(start));
            let mut body = at(START);
            let offsets = find(&body, &at(START + LATER)).expect("times");
            let latest = offsets.iter().filter_map(|at| time(&body, *at)).max().expect("a time");
            bring_to(&mut body, &offsets, latest + 12_345_678_901);
            assert_eq!(body, at(START + 12_345_678_901));
        }
    }

    #[test]
    fn other_differences_are_refused() {
        assert!(find(b"abcdefgh1", b"abcdefgh2").is_err());
        assert!(find(b"same", b"same").is_err());
        assert!(find(b"short", b"longer").is_err());
    }
}
