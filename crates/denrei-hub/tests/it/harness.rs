//! A node with sessions that do what real ones do: attach, page cursors, go live, write on when the peer has room.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use denrei_hub::{
    Backends, Bus, Cursor, Dialect, Draft, Encoders, Found, Hub, HubConfig, Log, Message, Name, Notice, Outbox,
    Position, Reader, RoomName, ShardHandle, Wire,
};
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::history::Event;

/// `room|epoch|seq|payload`
pub(crate) const LINES: Wire = Wire(0);
/// The same, behind a `#`.
pub(crate) const MARKED: Wire = Wire(1);

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A line in the reader's dialect; the first one is plain.
fn told(message: &Message, dialect: Dialect) -> Bytes {
    match dialect {
        Dialect(0) => line(message),
        Dialect(other) => [format!("{other}:").as_bytes(), &*line(message)].concat().into(),
    }
}

pub(crate) fn draft(room: &str, payload: &str) -> Draft {
    Draft::new(name(room), name("message"), Bytes::copy_from_slice(payload.as_bytes()), 0)
}

/// Ends what would otherwise hang for ever.
pub(crate) async fn within<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), answer).await.expect("it ends within a minute")
}

/// Waits until something holds that no one tells.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A hub with its tasks; they end with it.
pub(crate) struct Node {
    pub(crate) hub: Hub,
    shards: Vec<ShardHandle>,
    pub(crate) tasks: JoinSet<()>,
}

impl Node {
    pub(crate) fn start(config: HubConfig, store: Option<Arc<dyn Log>>, bus: Option<Arc<dyn Bus>>) -> Self {
        Self::on(config, Backends { store, bus, ..Backends::default() })
    }

    pub(crate) fn on(config: HubConfig, backends: Backends) -> Self {
        let encoders =
            Encoders::new(vec![Box::new(told), Box::new(|message, _| [b"#", &*line(message)].concat().into())]);
        let (hub, shards) = Hub::new(config, encoders, backends);
        let mut tasks = JoinSet::new();
        let handles = shards.iter().map(|shard| shard.handle().clone()).collect();
        for shard in shards {
            tasks.spawn(shard.run());
        }
        tasks.spawn(hub.clone().run());
        Self { hub, shards: handles, tasks }
    }

    /// One without a cluster, with so many shards.
    pub(crate) fn alone(shards: usize) -> Self {
        Self::start(HubConfig { shards, ..HubConfig::default() }, None, None)
    }

    /// A connection whose peer is in the test.
    pub(crate) fn connect(&mut self, connecting: Connecting) -> Connection {
        let shard = connecting.shard.map_or_else(|| self.hub.shard(), |shard| &self.shards[shard]).clone();
        let client = connecting.client.into();
        let outbox = self.hub.outbox(client, connecting.wire, connecting.socket, &shard);
        let (ask, asks) = mpsc::channel(64);
        let (gone, is_gone) = oneshot::channel();
        let told = Arc::new(Told { deliver: connecting.deliver, ..Told::default() });
        let session = Session {
            hub: self.hub.clone(),
            outbox: Arc::clone(&outbox),
            readers: Vec::new(),
            cursors: VecDeque::new(),
            told: Arc::clone(&told),
            pace: connecting.pace,
            drain_at: None,
            _gone: gone,
        };
        // Here, not in its task: whoever has a connection may send to it.
        let seat = self.hub.enter(Arc::clone(&outbox), connecting.user, connecting.heartbeat);
        self.tasks.spawn(async move {
            session.run(asks).await;
            drop(seat);
        });
        Connection { outbox, told, asks: ask, gone: is_gone }
    }

    /// Publishes and waits for the answer.
    pub(crate) async fn publish(&self, draft: Draft) -> Position {
        self.hub.relieved().await;
        within(self.hub.publish_and_wait(draft)).await.expect("it is published").position
    }
}

fn line(message: &Message) -> Bytes {
    let payload = String::from_utf8_lossy(&message.payload);
    format!("{}|{}|{}|{payload}\n", message.room, message.epoch, message.seq).into()
}

/// What becomes of bytes that a session took from an outbox without a socket.
type Deliver = Box<dyn Fn(Bytes) + Send + Sync>;

/// How a connection is to be made.
pub(crate) struct Connecting {
    pub(crate) client: String,
    pub(crate) user: Option<Name>,
    pub(crate) wire: Wire,
    pub(crate) socket: Option<TcpStream>,
    pub(crate) shard: Option<usize>,
    pub(crate) heartbeat: u32,
    /// Without a socket: how long the transport takes for what is queued.
    pub(crate) pace: Duration,
    /// Without a socket: what it does with it.
    pub(crate) deliver: Option<Deliver>,
}

impl Connecting {
    pub(crate) fn as_client(client: &str) -> Self {
        Self {
            client: client.into(),
            user: None,
            wire: LINES,
            socket: None,
            shard: None,
            heartbeat: 3600,
            pace: Duration::ZERO,
            deliver: None,
        }
    }

    pub(crate) fn by(self, socket: TcpStream) -> Self {
        Self { socket: Some(socket), ..self }
    }

    pub(crate) fn on_shard(self, shard: usize) -> Self {
        Self { shard: Some(shard), ..self }
    }
}

/// The test's hold on a session; dropping it ends the session.
pub(crate) struct Connection {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) told: Arc<Told>,
    asks: mpsc::Sender<Ask>,
    gone: oneshot::Receiver<()>,
}

/// What a session was told by its outbox.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) behind: AtomicUsize,
    pub(crate) heartbeats: AtomicUsize,
    pub(crate) shutdown: AtomicBool,
    pub(crate) overflow: AtomicBool,
    /// Chunks taken from an outbox without a socket, one per write.
    pub(crate) chunks: Mutex<Vec<Bytes>>,
    deliver: Option<Deliver>,
}

impl Told {
    pub(crate) fn behind(&self) -> usize {
        self.behind.load(Ordering::SeqCst)
    }

    /// The lines of all chunks.
    pub(crate) fn lines(&self) -> Vec<String> {
        let bytes = self.chunks.lock().unwrap().concat();
        String::from_utf8(bytes).unwrap().lines().map(Into::into).collect()
    }
}

enum Ask {
    Join { room: RoomName, since: Option<Position>, echo: bool, tell: oneshot::Sender<Result<Position, String>> },
    Leave(RoomName),
}

impl Connection {
    /// Joins and receives from now on, the sender's own messages left out.
    pub(crate) async fn join(&self, room: &str) -> Position {
        self.attach(&name(room), None, false).await.expect("it is attached")
    }

    pub(crate) async fn attach(
        &self,
        room: &RoomName,
        since: Option<Position>,
        echo: bool,
    ) -> Result<Position, String> {
        let (tell, told) = oneshot::channel();
        let ask = Ask::Join { room: room.clone(), since, echo, tell };
        self.asks.send(ask).await.map_err(|_| "the session has ended")?;
        told.await.map_err(|_| "the session has ended")?
    }

    pub(crate) async fn leave(&self, room: &str) {
        // When the session has ended it has left.
        let _ = self.asks.send(Ask::Leave(name(room))).await;
    }

    /// Waits until the session has ended by itself.
    pub(crate) async fn gone(&mut self) {
        let _ = (&mut self.gone).await;
    }

    /// Ends the session and waits for that.
    pub(crate) async fn close(self) {
        drop(self.asks);
        let _ = self.gone.await;
    }
}

struct Session {
    hub: Hub,
    outbox: Arc<Outbox>,
    readers: Vec<Reader>,
    cursors: VecDeque<Cursor>,
    told: Arc<Told>,
    pace: Duration,
    drain_at: Option<Instant>,
    _gone: oneshot::Sender<()>,
}

impl Session {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            for notice in self.outbox.notices() {
                self.hear(notice);
            }
            if self.outbox.ended().is_some() {
                return;
            }
            let blocked = self.outbox.is_blocked();
            if !blocked && !self.cursors.is_empty() {
                match asks.try_recv() {
                    Ok(ask) => self.obey(ask).await,
                    Err(TryRecvError::Empty) => self.page().await,
                    Err(TryRecvError::Disconnected) => return,
                }
                continue;
            }
            self.drain_at = blocked.then(|| self.drain_at.unwrap_or_else(|| Instant::now() + self.pace));
            tokio::select! {
                () = self.outbox.woken() => {}
                () = self.drain(), if blocked => self.drain_at = None,
                ask = asks.recv() => match ask {
                    Some(ask) => self.obey(ask).await,
                    None => return,
                },
            }
        }
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Behind(key, place) => {
                self.told.behind.fetch_add(1, Ordering::SeqCst);
                if let Some(reader) = self.readers.iter().find(|reader| reader.key() == key) {
                    self.cursors.push_back(reader.cursor(place));
                }
            }
            Notice::Heartbeat => drop(self.told.heartbeats.fetch_add(1, Ordering::SeqCst)),
            Notice::Shutdown => self.told.shutdown.store(true, Ordering::SeqCst),
            // Nobody here is reminded of anything.
            Notice::Due => {}
            Notice::Overflow => self.told.overflow.store(true, Ordering::SeqCst),
            Notice::Expelled(key) => {
                self.cursors.retain(|cursor| cursor.reader() != key);
                self.readers.retain(|reader| reader.key() != key);
            }
        }
    }

    async fn obey(&mut self, ask: Ask) {
        match ask {
            Ask::Join { room, since, echo, tell } => {
                self.leave(&room);
                let joined = match self.hub.attach(&self.outbox, &room, echo, Dialect::default()).await {
                    Ok(reader) => {
                        let place = reader.place().clone();
                        // With echo nothing is the client's own: all of it is delivered.
                        let own = if echo { "" } else { self.outbox.client() };
                        self.send(format!("joined|{room}|{place}|{own}\n"));
                        match since {
                            Some(since) => self.cursors.push_back(reader.cursor(since)),
                            None => reader.live(),
                        }
                        self.readers.push(reader);
                        Ok(place)
                    }
                    Err(error) => Err(error.to_string()),
                };
                // Whoever asked may have gone.
                let _ = tell.send(joined);
            }
            Ask::Leave(room) => self.leave(&room),
        }
    }

    fn leave(&mut self, room: &RoomName) {
        self.cursors.retain(|cursor| cursor.room() != room);
        self.readers.retain(|reader| reader.room() != room);
    }

    async fn page(&mut self) {
        let Some(cursor) = self.cursors.front_mut() else { return };
        match cursor.next().await {
            Ok(Found::Messages(messages)) => {
                for message in messages {
                    self.outbox.push(self.hub.frame(&message, self.outbox.wire(), Dialect::default()));
                }
                self.outbox.flush();
            }
            Ok(Found::Gap { from, to, epoch }) => {
                let room = cursor.room().clone();
                self.send(format!("gap|{room}|{epoch}|{from}|{to}\n"));
            }
            Ok(Found::Head) => {
                cursor.live();
                self.cursors.pop_front();
            }
            // The log is out of reach for a while.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }

    fn send(&self, line: String) {
        self.outbox.push(line.into());
        self.outbox.flush();
    }

    /// Gets rid of what is queued.
    async fn drain(&self) {
        if self.outbox.socket().is_some() {
            // A broken socket is ready, and flushing it ends the outbox.
            let _ = self.outbox.ready(Interest::WRITABLE).await;
            return self.outbox.flush();
        }
        tokio::time::sleep_until(self.drain_at.unwrap_or_else(Instant::now)).await;
        for chunk in self.outbox.take() {
            match &self.told.deliver {
                Some(deliver) => deliver(chunk),
                None => self.told.chunks.lock().unwrap().push(chunk),
            }
        }
    }
}

/// The far end of a connection.
pub(crate) struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next line without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        within(self.0.read_line(&mut line)).await.expect("the connection stands");
        assert_eq!(line.pop(), Some('\n'), "a whole line");
        line
    }

    /// The next so many payloads of a room, whose numbers must follow on `after`.
    pub(crate) async fn payloads(&mut self, room: &str, after: &Position, many: u64) -> Vec<String> {
        let mut payloads = Vec::new();
        for seq in after.seq.0 + 1..=after.seq.0 + many {
            let (of, event) = parse(&self.line().await);
            let Event::Message { place, payload } = event else { panic!("a message, not {event:?}") };
            assert_eq!((&*of, place.seq.0, &place.epoch), (room, seq, &after.epoch), "the next number");
            payloads.push(payload);
        }
        payloads
    }

    /// The line that says that the session has joined.
    pub(crate) async fn joined(&mut self) -> Position {
        let (_, event) = parse(&self.line().await);
        let Event::Joined { place, .. } = event else { panic!("a join, not {event:?}") };
        place
    }

    /// Reads on, slowly, without looking at line ends.
    pub(crate) fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.0
    }
}

/// Both ends of a loopback connection.
pub(crate) async fn pair() -> (TcpStream, Peer) {
    buffered(None).await
}

/// The same with small buffers in the kernel, so that a peer that does not read soon blocks.
pub(crate) async fn narrow_pair() -> (TcpStream, Peer) {
    buffered(Some(4096)).await
}

async fn buffered(bytes: Option<u32>) -> (TcpStream, Peer) {
    let (near, far) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    if let Some(bytes) = bytes {
        near.set_send_buffer_size(bytes).unwrap();
        far.set_recv_buffer_size(bytes).unwrap();
    }
    near.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = near.listen(1).unwrap();
    let far = far.connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    (near, Peer(BufReader::new(far)))
}

/// Reads a line: which room, and what of it.
pub(crate) fn parse(line: &str) -> (String, Event) {
    let fields: Vec<_> = line.trim_start_matches('#').split('|').collect();
    match fields[..] {
        ["joined", room, place, client] => {
            (room.into(), Event::Joined { place: place.parse().unwrap(), client: client.into() })
        }
        ["gap", room, epoch, from, to] => {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            (room.into(), Event::Gap { epoch: epoch.into(), from, to })
        }
        [room, epoch, seq, payload] => {
            let place = format!("{epoch}:{seq}").parse().unwrap();
            (room.into(), Event::Message { place, payload: payload.into() })
        }
        _ => panic!("{line:?} is not a line of these tests"),
    }
}
