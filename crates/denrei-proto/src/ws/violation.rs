//! What a peer can do wrong, and what it is told.

use thiserror::Error;

/// A breach of the protocol or of a limit by the peer. The connection cannot go on: send
/// [`close`](super::close)`(violation.close_code(), &violation.to_string())` and end it.
///
/// `Display` is the sentence for the close reason; it holds numbers only, never the peer's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// RFC 6455 §5.2; RFC 7692 §6 for the first bit on a continuation or control frame.
    #[error("reserved bits {0:03b} are set, but no extension defines them here")]
    ReservedBits(u8),
    /// RFC 6455 §5.2.
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// RFC 6455 §5.1: a client masks every frame.
    #[error("frame from a client is not masked")]
    Unmasked,
    /// RFC 6455 §5.5.
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// RFC 6455 §5.5.
    #[error("control frame exceeds the limit of 125 bytes")]
    ControlTooLong,
    /// RFC 6455 §5.2: the minimal number of bytes must be used.
    #[error("length {0} is not in its shortest form")]
    NonMinimalLength(u64),
    /// RFC 6455 §5.2.
    #[error("64-bit length has its top bit set")]
    LengthTopBit,
    /// RFC 6455 §5.4.
    #[error("continuation without a message to continue")]
    UnexpectedContinuation,
    /// RFC 6455 §5.4.
    #[error("new message inside an unfinished one")]
    UnfinishedMessage,
    /// RFC 6455 §5.5.1.
    #[error("close frame of 1 byte has no room for a code")]
    CloseOfOneByte,
    /// RFC 6455 §7.4.
    #[error("close code {0} must not be sent")]
    InvalidCloseCode(u16),
    /// RFC 6455 §8.1.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// RFC 7692 §7.2.2.
    #[error("compressed data is corrupt")]
    InvalidDeflate,
    /// [`Limits::frame`](super::Limits::frame).
    #[error("frame of {len} bytes exceeds the limit of {limit}")]
    FrameTooBig {
        /// As declared by the peer.
        len: u64,
        /// In bytes.
        limit: usize,
    },
    /// [`Limits::message`](super::Limits::message), which counts what comes out of the inflater.
    #[error("message of {len} bytes or more exceeds the limit of {limit}")]
    MessageTooBig {
        /// What is known of the message when it went over the limit.
        len: u64,
        /// In bytes.
        limit: usize,
    },
    /// [`Limits::fragments`](super::Limits::fragments).
    #[error("message exceeds the limit of {limit} fragments")]
    TooManyFragments {
        /// In frames, empty ones included.
        limit: u32,
    },
}

impl Violation {
    /// The code for the close frame, RFC 6455 §7.4.1.
    pub fn close_code(&self) -> u16 {
        match self {
            Violation::InvalidUtf8 | Violation::InvalidDeflate => 1007,
            Violation::TooManyFragments { .. } => 1008,
            Violation::FrameTooBig { .. } | Violation::MessageTooBig { .. } => 1009,
            _ => 1002,
        }
    }
}
