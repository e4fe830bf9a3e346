//! The buffers of a map column.
//!
//! Records of one instrumentation carry the same keys in the same order, again and again. So a map remembers the last few lists of
//! keys that it saw, with their order and their numbers in the dictionary: a record with a known list is neither sorted nor hashed.
//!
//! What is remembered are keys in the order in which they came, not sets of keys: to compare two lists is one pass over their bytes, which stops at
//! the first difference, and every sender writes its keys in an order of its own. Equal keys are part of it: which of them counts was decided once, when
//! the list was learned.

use super::buffer::repeat_tail;
use super::dictionary::Numbers;
use super::ends::Ends;
use super::key_values::KeyValues;
use super::texts::Texts;
use super::wire::{Fault, put_string};
use crate::otlp::steps;

/// Maps from string to string.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) ends: Ends,
    pub(super) keys: Keys,
    pub(super) values: Vec<u8>,
    last_keys: usize,
    last_values: usize,
    shapes: Shapes,
}

/// The keys of all entries.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a column has one of them")]
pub(super) enum Keys {
    Dictionary(Numbers),
    /// Each with its length in front.
    Text(Vec<u8>),
}

/// Whether a map may have a key twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// As they came, one after the other.
    Kept,
    /// Only the last of them.
    LastOnly,
    /// The same, where the last is known to be the one that counts: of a key that is once among the first so many attributes and once among
    /// the others, or only among the first. Otherwise nothing is written.
    Clear {
        /// How many are the first.
        own: usize,
    },
}

/// A list of keys as it came, and what follows from it.
#[derive(Debug, Default)]
struct Shape {
    /// Not when it is so long that it was only used once.
    remembered: bool,
    duplicates: Option<Duplicates>,
    /// Equal keys of which nobody here knows which one counts.
    doubtful: bool,
    keys: Texts,
    /// The places of the entries that are kept, sorted by key.
    order: Vec<usize>,
    /// Their keys' numbers in the dictionary.
    numbers: Vec<u32>,
}

#[derive(Debug, Default)]
struct Shapes {
    known: Vec<Shape>,
    last: usize,
}

impl Map {
    pub(super) fn new(keys: Keys) -> Map {
        Map { ends: Ends::default(), keys, values: Vec::new(), last_keys: 0, last_values: 0, shapes: Shapes::default() }
    }

    /// Appends a map of attributes, sorted by key as the collector's exporter does; `depth` is that of their messages. Returns by how many
    /// bytes the column grew; `None` when it is not clear which of equal keys counts.
    pub(super) fn push(
        &mut self,
        attributes: impl KeyValues,
        duplicates: Duplicates,
        depth: u8,
        max: u64,
    ) -> Result<Option<usize>, Fault> {
        let mut grown = 8;
        let shape = match self.shapes.find(attributes, duplicates) {
            Some(shape) => shape,
            None => self.shapes.learn(attributes, duplicates, &mut self.keys, &mut grown),
        };
        // Nothing was appended yet: the caller finds out which of the equal keys counts, and comes again.
        if shape.doubtful {
            return Ok(None);
        }
        match &mut self.keys {
            Keys::Dictionary(numbers) => {
                self.last_keys = numbers.numbers.len();
                numbers.numbers.extend_from_slice(&shape.numbers);
                grown += 4 * shape.numbers.len();
            }
            Keys::Text(bytes) => {
                self.last_keys = bytes.len();
                for place in &shape.order {
                    put_string(bytes, attributes.key(*place));
                }
                grown += bytes.len() - self.last_keys;
            }
        }
        self.last_values = self.values.len();
        for place in &shape.order {
            attributes.put_string(*place, &mut self.values, depth + 1, max)?;
            if (self.values.len() - self.last_values) as u64 > max {
                return Err(Fault::TooLarge("max_column_bytes", max));
            }
        }
        self.ends.push(shape.order.len());
        Ok(Some(grown + self.values.len() - self.last_values))
    }

    /// Appends the last map so many times more.
    pub(super) fn repeat(&mut self, times: usize) {
        self.last_values = repeat_tail(&mut self.values, self.last_values, times);
        self.last_keys = match &mut self.keys {
            Keys::Dictionary(numbers) => repeat_tail(&mut numbers.numbers, self.last_keys, times),
            Keys::Text(bytes) => repeat_tail(bytes, self.last_keys, times),
        };
        self.ends.repeat(times);
    }

    /// By how many bytes the column grows when the last map is appended once more.
    pub(super) fn repeated(&self) -> usize {
        let keys = match &self.keys {
            Keys::Dictionary(numbers) => 4 * (numbers.numbers.len() - self.last_keys),
            Keys::Text(bytes) => bytes.len() - self.last_keys,
        };
        8 + keys + self.values.len() - self.last_values
    }

    /// Forgets the lists of keys; whenever numbers are taken out of the dictionary. They hold such numbers, and the dictionary gives them to other
    /// strings then.
    pub(super) fn forget_shapes(&mut self) {
        self.shapes.known.clear();
    }
}

impl Shapes {
    /// How many lists of keys are remembered, and how long they may be. Few, for a record whose list is not known is compared with each of them; and
    /// short, for each open part has a map or more, and long lists are rarely the same twice.
    const MOST: usize = 8;
    const LONGEST: usize = 128;
    const LONGEST_KEYS: usize = 8 << 10;

    fn find(&mut self, attributes: impl KeyValues, duplicates: Duplicates) -> Option<&Shape> {
        if self.known.get(self.last).is_none_or(|shape| !shape.fits(attributes, duplicates)) {
            self.last = self.known.iter().position(|shape| shape.fits(attributes, duplicates))?;
        }
        self.known.get(self.last)
    }

    fn learn(
        &mut self,
        attributes: impl KeyValues,
        duplicates: Duplicates,
        keys: &mut Keys,
        grown: &mut usize,
    ) -> &Shape {
        if self.known.len() < Shapes::MOST {
            self.known.push(Shape::default());
            self.last = self.known.len() - 1;
        } else {
            self.last = (self.last + 1) % Shapes::MOST;
        }
        let shape = &mut self.known[self.last];
        let remembered = attributes.len() <= Shapes::LONGEST
            && attributes.keys().map(<[u8]>::len).sum::<usize>() <= Shapes::LONGEST_KEYS;
        shape.learn(attributes, duplicates, remembered);
        if let Keys::Dictionary(numbers) = keys
            && !shape.doubtful
        {
            for place in &shape.order {
                let (number, bytes) = numbers.dictionary.number(attributes.key(*place));
                shape.numbers.push(number);
                *grown += bytes;
            }
        }
        shape
    }
}

impl Shape {
    #[inline]
    fn fits(&self, attributes: impl KeyValues, duplicates: Duplicates) -> bool {
        steps::count(1 + if self.remembered { self.keys.len().min(attributes.len()) } else { 0 });
        self.remembered && self.duplicates == Some(duplicates) && attributes.has_keys(&self.keys)
    }

    fn learn(&mut self, attributes: impl KeyValues, duplicates: Duplicates, remembered: bool) {
        self.keys.clear();
        self.numbers.clear();
        self.order.clear();
        self.remembered = remembered;
        if remembered {
            attributes.keys().for_each(|key| self.keys.push(key));
        }
        self.duplicates = Some(duplicates);
        sort(attributes, &mut self.order);
        self.doubtful = duplicates.in_doubt_sorted(attributes, &self.order);
        if duplicates != Duplicates::Kept {
            self.order.dedup_by(|later, earlier| {
                let equal = attributes.key(*later) == attributes.key(*earlier);
                if equal {
                    *earlier = *later;
                }
                equal
            });
        }
    }
}

/// The attributes' places in the order of their keys.
fn sort(attributes: impl KeyValues, order: &mut Vec<usize>) {
    order.extend(0..attributes.len());
    order.sort_by(|one, other| {
        steps::count(1);
        attributes.key(*one).cmp(attributes.key(*other))
    });
}

impl Duplicates {
    /// Whether it is not clear which of equal keys counts.
    pub(super) fn in_doubt(self, attributes: impl KeyValues) -> bool {
        let mut order = Vec::new();
        if let Duplicates::Clear { .. } = self {
            sort(attributes, &mut order);
        }
        self.in_doubt_sorted(attributes, &order)
    }

    fn in_doubt_sorted(self, attributes: impl KeyValues, order: &[usize]) -> bool {
        let Duplicates::Clear { own } = self else { return false };
        order.chunk_by(|one, other| attributes.key(*one) == attributes.key(*other)).any(|equal| {
            let others = equal.iter().filter(|place| **place >= own).count();
            others > 1 || (others == 1 && equal.len() > 2)
        })
    }
}
