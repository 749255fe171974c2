//! Arguments as a value among others: what a handler takes to pass everything on as it came.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::args::Args;

/// The name by which this module's own serializer and deserializer know them. Others see a JSON array.
const NAME: &str = "$denrei::socketio::Args";

thread_local! {
    /// On their way through serde, which carries no values of its own: put here and taken in the same call.
    static PASSING: RefCell<Option<Args>> = const { RefCell::new(None) };
}

/// Says whether a newtype is [`Args`] that are being serialized, and takes them.
pub(super) fn taken(name: &str) -> Option<Args> {
    if name == NAME { PASSING.take() } else { None }
}

/// Says whether a newtype that is asked for is [`Args`], and hands them over.
pub(super) fn asked<'de, V, E>(name: &str, args: impl FnOnce() -> Args, visitor: V) -> Result<Result<V::Value, E>, V>
where
    V: Visitor<'de>,
    E: serde::de::Error,
{
    if name != NAME {
        return Err(visitor);
    }
    PASSING.set(Some(args()));
    let given = visitor.visit_unit();
    PASSING.take();
    Ok(given)
}

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = String::from_utf8(self.to_plain_json().into()).map_err(S::Error::custom)?;
        let plain = RawValue::from_string(plain).map_err(S::Error::custom)?;
        PASSING.set(Some(self.clone()));
        let done = serializer.serialize_newtype_struct(NAME, &plain);
        PASSING.take();
        done
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Args;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all arguments of an event")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Args, E> {
                PASSING.take().ok_or_else(|| E::custom("arguments stand for themselves only"))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Args, D::Error> {
                let plain = Box::<RawValue>::deserialize(inner)?;
                Args::from_plain_json(plain.get().to_owned()).map_err(D::Error::custom)
            }
        }
        deserializer.deserialize_newtype_struct(NAME, Whole)
    }
}
