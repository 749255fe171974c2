//! A client's logical connection, whatever carries it: its rooms, where it stands in them, and what it has still to
//! be given.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{Cursor, Dialect, Found, Name, Notice, Outbox, Position, Reader, ReaderKey, RoomName, Seat, Wire};
use denrei_proto::codes::Code;
use tokio::time::Instant;

use crate::app::{App, Open};
use crate::auth::Standing;
use crate::chat::{Caller, is_chat};
use crate::identity::Identity;
use crate::link::{Link, Woke};
use crate::metrics::{Ending, Transport};
use crate::policy::Action;
use crate::rates::{Asking, Limited, Own};
use crate::refusal::Refusal;
use crate::{dispatch, wires};

/// The state of a session that all transports share. Dropping it leaves every room.
pub(crate) struct Session {
    pub(crate) app: Arc<App>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) identity: Identity,
    /// A session is in few rooms, mostly: a table for one would be the largest part of an idle session.
    rooms: Vec<Joined>,
    cursors: Vec<Cursor>,
    own: Own,
    abused: bool,
    /// The log could not be read: not before this time again.
    pause: Option<Instant>,
    seat: Seat,
    transport: Transport,
    /// Why it ends.
    pub(crate) ending: Ending,
    _open: Open,
}

struct Joined {
    reader: Reader,
    /// How it is told: one connection may be in a room in several ways.
    dialect: Dialect,
    /// Where the room stood at the last heartbeat: everything up to there has gone out.
    mark: Position,
    /// The position that the client was last told.
    told: Position,
}

/// What a session does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attention {
    /// Time for a sign of life.
    Heartbeat,
    /// The server is about to stop.
    Shutdown,
    /// The client is too slow for what must not be lost, or for the server's memory.
    Overflow,
    /// Time to see how the client stands.
    Due,
}

/// What to write, in a transport's own words.
#[derive(Clone, Copy)]
pub(crate) enum Owed<'a> {
    /// A message.
    Message(&'a denrei_hub::Message),
    /// Messages that cannot be replayed: the room, the first number, and the place of the last.
    Gap(&'a RoomName, u64, &'a Position),
}

/// Has the session look at an identity when its time comes: at once, if it came while the client was let in. Only there it
/// is judged.
fn remind(app: &App, seat: &Seat, outbox: &Outbox, identity: &Identity) {
    match app.auth.standing(identity) {
        Standing::Good(Some(time)) => seat.remind(time),
        Standing::Good(None) => {}
        Standing::Expiring(..) | Standing::Over(_) => outbox.notify(Notice::Due),
    }
}

impl Session {
    pub(crate) fn new(
        open: Open,
        outbox: Arc<Outbox>,
        transport: Transport,
        identity: Identity,
        heartbeat: Duration,
    ) -> Self {
        let period = u32::try_from(heartbeat.as_secs()).unwrap_or(u32::MAX).max(1);
        let app = Arc::clone(open.app());
        let seat = app.hub.enter(Arc::clone(&outbox), identity.user.clone(), period);
        remind(&app, &seat, &outbox, &identity);
        if app.is_stopping() {
            // It came in before the server began to stop, and was not there yet when everybody was told.
            outbox.notify(Notice::Shutdown);
        }
        app.metrics.opened(transport);
        tracing::debug!(
            connection = %outbox.client(), transport = transport.as_str(), user = identity.user.as_ref().map(Name::as_str),
            "a connection has begun"
        );
        Self {
            app,
            outbox,
            identity,
            rooms: Vec::new(),
            cursors: Vec::new(),
            own: Own::default(),
            abused: false,
            pause: None,
            seat,
            transport,
            ending: Ending::Gone,
            _open: open,
        }
    }

    /// Something else carries it from now on.
    pub(crate) fn carry(&mut self, transport: Transport) {
        self.app.metrics.moved(self.transport, transport);
        self.transport = transport;
    }

    /// Counts what the client asks, or the event that it publishes.
    pub(crate) fn asks(&self, name: &str) {
        self.app.metrics.asked(self.outbox.shard().number(), name);
    }

    /// The client turns out to be somebody.
    pub(crate) fn identify(&mut self, identity: Identity) {
        self.answer_for(&identity);
        self.identity = identity;
    }

    /// The client brings a new token: the same user's, or an anonymous client's first.
    pub(crate) fn authenticate(&mut self, token: &str) -> Result<(), Refusal> {
        let identity = Identity { address: self.identity.address, ..self.app.auth.verify(token)? };
        if self.identity.user.is_some() && self.identity.user != identity.user {
            return Err(Refusal::new(Code::Forbidden, "the token belongs to another user"));
        }
        self.identify(identity);
        Ok(())
    }

    /// The client is also this one, in one of its namespaces.
    pub(crate) fn answer_for(&mut self, identity: &Identity) {
        self.seat.identify(identity.user.clone());
        remind(&self.app, &self.seat, &self.outbox, identity);
    }

    /// How one whom the session answers for stands; asks to be reminded when that may change.
    pub(crate) fn standing(&self, identity: &Identity) -> Standing {
        let standing = self.app.auth.standing(identity);
        if let Standing::Good(Some(time)) | Standing::Expiring(_, time) = &standing {
            self.seat.remind(*time);
        }
        standing
    }

    /// Whether the client may ask this now.
    pub(crate) fn pass(&mut self, asking: Asking<'_>) -> Result<(), Refusal> {
        let passed = self.app.limiter.pass_of(&mut self.own, &self.identity, asking);
        self.refused(passed)
    }

    /// The same as whom it is in one of its namespaces.
    pub(crate) fn pass_as(&mut self, identity: &Identity, asking: Asking<'_>) -> Result<(), Refusal> {
        let passed = self.app.limiter.pass_of(&mut self.own, identity, asking);
        self.refused(passed)
    }

    fn refused(&mut self, passed: Result<(), Limited>) -> Result<(), Refusal> {
        self.abused |= matches!(passed, Err(Limited::Abuse));
        passed.map_err(Refusal::from)
    }

    /// Whether the client asks on however often it is refused: its connection is to end.
    pub(crate) fn is_abused(&self) -> bool {
        self.abused
    }

    /// Becomes a reader of a room; not written to before [`Session::follow`]. Joining again begins anew.
    pub(crate) async fn join(&mut self, room: &RoomName, echo: bool) -> Result<&Reader, Refusal> {
        let identity = self.identity.clone();
        self.join_as(&identity, room, echo, Dialect::default()).await
    }

    /// The same as whom the client is in one of its namespaces, told in its words.
    pub(crate) async fn join_as(
        &mut self,
        identity: &Identity,
        room: &RoomName,
        echo: bool,
        dialect: Dialect,
    ) -> Result<&Reader, Refusal> {
        match self.try_join(identity, room, echo, dialect).await {
            Ok(()) => Ok(&self.rooms[self.rooms.len() - 1].reader),
            Err(refusal) => {
                self.app.note_kept_out(identity, &self.outbox, room, refusal.code);
                Err(refusal)
            }
        }
    }

    async fn try_join(
        &mut self,
        identity: &Identity,
        room: &RoomName,
        echo: bool,
        dialect: Dialect,
    ) -> Result<(), Refusal> {
        let decision = {
            let caller = Caller { identity, connection: Some(&self.outbox) };
            self.app.check(caller, Action::Read(room))
        };
        self.app.decided(identity, decision).await?;
        let limit = self.app.limits().rooms;
        if self.rooms.len() >= limit && self.joined(room, dialect).is_none() {
            let sentence = format!("a connection joins at most {limit} rooms");
            return Err(Refusal::new(Code::TooManyRooms, sentence));
        }
        // Who joins again stays a member whatever becomes of the log: a room that is known here need not be looked up.
        let _known = match self.joined(room, dialect) {
            Some(_) => Some(self.app.hub.watch(room).await?),
            None => None,
        };
        self.leave_as(room, dialect);
        let reader = self.app.hub.attach(&self.outbox, room, echo, dialect).await?;
        if is_chat(room) {
            // Who was shown out before it was a reader is found out now, and who is so later loses the reader.
            let decision = self.app.check(Caller { identity, connection: Some(&self.outbox) }, Action::Read(room));
            self.app.decided(identity, decision).await?;
        }
        let place = reader.place().clone();
        if self.rooms.len() == self.rooms.capacity() {
            // Most sessions are in one room or two, and the vector would begin with four.
            self.rooms.reserve_exact(self.rooms.len().max(1));
        }
        self.rooms.push(Joined { reader, dialect, mark: place.clone(), told: place });
        Ok(())
    }

    /// Begins to receive a room that was joined: what follows `since`, or what follows the join.
    pub(crate) fn follow(&mut self, room: &RoomName, since: Option<Position>) {
        self.follow_as(room, Dialect::default(), since);
    }

    /// The same for a room that was joined in these words.
    pub(crate) fn follow_as(&mut self, room: &RoomName, dialect: Dialect, since: Option<Position>) {
        if !self.replay_as(room, dialect, since)
            && let Some(joined) = self.joined(room, dialect)
        {
            joined.reader.live();
        }
    }

    /// Begins to page the log of a room from a place; false when there is nothing to begin with.
    pub(crate) fn replay(&mut self, room: &RoomName, since: Option<Position>) -> bool {
        self.replay_as(room, Dialect::default(), since)
    }

    fn replay_as(&mut self, room: &RoomName, dialect: Dialect, since: Option<Position>) -> bool {
        let joined = self.joined(room, dialect).filter(|joined| joined.reader.keeps_log());
        let (Some(joined), Some(since)) = (joined, since) else { return false };
        let cursor = joined.reader.cursor(since);
        self.cursors.push(cursor);
        true
    }

    /// Leaves a room; false when it was not in it.
    pub(crate) fn leave(&mut self, room: &RoomName) -> bool {
        self.leave_as(room, Dialect::default())
    }

    /// The same for a room that was joined in these words.
    pub(crate) fn leave_as(&mut self, room: &RoomName, dialect: Dialect) -> bool {
        let before = self.rooms.len();
        self.retain(|joined| joined.reader.room() != room || joined.dialect != dialect);
        self.rooms.len() < before
    }

    /// Leaves all rooms that it has joined in these words.
    pub(crate) fn leave_all_as(&mut self, dialect: Dialect) {
        self.retain(|joined| joined.dialect != dialect);
    }

    /// Leaves all rooms.
    pub(crate) fn leave_all(&mut self) {
        self.retain(|_| false);
    }

    fn retain(&mut self, keep: impl Fn(&Joined) -> bool) {
        let stays =
            |cursor: &Cursor| self.rooms.iter().any(|joined| joined.reader.key() == cursor.reader() && keep(joined));
        self.cursors.retain(stays);
        self.rooms.retain(keep);
    }

    fn joined(&self, room: &RoomName, dialect: Dialect) -> Option<&Joined> {
        self.rooms.iter().find(|joined| joined.reader.room() == room && joined.dialect == dialect)
    }

    /// How many rooms it is in.
    pub(crate) fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Looks at what the session was told since the last call.
    pub(crate) fn attend(&mut self) -> Option<Attention> {
        let mut attention = None;
        for notice in self.outbox.notices() {
            match notice {
                Notice::Behind(reader, place) => self.fall_behind(reader, place),
                Notice::Heartbeat if attention.is_none() => attention = Some(Attention::Heartbeat),
                Notice::Heartbeat => {}
                // What ends the session comes before it, and the heartbeat comes again.
                Notice::Expelled(key) => self.shown_out(key),
                Notice::Due if matches!(attention, Some(Attention::Shutdown | Attention::Overflow)) => {}
                Notice::Due => attention = Some(Attention::Due),
                Notice::Shutdown => attention = Some(Attention::Shutdown),
                Notice::Overflow => attention = Some(Attention::Overflow),
            }
        }
        attention
    }

    fn shown_out(&mut self, key: ReaderKey) {
        let Some(joined) = self.rooms.iter().find(|joined| joined.reader.key() == key) else { return };
        let refusal = Refusal::new(Code::NotAMember, format!("you may not read {} any more", joined.reader.room()));
        if wires::is_native(self.outbox.wire()) {
            // Others are told by what the room's last event says, or by the end of their stream.
            self.outbox.push(dispatch::refused(&self.outbox, None, &refusal));
        }
        self.retain(|joined| joined.reader.key() != key);
    }

    fn fall_behind(&mut self, key: ReaderKey, place: Position) {
        if let Some(joined) = self.rooms.iter().find(|joined| joined.reader.key() == key) {
            self.cursors.push(joined.reader.cursor(place));
        }
    }

    /// Whether there is a log to page now, and room for what it gives.
    pub(crate) fn is_behind(&self) -> bool {
        let paused = self.pause.is_some_and(|pause| pause > Instant::now());
        !self.cursors.is_empty() && !paused && !self.outbox.is_blocked()
    }

    /// Pages one log once, and queues what it gives as `encode` writes it. A cursor that has arrived at the head is
    /// given back: [`Cursor::live`] is next.
    pub(crate) async fn page(&mut self, encode: impl Fn(&App, Wire, Dialect, Owed<'_>) -> Bytes) -> Option<Cursor> {
        let wire = self.outbox.wire();
        self.pause = None;
        let cursor = self.cursors.first_mut()?;
        let joined = self.rooms.iter().find(|joined| joined.reader.key() == cursor.reader());
        let dialect = joined.map(|joined| joined.dialect).unwrap_or_default();
        match cursor.next().await {
            Ok(Found::Messages(messages)) => {
                for message in &messages {
                    self.outbox.push(encode(&self.app, wire, dialect, Owed::Message(message)));
                }
                // The rooms take turns.
                self.cursors.rotate_left(1);
            }
            Ok(Found::Gap { from, to, epoch }) => {
                let to = Position { epoch, seq: to };
                let gap = Owed::Gap(cursor.room(), from.0, &to);
                self.outbox.push(encode(&self.app, wire, dialect, gap));
            }
            Ok(Found::Head) => return Some(self.cursors.remove(0)),
            Err(error) => {
                tracing::debug!(%error, "a log could not be read");
                self.pause = Some(Instant::now() + Duration::from_secs(1));
            }
        }
        None
    }

    /// Waits for something to do: bytes from the peer (if `reading`), room in its socket, a notice, a log to page.
    /// Cancel safe.
    pub(crate) async fn wait(&mut self, link: &mut Link, reading: bool) -> io::Result<Woke> {
        self.outbox.flush();
        if self.is_behind() {
            // There is something to do already: only what is there is looked at, and other tasks have their turn.
            let look = async {
                tokio::select! {
                    biased;
                    woke = link.wait(&self.outbox, reading) => woke,
                    () = tokio::task::yield_now() => Ok(Woke::Told),
                }
            };
            return Box::pin(look).await;
        }
        match self.pause.filter(|_| !self.cursors.is_empty()) {
            Some(pause) => {
                let wait = link.wait(&self.outbox, reading);
                Box::pin(tokio::time::timeout_at(pause, wait)).await.unwrap_or(Ok(Woke::Told))
            }
            None => link.wait(&self.outbox, reading).await,
        }
    }

    /// The rooms that advanced since the client was last told, with positions up to which everything has gone out:
    /// those of the heartbeat before this one. Rooms whose log is being paged are left out.
    pub(crate) fn positions(&mut self) -> Vec<(RoomName, String)> {
        let mut advanced = Vec::new();
        for joined in &mut self.rooms {
            let room = joined.reader.room();
            let Some(head) = joined.reader.head() else { continue };
            let mark = std::mem::replace(&mut joined.mark, head);
            if mark != joined.told && !self.cursors.iter().any(|cursor| cursor.room() == room) {
                advanced.push((room.clone(), mark.to_string()));
                joined.told = mark;
            }
        }
        advanced
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.app.metrics.closed(self.transport, self.ending);
        tracing::debug!(
            connection = %self.outbox.client(), transport = self.transport.as_str(), reason = self.ending.as_str(),
            user = self.identity.user.as_ref().map(Name::as_str), "a connection has ended"
        );
    }
}
