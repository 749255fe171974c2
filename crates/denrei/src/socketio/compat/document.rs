//! The bytes of a message: JSON, or MessagePack where there is binary in it.
//!
//! Read and written as [`Args`] of one argument, so that binary is attachments in both, and one way of reading serves both.

use bytes::Bytes;
use denrei_proto::socketio::Limits;
use serde::Deserialize;

use crate::socketio::{Args, ArgsError};

/// Bytes of one message; what is larger is not looked at.
const LARGEST: usize = 16 << 20;

/// Why a message of another server is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("message of {0} bytes exceeds the limit of {LARGEST}")]
    TooLarge(usize),
    #[error("{0}")]
    Args(#[from] ArgsError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Said(&'static str),
}

/// Reads a document, with at most so many attachments.
pub(super) fn read(bytes: &Bytes, attachments: u32) -> Result<Args, Unreadable> {
    if bytes.len() > LARGEST {
        return Err(Unreadable::TooLarge(bytes.len()));
    }
    // What Node tells them apart by.
    if bytes.first() == Some(&b'{') {
        return Ok(Args::new([b"[", &**bytes, b"]"].concat(), Vec::new())?);
    }
    let limits = Limits { attachments, attachment_bytes: LARGEST, ..Limits::default() };
    Ok(Args::from_msgpack(bytes, &limits)?)
}

/// Takes a document apart.
pub(super) fn parse<'a, T: Deserialize<'a>>(document: &'a Args) -> Result<T, Unreadable> {
    let (value,) = serde_json::from_slice(document.json())?;
    Ok(value)
}

/// Writes a document in JSON, which has no binary.
pub(super) fn json(document: String) -> Bytes {
    document.into()
}

/// Writes it in MessagePack.
pub(super) fn msgpack(document: &str, attachments: &[Bytes]) -> Bytes {
    let binary: usize = attachments.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(document.len() + binary);
    Args::trusted(format!("[{document}]").into(), attachments.to_vec()).write_msgpack(&mut out);
    out.into()
}

/// Writes it in what its attachments need.
pub(super) fn either(document: String, attachments: &[Bytes]) -> Bytes {
    if attachments.is_empty() { json(document) } else { msgpack(&document, attachments) }
}
