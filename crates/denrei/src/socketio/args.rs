//! What handlers take and applications say.

use denrei_proto::socketio::{Args, ArgsError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// All arguments as they are, instead of a value: to be taken by a handler, emitted, or answered.
///
/// ```
/// # use denrei::socketio::{Raw, Socket};
/// # fn register(socket: &Socket) {
/// socket.on("message", async |socket, args: Raw, _| {
///     socket.emit("message-back", &args)?;
///     Ok(())
/// });
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Args);

/// What can be had of an event's arguments: everything that serde reads, and [`Raw`].
///
/// A tuple takes all arguments, `()` none, and anything else the first.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from the arguments of an event",
    note = "derive `serde::Deserialize` for it; it must be `Send` and borrow nothing"
)]
pub trait FromArgs: Sized + Send + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// An argument is missing or of another type.
    fn from_args(args: Args) -> Result<Self, ArgsError>;
}

impl<T: DeserializeOwned + Send + 'static> FromArgs for T {
    fn from_args(args: Args) -> Result<Self, ArgsError> {
        args.decode()
    }
}

impl FromArgs for Raw {
    fn from_args(args: Args) -> Result<Self, ArgsError> {
        Ok(Self(args))
    }
}

/// What can be emitted or answered: everything that serde writes, and [`Raw`].
///
/// A tuple is one argument per element, `()` is none, anything else is one. Bytes are binary.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of an event",
    note = "derive `serde::Serialize` for it"
)]
pub trait ToArgs {
    /// Writes it.
    ///
    /// # Errors
    /// It has no form in JSON.
    fn to_args(&self) -> Result<Args, ArgsError>;
}

impl<T: Serialize + ?Sized> ToArgs for T {
    fn to_args(&self) -> Result<Args, ArgsError> {
        Args::encode(self)
    }
}

impl ToArgs for Raw {
    fn to_args(&self) -> Result<Args, ArgsError> {
        Ok(self.0.clone())
    }
}
