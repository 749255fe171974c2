//! One connection to one server, made again for as long as anybody has its [`Link`].

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use denrei_hub::BusError;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion, PushInfo, PushKind,
    Value,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fault;

/// How long a server may take to connect or to answer. One that is slower is taken to be gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How often a connection is asked whether it still is one: a cut that swallows bytes shows in nothing else.
const PULSE: Duration = Duration::from_secs(3);

/// Reads addresses: several with commas in between; those without a scheme have that of the first.
pub(super) fn parse(addresses: &str) -> Result<Vec<ConnectionInfo>, BusError> {
    let (scheme, _) = addresses.split_once("://").unwrap_or(("redis", ""));
    let parts = addresses.split(',').map(str::trim).filter(|part| !part.is_empty());
    let seeds: Vec<_> = parts.map(|part| parse_one(scheme, part)).collect::<Result<_, _>>()?;
    if seeds.is_empty() { Err(fault("an address of Redis is redis://HOST:PORT")) } else { Ok(seeds) }
}

fn parse_one(scheme: &str, part: &str) -> Result<ConnectionInfo, BusError> {
    let whole = if part.contains("://") { part.to_owned() } else { format!("{scheme}://{part}") };
    // Neither the address nor what its parser says is shown: a password may stand in it.
    let wrong =
        |_| fault("an address of Redis cannot be understood: it is redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]");
    let info = whole.as_str().into_connection_info().map_err(wrong)?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// Hears what a server says unasked; `false` ends the connection. Called by its task: it must be short.
pub(super) type Pushes = Arc<dyn Fn(PushInfo) -> bool + Send + Sync>;

/// A connection that is made again when it ends.
pub(super) struct Link {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

/// How a link stands.
#[derive(Clone)]
pub(super) enum State {
    /// It was never tried, or has just been lost.
    Trying,
    /// It works.
    Live(Live),
    /// The last attempt failed; more are made.
    Down(BusError),
}

/// One connection, from its beginning to its end.
#[derive(Clone)]
pub(super) struct Live {
    connection: MultiplexedConnection,
    doubt: Arc<Notify>,
    /// The process at the other end. A connection cannot outlive it, so what is sent on one is done by this process.
    pub(super) run: Arc<str>,
    /// How many connections of this link there were before.
    pub(super) before: u64,
    /// What the server says of itself.
    pub(super) about: Arc<str>,
}

impl Link {
    /// Begins to connect. `scripts` are loaded into each connection's server; `lost` is told when one ends.
    pub(super) fn new(
        info: ConnectionInfo,
        scripts: &'static [&'static str],
        pushes: Pushes,
        lost: Arc<Notify>,
    ) -> Self {
        let (tell, state) = watch::channel(State::Trying);
        let task = tokio::spawn(keep(info, scripts, pushes, tell, lost));
        Self { state, task }
    }

    /// How it stands, and how that changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The present connection; waits for one that is being made, but not for a server that is known to be down.
    pub(super) fn live(&self) -> impl Future<Output = Result<Live, BusError>> + Send + 'static {
        let mut state = self.state.clone();
        async move {
            let decided = state.wait_for(|state| !matches!(state, State::Trying));
            match timeout(PATIENCE, decided).await {
                Ok(Ok(state)) => match &*state {
                    State::Live(live) => Ok(live.clone()),
                    State::Down(error) => Err(error.clone()),
                    State::Trying => Err(fault("Redis is not connected yet")),
                },
                Ok(Err(_)) => Err(fault("the server of Redis belongs to the cluster no more")),
                Err(_) => Err(fault("Redis is not connected yet")),
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Live {
    /// Sends commands together and waits for all their answers, of which each may be an error.
    ///
    /// Who stops waiting leaves the connection in order, but cannot take the commands back.
    pub(super) async fn run(&self, commands: &Pipeline) -> Result<Vec<Value>, BusError> {
        let asked = commands.len();
        let answers = self.connection.clone().req_packed_commands(commands, 0, asked).await;
        match answers {
            Ok(answers) if answers.len() == asked => Ok(answers),
            Ok(_) => {
                self.end();
                Err(fault("Redis gave another number of answers than was asked for"))
            }
            Err(error) => {
                self.end();
                Err(BusError(sentence(&error).into()))
            }
        }
    }

    /// Gives the connection up; another one is made.
    pub(super) fn end(&self) {
        self.doubt.notify_one();
    }

    /// Waits until the connection is of no use any more.
    async fn ended(&self) {
        let mut ping = redis::pipe();
        ping.cmd("PING");
        let silent = async {
            loop {
                sleep(PULSE).await;
                if self.run(&ping).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = self.doubt.notified() => {}
            () = silent => {}
        }
    }
}

/// Connects once.
pub(super) async fn open(
    info: &ConnectionInfo,
    scripts: &[&str],
    pushes: Pushes,
    before: u64,
) -> Result<Live, BusError> {
    // Only the first call has an effect; there is one library of cryptography in this program.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let doubt = Arc::new(Notify::new());
    let doubts = Arc::clone(&doubt);
    let hear = move |push: PushInfo| {
        if push.kind == PushKind::Disconnection || !pushes(push) {
            doubts.notify_one();
        }
        Ok::<(), ()>(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_write_backpressure_boundary(256 * 1024)
        .set_push_sender(hear);
    let connect = async {
        let client = Client::open(info.clone())?;
        client.get_multiplexed_async_connection_with_config(&config).await
    };
    let connected = timeout(PATIENCE, connect).await.map_err(|_| fault(format!("{} does not answer", info.addr())))?;
    let connection = connected.map_err(|error| fault(format!("{}: {}", info.addr(), sentence(&error))))?;
    let unnamed = Live { connection, doubt, run: "".into(), before, about: "".into() };
    let mut greeting = redis::pipe();
    greeting.cmd("INFO");
    for script in scripts {
        greeting.cmd("SCRIPT").arg("LOAD").arg(*script);
    }
    let mut answers = unnamed.run(&greeting).await?.into_iter();
    let about = text(answers.next().unwrap_or(Value::Nil))?;
    for answer in answers {
        answered(answer)?;
    }
    let run = said(&about, "run_id").ok_or_else(|| fault(format!("{} does not say its run_id", info.addr())))?;
    Ok(Live { run: run.into(), about: about.into(), ..unnamed })
}

/// What a server says of itself in one line.
pub(super) fn said<'a>(about: &'a str, field: &str) -> Option<&'a str> {
    about.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim)
}

/// The answer, or the error that it is.
pub(super) fn answered(answer: Value) -> Result<Value, BusError> {
    match answer {
        Value::ServerError(error) => {
            Err(fault(format!("Redis refuses: {} {}", error.code(), error.details().unwrap_or_default())))
        }
        answer => Ok(answer),
    }
}

fn text(answer: Value) -> Result<String, BusError> {
    match answered(answer)? {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text),
        _ => Err(fault("Redis says nothing of itself")),
    }
}

fn sentence(error: &redis::RedisError) -> String {
    if error.is_timeout() { "Redis does not answer in time".to_owned() } else { format!("Redis: {error}") }
}

async fn keep(
    info: ConnectionInfo,
    scripts: &'static [&'static str],
    pushes: Pushes,
    tell: watch::Sender<State>,
    lost: Arc<Notify>,
) {
    let mut pause = Pause::default();
    let mut before = 0;
    loop {
        match open(&info, scripts, Arc::clone(&pushes), before).await {
            Ok(live) => {
                let since = Instant::now();
                if matches!(tell.send_replace(State::Live(live.clone())), State::Down(_)) {
                    tracing::info!(address = %info.addr(), "Redis is connected again");
                }
                live.ended().await;
                tell.send_replace(State::Trying);
                before += 1;
                lost.notify_one();
                if since.elapsed() > PULSE {
                    pause = Pause::default();
                }
            }
            Err(error) => {
                if !matches!(tell.send_replace(State::Down(error.clone())), State::Down(_)) {
                    tracing::warn!(address = %info.addr(), %error, "Redis cannot be reached");
                }
            }
        }
        pause.wait().await;
    }
}

/// Waits a little, for some seconds, as a server that is started anew is back by then and rooms go on without this node;
/// then up to 2 s. Never as long as its neighbours: a server that comes back is not met by all of its clients in one
/// moment.
#[derive(Default)]
pub(super) struct Pause(u32);

impl Pause {
    /// Tries that are made soon: about 8 s.
    const SOON: u32 = 50;

    pub(super) async fn wait(&mut self) {
        let longest = Duration::from_millis(if self.0 < Self::SOON { 50 << self.0.min(2) } else { 2000 });
        self.0 += 1;
        // Seeded by the operating system, so another one in each call.
        let share = RandomState::new().hash_one(0) % 512;
        sleep(longest / 2 + longest.mul_f64(share as f64 / 1024.0)).await;
    }
}
