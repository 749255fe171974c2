//! What a handler may end with.

use std::fmt::{self, Display};

use serde::Serialize;
use serde_json::{Map, Value};

/// Why a handler or a middleware refuses: a sentence for the client, and data for its program.
///
/// Every error that can be shown turns into one with `?` or `into()`. Its words are told to the client: in the ack as
/// `{"status":"error","message":…}`, else as an event `error`, and for a middleware as the connect error.
///
/// ```
/// use denrei::socketio::Failure;
///
/// fn room(name: &str) -> Result<u32, Failure> {
///     if name.is_empty() {
///         return Err("a room has a name".into());
///     }
///     let number = name.parse()?;
///     if number > 9 {
///         return Err(Failure::new("no such room").data(&serde_json::json!({"last": 9})));
///     }
///     Ok(number)
/// }
/// assert_eq!(room("x").unwrap_err().message(), "invalid digit found in string");
/// ```
#[derive(Clone)]
pub struct Failure {
    message: Box<str>,
    data: Option<Value>,
}

impl Failure {
    /// A refusal with a sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into().into(), data: None }
    }

    /// Adds data. What has no form in JSON is left out.
    #[must_use]
    pub fn data(mut self, data: &(impl Serialize + ?Sized)) -> Self {
        self.data = serde_json::to_value(data).ok();
        self
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The data as JSON text.
    pub(crate) fn data_json(&self) -> Option<String> {
        self.data.as_ref().map(Value::to_string)
    }

    /// `{"message":…,"data":…}`, as clients see it.
    pub(crate) fn to_object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("message".into(), self.message().into());
        if let Some(data) = &self.data {
            object.insert("data".into(), data.clone());
        }
        object
    }
}

/// Not `Display` itself, so that this and `From<T> for T` do not meet.
impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({:?})", self.message)
    }
}

/// What handlers return: nothing, or a result. With exactly these two, `Ok(())` at the end of an async closure needs no
/// type.
pub trait Outcome: sealed::Sealed + Send + 'static {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Failure>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Outcome for Result<(), Failure> {
    fn into_result(self) -> Result<(), Failure> {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for Result<(), super::Failure> {}
}
