//! Where the bytes of an upload come from: the body as it is, or the file of a form in it.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use denrei_proto::codes::Code;
use denrei_proto::multipart::{Form, Malformed, Said};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;

use crate::facts::Facts;
use crate::refusal::Refusal;

pub(super) struct Source {
    body: Body,
    form: Option<Form>,
}

/// What may follow a form's file: it is read, so that the answer reaches who is still sending.
const BEHIND: usize = 64 * 1024;

impl Source {
    pub(super) fn of(facts: &Facts<'_>, body: Body) -> Result<Self, Refusal> {
        let kind = facts.one("content-type").unwrap_or_default();
        let form = match kind.get(..10).is_some_and(|family| family.eq_ignore_ascii_case("multipart/")) {
            true => Some(Form::of(kind).ok_or_else(|| refused(Malformed("the form has no boundary")))?),
            false => None,
        };
        Ok(Self { body, form })
    }

    pub(super) fn is_form(&self) -> bool {
        self.form.is_some()
    }

    /// Reads up to where the file begins, within some time; says what it is called, if that is said.
    pub(super) async fn begin(&mut self, time: Duration) -> Result<Option<String>, Refusal> {
        let Some(form) = &mut self.form else { return Ok(None) };
        let begun = async {
            loop {
                match form.read().map_err(refused)? {
                    Said::Begins(name) => return Ok(Some(name)),
                    Said::Piece(_) | Said::Ends => {}
                    Said::More => match piece(&mut self.body).await? {
                        Some(piece) => form.take(&piece),
                        None => return Err(refused(Malformed("the form has no file"))),
                    },
                }
            }
        };
        let too_slow = |_| Refusal::new(Code::TooSlow, "the form took too long to arrive");
        tokio::time::timeout(time, begun).await.map_err(too_slow)?
    }

    /// The bytes of the file.
    pub(super) fn pieces(self) -> BoxStream<'static, Result<Bytes, Refusal>> {
        stream::try_unfold(self, async |mut source| {
            let piece = source.next().await?;
            Ok(piece.map(|piece| (piece, source)))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(form) = &mut self.form else { return piece(&mut self.body).await };
        loop {
            match form.read().map_err(refused)? {
                Said::Piece(piece) => return Ok(Some(piece)),
                Said::Begins(_) => {}
                Said::Ends => break,
                Said::More => match piece(&mut self.body).await? {
                    Some(piece) => form.take(&piece),
                    None => return Err(refused(Malformed("the form has no end"))),
                },
            }
        }
        let mut behind = 0;
        while let Some(piece) = piece(&mut self.body).await? {
            behind += piece.len();
            if behind > BEHIND {
                return Err(refused(Malformed("a form has one file, and not much behind it")));
            }
        }
        Ok(None)
    }
}

async fn piece(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    let broken = |_| Refusal::new(Code::InvalidMessage, "the body did not come to its end");
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(broken)?.into_data() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

fn refused(Malformed(sentence): Malformed) -> Refusal {
    Refusal::new(Code::InvalidMessage, sentence)
}
