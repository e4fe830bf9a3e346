//! Reads JSON by the table of messages, and writes protobuf.

use super::encode::Encoder;
use super::reader::{Reader, Stop};
use super::text;
use crate::memory::Memory;
use crate::otlp::descriptor::{FieldDescriptor, FieldKind, MessageDescriptor};

/// A text on its way into protobuf.
pub(super) struct Transcoder<'t, M> {
    pub(super) reader: Reader<'t>,
    pub(super) encoder: Encoder<M>,
    /// The innermost field in which reading stopped.
    pub(super) field: Option<&'static str>,
    /// Records that nest too deep, and are left out.
    pub(super) dropped: u64,
}

/// What is known of a value before it is read.
#[derive(Clone, Copy)]
struct Place {
    field: &'static FieldDescriptor,
    /// Inside its field's list.
    element: bool,
    /// A value for the same field, or for another of several of which the last counts, may have been written before.
    again: bool,
}

impl<M: Memory> Transcoder<'_, M> {
    /// Reads the whole text.
    pub(super) fn request(&mut self, message: &'static MessageDescriptor) -> Result<(), Stop> {
        match self.reader.peek()? {
            b'{' => self.object(message, false)?,
            b'n' => self.reader.word("null")?,
            other => return Err(Reader::unexpected(other)),
        }
        if self.reader.ends() { Ok(()) } else { Err(Stop::Malformed) }
    }

    /// Writes the fields of an object. `again`: a part of the same message may have been written before.
    fn object(&mut self, message: &'static MessageDescriptor, again: bool) -> Result<(), Stop> {
        self.reader.open()?;
        // The fields that were there, by their places in the table; and whether one of several was.
        let (mut seen, mut one_seen) = (0_u32, false);
        let mut first = true;
        while self.reader.more(first, b'}')? {
            first = false;
            let Some((at, field)) = self.name(message)? else {
                self.reader.skip()?;
                continue;
            };
            let before = if field.oneof { one_seen } else { seen & 1 << at != 0 };
            let place = Place { field, element: false, again: again || before };
            (seen, one_seen) = (seen | 1 << at, one_seen | field.oneof);
            if place.again && field.oneof && matches!(field.kind, FieldKind::Message(_)) {
                self.forget(message, field)?;
            }
            if let Err(stop) = self.value(place) {
                self.field.get_or_insert(field.name);
                return Err(stop);
            }
        }
        Ok(())
    }

    /// The field that a member's name names, in snake_case or in lowerCamelCase.
    fn name(&mut self, message: &'static MessageDescriptor) -> Result<Option<(usize, &'static FieldDescriptor)>, Stop> {
        let name = self.reader.name()?;
        let find = |name: &[u8]| message.fields.iter().enumerate().find(|(_, field)| is_named(field.name, name));
        match name.escaped {
            false => Ok(find(name.raw)),
            true => match self.encoder.parse(name, |name| Some(find(name.as_bytes()))) {
                Err(Stop::Misfit) => Ok(None),
                found => found,
            },
        }
    }

    /// Writes an empty value of another kind before a message of which only the last counts: readers of protobuf would merge it with one before.
    fn forget(&mut self, message: &'static MessageDescriptor, field: &FieldDescriptor) -> Result<(), Stop> {
        let other = message.fields.iter().find(|other| {
            other.oneof && other.number != field.number && matches!(other.kind, FieldKind::Message(_) | FieldKind::Text)
        });
        match other {
            Some(other) => {
                self.encoder.tag(other, false)?;
                self.encoder.put(&[0])
            }
            None => Ok(()),
        }
    }

    fn value(&mut self, place: Place) -> Result<(), Stop> {
        let Place { field, element, again } = place;
        let begins = self.reader.peek()?;
        if begins == b'n' {
            self.reader.word("null")?;
            return self.null(place);
        }
        if field.repeated && !element {
            return match begins {
                b'[' => self.list(field),
                other => Err(Reader::unexpected(other)),
            };
        }
        if !(element && is_packed(field.kind)) {
            self.encoder.tag(field, false)?;
        }
        match (field.kind, begins) {
            (FieldKind::Message(message), b'{') => {
                let begun = self.encoder.begin()?;
                self.object(message, again && !element)?;
                self.encoder.end(begun)
            }
            (FieldKind::Text, b'"') => {
                let text = self.reader.string()?;
                self.encoder.text(text)
            }
            (FieldKind::Hex(len), b'"') => {
                let digits = self.reader.string()?;
                // With one byte for its length.
                let start = self.encoder.len() + 1;
                self.encoder.bytes(digits, text::hex)?;
                let found = self.encoder.len() - start;
                if found == 0 || found == len { Ok(()) } else { Err(Stop::Misfit) }
            }
            (FieldKind::Base64, b'"') => {
                let digits = self.reader.string()?;
                self.encoder.bytes(digits, text::base64)
            }
            (FieldKind::Bool, b't') => {
                self.reader.word("true")?;
                self.encoder.put(&[1])
            }
            (FieldKind::Bool, b'f') => {
                self.reader.word("false")?;
                self.encoder.put(&[0])
            }
            (
                FieldKind::Message(_) | FieldKind::Text | FieldKind::Hex(_) | FieldKind::Base64 | FieldKind::Bool,
                other,
            ) => Err(Reader::unexpected(other)),
            (kind, b'"') => self.number_in_string(kind),
            (kind, b'-' | b'0'..=b'9') => {
                let number = self.reader.number()?;
                match kind {
                    FieldKind::Double => self.encoder.double(text::number(number).ok_or(Stop::Misfit)?),
                    _ => self.encoder.integer(kind, text::integer(number).ok_or(Stop::Misfit)?),
                }
            }
            (_, other) => Err(Reader::unexpected(other)),
        }
    }

    /// A number, or an enum's name.
    fn number_in_string(&mut self, kind: FieldKind) -> Result<(), Stop> {
        let digits = self.reader.string()?;
        match kind {
            FieldKind::Double => {
                let value = self.encoder.parse(digits, text::double)?;
                self.encoder.double(value)
            }
            FieldKind::Enum(names) => {
                let named = |text: &str| names.iter().find(|(name, _)| *name == text);
                let (_, value) = self.encoder.parse(digits, named)?;
                self.encoder.integer(kind, i128::from(*value))
            }
            _ => {
                let value = self.encoder.parse(digits, text::integer)?;
                self.encoder.integer(kind, value)
            }
        }
    }

    /// A field that is absent, or an element that is empty. As the collector has it, a text is the empty one, and one of several counts.
    fn null(&mut self, Place { field, element, .. }: Place) -> Result<(), Stop> {
        let empty = match field.kind {
            _ if field.repeated && !element => false,
            FieldKind::Text => true,
            FieldKind::Message(_) => element || field.oneof,
            _ if element => return Err(Stop::Misfit),
            _ => false,
        };
        if empty {
            self.encoder.tag(field, false)?;
            self.encoder.put(&[0])?;
        }
        Ok(())
    }

    fn list(&mut self, field: &'static FieldDescriptor) -> Result<(), Stop> {
        self.reader.open()?;
        let begun = match is_packed(field.kind) {
            true => {
                self.encoder.tag(field, true)?;
                Some(self.encoder.begin()?)
            }
            false => None,
        };
        let element = Place { field, element: true, again: false };
        let mut first = true;
        while self.reader.more(first, b']')? {
            first = false;
            if field.record { self.record(element)? } else { self.value(element)? }
        }
        begun.map_or(Ok(()), |begun| self.encoder.end(begun))
    }

    /// A record that nests too deep costs itself and not its neighbours.
    fn record(&mut self, element: Place) -> Result<(), Stop> {
        let (start, written) = (self.reader.clone(), self.encoder.len());
        match self.value(element) {
            Err(Stop::Deep) => {
                self.reader = start;
                self.encoder.truncate(written);
                self.reader.skip()?;
                self.field = None;
                self.dropped += 1;
                Ok(())
            }
            other => other,
        }
    }
}

/// Whether elements are written as packed numbers.
fn is_packed(kind: FieldKind) -> bool {
    !matches!(kind, FieldKind::Text | FieldKind::Hex(_) | FieldKind::Base64 | FieldKind::Message(_))
}

/// Whether `name` is this one, or its lowerCamelCase.
fn is_named(snake: &str, name: &[u8]) -> bool {
    if snake.as_bytes() == name {
        return true;
    }
    let mut rest = name.iter();
    let mut upper = false;
    for byte in snake.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let wanted = if upper { byte.to_ascii_uppercase() } else { byte };
        upper = false;
        if rest.next() != Some(&wanted) {
            return false;
        }
    }
    rest.next().is_none()
}
