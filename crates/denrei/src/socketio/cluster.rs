//! The seam to other nodes: what they are told, what they are asked, and how this node does the same for them.
//!
//! It follows the messages of Node's cluster adapters, so that each of those is one [`Peers`]. A node tells or asks; the
//! others [`perform`](Namespace::perform) or [`answer`](Namespace::answer). What a node asks has an end: who has not
//! answered by then is named, and the rest is given.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::socketio::ack::Gathered;
use crate::socketio::emit::{Flags, Packet, Targets};
use crate::socketio::listeners::{Handler, contained};
use crate::socketio::nodes::carried;
use crate::socketio::{Args, Compat, Failure, Namespace, Socket, SocketId, ack};

/// Something that every node is to do in a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Deed {
    /// Send an event.
    Emit(Targets, Packet, Flags),
    /// Have sockets join rooms.
    Join(Targets, Vec<String>),
    /// Have them leave.
    Leave(Targets, Vec<String>),
    /// Take them out, or end their connections.
    Disconnect(Targets, bool),
    /// Tell the application. Not done by the node that says so.
    ServerSide(Packet),
}

/// Something that every node is asked about a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Who is there?
    Fetch(Targets),
    /// What do these answer to an event?
    Emit(Targets, Packet, Flags),
    /// What does the application say? Not asked of the node that asks.
    ServerSide(Packet),
}

/// What a node answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Sockets(Vec<Description>),
    Answers(Gathered),
    ServerSide(#[serde(with = "carried")] Args),
}

/// A socket as it is told to other nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) id: SocketId,
    pub(crate) handshake: Value,
    pub(crate) rooms: Vec<String>,
    pub(crate) data: Map<String, Value>,
}

/// The other nodes.
pub(crate) trait Peers: Send + Sync + 'static {
    /// Tells them; never blocks. What one caller tells keeps its order.
    fn tell(&self, namespace: &str, deed: &Deed);

    /// Asks them, until all have answered or the patience ends.
    fn ask(&self, namespace: &str, question: Question, patience: Duration) -> BoxFuture<'static, Replies>;
}

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) replies: Vec<Reply>,
    /// Nodes that have not.
    pub(crate) missing: Vec<String>,
}

impl Namespace {
    /// Does something, here and on the other nodes.
    pub(crate) fn everywhere(&self, deed: &Deed, local: bool) {
        if let Deed::Emit(targets, packet, flags) = deed
            && let Some(log) = self.shared_log(*flags).filter(|_| !local)
        {
            // Each node finds it there.
            return log.publish(self, targets, packet, *flags);
        }
        self.perform(deed);
        let here = match deed {
            // An id is that of one socket.
            Deed::Emit(targets, ..) => targets.single().is_some_and(|id| self.socket(id).is_some()),
            _ => false,
        };
        if !local && !here {
            self.elsewhere(deed);
        }
    }

    /// Has the other nodes do something.
    pub(crate) fn elsewhere(&self, deed: &Deed) {
        for (namespace, peers) in self.peers() {
            peers.tell(namespace.name(), deed);
        }
    }

    /// Asks the other nodes something.
    pub(crate) fn inquire(&self, question: &Question, patience: Duration) -> BoxFuture<'static, Replies> {
        let asked = self.peers().into_iter();
        let asked = asked.map(|(namespace, peers)| peers.ask(namespace.name(), question.clone(), patience));
        let asked: Vec<_> = asked.collect();
        Box::pin(async move {
            let mut all = Replies::default();
            for Replies { replies, missing } in join_all(asked).await {
                all.replies.extend(replies);
                all.missing.extend(missing);
            }
            all
        })
    }

    /// Who the other nodes are, and what to call the namespace there. Servers of Node know no patterns: each of the
    /// namespaces that fit is one of theirs.
    fn peers(&self) -> Vec<(Self, Arc<dyn Peers>)> {
        if self.shared_as().is_some() {
            let each = self.concrete().into_iter();
            return each.filter_map(|namespace| Some((namespace.clone(), namespace.servers()?))).collect();
        }
        let nodes = self.io().and_then(|io| io.peers());
        nodes.map(|peers| (self.clone(), peers)).into_iter().collect()
    }

    /// How long answers of other nodes are waited for where nobody says.
    pub(crate) fn patience(&self) -> Duration {
        self.shared_as().map_or(Duration::from_secs(5), Compat::patience)
    }

    /// Does what this or another node wants done on each.
    pub(crate) fn perform(&self, deed: &Deed) {
        for namespace in self.concrete() {
            match deed {
                Deed::Emit(targets, packet, flags) => namespace.broadcast_to(targets, packet, *flags),
                Deed::Join(targets, rooms) => namespace.members(targets).iter().for_each(|socket| {
                    if let Err(error) = socket.join(rooms) {
                        tracing::debug!(%error, socket = %socket.id(), "a socket did not join");
                    }
                }),
                Deed::Leave(targets, rooms) => {
                    for socket in namespace.members(targets) {
                        rooms.iter().for_each(|room| socket.leave_room(room));
                    }
                }
                Deed::Disconnect(targets, close) => {
                    namespace.members(targets).iter().for_each(|socket| socket.disconnect(*close));
                }
                Deed::ServerSide(packet) => {
                    let (namespace, packet) = (namespace.clone(), packet.clone());
                    tokio::spawn(async move { namespace.server_side(&packet).await });
                }
            }
        }
    }

    /// Answers what this or another node asks of each.
    pub(crate) fn answer(&self, question: &Question, patience: Duration) -> BoxFuture<'static, Vec<Reply>> {
        // Now, and not when somebody waits for it: an event is sent.
        let each = self.concrete().into_iter().map(|namespace| namespace.answer_alone(question.clone(), patience));
        let each: Vec<_> = each.collect();
        Box::pin(async move { join_all(each).await.into_iter().flatten().collect() })
    }

    fn answer_alone(self, question: Question, patience: Duration) -> BoxFuture<'static, Option<Reply>> {
        match question {
            Question::Fetch(targets) => {
                let sockets = self.members(&targets).iter().map(Socket::describe).collect();
                Box::pin(std::future::ready(Some(Reply::Sockets(sockets))))
            }
            Question::Emit(targets, packet, flags) => {
                let gathering = self.ask_members(&targets, &packet, flags, patience);
                Box::pin(async move { Some(Reply::Answers(gathering.await)) })
            }
            Question::ServerSide(packet) => Box::pin(async move {
                let answer = self.server_side(&packet).await;
                answer.map(Reply::ServerSide)
            }),
        }
    }

    /// Sends an event to sockets of this node, and gathers what they answer.
    pub(crate) fn ask_members(
        &self,
        targets: &Targets,
        packet: &Packet,
        flags: Flags,
        patience: Duration,
    ) -> BoxFuture<'static, Gathered> {
        self.ask_sockets(self.members(targets), packet, flags, patience, |_| {})
    }

    /// The same of these sockets, and tells each answer as it comes.
    pub(crate) fn ask_sockets(
        &self,
        sockets: Vec<Socket>,
        packet: &Packet,
        flags: Flags,
        patience: Duration,
        told: impl Fn(&Args) + Send + Sync + 'static,
    ) -> BoxFuture<'static, Gathered> {
        let id = self.next_ack();
        let send = |sockets: &[Socket]| self.send_to(sockets, packet, Some(id), flags);
        ack::ask_all(sockets, id, patience, told, send)
    }

    /// Runs the application's handler of another node's event; the first that there is answers.
    async fn server_side(&self, packet: &Packet) -> Option<Args> {
        let handlers = self.listeners(&|handler: &Handler| match handler {
            Handler::ServerSide(event, handler) if **event == *packet.event.as_str() => Some(handler.clone()),
            _ => None,
        });
        let mut answer = None;
        for handler in handlers {
            match contained(handler(packet.args.clone())).await {
                Ok(args) => answer = answer.or(Some(args)),
                Err(failure) => self.server_side_failed(&failure),
            }
        }
        answer
    }

    fn server_side_failed(&self, failure: &Failure) {
        tracing::warn!(namespace = self.name(), error = failure.message(), "a handler of another node's event failed");
    }
}

/// Nodes of one process: how a cluster is tried out.
#[cfg(test)]
pub(crate) mod together {
    use std::sync::Arc;

    use super::*;
    use crate::socketio::Io;

    /// The other nodes, each with a name.
    struct Others(Vec<(String, Io)>);

    /// Makes a cluster of these.
    pub(crate) fn join(nodes: &[&Io]) {
        for (at, io) in nodes.iter().enumerate() {
            let others = nodes.iter().enumerate().filter(|(other, _)| *other != at);
            let others = others.map(|(other, io)| (format!("node {other}"), (*io).clone())).collect();
            io.meet(Arc::new(Others(others)));
        }
    }

    impl Peers for Others {
        fn tell(&self, namespace: &str, deed: &Deed) {
            for namespace in self.0.iter().filter_map(|(_, io)| io.known(namespace)) {
                namespace.perform(deed);
            }
        }

        fn ask(&self, namespace: &str, question: Question, patience: Duration) -> BoxFuture<'static, Replies> {
            let asked: Vec<_> = self
                .0
                .iter()
                .map(|(node, io)| {
                    let answer = io.known(namespace).map(|namespace| namespace.answer(&question, patience));
                    (node.clone(), answer)
                })
                .collect();
            Box::pin(async move {
                let mut all = Replies::default();
                // A little longer than the answers of clients are waited for.
                let end = tokio::time::Instant::now() + patience + Duration::from_millis(200);
                for (node, answer) in asked {
                    let Some(answer) = answer else { continue };
                    match tokio::time::timeout_at(end, answer).await {
                        Ok(replies) => all.replies.extend(replies),
                        Err(_) => all.missing.push(node),
                    }
                }
                all
            })
        }
    }
}
