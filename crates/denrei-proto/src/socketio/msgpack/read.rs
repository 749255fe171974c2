//! Msgpack to packets.

use std::borrow::Cow;

use bytes::Bytes;

use crate::socketio::args::Args;
use crate::socketio::decoder::{Body, Limits, check_name};
use crate::socketio::header::{MAX_ID, Malformed};
use crate::socketio::scan::{MAX_DEPTH, check_lookalikes};

/// A packet whose namespace is as it was sent.
pub(in crate::socketio) struct Read<'a> {
    pub(in crate::socketio) namespace: &'a str,
    pub(in crate::socketio) body: Body<'a>,
}

/// Reads a packet; there is none if Node would ignore it.
pub(in crate::socketio) fn decode<'a>(message: &'a [u8], limits: &Limits) -> Result<Option<Read<'a>>, Malformed> {
    let mut fields = Fields::default();
    let mut reader = Reader { rest: message };
    let Token::Map(pairs) = reader.token()? else { return Err(Malformed::Msgpack) };
    for _ in 0..pairs {
        let Token::Text(key) = reader.token()? else { return Err(Malformed::Msgpack) };
        let value = reader.skip()?;
        match key {
            "type" => fields.kind = Some(value),
            "nsp" => fields.namespace = Some(value),
            "id" => fields.id = Some(value),
            "data" => fields.data = Some(value),
            // `options`, `attachments`: what else the client's packet object has.
            _ => {}
        }
    }
    if !reader.rest.is_empty() {
        return Err(Malformed::Msgpack);
    }
    fields.packet(limits)
}

/// Reads a value alone, whatever it is, as the one argument of what it gives.
pub(in crate::socketio) fn document(message: &[u8], limits: &Limits) -> Result<Args, Malformed> {
    let mut reader = Reader { rest: message };
    let args = Json { limits, out: Vec::new(), attachments: Vec::new(), bytes: 0 }.args(1, &mut reader)?;
    if reader.rest.is_empty() { Ok(args) } else { Err(Malformed::Msgpack) }
}

/// The values of the map, not yet read.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Reader<'a>>,
    namespace: Option<Reader<'a>>,
    id: Option<Reader<'a>>,
    data: Option<Reader<'a>>,
}

impl<'a> Fields<'a> {
    fn packet(self, limits: &Limits) -> Result<Option<Read<'a>>, Malformed> {
        let limit = limits.namespace;
        let namespace = match self.namespace.map(|mut value| value.token()).transpose()? {
            Some(Token::Text(name)) if name.len() <= limit => name,
            _ => return Err(Malformed::Namespace { limit }),
        };
        let id = match self.id.map(|mut value| value.token()).transpose()? {
            None | Some(Token::Undefined) => None,
            Some(token) => Some(token.integer().filter(|&id| id <= MAX_ID).ok_or(Malformed::Id)?),
        };
        let kind = self.kind.map(|mut value| value.token()).transpose()?;
        let kind = kind.and_then(Token::integer).ok_or(Malformed::UnknownKind)?;
        let data = self.data.filter(|value| !matches!(value.clone().token(), Ok(Token::Undefined)));
        let mut json = Json { limits, out: Vec::new(), attachments: Vec::new(), bytes: 0 };
        let body = match (kind, data) {
            (0, None) => Body::Connect { auth: None },
            (0, Some(mut data)) => {
                let token = data.token()?;
                if !matches!(token, Token::Map(_)) {
                    return Err(Malformed::Payload);
                }
                json.value(token, &mut data, 1)?;
                if !json.attachments.is_empty() {
                    // There is no packet that could carry them.
                    return Err(Malformed::Payload);
                }
                Body::Connect { auth: Some(json.out.into()) }
            }
            (1, None) => Body::Disconnect,
            (2, Some(mut data)) => {
                let Token::Array(len @ 1..) = data.token()? else { return Err(Malformed::EventName) };
                let name = match data.token()? {
                    Token::Text(name) => Cow::Borrowed(name),
                    number @ (Token::Unsigned(_) | Token::Signed(_) | Token::Float(_)) => {
                        json.value(number, &mut data, 1)?;
                        let name = std::mem::take(&mut json.out);
                        Cow::Owned(String::from_utf8(name).map_err(|_| Malformed::EventName)?)
                    }
                    _ => return Err(Malformed::EventName),
                };
                check_name(&name, limits.event_name)?;
                Body::Event { id, name, args: json.args(len - 1, &mut data)? }
            }
            (3, Some(mut data)) => {
                let Token::Array(len) = data.token()? else { return Err(Malformed::Payload) };
                let args = json.args(len, &mut data)?;
                let Some(id) = id else { return Ok(None) };
                Body::Ack { id, args }
            }
            (4, Some(_)) => Body::ConnectError,
            (0..=4, _) => return Err(Malformed::Payload),
            _ => return Err(Malformed::UnknownKind),
        };
        Ok(Some(Read { namespace, body }))
    }
}

/// How notepack 3 writes dates: the extension −1 of the format itself.
fn timestamp(seconds: i64, nanos: u32) -> Token<'static> {
    Token::Date(seconds.saturating_mul(1000).saturating_add((nanos / 1_000_000).into()))
}

/// Bytes of msgpack that are still to be read.
#[derive(Clone)]
struct Reader<'a> {
    rest: &'a [u8],
}

/// One value, or the head of an array or map whose members follow.
#[derive(Clone, Copy, Debug)]
enum Token<'a> {
    Nil,
    Undefined,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    /// Milliseconds since 1970.
    Date(i64),
    Array(u32),
    Map(u32),
}

impl Token<'_> {
    /// An integer that is not negative. JavaScript does not tell 5 from 5.0.
    fn integer(self) -> Option<u64> {
        match self {
            Token::Unsigned(number) => Some(number),
            Token::Signed(number) => u64::try_from(number).ok(),
            Token::Float(number) if number.fract() == 0.0 && (0.0..=MAX_ID as f64).contains(&number) => {
                Some(number as u64)
            }
            _ => None,
        }
    }
}

impl<'a> Reader<'a> {
    fn token(&mut self) -> Result<Token<'a>, Malformed> {
        let [head] = self.array()?;
        Ok(match head {
            0x00..=0x7F => Token::Unsigned(head.into()),
            0x80..=0x8F => Token::Map((head & 0x0F).into()),
            0x90..=0x9F => Token::Array((head & 0x0F).into()),
            0xA0..=0xBF => self.text((head & 0x1F).into())?,
            0xC0 => Token::Nil,
            0xC2 => Token::Bool(false),
            0xC3 => Token::Bool(true),
            0xC4 => self.len8().and_then(|len| self.binary(len))?,
            0xC5 => self.len16().and_then(|len| self.binary(len))?,
            0xC6 => self.len32().and_then(|len| self.binary(len))?,
            0xC7 => match self.rest {
                // Ninety-six bits of a timestamp: nanoseconds, then seconds.
                [12, 0xFF, ..] => {
                    let [_, _] = self.array()?;
                    let nanos = u32::from_be_bytes(self.array()?);
                    timestamp(i64::from_be_bytes(self.array()?), nanos)
                }
                _ => self.len8().and_then(|len| self.array_buffer(len))?,
            },
            0xC8 => self.len16().and_then(|len| self.array_buffer(len))?,
            0xC9 => self.len32().and_then(|len| self.array_buffer(len))?,
            0xCA => Token::Float(f32::from_be_bytes(self.array()?).into()),
            0xCB => Token::Float(f64::from_be_bytes(self.array()?)),
            0xCC => Token::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xCD => Token::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xCE => Token::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xCF => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            0xD0 => Token::Signed(i8::from_be_bytes(self.array()?).into()),
            0xD1 => Token::Signed(i16::from_be_bytes(self.array()?).into()),
            0xD2 => Token::Signed(i32::from_be_bytes(self.array()?).into()),
            0xD3 => Token::Signed(i64::from_be_bytes(self.array()?)),
            0xD4 => match self.array()? {
                [0, _] => Token::Undefined,
                _ => return Err(Malformed::Msgpack),
            },
            0xD6 => match self.array()? {
                [0xFF, a, b, c, d] => timestamp(u32::from_be_bytes([a, b, c, d]).into(), 0),
                _ => return Err(Malformed::Msgpack),
            },
            0xD7 => match self.array()? {
                [0xFF, a, b, c, d, e, f, g, h] => {
                    let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                    timestamp((both & 0x3_FFFF_FFFF) as i64, (both >> 34) as u32)
                }
                [0, a, b, c, d, e, f, g, h] => Token::Date(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
                _ => return Err(Malformed::Msgpack),
            },
            0xD9 => self.len8().and_then(|len| self.text(len))?,
            0xDA => self.len16().and_then(|len| self.text(len))?,
            0xDB => self.len32().and_then(|len| self.text(len))?,
            0xDC => Token::Array(self.len16()?),
            0xDD => Token::Array(self.len32()?),
            0xDE => Token::Map(self.len16()?),
            0xDF => Token::Map(self.len32()?),
            0xE0..=0xFF => Token::Signed((head as i8).into()),
            // Never used, or an extension that JSON has no form for.
            0xC1 | 0xD5 | 0xD8 => return Err(Malformed::Msgpack),
        })
    }

    /// Passes over a value with all that is in it, and gives it to be read later.
    fn skip(&mut self) -> Result<Reader<'a>, Malformed> {
        let start = self.rest;
        // Each value takes a byte at least, so this ends however much is announced.
        let mut missing = 1u64;
        while missing > 0 {
            missing -= 1;
            missing += match self.token()? {
                Token::Array(len) => len.into(),
                Token::Map(pairs) => u64::from(pairs) * 2,
                _ => 0,
            };
        }
        let len = start.len() - self.rest.len();
        Ok(Reader { rest: &start[..len] })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Msgpack)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn bytes(&mut self, len: u32) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len as usize).ok_or(Malformed::Msgpack)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self, len: u32) -> Result<Token<'a>, Malformed> {
        let text = simdutf8::basic::from_utf8(self.bytes(len)?).map_err(|_| Malformed::Msgpack)?;
        Ok(Token::Text(text))
    }

    fn binary(&mut self, len: u32) -> Result<Token<'a>, Malformed> {
        self.bytes(len).map(Token::Binary)
    }

    /// An extension of type 0, which is how notepack writes an `ArrayBuffer`.
    fn array_buffer(&mut self, len: u32) -> Result<Token<'a>, Malformed> {
        match self.array()? {
            [0] => self.binary(len),
            _ => Err(Malformed::Msgpack),
        }
    }

    fn len8(&mut self) -> Result<u32, Malformed> {
        Ok(u8::from_be_bytes(self.array()?).into())
    }

    fn len16(&mut self) -> Result<u32, Malformed> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn len32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }
}

/// JSON that is being written. It is at most six times as long as the msgpack, where every byte is a control character.
struct Json<'l> {
    limits: &'l Limits,
    out: Vec<u8>,
    attachments: Vec<Bytes>,
    bytes: usize,
}

impl Json<'_> {
    /// Writes an array of the next `len` values.
    fn args(mut self, len: u32, reader: &mut Reader<'_>) -> Result<Args, Malformed> {
        self.out.push(b'[');
        for n in 0..len {
            if n > 0 {
                self.out.push(b',');
            }
            let token = reader.token()?;
            self.value(token, reader, 2)?;
        }
        self.out.push(b']');
        let mut args = Args::of_written(self.out);
        if !self.attachments.is_empty() {
            // An object that only looks like a placeholder could not be told apart from now on.
            check_lookalikes(args.text(), self.attachments.len())?;
            args.attach(self.attachments)?;
        }
        Ok(args)
    }

    /// Writes a value whose first token has been read. `depth` counts the arrays and objects it would be one of.
    fn value(&mut self, token: Token<'_>, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
        // A placeholder is an object too.
        if matches!(token, Token::Array(_) | Token::Map(_) | Token::Binary(_)) && depth > MAX_DEPTH {
            return Err(Malformed::TooDeep { limit: MAX_DEPTH });
        }
        match token {
            Token::Nil | Token::Undefined => self.out.extend_from_slice(b"null"),
            Token::Bool(true) => self.out.extend_from_slice(b"true"),
            Token::Bool(false) => self.out.extend_from_slice(b"false"),
            Token::Unsigned(number) => self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Token::Signed(number) => self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Token::Float(number) => self.json(&number)?,
            Token::Text(text) => self.json(text)?,
            Token::Date(millis) => match date(millis) {
                Some(text) => self.json(&text)?,
                None => self.out.extend_from_slice(b"null"),
            },
            Token::Binary(data) => self.attach(data)?,
            Token::Array(len) => {
                self.out.push(b'[');
                for n in 0..len {
                    if n > 0 {
                        self.out.push(b',');
                    }
                    let token = reader.token()?;
                    self.value(token, reader, depth + 1)?;
                }
                self.out.push(b']');
            }
            Token::Map(pairs) => {
                self.out.push(b'{');
                let start = self.out.len();
                for _ in 0..pairs {
                    let mut digits = itoa::Buffer::new();
                    // Before the value is looked at: what is in an array would be taken for it.
                    let key = match reader.token()? {
                        Token::Text(key) => key,
                        Token::Unsigned(key) => digits.format(key),
                        Token::Signed(key) => digits.format(key),
                        _ => return Err(Malformed::Msgpack),
                    };
                    let value = reader.token()?;
                    // JSON leaves out what is undefined.
                    if let Token::Undefined = value {
                        continue;
                    }
                    if self.out.len() > start {
                        self.out.push(b',');
                    }
                    self.json(key)?;
                    self.out.push(b':');
                    self.value(value, reader, depth + 1)?;
                }
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Malformed> {
        serde_json::to_writer(&mut self.out, value).map_err(|_| Malformed::Msgpack)
    }

    fn attach(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let num = self.attachments.len();
        self.bytes += data.len();
        if num >= self.limits.attachments as usize {
            return Err(Malformed::TooManyAttachments { limit: self.limits.attachments });
        }
        if self.bytes > self.limits.attachment_bytes {
            return Err(Malformed::AttachmentsTooBig { limit: self.limits.attachment_bytes });
        }
        self.attachments.push(Bytes::copy_from_slice(data));
        self.out.extend_from_slice(b"{\"_placeholder\":true,\"num\":");
        self.out.extend_from_slice(itoa::Buffer::new().format(num).as_bytes());
        self.out.push(b'}');
        Ok(())
    }
}

/// What JSON makes of a date: `2023-11-14T22:13:20.123Z`; nothing outside of the years 0 to 9999, of which no client
/// speaks.
fn date(millis: i64) -> Option<String> {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Days since 1 March of the year 0, in eras of 400 years (Howard Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms").
    let days = days.checked_add(719_468)?;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let (second, milli) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}
