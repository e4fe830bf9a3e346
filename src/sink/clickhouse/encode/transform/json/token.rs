//! The numbers and strings of JSON text, kept as they stand there wherever that is what they mean.

/// A string of the text, or of what was made from it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    Text(&'a [u8]),
    /// From here to there in [`Tokens::made`].
    Made(usize, usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Leaf<'a> {
    Empty,
    Bool(bool),
    Double(f64),
    /// A number whose text is the one that Go would write.
    Number(&'a [u8]),
    Text(Piece<'a>),
}

/// A text that is read from its beginning.
#[derive(Debug, Default)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    /// What does not stand in the text as it is.
    pub(super) made: Vec<u8>,
}

impl<'a> Tokens<'a> {
    /// Begins another text.
    pub(super) fn begin(&mut self, text: &'a [u8]) {
        self.text = text;
        self.at = 0;
        self.made.clear();
    }

    /// The same without a text.
    pub(super) fn emptied<'b>(mut self, keep: usize) -> Tokens<'b> {
        self.made.clear();
        self.made.shrink_to(keep);
        Tokens { made: self.made, ..Tokens::default() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    #[inline]
    pub(super) fn piece<'m>(&'m self, piece: Piece<'a>) -> &'m [u8] {
        match piece {
            Piece::Text(text) => text,
            Piece::Made(start, end) => self.made.get(start..end).unwrap_or_default(),
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over a byte after white space.
    #[inline]
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    /// Steps over this text when a leaf follows it, and says how that begins.
    #[inline]
    pub(super) fn passes(&mut self, gap: &[u8]) -> Option<u8> {
        let rest = self.text.get(self.at..)?.strip_prefix(gap)?;
        let begin = rest.first().filter(|begin| !matches!(begin, b'{' | b'['))?;
        self.at += gap.len();
        Some(*begin)
    }

    /// Whether this is all that is left.
    pub(super) fn ends_with(&self, rest: &[u8]) -> bool {
        self.text.get(self.at..) == Some(rest)
    }

    #[inline]
    pub(super) fn leaf(&mut self, begin: u8) -> Option<Leaf<'a>> {
        match begin {
            b'"' => self.string().map(Leaf::Text),
            b't' => self.word(b"true", Leaf::Bool(true)),
            b'f' => self.word(b"false", Leaf::Bool(false)),
            b'n' => self.word(b"null", Leaf::Empty),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], leaf: Leaf<'a>) -> Option<Leaf<'a>> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(leaf)
    }

    #[inline]
    fn number(&mut self) -> Option<Leaf<'a>> {
        let rest = self.text.get(self.at..)?;
        let plain = plain_number(rest);
        if plain > 0 && !rest.get(plain).is_some_and(is_in_number) {
            self.at += plain;
            return Some(Leaf::Number(&rest[..plain]));
        }
        self.any_number(rest)
    }

    #[cold]
    fn any_number(&mut self, rest: &[u8]) -> Option<Leaf<'a>> {
        let len = rest.iter().position(|byte| !is_in_number(byte)).unwrap_or(rest.len());
        self.at += len;
        let number: f64 = std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?;
        number.is_finite().then_some(Leaf::Double(number))
    }

    #[inline]
    pub(super) fn string(&mut self) -> Option<Piece<'a>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        let rest = self.text.get(self.at..)?;
        let len = special(rest)?;
        if rest[len] == b'"' {
            self.at += len + 1;
            return Some(Piece::Text(&rest[..len]));
        }
        self.escaped_string()
    }

    fn escaped_string(&mut self) -> Option<Piece<'a>> {
        let start = self.made.len();
        loop {
            let rest = self.text.get(self.at..)?;
            let len = special(rest)?;
            self.made.extend_from_slice(&rest[..len]);
            self.at += len + 1;
            match rest[len] {
                b'"' => return Some(Piece::Made(start, self.made.len())),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
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
                self.made.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        self.at += 1;
        self.made.push(byte);
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

/// Where the first quote, backslash or NUL stands. Eight bytes at a time: most strings are short.
#[inline]
fn special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    /// The highest bit of the lowest byte that is zero, and perhaps those of higher bytes.
    const fn zero(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & (ONES << 7)
    }
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero(word) | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64));
        if found != 0 {
            return Some(8 * at + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0))?;
    Some(8 * words.len() + found)
}

fn is_in_number(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// The length of the number that the text begins with, when Go would write it just so; else 0. Up to 15 digits name a double of their
/// own, so none of them can be left out.
#[inline]
fn plain_number(text: &[u8]) -> usize {
    let digits = |from: usize| text.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(text.first() == Some(&b'-'));
    let whole = digits(sign);
    let point = sign + whole;
    let starts_with_0 = text.get(sign) == Some(&b'0');
    if whole == 0 || whole > 15 || (whole > 1 && starts_with_0) {
        return 0;
    }
    if text.get(point) != Some(&b'.') {
        return point;
    }
    let fraction = digits(point + 1);
    let end = point + 1 + fraction;
    // From 0.000001 on; below it has an exponent.
    let small = starts_with_0 && text.get(point + 1..).is_some_and(|fraction| fraction.starts_with(b"000000"));
    let ends_with_0 = text.get(end - 1) == Some(&b'0');
    if fraction == 0 || whole + fraction > 15 || ends_with_0 || small { 0 } else { end }
}
