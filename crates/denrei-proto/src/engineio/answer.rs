//! What a session's requests are answered.

use super::record::{record, records};
use super::{Packet, Rejection, Wire, encode_payload};

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with all that is queued; with a noop if that is nothing.
    Queued,
    /// 200 with a noop. What is queued stays there: it goes another way.
    Noop,
    /// 200 with all that is queued and then a close packet.
    Close,
    /// 200 `ok`: a POST was taken.
    Received,
    /// 413. The session goes on.
    TooBig,
    /// 400 without a body: the request ends its session.
    Bad,
    /// An error body.
    Refused(Rejection),
}

/// A whole response. `Cache-Control: no-store` belongs to it whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The value of the `Content-Type` header, empty for none.
    pub content_type: &'static str,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// Says whether the answer takes all that is queued, so that the outbox must be emptied into it.
    pub fn takes_queue(self) -> bool {
        matches!(self, Answer::Queued | Answer::Close)
    }

    /// Writes the answer. `queued` are the chunks of records taken from the outbox, in order; they count only where
    /// the answer [takes](Answer::takes_queue) them.
    pub fn respond<'a>(self, wire: Wire, queued: impl IntoIterator<Item = &'a [u8]>) -> Response {
        let response = |status, content_type, body| Response { status, content_type, body };
        let (noop, close) = (record(&Packet::Noop), record(&Packet::Close));
        let mut chunks: Vec<&[u8]> = Vec::new();
        if self.takes_queue() {
            for chunk in queued {
                chunks.push(chunk);
            }
        }
        match self {
            Answer::Queued | Answer::Noop if chunks.iter().all(|chunk| records(chunk).next().is_none()) => {
                chunks.push(&noop);
            }
            Answer::Close => chunks.push(&close),
            Answer::Queued | Answer::Noop => {}
            // Node says it is HTML, because some browsers offered plain text for download.
            Answer::Received => return response(200, "text/html", b"ok".to_vec()),
            Answer::TooBig => return response(413, "", Vec::new()),
            Answer::Bad => return response(400, "", Vec::new()),
            Answer::Refused(no) => return response(no.status(), "application/json", no.body().into()),
        }
        let payload = encode_payload(wire, chunks);
        response(200, payload.content_type, payload.body)
    }
}
