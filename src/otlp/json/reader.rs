//! JSON text (RFC 8259), read from its beginning to its end.
//!
//! It takes what the collector's reader takes in strings: bytes that are not UTF-8 and control characters as they are, half a surrogate pair as
//! U+FFFD. What is read is never copied here. Values that nobody asked for are stepped over without recursion, so that they may nest as deep as the
//! collector's may.

use crate::reply::Refusal;

/// How deep values that mean something may lie in each other. Their reader is recursive.
pub(super) const MAX_DEPTH: usize = 128;
/// The same for values that are stepped over: the collector's own limit.
const MAX_SKIPPED_DEPTH: usize = 10_000;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The text ends too early.
    Short,
    /// Not JSON.
    Malformed,
    /// JSON that nests too deep.
    Deep,
    /// JSON, but not what its field may hold.
    Misfit,
    /// What is written has no room.
    Refused(Refusal),
}

/// Where the reader stands in a text.
#[derive(Debug, Clone)]
pub(super) struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

/// A string between its quotes, as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    pub(super) raw: &'t [u8],
    /// Whether there is an escape in it.
    pub(super) escaped: bool,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t [u8]) -> Reader<'t> {
        Reader { text, at: 0, depth: 0 }
    }

    /// Line and column, from 1, for people.
    pub(super) fn place(&self) -> (usize, usize) {
        let read = self.text.get(..self.at).unwrap_or(self.text);
        let line = memchr::memchr_iter(b'\n', read).count();
        let start = memchr::memrchr(b'\n', read).map_or(0, |at| at + 1);
        (line + 1, read.len() - start + 1)
    }

    /// The next byte behind white space.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Stop> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Stop::Short),
            }
        }
    }

    /// Whether nothing but white space is left.
    pub(super) fn ends(&mut self) -> bool {
        matches!(self.peek(), Err(Stop::Short))
    }

    /// What is wrong with a value that begins so where another was expected.
    pub(super) fn unexpected(byte: u8) -> Stop {
        match byte {
            b'"' | b'{' | b'[' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => Stop::Misfit,
            _ => Stop::Malformed,
        }
    }

    /// Steps into an object or a list; the reader stands before its bracket.
    pub(super) fn open(&mut self) -> Result<(), Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Deep);
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether an object or a list that ends with `close` goes on; steps over the comma, or out of it.
    #[inline]
    pub(super) fn more(&mut self, first: bool, close: u8) -> Result<bool, Stop> {
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            b',' if !first => {
                self.at += 1;
                // What follows is looked at by who reads it, and is no value when it is a bracket.
                Ok(true)
            }
            _ if first => Ok(true),
            _ => Err(Stop::Malformed),
        }
    }

    /// A member's name and the colon behind it.
    #[inline]
    pub(super) fn name(&mut self) -> Result<Text<'t>, Stop> {
        let name = match self.peek()? {
            b'"' => self.string()?,
            _ => return Err(Stop::Malformed),
        };
        match self.peek()? {
            b':' => self.at += 1,
            _ => return Err(Stop::Malformed),
        }
        Ok(name)
    }

    /// A string; the reader stands before its quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'t>, Stop> {
        let start = self.at + 1;
        let mut from = start;
        loop {
            let found = self.text.get(from..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest));
            let Some(found) = found else {
                self.at = self.text.len();
                return Err(Stop::Short);
            };
            let at = from + found;
            if self.text.get(at) == Some(&b'"') {
                self.at = at + 1;
                let raw = self.text.get(start..at).unwrap_or_default();
                return Ok(Text { raw, escaped: from > start });
            }
            from = at + 2;
        }
    }

    /// A number in JSON's form.
    pub(super) fn number(&mut self) -> Result<&'t str, Stop> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let digits = |from: usize| rest.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        let sign = usize::from(rest.first() == Some(&b'-'));
        let whole = digits(sign);
        let mut end = sign + whole;
        let mut is_number = whole == 1 || (whole > 1 && rest.get(sign) != Some(&b'0'));
        if rest.get(end) == Some(&b'.') {
            let fraction = digits(end + 1);
            is_number &= fraction > 0;
            end += 1 + fraction;
        }
        if let Some(b'e' | b'E') = rest.get(end) {
            end += 1;
            end += usize::from(matches!(rest.get(end), Some(b'+' | b'-')));
            let exponent = digits(end);
            is_number &= exponent > 0;
            end += exponent;
        }
        let number = rest.get(..end).and_then(|number| std::str::from_utf8(number).ok());
        let number = number.filter(|_| is_number).ok_or(Stop::Malformed)?;
        self.at += end;
        Ok(number)
    }

    /// `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Stop> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(if word.as_bytes().starts_with(rest) { Stop::Short } else { Stop::Malformed })
    }

    /// Steps over a value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        let mut open = Brackets::default();
        loop {
            let begins = match self.peek()? {
                b'"' => {
                    let text = self.string()?;
                    unescape(text, |_| Ok(()))?;
                    None
                }
                b't' => self.word("true").map(|()| None)?,
                b'f' => self.word("false").map(|()| None)?,
                b'n' => self.word("null").map(|()| None)?,
                b'-' | b'0'..=b'9' => self.number().map(|_| None)?,
                b'{' => Some(true),
                b'[' => Some(false),
                _ => return Err(Stop::Malformed),
            };
            let mut first = begins.is_some();
            if let Some(is_object) = begins {
                self.at += 1;
                open.push(is_object)?;
            }
            // Steps out of what ends here, up to where another value follows.
            loop {
                let Some(is_object) = open.last() else {
                    return Ok(());
                };
                match self.peek()? {
                    b'}' if is_object => open.pop(),
                    b']' if !is_object => open.pop(),
                    b',' if !first => {
                        self.at += 1;
                        break;
                    }
                    _ if first => break,
                    _ => return Err(Stop::Malformed),
                }
                self.at += 1;
                first = false;
            }
            if open.last() == Some(true) {
                let name = self.name()?;
                unescape(name, |_| Ok(()))?;
            }
        }
    }
}

/// Which of the open brackets are curly: a bit each.
struct Brackets {
    bits: [u64; MAX_SKIPPED_DEPTH.div_ceil(64)],
    depth: usize,
}

impl Default for Brackets {
    fn default() -> Brackets {
        Brackets { bits: [0; MAX_SKIPPED_DEPTH.div_ceil(64)], depth: 0 }
    }
}

impl Brackets {
    fn push(&mut self, is_object: bool) -> Result<(), Stop> {
        if self.depth >= MAX_SKIPPED_DEPTH {
            return Err(Stop::Deep);
        }
        if let Some(bits) = self.bits.get_mut(self.depth / 64) {
            let bit = 1 << (self.depth % 64);
            *bits = if is_object { *bits | bit } else { *bits & !bit };
        }
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn last(&self) -> Option<bool> {
        let at = self.depth.checked_sub(1)?;
        Some(self.bits.get(at / 64)? >> (at % 64) & 1 == 1)
    }
}

/// Hands out the bytes that a string means, piece by piece.
///
/// # Errors
/// [`Stop::Malformed`] at an escape that JSON does not know; what `put` says.
pub(super) fn unescape(text: Text<'_>, mut put: impl FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
    let mut rest = text.raw;
    if !text.escaped {
        return put(rest);
    }
    while let Some(at) = memchr::memchr(b'\\', rest) {
        put(rest.get(..at).unwrap_or_default())?;
        let (escape, after) = rest.get(at + 1..).and_then(<[u8]>::split_first).ok_or(Stop::Malformed)?;
        rest = after;
        let byte = match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                for char in unicode(&mut rest)?.into_iter().flatten() {
                    put(char.encode_utf8(&mut [0; 4]).as_bytes())?;
                }
                continue;
            }
            _ => return Err(Stop::Malformed),
        };
        put(&[byte])?;
    }
    put(rest)
}

/// What four hex digits mean, and with a surrogate the escape behind it: one character, or two when the surrogates are no pair.
fn unicode(rest: &mut &[u8]) -> Result<[Option<char>; 2], Stop> {
    let or_replacement = |unit: u32| Some(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
    let first = hex_unit(rest)?;
    let is_surrogate = (0xd800..0xe000).contains(&first);
    let Some(mut after) = rest.strip_prefix(b"\\u").filter(|_| is_surrogate) else {
        return Ok([or_replacement(first), None]);
    };
    let second = hex_unit(&mut after)?;
    *rest = after;
    if first < 0xdc00 && (0xdc00..0xe000).contains(&second) {
        let pair = 0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00));
        return Ok([or_replacement(pair), None]);
    }
    Ok([or_replacement(first), or_replacement(second)])
}

fn hex_unit(rest: &mut &[u8]) -> Result<u32, Stop> {
    let (digits, after) = rest.split_first_chunk::<4>().ok_or(Stop::Malformed)?;
    let digit = |value: u32, digit: &u8| Some(value << 4 | char::from(*digit).to_digit(16)?);
    let unit = digits.iter().try_fold(0, digit).ok_or(Stop::Malformed)?;
    *rest = after;
    Ok(unit)
}

#[cfg(test)]
mod tests;
