//! Channels to other programs, on core NATS: a plain channel's name is a subject as it is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Subject, Subscriber};
use bytes::Bytes;
use denrei_hub::{BusError, Carrying, Channel, Channels, Heard, Hearer, Listen, Listening, random_token};
use futures_util::StreamExt;
use tokio::sync::watch;

use super::link::{Failure, Link, Task};
use crate::encoded;

/// Channels on a connection that hears itself.
///
/// A name that NATS would read as something else is refused, and so are names of the server's and of our own subjects:
/// whoever chooses a channel's name must not reach those.
///
/// NATS can listen below whole tokens only: to hear all channels that begin with `chat.room-`, a node is sent all below
/// `chat.`, and for `chat` or `#` all that is published in the account. The rest is dropped here.
pub(super) struct NatsChannels {
    link: Arc<Link>,
    prefix: Arc<str>,
    exact: Arc<Exact>,
    _counting: Task,
}

/// How often this node listens to exactly a channel.
type Exact = Mutex<HashMap<Channel, usize>>;

impl NatsChannels {
    /// The server ends a connection that sends a longer line than 4096 bytes.
    const LONGEST: usize = 1024;

    /// How long answers to a count are awaited: NATS does not tell who listens, nodes do.
    const COUNTING: Duration = Duration::from_millis(300);

    pub(super) fn new(link: Arc<Link>, prefix: &str) -> Self {
        let exact = Arc::default();
        let answering = answer_counts(Arc::clone(&link), prefix.to_owned(), Arc::clone(&exact));
        Self { link, prefix: prefix.into(), exact, _counting: Task::spawn(answering) }
    }

    fn subject(&self, channel: &Channel) -> Result<Subject, BusError> {
        match channel {
            Channel::Plain(name) => match fault(name, &self.prefix) {
                None => Ok(Subject::from(&**name)),
                Some(fault) => Err(BusError(format!("NATS has no channel {:?}: {fault}", shown(name)).into())),
            },
            Channel::Sharded(name) if (1..=Self::LONGEST).contains(&name.len()) => {
                Ok(format!("{}.s.{}", self.prefix, encoded(name)).into())
            }
            Channel::Sharded(name) => {
                let sentence =
                    format!("a channel's name of {} bytes is not between 1 and {}", name.len(), Self::LONGEST);
                Err(BusError(sentence.into()))
            }
        }
    }

    fn counting(&self, channel: &Channel) -> Subject {
        let (kind, name) = match channel {
            Channel::Plain(name) => ('p', name),
            Channel::Sharded(name) => ('s', name),
        };
        format!("{}.c.{kind}{}", self.prefix, encoded(name)).into()
    }
}

impl Channels for NatsChannels {
    fn publish(&self, channel: &Channel, bytes: Bytes) -> Carrying<()> {
        // Now rather than when it is awaited: so calls keep their order.
        let handed = self.subject(channel).and_then(|subject| {
            if self.link.is_cut() {
                return Err(Failure::Down.into());
            }
            Ok(self.link.publish(subject, None, bytes)?)
        });
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            handed?;
            match tokio::time::timeout(Link::PATIENCE, link.client().flush()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(BusError(error.to_string().into())),
                Err(_) => Err(Failure::Unanswered.into()),
            }
        })
    }

    fn subscribe(&self, what: Listen) -> Carrying<Listening> {
        let begun = match &what {
            Listen::To(channel) => self.subject(channel),
            Listen::Below(prefix) => below(prefix)
                .map_err(|fault| BusError(format!("NATS has no channels below {:?}: {fault}", shown(prefix)).into())),
        };
        let begun = begun.and_then(|subject| Ok(self.link.subscribe(subject)?));
        let begun = begun.map(|subscriber| {
            let counted = match &what {
                Listen::To(channel) => Some(Counted::new(&self.exact, channel.clone())),
                Listen::Below(_) => None,
            };
            // The task and its hearer need each other's ends.
            let (sender, ears) = watch::channel(());
            let (hearer, listening) = Listening::new(Box::new((sender, counted)));
            (subscriber, Ear { what, prefix: Arc::clone(&self.prefix), hearer }, ears, listening)
        });
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let (subscriber, ear, ears, listening) = begun?;
            let losses = link.losses();
            tokio::spawn(hear(ear, subscriber, losses, ears));
            link.flush().await?;
            Ok(listening)
        })
    }

    fn count(&self, channel: &Channel) -> Carrying<u64> {
        let known = self.subject(channel);
        let subject = self.counting(channel);
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            known?;
            link.ready().await?;
            let inbox = Subject::from(link.client().new_inbox());
            let mut answers = link.subscribe(inbox.clone())?;
            link.publish(subject, Some(inbox), Bytes::new())?;
            let mut nodes = HashSet::new();
            let counting = async {
                while let Some(answer) = answers.next().await {
                    if !answer.payload.is_empty() {
                        nodes.insert(answer.payload);
                    }
                }
            };
            let _ = tokio::time::timeout(Self::COUNTING, counting).await;
            Ok(nodes.len() as u64)
        })
    }
}

/// What hears for one [`Listening`].
struct Ear {
    what: Listen,
    prefix: Arc<str>,
    hearer: Hearer,
}

/// Counts as a listener until it is dropped.
struct Counted {
    exact: Arc<Exact>,
    channel: Channel,
}

impl Counted {
    fn new(exact: &Arc<Exact>, channel: Channel) -> Self {
        *lock(exact).entry(channel.clone()).or_default() += 1;
        Self { exact: Arc::clone(exact), channel }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut exact = lock(&self.exact);
        if let Some(count) = exact.get_mut(&self.channel) {
            *count -= 1;
            if *count == 0 {
                exact.remove(&self.channel);
            }
        }
    }
}

/// Moves what arrives to a [`Listening`], until that is dropped.
async fn hear(ear: Ear, mut subscriber: Subscriber, mut losses: watch::Receiver<u64>, mut ears: watch::Receiver<()>) {
    loop {
        tokio::select! {
            biased;
            _ = ears.changed() => return,
            changed = losses.changed() => match changed {
                Ok(()) => ear.hearer.hear(Heard::Lost),
                Err(_) => return,
            },
            message = subscriber.next() => match message {
                Some(message) => ear.hear(&message.subject, message.payload),
                None => return,
            },
        }
    }
}

impl Ear {
    fn hear(&self, subject: &str, payload: Bytes) {
        let channel = match &self.what {
            Listen::To(channel) => channel.clone(),
            // What the server or this crate has to say is on no channel.
            Listen::Below(_) if fault(subject, &self.prefix).is_some() => return,
            Listen::Below(_) => Channel::Plain(subject.into()),
        };
        if self.what.includes(&channel) {
            self.hearer.hear(Heard::Message(channel, payload));
        }
    }
}

/// Answers those who count, for the channels that this node listens to.
async fn answer_counts(link: Arc<Link>, prefix: String, exact: Arc<Exact>) {
    let node = Bytes::from(random_token(16));
    let Ok(mut questions) = link.subscribe(format!("{prefix}.c.*")) else { return };
    while let Some(question) = questions.next().await {
        let asked = question.subject.rsplit('.').next().and_then(asked);
        let listens = asked.is_some_and(|channel| lock(&exact).contains_key(&channel));
        if let Some(reply) = question.reply.filter(|_| listens) {
            let _ = link.publish(reply, None, node.clone());
        }
    }
}

/// The channel that a count asks for.
fn asked(token: &str) -> Option<Channel> {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let (kind, name) = token.split_at_checked(1)?;
    let name: Arc<str> = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(name).ok()?).ok()?.into();
    match kind {
        "p" => Some(Channel::Plain(name)),
        "s" => Some(Channel::Sharded(name)),
        _ => None,
    }
}

/// What keeps a name from being a channel's.
fn fault(name: &str, prefix: &str) -> Option<&'static str> {
    let own = name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if name.split('.').any(str::is_empty) {
        return Some("between its dots it has at least one character");
    }
    if own || name.starts_with('$') || name.starts_with("_INBOX.") || name == "_INBOX" {
        return Some("the name belongs to the server or to denrei");
    }
    misfit(name)
}

/// What keeps text from being a part of a subject.
fn misfit(text: &str) -> Option<&'static str> {
    if text.len() > NatsChannels::LONGEST {
        return Some("it has at most 1024 bytes");
    }
    if text.chars().any(|c| c == '*' || c == '>' || c.is_whitespace() || c.is_control()) {
        return Some("it has no spaces, no control characters, no * and no >");
    }
    None
}

/// The subject that is nearest to all names that begin so.
fn below(prefix: &str) -> Result<Subject, &'static str> {
    if let Some(fault) = misfit(prefix) {
        return Err(fault);
    }
    let whole = prefix.rsplit_once('.').map_or("", |(whole, _)| whole);
    if prefix.contains('.') && whole.split('.').any(str::is_empty) {
        return Err("between its dots it has at least one character");
    }
    Ok(if whole.is_empty() { ">".into() } else { format!("{whole}.>").into() })
}

/// As much of a name as belongs into a sentence.
fn shown(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{below, fault};

    #[test]
    fn a_name_that_means_something_to_nats_is_no_channel() {
        for name in ["a", "a.b", "socket.io#/#room#", "é:1", "denreix", "a$b", "a_INBOX.b"] {
            assert_eq!(fault(name, "denrei"), None, "{name}");
        }
        let long = "a".repeat(1025);
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\tb",
            "a\r\nPUB x 0\r\n",
            "*",
            "a.*",
            ">",
            "a.>",
            "a*",
            "$SYS.x",
            "$JS.API",
            "_INBOX.x",
            "denrei",
            "denrei.b.nodes",
            &long,
        ] {
            assert!(fault(name, "denrei").is_some(), "{name:?}");
        }
    }

    #[test]
    fn whole_tokens_before_a_prefix_are_listened_to() {
        for (prefix, subject) in [("", ">"), ("chat", ">"), ("chat.", "chat.>"), ("chat.a.b", "chat.a.>")] {
            assert_eq!(below(prefix).map(|subject| subject.to_string()), Ok(subject.to_owned()));
        }
        for prefix in ["*", "a.*.", ".", "..", "a..b", "a b"] {
            assert!(below(prefix).is_err(), "{prefix:?}");
        }
    }
}
