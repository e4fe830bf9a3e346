//! Short texts that are kept together.

/// Texts, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    /// How many texts there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How long they are together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A text by its place; empty when there is none.
    #[inline]
    pub(super) fn get(&self, at: usize) -> &[u8] {
        let end = self.ends.get(at).copied().unwrap_or_default();
        self.bytes.get(self.start(at)..end).unwrap_or_default()
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| self.bytes.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
    }

    /// Whether the others' first `len` texts are the same.
    pub(super) fn begins_as(&self, other: &Texts, len: usize) -> bool {
        self.ends.get(..len) == other.ends.get(..len)
            && self.bytes.get(..self.start(len)) == other.bytes.get(..other.start(len))
    }

    /// Whether these are the texts from this place on.
    #[inline]
    pub(super) fn ends_as(&self, from: usize, others: &Texts) -> bool {
        let start = self.start(from);
        self.ends.len() == from + others.ends.len()
            && self.bytes.get(start..) == Some(&others.bytes[..])
            && self.ends.iter().skip(from).zip(&others.ends).all(|(end, other)| end - start == *other)
    }

    /// Where the text at this place begins.
    #[inline]
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default()
    }
}

/// Whether two short texts are the same; most keys have 8 to 32 bytes, whose halves overlap and are compared without a call.
#[inline]
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    fn halves<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        Some((text.first_chunk()?, text.last_chunk()?))
    }
    one.len() == other.len()
        && match one.len() {
            8..=16 => halves::<8>(one) == halves::<8>(other),
            17..=32 => halves::<16>(one) == halves::<16>(other),
            _ => one == other,
        }
}
