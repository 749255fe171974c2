//! Rust values to arguments: `serde_json`, but for bytes, which become attachments.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use serde::ser::{
    Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

type Attachments = RefCell<Vec<Bytes>>;

thread_local! {
    /// What arguments are written into: how long they are is known at their end.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A thread keeps no larger buffer than this.
const KEPT: usize = 16 * 1024;

/// The JSON array of the arguments, and its attachments.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<(Bytes, Vec<Bytes>), serde_json::Error> {
    let attachments = Attachments::default();
    // Who serializes may encode something else meanwhile, which finds a new one.
    let mut json = SCRATCH.take();
    json.clear();
    write(value, &mut json, &attachments)?;
    let written = Bytes::copy_from_slice(&json);
    if json.capacity() <= KEPT {
        SCRATCH.set(json);
    }
    Ok((written, attachments.into_inner()))
}

fn write<T: Serialize + ?Sized>(
    value: &T,
    json: &mut Vec<u8>,
    attachments: &Attachments,
) -> Result<(), serde_json::Error> {
    let shape = shape(value);
    if shape == Shape::Nothing {
        json.extend_from_slice(b"[]");
        return Ok(());
    }
    if shape == Shape::One {
        json.push(b'[');
    }
    value.serialize(Attaching { inner: &mut serde_json::Serializer::new(&mut *json), attachments })?;
    if shape == Shape::One {
        json.push(b']');
    }
    Ok(())
}

/// How many arguments a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Nothing,
    One,
    Each,
}

/// Asks a value what it is: the answer comes as an error, before anything is written.
fn shape<T: Serialize + ?Sized>(value: &T) -> Shape {
    match value.serialize(ShapeOf).map_or_else(|shape| shape.0, |never: Never| match never {}) {
        // What holds something and is nothing all the same is a JSON null, not `()`.
        Shape::Nothing if size_of_val(value) > 0 => Shape::One,
        shape => shape,
    }
}

enum Never {}

#[derive(Debug, thiserror::Error)]
#[error("the shape of a value")]
struct Told(Shape);

impl serde::ser::Error for Told {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        // The value cannot be serialized: the serializer proper will say so.
        Told(Shape::One)
    }
}

struct ShapeOf;

macro_rules! one {
    ($($method:ident($($argument:ty),*) $(-> $ok:ty)?;)*) => {
        $(fn $method(self $(, _: $argument)*) -> Result<one!(@ok $($ok)?), Told> {
            Err(Told(Shape::One))
        })*
    };
    (@ok) => { Never };
    (@ok $ok:ty) => { $ok };
}

type No = Impossible<Never, Told>;

impl Serializer for ShapeOf {
    type Ok = Never;
    type Error = Told;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    fn serialize_unit(self) -> Result<Never, Told> {
        Err(Told(Shape::Nothing))
    }

    fn serialize_tuple(self, _: usize) -> Result<No, Told> {
        Err(Told(Shape::Each))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Never, Told> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Never, Told> {
        Err(Told(Shape::One))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Never, Told> {
        Err(Told(Shape::One))
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, _: &T) -> Result<Never, Told> {
        Err(Told(Shape::One))
    }

    one! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
        serialize_seq(Option<usize>) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct(&'static str, usize) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }
}

/// A serializer, or one of its compounds, or a value for it: bytes on the way become attachments.
struct Attaching<'a, S> {
    inner: S,
    attachments: &'a Attachments,
}

impl<T: Serialize + ?Sized> Serialize for Attaching<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(Attaching { inner: serializer, attachments: self.attachments })
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $argument:ty),*);)*) => {
        $(fn $method(self $(, $name: $argument)*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        })*
    };
}

macro_rules! compounds {
    ($($method:ident($($name:ident: $argument:ty),*) -> $compound:ident;)*) => {
        $(fn $method(self $(, $name: $argument)*) -> Result<Self::$compound, S::Error> {
            Ok(Attaching { inner: self.inner.$method($($name),*)?, attachments: self.attachments })
        })*
    };
}

impl<'a, S: Serializer> Serializer for Attaching<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Attaching<'a, S::SerializeSeq>;
    type SerializeTuple = Attaching<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Attaching<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Attaching<'a, S::SerializeTupleVariant>;
    type SerializeMap = Attaching<'a, S::SerializeMap>;
    type SerializeStruct = Attaching<'a, S::SerializeStruct>;
    type SerializeStructVariant = Attaching<'a, S::SerializeStructVariant>;

    fn serialize_bytes(self, data: &[u8]) -> Result<S::Ok, S::Error> {
        let mut attachments = self.attachments.borrow_mut();
        let num = attachments.len();
        attachments.push(Bytes::copy_from_slice(data));
        let mut placeholder = self.inner.serialize_struct("Placeholder", 2)?;
        placeholder.serialize_field("_placeholder", &true)?;
        placeholder.serialize_field("num", &num)?;
        placeholder.end()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Attaching { inner: value, attachments: self.attachments })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Attaching { inner: value, attachments: self.attachments })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Attaching { inner: value, attachments: self.attachments };
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    forward! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    compounds! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant;
    }
}

macro_rules! elements {
    ($($compound:ident::$method:ident($($key:ident)?);)*) => {
        $(impl<C: $compound> $compound for Attaching<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<(), C::Error> {
                self.inner.$method($($key,)? &Attaching { inner: value, attachments: self.attachments })
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(key);
    SerializeStructVariant::serialize_field(key);
}

impl<C: SerializeMap> SerializeMap for Attaching<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&Attaching { inner: value, attachments: self.attachments })
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}
