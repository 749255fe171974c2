//! What a client asks.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::codes::Code;

/// One frame from a client.
#[derive(Debug)]
pub enum Request<'a> {
    /// `{"type":"join","room":R,"since":POS,"echo":bool}`
    Join {
        /// The room.
        room: Cow<'a, str>,
        /// The place to resume from.
        since: Option<Cow<'a, str>>,
        /// Whether the client wants its own broadcasts too.
        echo: bool,
    },
    /// `{"type":"leave","room":R}`
    Leave {
        /// The room.
        room: Cow<'a, str>,
    },
    /// `{"type":"broadcast","room":R,"event":E,"payload":…,"id":ID}`
    Broadcast {
        /// The room; `all` when none is named.
        room: Cow<'a, str>,
        /// The event; `message` when none is named.
        event: Cow<'a, str>,
        /// The payload as it was written.
        payload: &'a str,
        /// The client's own id of the message.
        id: Option<Cow<'a, str>>,
    },
    /// `{"type":"direct","targetId":C,"payload":…}` or with `userId`
    Direct {
        /// The client or user it goes to.
        target: Target<'a>,
        /// The payload as it was written.
        payload: &'a str,
    },
    /// `{"type":"call","method":M,"payload":…,"ref":REF}`
    Call {
        /// The method.
        method: Cow<'a, str>,
        /// The payload as it was written; `null` when there is none.
        payload: &'a str,
    },
    /// `{"type":"auth","token":T}`
    Auth {
        /// The token.
        token: Cow<'a, str>,
    },
}

/// Whom a direct message goes to.
#[derive(Debug)]
pub enum Target<'a> {
    /// One connection.
    Client(Cow<'a, str>),
    /// Every connection of a user.
    User(Cow<'a, str>),
}

/// A client's own name for a request, given back as it was written: in JSON a string or number, in Protobuf any text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ref<'a>(&'a str);

impl<'a> Ref<'a> {
    /// The longest reference, in bytes as written.
    pub const LONGEST: usize = 128;

    /// The reference as it was written.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Takes what [`Ref::as_str`] gave.
    pub fn read(text: &'a str) -> Option<Self> {
        (text.len() <= Self::LONGEST).then_some(Self(text))
    }

    fn parse(raw: Option<&'a RawValue>) -> Result<Option<Self>, Invalid> {
        let Some(text) = raw.map(RawValue::get) else { return Ok(None) };
        let scalar = text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        if scalar && text.len() <= Self::LONGEST {
            Ok(Some(Self(text)))
        } else if text == "null" {
            Ok(None)
        } else {
            Err(Invalid::field("ref is a string or number of at most 128 bytes"))
        }
    }
}

/// Why a frame was not understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The refusal's code.
    pub code: Code,
    /// What to tell the client.
    pub sentence: String,
}

impl Invalid {
    pub(super) fn field(sentence: impl Into<String>) -> Self {
        Self { code: Code::InvalidField, sentence: sentence.into() }
    }

    pub(super) fn message(sentence: impl Into<String>) -> Self {
        Self { code: Code::InvalidMessage, sentence: sentence.into() }
    }

    pub(super) fn format() -> Self {
        Self::message("Invalid message format")
    }

    pub(super) fn kind(kind: &str) -> Self {
        let shown: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
        Self { code: Code::UnknownType, sentence: format!("Unknown message type: {shown}") }
    }
}

impl<'a> Request<'a> {
    /// Reads a frame of JSON: its reference, if it has one that can be read, and what it asks.
    pub fn parse(text: &'a str) -> (Option<Ref<'a>>, Result<Self, Invalid>) {
        // serde would take an array of the fields' values for the object.
        if !text.trim_start().starts_with('{') {
            return (None, Err(Invalid::format()));
        }
        let fields = match serde_json::from_str::<Fields>(text) {
            Ok(fields) => fields,
            Err(error) => return unreadable(text, &error),
        };
        match Ref::parse(fields.reference) {
            Ok(reference) => (reference, fields.request()),
            Err(invalid) => (None, Err(invalid)),
        }
    }
}

/// A field of the wrong kind is named, and the frame's reference is still answered.
fn unreadable<'a>(text: &'a str, error: &serde_json::Error) -> (Option<Ref<'a>>, Result<Request<'a>, Invalid>) {
    #[derive(Deserialize)]
    struct OnlyRef<'a> {
        #[serde(borrow, rename = "ref")]
        reference: Option<&'a RawValue>,
    }
    if !error.is_data() {
        return (None, Err(Invalid::format()));
    }
    let reference = serde_json::from_str::<OnlyRef>(text).ok().and_then(|only| Ref::parse(only.reference).ok()?);
    // "invalid type: integer `5`, expected a string at line 1 column 24": the place is of no use in one line.
    let sentence = error.to_string();
    let sentence = sentence.rsplit_once(" at line ").map_or(&*sentence, |(sentence, _)| sentence);
    (reference, Err(Invalid::field(shortened(sentence))))
}

/// serde shows text that stands where none belongs, six bytes for some of its characters: a client would be sent several
/// times what it has sent. What was expected instead stands at the end.
fn shortened(sentence: &str) -> String {
    const SHOWN: usize = 100;
    if sentence.len() <= 2 * SHOWN {
        return sentence.to_owned();
    }
    let (start, end) = (sentence.floor_char_boundary(SHOWN), sentence.ceil_char_boundary(sentence.len() - SHOWN));
    format!("{} … {}", &sentence[..start], &sentence[end..])
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, rename = "ref", default, deserialize_with = "present")]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<Text<'a>>,
    #[serde(borrow)]
    since: Option<Text<'a>>,
    echo: Option<bool>,
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    target_id: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    token: Option<Text<'a>>,
}

/// Borrows where no escape forces a copy; serde does not do so inside an `Option<Cow<str>>`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A `null` that stands there is a payload, not an absent field.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Fields<'a> {
    fn request(self) -> Result<Request<'a>, Invalid> {
        let kind = required(self.kind, "type")?;
        Ok(match &*kind {
            "join" => Request::Join {
                room: required(self.room, "room")?,
                since: self.since.map(|since| since.0),
                echo: self.echo.unwrap_or(false),
            },
            "leave" => Request::Leave { room: required(self.room, "room")? },
            "broadcast" => Request::Broadcast {
                room: self.room.map_or(Cow::Borrowed("all"), |room| room.0),
                event: self.event.map_or(Cow::Borrowed("message"), |event| event.0),
                payload: payload(self.payload)?,
                id: self.id.map(|id| id.0),
            },
            "direct" => Request::Direct {
                target: match (self.target_id, self.user_id) {
                    (Some(client), None) => Target::Client(client.0),
                    (None, Some(user)) => Target::User(user.0),
                    _ => return Err(Invalid::field("a direct message has either targetId or userId")),
                },
                payload: payload(self.payload)?,
            },
            "call" => Request::Call {
                method: required(self.method, "method")?,
                payload: self.payload.map_or("null", RawValue::get),
            },
            "auth" => Request::Auth { token: required(self.token, "token")? },
            other => return Err(Invalid::kind(other)),
        })
    }
}

fn required<'a>(field: Option<Text<'a>>, name: &str) -> Result<Cow<'a, str>, Invalid> {
    field.map(|text| text.0).ok_or_else(|| Invalid::field(format!("{name} is missing")))
}

fn payload(field: Option<&RawValue>) -> Result<&str, Invalid> {
    field.map(RawValue::get).ok_or_else(|| Invalid::field("payload is missing"))
}
