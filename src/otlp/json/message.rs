//! The visitor: reads JSON by the table of messages, writes protobuf.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::encode::Encoder;
use super::text;
use crate::memory::Memory;
use crate::otlp::descriptor::{Field, Kind, Message};

/// A whole request: an object, without a tag or a length before it.
pub(super) struct Request<'a, M> {
    pub(super) message: &'static Message,
    pub(super) encoder: &'a mut Encoder<M>,
}

impl<'de, M: Memory> DeserializeSeed<'de> for Request<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de, M: Memory> Visitor<'de> for Request<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        fields(self.message, self.encoder, map)
    }
}

/// Writes the fields of an object.
fn fields<'de, M: Memory, A: MapAccess<'de>>(
    message: &'static Message,
    encoder: &mut Encoder<M>,
    mut map: A,
) -> Result<(), A::Error> {
    while let Some(known) = map.next_key_seed(Name(message))? {
        let Some(field) = known else {
            map.next_value_seed(Skip)?;
            continue;
        };
        let value = Value { field, element: false, encoder: &mut *encoder };
        if let Err(error) = map.next_value_seed(value) {
            encoder.field.get_or_insert(field.name);
            return Err(error);
        }
    }
    Ok(())
}

/// A name of an object: the field that it names, if it names one.
struct Name(&'static Message);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|field| field.name == name))
    }
}

/// What a field holds, or one element of it.
struct Value<'a, M> {
    field: &'static Field,
    element: bool,
    encoder: &'a mut Encoder<M>,
}

impl<M: Memory> Value<'_, M> {
    /// A list is expected, and not yet inside it.
    fn expects_list(&self) -> bool {
        self.field.repeated && !self.element
    }

    /// Writes the tag, unless the value is one of packed numbers.
    fn tag<E: de::Error>(&mut self) -> Result<(), E> {
        if self.expects_list() {
            return Err(E::custom("not a list"));
        }
        match self.element && is_packed(self.field.kind) {
            true => Ok(()),
            false => self.encoder.tag(self.field, false),
        }
    }

    fn bytes<E: de::Error>(&mut self, bytes: impl Iterator<Item = Option<u8>>) -> Result<(), E> {
        let begun = self.encoder.begin()?;
        for byte in bytes {
            let byte = byte.ok_or_else(|| E::custom("not hex or base64"))?;
            self.encoder.put(&[byte])?;
        }
        self.encoder.end(begun)
    }

    fn integer<E: de::Error>(mut self, value: i128) -> Result<(), E> {
        self.tag()?;
        self.encoder.integer(self.field.kind, value)
    }
}

/// Whether elements are written as packed numbers.
fn is_packed(kind: Kind) -> bool {
    !matches!(kind, Kind::Text | Kind::Hex(_) | Kind::Base64 | Kind::Message(_))
}

impl<'de, M: Memory> DeserializeSeed<'de> for Value<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de, M: Memory> Visitor<'de> for Value<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for {}", self.field.name)
    }

    fn visit_unit<E: de::Error>(mut self) -> Result<(), E> {
        match self.field.kind {
            _ if !self.element => Ok(()),
            Kind::Message(_) => {
                self.tag()?;
                self.encoder.put(&[0])
            }
            _ => Err(E::custom("null in a list")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(de::Error::custom("not an object"));
        };
        self.tag()?;
        let begun = self.encoder.begin()?;
        fields(message, self.encoder, map)?;
        self.encoder.end(begun)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.expects_list() {
            return Err(de::Error::custom("not a list"));
        }
        let Value { field, encoder, .. } = self;
        let begun = match is_packed(field.kind) {
            true => {
                encoder.tag(field, true)?;
                Some(encoder.begin()?)
            }
            false => None,
        };
        let mut more = Some(());
        while more.is_some() {
            more = list.next_element_seed(Value { field, element: true, encoder: &mut *encoder })?;
        }
        begun.map_or(Ok(()), |begun| encoder.end(begun))
    }

    fn visit_str<E: de::Error>(mut self, string: &str) -> Result<(), E> {
        let misfit = || E::custom("not in the field's form");
        let kind = self.field.kind;
        match kind {
            Kind::Bool | Kind::Enum | Kind::Message(_) => return Err(misfit()),
            _ => self.tag()?,
        }
        match kind {
            Kind::Text => self.encoder.delimited(string.as_bytes()),
            Kind::Hex(_) => self.bytes(text::hex(string).ok_or_else(misfit)?),
            Kind::Base64 => self.bytes(text::base64(string)),
            Kind::Double => {
                let value = text::double(string).ok_or_else(misfit)?;
                self.encoder.put(&value.to_le_bytes())
            }
            _ => {
                let value = string.parse().map_err(|_| misfit())?;
                self.encoder.integer(kind, value)
            }
        }
    }

    fn visit_bool<E: de::Error>(mut self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => {
                self.tag()?;
                self.encoder.put(&[u8::from(value)])
            }
            _ => Err(E::custom("not a boolean")),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: de::Error>(mut self, value: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => {
                self.tag()?;
                self.encoder.put(&value.to_le_bytes())
            }
            _ => {
                let whole = text::integral(value).ok_or_else(|| E::custom("not an integer"))?;
                self.integer(whole)
            }
        }
    }
}

/// Any value, read and forgotten. serde's own `IgnoredAny` has no limit on depth.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Skip)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Skip)?.is_some() {
            map.next_value_seed(Skip)?;
        }
        Ok(())
    }
}
