//! What an event or an ack carries.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use thiserror::Error;

use super::decoder::Limits;
use super::header::Malformed;
use super::scan::{Container, check_lookalikes, containers, placeholders};
use super::{decode, decoder, encode, msgpack};

/// The arguments of an event or an ack, in one form whatever parser and transport they came by.
///
/// A JSON array, and attachments to which objects `{"_placeholder":true,"num":0}` in it refer. Without attachments such
/// an object is an object like any other. Cloning is cheap.
///
/// ```
/// # use denrei_proto::socketio::Args;
/// let args = Args::encode(&("lobby", 5, bytes::Bytes::from_static(b"\x01\x02")))?;
/// assert_eq!(&args.json()[..], br#"["lobby",5,{"_placeholder":true,"num":0}]"#);
/// let (room, five, data): (String, u8, bytes::Bytes) = args.decode()?;
/// assert_eq!((&*room, five, &data[..]), ("lobby", 5, &[1, 2][..]));
/// let first: String = args.decode()?;
/// assert_eq!(first, "lobby");
/// # Ok::<(), denrei_proto::socketio::ArgsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    json: Bytes,
    attachments: Vec<Bytes>,
}

/// Why arguments are not what they should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// A value has no form in JSON, or an argument is missing or of another type than asked for.
    #[error("{}", sentence(.0))]
    Json(#[from] serde_json::Error),
    /// The JSON is no array, or does not fit the attachments.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A `$binary` is not base64.
    #[error("value of $binary is not valid base64")]
    Base64,
}

/// "invalid type: integer `5`, expected a string at line 1 column 24": the place is of no use in one line.
fn sentence(error: &serde_json::Error) -> String {
    let sentence = error.to_string();
    sentence.split(" at line ").next().unwrap_or_default().to_owned()
}

impl Default for Args {
    /// No arguments.
    fn default() -> Self {
        Self { json: Bytes::from_static(b"[]"), attachments: Vec::new() }
    }
}

impl Args {
    /// Puts arguments together from a JSON array and its attachments.
    ///
    /// # Errors
    ///
    /// It is no array, deeper than 127 levels, or refers to attachments that are not there, or to more than
    /// are there.
    pub fn new(json: impl Into<Bytes>, attachments: Vec<Bytes>) -> Result<Self, ArgsError> {
        let json = json.into();
        let text = std::str::from_utf8(&json).map_err(|_| Malformed::Payload)?;
        let trimmed = decoder::json(text, b'[')?;
        let json = if trimmed.len() == json.len() { json } else { Bytes::copy_from_slice(trimmed.as_bytes()) };
        let mut args = Self { json, attachments: Vec::new() };
        if !attachments.is_empty() {
            args.attach(attachments)?;
        }
        Ok(args)
    }

    /// Arguments that were made by this module before, from their parts.
    pub fn trusted(json: Bytes, attachments: Vec<Bytes>) -> Self {
        Self { json, attachments }
    }

    /// Makes arguments of a value: a tuple (or array) is one argument per element, `()` is none, and anything else, a
    /// `Vec` and a JSON null too, is one argument. What serializes as bytes becomes an attachment.
    ///
    /// # Errors
    ///
    /// The value has no form in JSON (a map whose keys are no strings, say), or it has attachments and also objects
    /// that would be taken for placeholders: no receiver could tell them apart.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, ArgsError> {
        let (json, attachments) = encode::encode(value)?;
        if !attachments.is_empty() {
            let text = std::str::from_utf8(&json).map_err(|_| Malformed::Payload)?;
            check_lookalikes(text, attachments.len())?;
        }
        Ok(Self { json, attachments })
    }

    /// Reads a value: a tuple (or array) takes one argument per element, `()` none, and anything else takes the first.
    /// Bytes come from attachments. What is too many is ignored, as a JavaScript function would.
    ///
    /// # Errors
    ///
    /// An argument is missing where no `Option` stands, or of another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        Ok(decode::decode(&self.json, &self.attachments)?)
    }

    /// The JSON array, placeholders and all.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// What the placeholders refer to.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Says whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.inside().is_empty()
    }

    /// The arguments, each as it was written.
    pub fn raw(&self) -> Vec<&RawValue> {
        // It is a JSON array: whoever made the arguments has seen to that.
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// The JSON array with binary written as `{"$binary":"<base64>"}`, for wires that have JSON only.
    pub fn to_plain_json(&self) -> Bytes {
        if self.attachments.is_empty() {
            return self.json.clone();
        }
        let text = self.text();
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        for place in placeholders(text, self.attachments.len()).unwrap_or_default() {
            out.extend_from_slice(&text.as_bytes()[at..place.start]);
            out.extend_from_slice(b"{\"$binary\":\"");
            out.extend_from_slice(STANDARD.encode(&self.attachments[place.num]).as_bytes());
            out.extend_from_slice(b"\"}");
            at = place.end;
        }
        out.extend_from_slice(&text.as_bytes()[at..]);
        out.into()
    }

    /// Takes a JSON array in which objects whose only key is `$binary` are attachments.
    ///
    /// # Errors
    ///
    /// It is no array, not base64 in such an object, or has objects that would be taken for placeholders.
    pub fn from_plain_json(json: impl Into<Bytes>) -> Result<Self, ArgsError> {
        let plain = Self::new(json, Vec::new())?;
        let text = plain.text();
        if !text.contains("\"$binary\"") {
            return Ok(plain);
        }
        let mut found: Vec<(usize, usize, &str)> = Vec::new();
        containers(text, ["$binary", ""], |Container { start, end, members, values }| {
            if let (1, [Some(token), _]) = (members, values)
                && token.starts_with('"')
            {
                found.push((start, end, token));
            }
        });
        let mut out = Vec::with_capacity(text.len());
        let (mut attachments, mut at) = (Vec::new(), 0);
        for (num, (start, end, token)) in found.into_iter().enumerate() {
            let base64: String = serde_json::from_str(token)?;
            attachments.push(Bytes::from(STANDARD.decode(base64).map_err(|_| ArgsError::Base64)?));
            out.extend_from_slice(&text.as_bytes()[at..start]);
            out.extend_from_slice(format!("{{\"_placeholder\":true,\"num\":{num}}}").as_bytes());
            at = end;
        }
        out.extend_from_slice(&text.as_bytes()[at..]);
        let args = Self { json: out.into(), attachments };
        check_lookalikes(args.text(), args.attachments.len())?;
        Ok(args)
    }

    /// Reads a value in MessagePack as the one argument that there is: what Node's servers tell one another through
    /// notepack.io, 2 or 3.
    ///
    /// # Errors
    ///
    /// It is no MessagePack or has no form in JSON, has too many attachments or too large ones, or has objects that would
    /// be taken for placeholders.
    pub fn from_msgpack(document: &[u8], limits: &Limits) -> Result<Self, ArgsError> {
        Ok(msgpack::read_document(document, limits)?)
    }

    /// Appends the first argument in MessagePack, as notepack.io 3 writes it: with binary inside, the keys of objects in
    /// their order, integers as short as can be.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        msgpack::write_document(self, out);
    }

    /// Of an array that is known to be valid.
    pub(super) fn of_json(array: &str) -> Self {
        Self { json: Bytes::copy_from_slice(array.as_bytes()), attachments: Vec::new() }
    }

    /// Of the elements of a valid array, and the bracket that closes it.
    pub(super) fn of_rest(rest: &str) -> Self {
        Self { json: [b"[", rest.as_bytes()].concat().into(), attachments: Vec::new() }
    }

    /// Of an array that was written as one.
    pub(super) fn of_written(array: Vec<u8>) -> Self {
        Self { json: array.into(), attachments: Vec::new() }
    }

    /// Adds what the placeholders refer to.
    pub(super) fn attach(&mut self, attachments: Vec<Bytes>) -> Result<(), Malformed> {
        placeholders(self.text(), attachments.len())?;
        self.attachments = attachments;
        Ok(())
    }

    /// What stands between the brackets.
    pub(super) fn inside(&self) -> &[u8] {
        self.json.get(1..self.json.len().saturating_sub(1)).unwrap_or_default().trim_ascii()
    }

    pub(super) fn text(&self) -> &str {
        // Every constructor has seen to that.
        simdutf8::basic::from_utf8(&self.json).unwrap_or_default()
    }
}
