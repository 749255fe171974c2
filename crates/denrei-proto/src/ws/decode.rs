//! Frames to messages: the machine that eats what a client sends.

use super::frame::{self, FrameHeader, MAX_HEADER, Opcode};
use super::inflate::{Inflation, Keep, reserve};
use super::{CloseFrame, Negotiated, Violation, close, mask};

/// One complete message, or one control frame.
///
/// It borrows from the input or from the decoder; see the [drain law](super#the-drain-law).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered with a [`pong`](super::pong) of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// At most 125 bytes.
    Pong(&'a [u8]),
    /// The peer closes. Nothing comes after it: further input is consumed and ignored.
    Close(Option<CloseFrame<'a>>),
}

/// How much of a client's data one connection accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, after inflation. Default 1 MiB.
    pub message: usize,
    /// Bytes of a frame's payload as it stands on the wire. Default 1 MiB.
    pub frame: usize,
    /// Frames of a message, empty ones included (CVE-2026-48779). Default 1024.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message: 1 << 20, frame: 1 << 20, fragments: 1024 }
    }
}

/// The server's reading half of a connection.
///
/// It holds what has arrived of a message and nothing else: a declared length reserves no memory, and limits
/// are checked when a header is complete. Text is validated as it arrives, so that a wrong byte is told at once
/// (RFC 6455 §8.1). A whole unfragmented, uncompressed message is handed out where it lies.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    stage: Stage,
    /// The data message that has begun and not ended.
    message: Option<Message>,
    /// The open message so far, and behind it the control frame that is arriving, if one is.
    buffer: Vec<u8>,
    /// There if the handshake agreed on permessage-deflate.
    inflation: Option<Inflation>,
}

/// Where in the byte stream the decoder stands.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Header {
        bytes: [u8; MAX_HEADER],
        have: u8,
    },
    Payload(Frame),
    /// After a close frame or a violation.
    Closed,
}

impl Stage {
    const START: Stage = Stage::Header { bytes: [0; MAX_HEADER], have: 0 };
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// Turned so that it fits the next byte.
    mask: [u8; 4],
    len: usize,
    missing: usize,
}

#[derive(Debug)]
struct Message {
    kind: Kind,
    compressed: bool,
    fragments: u32,
    /// Payload bytes as they were, or will be, on the wire up to the end of the current frame.
    wire: usize,
    /// How much of the buffer is this message.
    len: usize,
    /// How much of it is known to be UTF-8, up to a code point that is not all there yet.
    valid: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// A completed frame or message, before anything is borrowed from where it lies.
struct Complete {
    what: Opcode,
    place: Place,
}

enum Place {
    Input { from: usize, to: usize },
    Buffer { from: usize },
}

impl Decoder {
    /// A decoder for a connection that has just been upgraded; `deflate` is what the handshake agreed on.
    pub fn new(limits: Limits, deflate: Option<Negotiated>) -> Self {
        let inflation = deflate.map(|agreed| {
            Inflation::new(if agreed.client_no_context_takeover { Keep::Nothing } else { Keep::Context })
        });
        Decoder { limits, stage: Stage::START, message: None, buffer: Vec::new(), inflation }
    }

    /// Consumes from the front of `input` and returns how many bytes were used, and an event if one completed.
    ///
    /// Call again with the rest until no event comes; then all of `input` is consumed. The bytes are unmasked in
    /// place and worth nothing afterwards, except through the event.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol or a limit: send a close frame with [`Violation::close_code`] and end the
    /// connection. The decoder ignores all further input.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<(usize, Option<Event<'a>>), Violation> {
        self.release();
        let (used, complete) = self.advance(input).inspect_err(|_| self.stage = Stage::Closed)?;
        let Some(Complete { what, place }) = complete else { return Ok((used, None)) };
        let Decoder { stage, buffer, .. } = self;
        // Both places are made by `advance` out of lengths that it has just seen.
        let payload = match place {
            Place::Input { from, to } => &input[from..to],
            Place::Buffer { from } => &buffer[from..],
        };
        match event(what, payload) {
            Ok(event) => {
                if let Event::Close(_) = event {
                    *stage = Stage::Closed;
                }
                Ok((used, Some(event)))
            }
            Err(violation) => {
                *stage = Stage::Closed;
                Err(violation)
            }
        }
    }

    /// Says whether the peer owes the rest of a frame or of a fragmented message.
    ///
    /// What has arrived of it is held meanwhile, so a session ends a peer that keeps one open too long.
    pub fn is_mid_message(&self) -> bool {
        match self.stage {
            Stage::Header { have, .. } => have > 0 || self.message.is_some(),
            Stage::Payload(_) => true,
            Stage::Closed => false,
        }
    }

    /// Bytes of heap reserved for messages, without inflate contexts.
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.buffer.capacity()
    }

    /// Frees what the last event borrowed.
    fn release(&mut self) {
        match (&self.stage, &self.message) {
            (Stage::Payload(_), _) => {}
            (Stage::Header { .. }, Some(message)) => self.buffer.truncate(message.len),
            (Stage::Header { .. }, None) if self.buffer.capacity() == 0 => {}
            (Stage::Header { .. }, None) => self.buffer = Vec::new(),
            (Stage::Closed, _) => (self.buffer, self.message, self.inflation) = (Vec::new(), None, None),
        }
    }

    fn advance(&mut self, input: &mut [u8]) -> Result<(usize, Option<Complete>), Violation> {
        let mut used = 0;
        loop {
            // `used` counts what was taken from the front of `input`.
            let rest = &mut input[used..];
            match &mut self.stage {
                Stage::Closed => return Ok((used + rest.len(), None)),
                Stage::Header { .. } => {
                    let (taken, header) = self.header(rest)?;
                    used += taken;
                    let Some(header) = header else { return Ok((used, None)) };
                    self.stage = Stage::Payload(self.open(&header)?);
                }
                Stage::Payload(frame) => {
                    let taken = frame.missing.min(rest.len());
                    let piece = &mut rest[..taken];
                    mask::apply(piece, frame.mask);
                    frame.mask = mask::advance(frame.mask, taken);
                    frame.missing -= taken;
                    let frame = *frame;
                    let from = used;
                    used += taken;
                    if frame.missing == 0 {
                        self.stage = Stage::START;
                    }
                    let complete = if frame.opcode.is_control() {
                        self.control(frame, piece, from)
                    } else {
                        self.data(frame, piece, from)?
                    };
                    if complete.is_some() || frame.missing > 0 {
                        return Ok((used, complete));
                    }
                }
            }
        }
    }

    /// Completes the header with the front of `input`, or keeps what there is of it.
    fn header(&mut self, input: &[u8]) -> Result<(usize, Option<FrameHeader>), Violation> {
        let extension_bits = if self.inflation.is_some() { frame::RSV1 } else { 0 };
        let Stage::Header { bytes, have } = &mut self.stage else { return Ok((0, None)) };
        let kept = usize::from(*have);
        if kept == 0
            && let Some((header, size)) = frame::parse(input, extension_bits)?
        {
            return Ok((size, Some(header)));
        }
        let space = bytes.get_mut(kept..).unwrap_or_default();
        let taken = space.len().min(input.len());
        space[..taken].copy_from_slice(&input[..taken]);
        let there = kept + taken;
        match frame::parse(&bytes[..there], extension_bits)? {
            // More than the header may have been copied, never less: what was kept did not parse.
            Some((header, size)) => Ok((size - kept, Some(header))),
            None => {
                *have = there as u8;
                Ok((taken, None))
            }
        }
    }

    /// Decides whether the frame may come now, and be as long as it says.
    fn open(&mut self, header: &FrameHeader) -> Result<Frame, Violation> {
        let limit = self.limits.frame;
        let len = match usize::try_from(header.len) {
            Ok(len) if len <= limit || header.opcode.is_control() => len,
            _ => return Err(Violation::FrameTooBig { len: header.len, limit }),
        };
        let kind = match header.opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        };
        match (kind, &mut self.message) {
            (Some(_), Some(_)) => return Err(Violation::UnfinishedMessage),
            (Some(kind), message @ None) => {
                let message = message.insert(Message::new(kind, header.rsv1));
                message.admit(len, &self.limits)?;
            }
            (None, _) if header.opcode.is_control() => {}
            (None, None) => return Err(Violation::UnexpectedContinuation),
            (None, Some(message)) => message.admit(len, &self.limits)?,
        }
        Ok(Frame { fin: header.fin, opcode: header.opcode, mask: header.mask, len, missing: len })
    }

    /// Takes a piece of a control frame: where it lies if that is all of it, else behind the open message.
    fn control(&mut self, frame: Frame, piece: &[u8], from: usize) -> Option<Complete> {
        let what = frame.opcode;
        if piece.len() == frame.len {
            return Some(Complete { what, place: Place::Input { from, to: from + piece.len() } });
        }
        self.buffer.extend_from_slice(piece);
        let start = self.message.as_ref().map_or(0, |message| message.len);
        (frame.missing == 0).then_some(Complete { what, place: Place::Buffer { from: start } })
    }

    /// Takes a piece of the open message.
    fn data(&mut self, frame: Frame, piece: &[u8], from: usize) -> Result<Option<Complete>, Violation> {
        // `open` lets a data frame through only with a message.
        let Some(message) = &mut self.message else { return Ok(None) };
        let what = message.kind.opcode();
        let last = frame.fin && frame.missing == 0;
        let limit = self.limits.message;

        let mut inflated = Ok(());
        if let (true, Some(inflation)) = (message.compressed, &mut self.inflation) {
            inflated = inflation.piece(piece, last, &mut self.buffer, limit);
        } else if last && piece.len() == message.wire {
            self.message = None;
            return Ok(Some(Complete { what, place: Place::Input { from, to: from + piece.len() } }));
        } else {
            let most = if frame.fin { message.wire } else { limit };
            reserve(&mut self.buffer, piece.len(), most);
            self.buffer.extend_from_slice(piece);
        }

        message.len = self.buffer.len();
        if last && inflated.is_ok() {
            self.message = None;
            return Ok(Some(Complete { what, place: Place::Buffer { from: 0 } }));
        }
        // Wrong text before corrupt data is the violation that came first, also if both came in one read.
        message.validate(&self.buffer)?;
        inflated.map(|()| None)
    }
}

impl Message {
    fn new(kind: Kind, compressed: bool) -> Self {
        Message { kind, compressed, fragments: 0, wire: 0, len: 0, valid: 0 }
    }

    /// Counts a frame that is about to come.
    fn admit(&mut self, len: usize, limits: &Limits) -> Result<(), Violation> {
        if self.fragments >= limits.fragments {
            return Err(Violation::TooManyFragments { limit: limits.fragments });
        }
        self.fragments += 1;
        self.wire = self.wire.saturating_add(len);
        // What cannot be compressed grows a little: by an eighth at most with fixed Huffman codes (RFC 1951 §3.2.6).
        // Beyond that the peer sends blocks of nothing.
        let limit = limits.message;
        let most = if self.compressed { limit.saturating_add(limit / 8).saturating_add(64) } else { limit };
        if self.wire > most {
            return Err(Violation::MessageTooBig { len: self.wire as u64, limit });
        }
        Ok(())
    }

    /// Looks at what has arrived since the last time, so that wrong text is told before it is complete.
    fn validate(&mut self, buffer: &[u8]) -> Result<(), Violation> {
        if self.kind == Kind::Binary {
            return Ok(());
        }
        // `valid` is at most the length that the buffer had before.
        match simdutf8::compat::from_utf8(&buffer[self.valid..]) {
            Ok(_) => self.valid = buffer.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Violation::InvalidUtf8),
        }
        Ok(())
    }
}

impl Kind {
    fn opcode(self) -> Opcode {
        match self {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        }
    }
}

fn event(what: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    Ok(match what {
        Opcode::Text => Event::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Violation::InvalidUtf8)?),
        Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => Event::Close(close::parse(payload)?),
    })
}
