//! What a no is called: the codes of refusals and of close frames, each with what the client should do about it.

/// The code of a refusal, as it stands in `error` frames and error bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Code {
    /// It is not JSON, or not an object. Do not repeat it.
    InvalidMessage,
    /// Its `type` is not one that clients send.
    UnknownType,
    /// A field is missing or of the wrong kind.
    InvalidField,
    /// The name of a room, an event or a user cannot be one.
    InvalidName,
    /// A position was not given by this server.
    InvalidPosition,
    /// The event's name is the server's own.
    ReservedEvent,
    /// A token is missing where one is needed.
    Unauthorized,
    /// This identity may not do this.
    Forbidden,
    /// The page's origin, or the host it asked for, is not allowed.
    OriginRefused,
    /// There is no such target, method or path.
    NotFound,
    /// The path is known, the HTTP method is not one of its.
    MethodNotAllowed,
    /// It is larger than the limit.
    TooLarge,
    /// It took too long to arrive.
    TooSlow,
    /// The connection has joined as many rooms as it may.
    TooManyRooms,
    /// The server has as many connections as it may; try again later.
    TooManyConnections,
    /// What keeps it is not there or full; nothing was kept. Try again after `retryAfter`.
    Unavailable,
    /// The server is about to stop; try again elsewhere or later.
    ShuttingDown,
}

impl Code {
    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid_message",
            Self::UnknownType => "unknown_type",
            Self::InvalidField => "invalid_field",
            Self::InvalidName => "invalid_name",
            Self::InvalidPosition => "invalid_position",
            Self::ReservedEvent => "reserved_event",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::OriginRefused => "origin_refused",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::TooManyRooms => "too_many_rooms",
            Self::TooManyConnections => "too_many_connections",
            Self::Unavailable => "unavailable",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The status of an HTTP answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidMessage
            | Self::UnknownType
            | Self::InvalidField
            | Self::InvalidName
            | Self::InvalidPosition
            | Self::ReservedEvent => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::OriginRefused => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::TooLarge => 413,
            Self::TooManyRooms => 429,
            Self::TooManyConnections | Self::Unavailable | Self::ShuttingDown => 503,
        }
    }
}

/// Close codes of the native WebSocket. 1002, 1007, 1008 and 1009 come from the codec ([`crate::ws::Violation`]).
pub mod close {
    /// The answer to a client's close without a code.
    pub const NORMAL: u16 = 1000;
    /// The server stops. Reconnect after the delay that the `shutdown` frame gave, and resume.
    pub const SERVICE_RESTART: u16 = 1012;
    /// A message was left unfinished for too long. Reconnect and resume.
    pub const UNFINISHED: u16 = 1008;
    /// No sign of life since the last heartbeat, or nothing read for as long. Reconnect and resume.
    pub const SILENT: u16 = 4008;
}
