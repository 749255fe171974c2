//! Namespaces over the nodes of one hub: each does what another wants done, and answers what it asks.

use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Hub, Listener, Word};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::socketio::cluster::{Deed, Peers, Question, Replies, Reply};
use crate::socketio::{Io, recovery};

const TELL: &str = "socketio.tell";
const ASK: &str = "socketio.ask";

/// A little longer than the answers of clients are waited for.
const MARGIN: Duration = Duration::from_millis(200);

/// The other nodes of a hub.
pub(crate) struct Nodes(Hub);

#[derive(Serialize, Deserialize)]
struct Told<'a> {
    namespace: &'a str,
    deed: Deed,
}

#[derive(Serialize, Deserialize)]
struct Asked<'a> {
    namespace: &'a str,
    question: Question,
    patience: Duration,
}

impl Nodes {
    pub(crate) fn new(hub: Hub) -> Self {
        Self(hub)
    }
}

impl Peers for Nodes {
    fn tell(&self, namespace: &str, deed: &Deed) {
        if let Some(bytes) = encode(&Told { namespace, deed: deed.clone() }) {
            self.0.tell_nodes(TELL, bytes);
        }
    }

    fn ask(&self, namespace: &str, question: Question, patience: Duration) -> BoxFuture<'static, Replies> {
        let Some(bytes) = encode(&Asked { namespace, question, patience }) else {
            return Box::pin(std::future::ready(Replies::default()));
        };
        let asked = self.0.ask_nodes(None, ASK, bytes, patience.saturating_add(MARGIN));
        Box::pin(async move {
            let answers = asked.await;
            let mut all = Replies::default();
            all.missing.extend(answers.missing.iter().map(ToString::to_string));
            for (node, bytes) in answers.given {
                match rmp_serde::from_slice::<Vec<Reply>>(&bytes) {
                    Ok(replies) => all.replies.extend(replies),
                    Err(error) => {
                        tracing::warn!(%error, %node, "the answer of a node could not be read");
                        all.missing.push(node.to_string());
                    }
                }
            }
            all
        })
    }
}

/// What the hub is to hear for a server's namespaces.
pub(crate) fn listeners(io: &Io) -> Vec<(&'static str, Listener)> {
    let (told, asked) = (io.downgrade(), io.downgrade());
    let tell = Box::new(move |word: Word| {
        let Some(io) = told.upgrade() else { return };
        match rmp_serde::from_slice::<Told<'_>>(&word.bytes) {
            Ok(Told { namespace, deed }) => {
                if let Some(namespace) = io.known(namespace) {
                    namespace.perform(&deed);
                }
            }
            Err(error) => tracing::warn!(%error, node = %word.from, "what a node wants done could not be read"),
        }
    });
    let ask = Box::new(move |word: Word| {
        let (Some(io), Some(answer)) = (asked.upgrade(), word.answer) else { return };
        let Asked { namespace, question, patience } = match rmp_serde::from_slice(&word.bytes) {
            Ok(asked) => asked,
            Err(error) => {
                return tracing::warn!(%error, node = %word.from, "what a node asks could not be read");
            }
        };
        let Some(namespace) = io.known(namespace) else {
            // Nobody is in it here.
            return answer.with(encode(&Vec::<Reply>::new()).unwrap_or_default());
        };
        // What is asked of clients goes out now, in its turn.
        let answering = namespace.answer(&question, patience);
        tokio::spawn(async move {
            if let Some(bytes) = encode(&answering.await) {
                answer.with(bytes);
            }
        });
    });
    vec![(TELL, tell), (ASK, ask), recovery::listener(io)]
}

fn encode(what: &impl Serialize) -> Option<Bytes> {
    match rmp_serde::to_vec_named(what) {
        Ok(bytes) => Some(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "something for another node could not be encoded");
            None
        }
    }
}

/// Arguments between nodes.
pub(crate) mod carried {
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::socketio::Args;

    pub(crate) fn serialize<S: Serializer>(args: &Args, serializer: S) -> Result<S::Ok, S::Error> {
        (args.json(), args.attachments()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Args, D::Error> {
        let (json, attachments) = <(Bytes, Vec<Bytes>)>::deserialize(deserializer)?;
        Args::new(json, attachments).map_err(D::Error::custom)
    }

    /// With who has given them.
    pub(crate) mod list {
        use super::{Args, Bytes, Deserialize, Deserializer, Error, Serializer};
        use crate::socketio::SocketId;

        pub(crate) fn serialize<S: Serializer>(list: &[(SocketId, Args)], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(list.iter().map(|(id, args)| (id, args.json(), args.attachments())))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<(SocketId, Args)>, D::Error> {
            let list = <Vec<(SocketId, Bytes, Vec<Bytes>)>>::deserialize(deserializer)?;
            let args = |(id, json, attachments)| Ok((id, Args::new(json, attachments).map_err(D::Error::custom)?));
            list.into_iter().map(args).collect()
        }
    }
}
