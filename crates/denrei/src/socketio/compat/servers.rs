//! The other servers of a namespace, and the task that hears and speaks for this one.

use std::sync::Arc;
use std::time::Duration;

use denrei_hub::{Absorbed, BusError, Channels, Heard, Listening};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::socketio::cluster::{Deed, Peers, Question, Replies, Reply};
use crate::socketio::compat::asked::Asked;
use crate::socketio::compat::format::{Asker, Format, Inquiry, Letter, Part, Said};
use crate::socketio::compat::rooms::{Changes, RoomChannels, subscribed};
use crate::socketio::compat::words::is_nobody;
use crate::socketio::namespace::Weak;
use crate::socketio::{Args, Namespace};

/// The other servers, until it is dropped.
pub(super) struct Servers {
    format: Arc<Format>,
    channels: Arc<dyn Channels>,
    mouth: Mouth,
    asked: Asked,
    /// The one task.
    task: AbortHandle,
}

impl Servers {
    pub(super) fn start(namespace: &Namespace, format: Format, runtime: &Handle) -> Self {
        let format = Arc::new(format);
        let channels = namespace.channels();
        let (mouth, letters) = Mouth::new();
        let asked = Asked::default();
        let ear = Ear {
            namespace: namespace.downgrade(),
            format: Arc::clone(&format),
            channels: Arc::clone(&channels),
            mouth: mouth.clone(),
            asked: asked.clone(),
            changes: Arc::default(),
            answering: JoinSet::new(),
        };
        let task = runtime.spawn(ear.run(letters)).abort_handle();
        Self { format, channels, mouth, asked, task }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peers for Servers {
    fn tell(&self, _: &str, deed: &Deed) {
        if let Some(letter) = self.format.tell(deed) {
            self.mouth.say(letter);
        }
    }

    fn ask(&self, _: &str, question: Question, patience: Duration) -> BoxFuture<'static, Replies> {
        if let Question::Emit(targets, ..) | Question::Fetch(targets) = &question
            && is_nobody(targets)
        {
            return Box::pin(std::future::ready(Replies::default()));
        }
        let Some(awaited) = self.asked.expect(&question) else {
            tracing::warn!("so much is asked of other servers that they are not asked more");
            return Box::pin(std::future::ready(Replies { missing: vec!["unnamed".into()], ..Replies::default() }));
        };
        // Now, in the order of what else is said.
        self.mouth.say(self.format.ask(&awaited.request, &question, patience));
        let counting = self.channels.count(&self.format.census());
        Box::pin(async move {
            let gathering = async {
                match counting.await {
                    // This one is among them.
                    Ok(servers) => awaited.expect(servers.saturating_sub(1)),
                    Err(error) => return tracing::warn!(%error, "nobody knows how many other servers there are"),
                }
                awaited.complete().await;
            };
            // Who is late is missing.
            let _ = tokio::time::timeout(patience, gathering).await;
            awaited.replies()
        })
    }
}

/// Takes what is to be published, in order; never blocks.
#[derive(Clone)]
struct Mouth {
    letters: mpsc::Sender<(Letter, OwnedSemaphorePermit)>,
    bytes: Arc<Semaphore>,
}

impl Mouth {
    /// Messages that wait to be published, and their bytes. More are lost.
    const LETTERS: usize = 4096;
    const BYTES: usize = 32 << 20;

    fn new() -> (Self, mpsc::Receiver<(Letter, OwnedSemaphorePermit)>) {
        let (letters, queue) = mpsc::channel(Self::LETTERS);
        (Self { letters, bytes: Arc::new(Semaphore::new(Self::BYTES)) }, queue)
    }

    fn say(&self, letter: Letter) {
        let bytes = u32::try_from(letter.bytes.len()).unwrap_or(u32::MAX);
        let lost = match Arc::clone(&self.bytes).try_acquire_many_owned(bytes) {
            Ok(permit) => self.letters.try_send((letter, permit)).is_err(),
            Err(_) => true,
        };
        if lost {
            tracing::warn!("too much waits to be said to other servers: a message is lost");
        }
    }
}

/// What the task knows.
struct Ear {
    namespace: Weak,
    format: Arc<Format>,
    channels: Arc<dyn Channels>,
    mouth: Mouth,
    asked: Asked,
    changes: Arc<Changes>,
    answering: JoinSet<()>,
}

impl Ear {
    /// Messages that are being published.
    const UNDER_WAY: usize = 256;
    /// Answers that are being found. More questions are not answered.
    const ANSWERING: usize = 1024;

    async fn run(mut self, mut letters: mpsc::Receiver<(Letter, OwnedSemaphorePermit)>) {
        let mut publishing = FuturesUnordered::new();
        loop {
            let mut rooms = RoomChannels::default();
            self.changes = Arc::default();
            // Before anything is said: the answer to it must be heard.
            let (mut listening, _others) = self.listen().await;
            let Some(namespace) = self.namespace.upgrade() else { return };
            if self.format.room("").is_some() {
                namespace.table().watch(&self.changes);
            }
            let hub = namespace.hub().clone();
            drop(namespace);
            loop {
                tokio::select! {
                    heard = listening.next() => match heard {
                        Some(heard) => {
                            self.hear(heard);
                            // Others of this thread have their turn, however much is said.
                            tokio::task::coop::consume_budget().await;
                        }
                        None => break,
                    },
                    Some((letter, permit)) = letters.recv(), if publishing.len() < Self::UNDER_WAY => {
                        publishing.push(publish(&*self.channels, letter, permit));
                    }
                    Some(published) = publishing.next() => {
                        if let Err(error) = published {
                            tracing::warn!(%error, "a message to other servers was not published");
                        }
                    }
                    turn = rooms.next(&self.changes) => {
                        let Some(namespace) = self.namespace.upgrade() else { return };
                        rooms.turn(turn, &namespace, &self.format, &self.channels, &mut listening);
                    }
                    Some(_) = self.answering.join_next() => {}
                }
                if hub.is_pressed() {
                    // Clients come first to what they are sent already.
                    hub.relieved().await;
                }
            }
            tracing::warn!("the channels of other servers have ended, and begin anew");
            let Some(namespace) = self.namespace.upgrade() else { return };
            namespace.table().unwatch();
        }
    }

    /// Listens to all channels as one: a room is joined before what is emitted to it next.
    async fn listen(&self) -> (Listening, Vec<Absorbed>) {
        let (first, others) = self.format.listens();
        let mut all = subscribed(&*self.channels, first).await;
        let mut absorbed = Vec::new();
        for other in others {
            let other = subscribed(&*self.channels, other).await;
            absorbed.push(all.absorb(other));
        }
        (all, absorbed)
    }

    fn hear(&mut self, heard: Heard) {
        let Heard::Message(channel, bytes) = heard else {
            return tracing::debug!("messages of other servers may have been missed");
        };
        let Some(namespace) = self.namespace.upgrade() else { return };
        let here = |room: &str| namespace.has_room(room);
        match self.format.read(&channel, &bytes, namespace.limits().attachments, here) {
            Ok(said) => self.act(&namespace, said),
            Err(error) => tracing::debug!(%error, channel = channel.name(), "a message of another server is ignored"),
        }
    }

    fn act(&mut self, namespace: &Namespace, said: Said) {
        match said {
            Said::Do(Deed::ServerSide(packet)) => {
                let answer = namespace.answer(&Question::ServerSide(packet), Duration::ZERO);
                self.spend(async move { drop(answer.await) });
            }
            Said::Do(deed) => namespace.perform(&deed),
            Said::DoOne { deed, socket, asker } => {
                if namespace.socket(&socket).is_some() {
                    namespace.perform(&deed);
                    self.answer(&asker, &Part::Done);
                }
            }
            Said::Ask { asker, inquiry } => self.find(namespace, asker, inquiry),
            Said::Answer { request, part } => self.asked.answered(&request, part),
            Said::Nothing => {}
        }
    }

    /// Finds an answer.
    fn find(&mut self, namespace: &Namespace, asker: Asker, inquiry: Inquiry) {
        match inquiry {
            Inquiry::Ids(targets) => {
                let ids = namespace.members(&targets).iter().map(|socket| socket.id().to_string()).collect();
                self.answer(&asker, &Part::Ids(ids));
            }
            Inquiry::Rooms => self.answer(&asker, &Part::Rooms(namespace.room_names())),
            Inquiry::Question(Question::Emit(targets, packet, flags), patience) => {
                let sockets = namespace.members(&targets);
                self.answer(&asker, &Part::Clients(sockets.len() as u64));
                let (format, mouth) = (Arc::clone(&self.format), self.mouth.clone());
                let told = move |args: &Args| {
                    if let Some(letter) = format.answer(&asker, &Part::Client(args.clone())) {
                        mouth.say(letter);
                    }
                };
                let patience = patience.unwrap_or(Duration::from_secs(5));
                let answers = namespace.ask_sockets(sockets, &packet, flags, patience, told);
                self.spend(async move { drop(answers.await) });
            }
            Inquiry::Question(question, _) => {
                // A handler that takes its time is nobody's business here: who asks has an end.
                let answers = namespace.answer(&question, Duration::ZERO);
                let (format, mouth) = (Arc::clone(&self.format), self.mouth.clone());
                self.spend(async move {
                    for reply in answers.await {
                        let part = match reply {
                            Reply::Sockets(sockets) => Part::Sockets(sockets),
                            Reply::ServerSide(args) => Part::ServerSide(args),
                            Reply::Answers(_) => continue,
                        };
                        if let Some(letter) = format.answer(&asker, &part) {
                            mouth.say(letter);
                        }
                    }
                });
            }
        }
    }

    fn answer(&self, asker: &Asker, part: &Part) {
        if let Some(letter) = self.format.answer(asker, part) {
            self.mouth.say(letter);
        }
    }

    fn spend(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if self.answering.len() < Self::ANSWERING {
            self.answering.spawn(task);
        } else {
            tracing::warn!("too many questions of other servers are being answered: one is not");
        }
    }
}

/// The permit is given back when it is done.
fn publish(
    channels: &dyn Channels,
    Letter { channel, bytes }: Letter,
    permit: OwnedSemaphorePermit,
) -> BoxFuture<'static, Result<(), BusError>> {
    // Handed over now, in order, and not when somebody waits for it.
    let published = channels.publish(&channel, bytes);
    Box::pin(async move {
        let _permit = permit;
        published.await
    })
}
