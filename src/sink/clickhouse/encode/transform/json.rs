//! JSON objects in log bodies, read as the collector's JSON library reads them: numbers as doubles; in strings every byte but NUL as it
//! is; of equal keys the last.

use std::borrow::Cow;

use super::super::bound::Entries;
use super::super::value::Value;
use super::flatten::Node;

/// How deep values may lie in each other, and how many there may be. Other text is not taken for JSON.
const MAX_DEPTH: u32 = 500;

type Pairs<'a> = Vec<(Cow<'a, [u8]>, Node<'a>)>;

/// The object that the whole text is, its keys sorted; `None` when it is not JSON.
pub(super) fn object(text: &[u8]) -> Option<Pairs<'_>> {
    let mut reader = Reader { text, at: 0, most: Entries::new() };
    let value = reader.value(0)?;
    reader.space();
    match value {
        Node::Map(pairs) if reader.at == text.len() => Some(pairs),
        _ => None,
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    most: Entries,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over a byte after white space.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        rest.starts_with(word).then(|| self.at += word.len())
    }

    fn value(&mut self, depth: u32) -> Option<Node<'a>> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.most.one().ok()?;
        self.space();
        match self.peek()? {
            b'{' => self.map(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(|text| Node::Leaf(Value::Text(text))),
            b't' => self.word(b"true").map(|()| Node::Leaf(Value::Bool(true))),
            b'f' => self.word(b"false").map(|()| Node::Leaf(Value::Bool(false))),
            b'n' => self.word(b"null").map(|()| Node::Leaf(Value::Empty)),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn map(&mut self, depth: u32) -> Option<Node<'a>> {
        self.at += 1;
        let mut pairs = Pairs::new();
        if self.takes(b'}') {
            return Some(Node::Map(pairs));
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.takes(b':') {
                return None;
            }
            pairs.push((key, self.value(depth + 1)?));
            if self.takes(b'}') {
                break;
            }
            if !self.takes(b',') {
                return None;
            }
        }
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        pairs.dedup_by(|later, earlier| {
            let equal = later.0 == earlier.0;
            if equal {
                std::mem::swap(later, earlier);
            }
            equal
        });
        Some(Node::Map(pairs))
    }

    fn list(&mut self, depth: u32) -> Option<Node<'a>> {
        self.at += 1;
        let mut nodes = Vec::new();
        if self.takes(b']') {
            return Some(Node::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            if self.takes(b']') {
                return Some(Node::List(nodes));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn number(&mut self) -> Option<Node<'a>> {
        let rest = self.text.get(self.at..)?;
        let len = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let token = &rest[..len.unwrap_or(rest.len())];
        self.at += token.len();
        let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
        number.is_finite().then_some(Node::Leaf(Value::Double(number)))
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            let rest = self.text.get(self.at..)?;
            let len = memchr::memchr3(b'"', b'\\', 0, rest)?;
            let plain = &rest[..len];
            self.at += len + 1;
            match (rest[len], &mut owned) {
                (b'"', None) => return Some(Cow::Borrowed(plain)),
                (b'"', Some(text)) => {
                    text.extend_from_slice(plain);
                    return owned.map(Cow::Owned);
                }
                (b'\\', text) => {
                    let text = text.get_or_insert_default();
                    text.extend_from_slice(plain);
                    self.escape(text)?;
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let byte = match self.peek()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                let char = self.unicode()?;
                text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        self.at += 1;
        text.push(byte);
        Some(())
    }

    /// Four hex digits, and four more for a pair of surrogates. A lone surrogate is U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.text.get(self.at..)?.starts_with(b"\\u") {
            let after_high = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00)));
            }
            self.at = after_high;
        }
        Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
    }
}
