//! Why a socket has left its namespace.

use std::fmt;

use denrei_proto::engineio;

/// Why a socket has left its namespace, in Node's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The transport failed, or the client broke its protocol.
    TransportError,
    /// The client closed the transport, or it was lost.
    TransportClose,
    /// The connection was ended for a packet that was not understood or not allowed.
    ForcedClose,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// The engine could not read what the client sent.
    ParseError,
    /// The server is about to stop.
    ServerShuttingDown,
    /// The server ended the connection.
    ForcedServerClose,
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server took the client out of the namespace.
    ServerNamespaceDisconnect,
}

impl Reason {
    /// The text that Node gives its `disconnect` listeners.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::ForcedClose => "forced close",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerShuttingDown => "server shutting down",
            Self::ForcedServerClose => "forced server close",
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }

    /// Whether the client may come back to what it missed: it did not mean to go, and nobody meant it to.
    pub fn is_recoverable(self) -> bool {
        !matches!(self, Self::ParseError | Self::ClientNamespaceDisconnect | Self::ServerNamespaceDisconnect)
    }

    /// Whether the server meant the client to go: what it sent before, and was not looked at yet, is of no interest.
    pub(crate) fn is_dismissal(self) -> bool {
        matches!(self, Self::ServerNamespaceDisconnect | Self::ForcedServerClose)
    }
}

impl From<engineio::Reason> for Reason {
    fn from(reason: engineio::Reason) -> Self {
        match reason {
            engineio::Reason::TransportClose => Self::TransportClose,
            engineio::Reason::PingTimeout => Self::PingTimeout,
            engineio::Reason::ForcedClose => Self::ForcedClose,
            engineio::Reason::ParseError => Self::ParseError,
            // The engine's other words, should there come to be some, mean that something failed.
            _ => Self::TransportError,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
