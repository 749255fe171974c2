//! Arguments to Rust values: `serde_json`, but for bytes, which come from attachments.

use std::fmt;

use bytes::Bytes;
use serde::de::value::{MapAccessDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads `T` from the JSON array of the arguments.
pub(super) fn decode<T: DeserializeOwned>(json: &[u8], attachments: &[Bytes]) -> Result<T, serde_json::Error> {
    T::deserialize(Arguments { json, attachments })
}

/// All arguments for a tuple, the first one for any other type.
struct Arguments<'a> {
    json: &'a [u8],
    attachments: &'a [Bytes],
}

/// Forwards to the deserializer of the first argument. It reads one value from behind the bracket and leaves the rest.
macro_rules! first {
    ($($method:ident($($name:ident: $argument:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self $(, $name: $argument)*, visitor: V) -> Result<V::Value, serde_json::Error> {
            let Some(rest) = self.first() else { return Missing(0).$method($($name,)* visitor) };
            let mut json = serde_json::Deserializer::from_slice(rest);
            if self.attachments.is_empty() {
                json.$method($($name,)* visitor)
            } else {
                Attached { inner: &mut json, attachments: self.attachments }.$method($($name,)* visitor)
            }
        })*
    };
}

impl<'de> Arguments<'de> {
    fn first(&self) -> Option<&'de [u8]> {
        let rest = self.json.get(1..)?.trim_ascii_start();
        (rest.first() != Some(&b']')).then_some(rest)
    }
}

impl<'de> Deserializer<'de> for Arguments<'de> {
    type Error = serde_json::Error;

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.json);
        json.deserialize_seq(Each { visitor, len, attachments: self.attachments })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        // `RawValue` is such a struct, with a name that its deserializer knows.
        if !name.starts_with('$') {
            return visitor.visit_newtype_struct(self);
        }
        let Some(rest) = self.first() else { return Missing(0).deserialize_any(visitor) };
        serde_json::Deserializer::from_slice(rest).deserialize_newtype_struct(name, visitor)
    }

    first! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

/// An argument that the client did not give: nothing to an `Option`, an error to anything else.
struct Missing(usize);

impl<'de> Deserializer<'de> for Missing {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, serde_json::Error> {
        Err(serde_json::Error::custom(format_args!("argument {} is missing", self.0 + 1)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, serde_json::Error> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Gives a tuple its elements: as many as it wants, missing ones too.
struct Each<'a, V> {
    visitor: V,
    len: usize,
    attachments: &'a [Bytes],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Each<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut arguments: A) -> Result<V::Value, A::Error> {
        let elements = Elements { inner: &mut arguments, len: self.len, next: 0, attachments: self.attachments };
        let value = self.visitor.visit_seq(elements)?;
        while arguments.next_element::<IgnoredAny>()?.is_some() {}
        Ok(value)
    }
}

struct Elements<'a, A> {
    inner: &'a mut A,
    len: usize,
    next: usize,
    attachments: &'a [Bytes],
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        if self.next >= self.len {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        // The seed is used up by the try, so it is kept in a slot that only a value that is there empties.
        let mut seed = Some(seed);
        let value = if self.attachments.is_empty() {
            self.inner.next_element_seed(Slot(&mut seed))?
        } else {
            self.inner.next_element_seed(Attached { inner: Slot(&mut seed), attachments: self.attachments })?
        };
        match (value, seed) {
            (None, Some(seed)) => seed.deserialize(Missing(number)).map(Some).map_err(A::Error::custom),
            (value, _) => Ok(value),
        }
    }
}

struct Slot<'a, T>(&'a mut Option<T>);

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Slot<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        match self.0.take() {
            Some(seed) => seed.deserialize(deserializer),
            None => Err(D::Error::custom("an argument was read twice")),
        }
    }
}

/// A deserializer, or one of its visitors, seeds or accesses: bytes on the way come from attachments.
struct Attached<'a, D> {
    inner: D,
    attachments: &'a [Bytes],
}

impl<'a, D> Attached<'a, D> {
    fn with<T>(&self, inner: T) -> Attached<'a, T> {
        Attached { inner, attachments: self.attachments }
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $argument:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self $(, $name: $argument)*, visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.with(visitor);
            self.inner.$method($($name,)* visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Attached<'_, D> {
    type Error = D::Error;

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = OrAttachment { visitor: self.with(visitor), wants: Wants::Bytes };
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // A `Vec<u8>` asks for a sequence.
        let visitor = OrAttachment { visitor: self.with(visitor), wants: Wants::Sequence };
        self.inner.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Attached<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.deserialize(deserializer)
    }
}

macro_rules! visit {
    ($($method:ident($argument:ty);)*) => {
        $(fn $method<E: serde::de::Error>(self, value: $argument) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Attached<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_enum(access)
    }

    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Attached<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.with(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Attached<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.with(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Attached<'a, A> {
    type Error = A::Error;
    type Variant = Attached<'a, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Attached { inner: variant, attachments: self.attachments }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Attached<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.with(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.with(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.with(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}

/// Takes an attachment where a placeholder stands, and what else is there as it is.
struct OrAttachment<'a, V> {
    visitor: Attached<'a, V>,
    wants: Wants,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    Bytes,
    Sequence,
}

#[derive(Deserialize)]
struct Placeholder {
    #[serde(rename = "_placeholder")]
    really: bool,
    num: usize,
}

macro_rules! visit_as_it_is {
    ($($method:ident($argument:ty);)*) => {
        $(fn $method<E: serde::de::Error>(self, value: $argument) -> Result<V::Value, E> {
            self.visitor.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OrAttachment<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let placeholder = Placeholder::deserialize(MapAccessDeserializer::new(access))?;
        let attachment = self.visitor.attachments.get(placeholder.num).filter(|_| placeholder.really);
        let attachment = attachment.ok_or_else(|| A::Error::custom("placeholder refers to no attachment"))?;
        match self.wants {
            Wants::Bytes => self.visitor.inner.visit_bytes(attachment),
            Wants::Sequence => {
                let bytes = attachment.iter().map(|byte| byte.into_deserializer());
                self.visitor.inner.visit_seq(SeqDeserializer::<_, A::Error>::new(bytes))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(access)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    visit_as_it_is! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
    }
}
