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
    /// A token is missing where one is needed. Send one.
    TokenMissing,
    /// The token is none, or no key of the server has signed it. Get another one.
    TokenInvalid,
    /// The token was valid until lately. Get a new one.
    TokenExpired,
    /// The token is not valid yet: it, or somebody's clock, is early.
    TokenEarly,
    /// The token is for another service.
    TokenAudience,
    /// The token is from somebody else than the server trusts.
    TokenIssuer,
    /// The token, or everything that the user had, was taken back. Sign in again.
    TokenRevoked,
    /// This identity may not do this.
    Forbidden,
    /// Only members of the chat room may do this. Join it.
    NotAMember,
    /// The user is kept out of the chat room.
    Banned,
    /// The member may send nothing for now. Try again after `retryAfter`.
    Muted,
    /// The room takes a message of each member now and then only. Try again after `retryAfter`.
    SlowMode,
    /// It is already there, or has changed since it was read.
    Conflict,
    /// The page's origin, or the host it asked for, is not allowed.
    OriginRefused,
    /// There is no such target, method or path.
    NotFound,
    /// The path is known, the HTTP method is not one of its.
    MethodNotAllowed,
    /// It is larger than the limit.
    TooLarge,
    /// A file of this type is not taken.
    UnsupportedType,
    /// The user's files would be larger than they may be together. Remove some of them.
    QuotaExceeded,
    /// It took too long to arrive.
    TooSlow,
    /// The connection has joined as many rooms as it may.
    TooManyRooms,
    /// Too much was asked in too short a time. Try again after `retryAfter`.
    RateLimited,
    /// The server has as many connections as it may; try again later.
    TooManyConnections,
    /// What keeps it is not there or full; nothing was kept. Try again after `retryAfter`.
    Unavailable,
    /// The server is about to stop; try again elsewhere or later.
    ShuttingDown,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 29] = [
        Self::InvalidMessage,
        Self::UnknownType,
        Self::InvalidField,
        Self::InvalidName,
        Self::InvalidPosition,
        Self::ReservedEvent,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenEarly,
        Self::TokenAudience,
        Self::TokenIssuer,
        Self::TokenRevoked,
        Self::Forbidden,
        Self::NotAMember,
        Self::Banned,
        Self::Muted,
        Self::SlowMode,
        Self::Conflict,
        Self::OriginRefused,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::TooSlow,
        Self::TooManyRooms,
        Self::RateLimited,
        Self::TooManyConnections,
        Self::Unavailable,
        Self::ShuttingDown,
    ];

    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid_message",
            Self::UnknownType => "unknown_type",
            Self::InvalidField => "invalid_field",
            Self::InvalidName => "invalid_name",
            Self::InvalidPosition => "invalid_position",
            Self::ReservedEvent => "reserved_event",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenEarly => "token_not_yet_valid",
            Self::TokenAudience => "token_wrong_audience",
            Self::TokenIssuer => "token_wrong_issuer",
            Self::TokenRevoked => "token_revoked",
            Self::Forbidden => "forbidden",
            Self::NotAMember => "not_a_member",
            Self::Banned => "banned",
            Self::Muted => "muted",
            Self::SlowMode => "slow_mode",
            Self::Conflict => "conflict",
            Self::OriginRefused => "origin_refused",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::UnsupportedType => "unsupported_type",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TooSlow => "too_slow",
            Self::TooManyRooms => "too_many_rooms",
            Self::RateLimited => "rate_limited",
            Self::TooManyConnections => "too_many_connections",
            Self::Unavailable => "unavailable",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// What the client should do, where the sentence is fixed and does not say.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::TokenMissing => "send a token: as a bearer, in auth.token, or as the parameter token",
            Self::TokenInvalid => "get a token from the service that this server trusts",
            Self::TokenExpired => "get a new token",
            Self::TokenEarly => "try again later, and set the clocks",
            Self::TokenAudience => "get a token that is meant for this server",
            Self::TokenIssuer => "get a token from the issuer that this server trusts",
            Self::TokenRevoked => "sign in again",
            _ => return None,
        })
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
            Self::TokenMissing
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenEarly
            | Self::TokenAudience
            | Self::TokenIssuer
            | Self::TokenRevoked => 401,
            Self::Forbidden | Self::NotAMember | Self::Banned | Self::OriginRefused => 403,
            Self::Conflict => 409,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::TooLarge | Self::QuotaExceeded => 413,
            Self::UnsupportedType => 415,
            Self::TooManyRooms | Self::RateLimited | Self::Muted | Self::SlowMode => 429,
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
    /// The client reads too slowly for a server that is short of memory. Reconnect later, and resume.
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// A message was left unfinished for too long. Reconnect and resume.
    pub const UNFINISHED: u16 = 1008;
    /// The token has expired or was taken back. Reconnect with a new one, and resume.
    pub const UNAUTHORIZED: u16 = 4401;
    /// The connection went on asking although it was refused for asking too often. Reconnect later, and ask less.
    pub const ABUSE: u16 = 4429;
    /// No sign of life since the last heartbeat, or nothing read for as long. Reconnect and resume.
    pub const SILENT: u16 = 4008;
}
