//! Attributes as everybody writes them, taken apart in one go: whatever is written otherwise is `None` here, and read field by field.

/// The key and the value's message, in the order in which everybody writes them and none longer than 16 KiB.
#[inline(always)]
pub(super) fn plain(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, bytes @ ..] = message else { return None };
    let (key_len, bytes) = short_len(bytes)?;
    let (key, bytes) = bytes.split_at_checked(key_len)?;
    let [0x12, value @ ..] = bytes else { return None };
    Some((key, counted(value)?))
}

/// The key and the text of an attribute that is one, as everybody writes it.
#[inline]
pub(super) fn plain_text(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, value) = plain(message)?;
    Some((key, only_text(value)?))
}

/// The text of an `AnyValue` that holds one and nothing else, as most bodies do.
#[inline]
pub(super) fn only_text(value: &[u8]) -> Option<&[u8]> {
    match value {
        [0x0a, text @ ..] => counted(text),
        _ => None,
    }
}

/// A length of one or two bytes, and what follows it.
#[inline(always)]
fn short_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [len @ ..0x80, rest @ ..] => Some((usize::from(*len), rest)),
        [low, high @ ..0x80, rest @ ..] => Some((usize::from(low & 0x7f) | usize::from(*high) << 7, rest)),
        _ => None,
    }
}

/// What follows a length of one or two bytes, when it is so long.
#[inline(always)]
pub(super) fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = short_len(bytes)?;
    (rest.len() == len).then_some(rest)
}

/// An integer of at most nine bytes, with nothing behind it.
#[inline]
pub(super) fn short_int(bytes: &[u8]) -> Option<i64> {
    let (last, before) = bytes.split_last()?;
    if before.len() > 8 || *last >= 0x80 || before.iter().any(|byte| *byte < 0x80) {
        return None;
    }
    Some(bytes.iter().rev().fold(0, |value, byte| value << 7 | i64::from(byte & 0x7f)))
}
