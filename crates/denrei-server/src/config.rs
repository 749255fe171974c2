//! Settings: flags before the environment, the environment before the file, the file before the defaults.

mod auth;
mod cluster;
mod compat;
mod files;
mod observing;
mod opentelemetry;
mod policy;
mod rates;
mod tls;
mod unknown;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use denrei::{Config, EventHook, HookSecret, Policy};
use denrei_hub::{Class, Keep, Name, Window};
use denrei_proto::socketio::Parser;
use denrei_store::PostgresUrl;

pub(crate) use self::cluster::{Bus, server_id};
pub(crate) use self::compat::Shared;
pub(crate) use self::files::{FilesPlace, S3Key};
pub(crate) use self::observing::Logging;
pub(crate) use self::opentelemetry::{Collector, OpenTelemetry};
pub(crate) use self::tls::Secure;
pub(crate) use self::unknown::check_environment;
use crate::cli::Options;
use crate::file::{self, File};

/// What the process runs on.
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Secure>,
    pub(crate) data: PathBuf,
    pub(crate) database: Database,
    /// None: the server is alone.
    pub(crate) bus: Option<Bus>,
    /// Namespaces that are shared with servers of Node.
    pub(crate) shared: Vec<Shared>,
    /// Where operators are served apart.
    pub(crate) operators: Option<SocketAddr>,
    /// Who collects spans.
    pub(crate) opentelemetry: OpenTelemetry,
    pub(crate) log: Logging,
    /// None: no files are kept.
    pub(crate) files: Option<FilesPlace>,
    pub(crate) config: Config,
    /// What the file says of who may do what.
    pub(crate) policy: Box<dyn Policy>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, tls, data, database, files, config, .. } = self;
        let mut settings = f.debug_struct("Settings");
        settings
            .field("listen", listen)
            .field("tls", tls)
            .field("data", data)
            .field("database", database)
            .field("files", files)
            .field("config", config);
        settings.finish_non_exhaustive()
    }
}

/// Where stored rooms are kept.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

/// Puts everything together that was said.
pub(crate) fn resolve(options: &Options) -> Result<Settings, String> {
    let file = read(options.config.as_deref())?;
    let listen = options.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let data = options.data.clone().or(file.data.clone()).unwrap_or_else(|| "./denrei-data".into());
    let database = match options.store.as_ref().or(file.store.as_ref()) {
        None => Database::Sqlite(data.join("denrei.db")),
        Some(url) => parse_store(url)?,
    };
    let mut config = Config::default();
    let mut file = file;
    let tls = tls::resolve(std::mem::take(&mut file.tls))?;
    let reached = tls.as_ref().map(|tls| tls.listen).filter(|address| !address.ip().is_loopback()).unwrap_or(listen);
    auth::apply(std::mem::take(&mut file.auth), options.secret.as_deref(), reached, &mut config.access)?;
    config.rates = rates::resolve(std::mem::take(&mut file.rates), config.access.development)?;
    let policy = policy::resolve(std::mem::take(&mut file.policy))?;
    let metrics = std::mem::take(&mut file.metrics);
    let operators = observing::metrics(metrics, options.metrics_token.as_deref(), &mut config.metrics)?;
    let spans = std::mem::take(&mut file.opentelemetry);
    let opentelemetry = opentelemetry::resolve(spans, opentelemetry::environment, &mut config.spans)?;
    let log = observing::log(options, std::mem::take(&mut file.log))?;
    let said = (file.bus.take(), std::mem::take(&mut file.cluster));
    let compat = std::mem::take(&mut file.socketio.compat);
    let mut place = std::mem::take(&mut file.files);
    files::apply(&mut place, &mut config.files)?;
    apply(file, &mut config)?;
    let bus = cluster::resolve(options, said.0, said.1, (listen, &database), &mut config)?;
    let shared = compat::resolve(compat, bus.is_some())?;
    let files = files::place(place, &options.s3, &data, bus.is_some())?;
    Ok(Settings { listen, tls, data, database, bus, shared, files, operators, opentelemetry, log, config, policy })
}

fn read(path: Option<&Path>) -> Result<File, String> {
    let (path, text) = text(path)?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the file says, as it stands there; nothing where there is none.
pub(crate) fn table(options: &Options) -> Result<toml::Table, String> {
    let (path, text) = text(options.config.as_deref())?;
    text.parse().map_err(|error| format!("{}: {error}", path.display()))
}

fn text(path: Option<&Path>) -> Result<(&Path, String), String> {
    let (path, asked) = path.map_or((Path::new("denrei.toml"), false), |path| (path, true));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path, text)),
        Err(error) if !asked && error.kind() == std::io::ErrorKind::NotFound => Ok((path, String::new())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| unknown::explain(text, &error))
}

/// It may hold a password, so errors do not quote it.
fn parse_store(url: &str) -> Result<Database, String> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(Database::Sqlite(path.into())),
        Some(("postgres" | "postgresql", _)) => {
            PostgresUrl::parse(url).map(Database::Postgres).map_err(|error| format!("store: {error}"))
        }
        _ => Err("store: it is neither sqlite:PATH nor postgres://USER:PASSWORD@HOST:PORT/DATABASE".into()),
    }
}

fn apply(file: File, config: &mut Config) -> Result<(), String> {
    set(&mut config.access.origins, file.origins);
    for network in file.trusted_proxies.into_iter().flatten() {
        config.access.trusted_proxies.push(network.parse().map_err(|error| format!("trusted_proxies: {error}"))?);
    }
    let limits = file.limits;
    set(&mut config.limits.message, positive("limits.message_bytes", limits.message_bytes)?);
    set(&mut config.limits.fragments, positive("limits.fragments", limits.fragments)?);
    set(&mut config.limits.rooms, positive("limits.rooms_per_connection", limits.rooms_per_connection)?);
    set(&mut config.limits.connections, positive("limits.connections", limits.connections)?);
    let most = positive("limits.connections_per_address", limits.connections_per_address)?;
    set(&mut config.limits.address_connections, most);
    set(&mut config.limits.publishes, positive("limits.publishes_under_way", limits.publishes_under_way)?);
    set(&mut config.hub.outbox.bytes, positive("limits.outbox_bytes", limits.outbox_bytes)?);
    set(&mut config.hub.outbox.total, positive("limits.outboxes_bytes", limits.outboxes_bytes)?);
    set(&mut config.limits.head, millis("limits.head_timeout_ms", limits.head_timeout_ms)?);
    set(&mut config.limits.body, millis("limits.body_timeout_ms", limits.body_timeout_ms)?);
    set(&mut config.limits.bodies, limits.bodies_bytes);
    set(&mut config.limits.healthy_connections, limits.max_connections_healthy);
    websocket(file.websocket, config)?;
    set(&mut config.sse.retry, millis("sse.retry_ms", file.sse.retry_ms)?);
    set(&mut config.sse.keep_alive, seconds("sse.keep_alive_ms", file.sse.keep_alive_ms)?);
    set(&mut config.poll.wait, millis("poll.wait_ms", file.poll.wait_ms)?);
    set(&mut config.poll.limit, positive("poll.limit", file.poll.limit)?);
    set(&mut config.poll.most, positive("poll.max_limit", file.poll.max_limit)?);
    set(&mut config.chat.create_on_join, file.chat.create_on_join);
    set(&mut config.chat.content, positive("chat.content_bytes", file.chat.content_bytes)?);
    set(&mut config.chat.receipts_members, file.chat.receipts_members);
    set(&mut config.chat.presence_members, file.chat.presence_members);
    set(&mut config.chat.presence_leave, file.chat.presence_leave_ms.map(Duration::from_millis));
    events(file.events, config)?;
    socketio(file.socketio, config)?;
    let shutdown = file.shutdown;
    set(&mut config.shutdown.delay, shutdown.delay_ms.map(Duration::from_millis));
    set(&mut config.shutdown.reconnect_delay, shutdown.reconnect_delay_ms.map(Duration::from_millis));
    set(&mut config.shutdown.reconnect_spread, shutdown.reconnect_spread_ms.map(Duration::from_millis));
    set(&mut config.shutdown.grace, shutdown.grace_ms.map(Duration::from_millis));
    set(&mut config.hub.memory.rooms, positive("memory.rooms", file.memory.rooms)?);
    set(&mut config.hub.memory.bytes, positive("memory.bytes", file.memory.bytes)?);
    for (name, class) in file.classes {
        let class = parse_class(&name, &class)?;
        if name == "chat" && !matches!(class.keep, Keep::Store(_)) {
            return Err("classes.chat: the chat is kept in the store".into());
        }
        config.hub.classes.set(&name, class);
    }
    Ok(())
}

fn websocket(file: file::WebSocket, config: &mut Config) -> Result<(), String> {
    set(&mut config.websocket.heartbeat, seconds("websocket.heartbeat_ms", file.heartbeat_ms)?);
    set(&mut config.websocket.subprotocols, file.subprotocols);
    set(&mut config.websocket.http2, file.http2);
    let mut deflate = config.websocket.deflate.unwrap_or_default();
    set(&mut deflate.level, within("websocket.deflate_level", file.deflate_level, &(1..=9))?);
    set(&mut deflate.threshold, file.deflate_threshold_bytes);
    set(
        &mut deflate.server_max_window_bits,
        within("websocket.deflate_window_bits", file.deflate_window_bits, &(9..=15))?,
    );
    set(&mut deflate.client_no_context_takeover, file.client_no_context_takeover);
    config.websocket.deflate = file.deflate.unwrap_or(true).then_some(deflate);
    Ok(())
}

fn events(file: file::Events, config: &mut Config) -> Result<(), String> {
    config.events.rooms = file.rooms;
    for (number, hook) in file.hooks.into_iter().enumerate() {
        let said = |error: &dyn fmt::Display| format!("events.hooks, number {}: {error}", number + 1);
        denrei::check_address(&hook.url).map_err(|error| said(&error))?;
        Name::parse(&hook.channel).map_err(|error| said(&error))?;
        let secret = HookSecret::parse(&hook.secret).map_err(|error| said(&error))?;
        config.events.hooks.push(EventHook { channel: hook.channel, url: hook.url, secret });
    }
    Ok(())
}

fn socketio(file: file::SocketIo, config: &mut Config) -> Result<(), String> {
    let settings = &mut config.socketio;
    set(&mut settings.admin, file.admin);
    set(&mut settings.enabled, file.enabled);
    set(&mut settings.path, slashed("socketio.path", file.path)?);
    set(&mut settings.rooms, file.rooms);
    set(&mut settings.ping_interval, millis("socketio.ping_interval_ms", file.ping_interval_ms)?);
    set(&mut settings.ping_timeout, millis("socketio.ping_timeout_ms", file.ping_timeout_ms)?);
    set(&mut settings.upgrade_timeout, millis("socketio.upgrade_timeout_ms", file.upgrade_timeout_ms)?);
    set(&mut settings.connect_timeout, millis("socketio.connect_timeout_ms", file.connect_timeout_ms)?);
    set(&mut settings.packet_timeout, millis("socketio.packet_timeout_ms", file.packet_timeout_ms)?);
    set(&mut settings.max_payload, positive("socketio.max_payload_bytes", file.max_payload_bytes)?);
    set(&mut settings.payload_packets, positive("socketio.payload_packets", file.payload_packets)?);
    set(&mut settings.packets.attachments, file.attachments);
    set(&mut settings.packets.attachment_bytes, file.attachment_bytes);
    let namespaces = positive("socketio.namespaces_per_connection", file.namespaces_per_connection)?;
    set(&mut settings.namespaces, namespaces);
    set(&mut settings.polling, file.polling);
    set(&mut settings.websocket, file.websocket);
    set(&mut settings.upgrades, file.upgrades);
    set(&mut settings.allow_v3, file.allow_eio3);
    set(
        &mut settings.parser,
        file.parser.map(|parser| match parser {
            file::Parser::Json => Parser::Json,
            file::Parser::Msgpack => Parser::Msgpack,
        }),
    );
    settings.cookie = cookie_name("socketio.cookie", file.cookie)?;
    settings.client_files = file.client_files;
    let threshold = file.compression_threshold_bytes.or(settings.compression);
    settings.compression = threshold.filter(|_| file.compression.unwrap_or(true));
    Ok(())
}

fn parse_class(name: &str, class: &file::Class) -> Result<Class, String> {
    if name.is_empty() || name.contains(':') {
        return Err(format!("classes.{name}: the name of a class is the part of a room's name before its first colon"));
    }
    let windowed = class.events.is_some() || class.bytes.is_some();
    let age = millis(&format!("classes.{name}.age_ms"), class.age_ms)?;
    let keep = match class.keep {
        file::Keep::Memory => {
            let mut window = Window::default();
            set(&mut window.events, positive(&format!("classes.{name}.events"), class.events)?);
            set(&mut window.age, age);
            set(&mut window.bytes, positive(&format!("classes.{name}.bytes"), class.bytes)?);
            Keep::Memory(window)
        }
        _ if windowed => return Err(format!("classes.{name}: events and bytes go with keep = \"memory\"")),
        file::Keep::None if age.is_some() => {
            return Err(format!("classes.{name}: age_ms goes with keep = \"memory\" or \"store\""));
        }
        file::Keep::None => Keep::None,
        file::Keep::Store => Keep::Store(age),
    };
    if name == "sio" && keep != Keep::None {
        return Err("classes.sio: the rooms of Socket.IO's namespaces keep no log: keep is \"none\"".into());
    }
    Ok(Class { keep })
}

fn set<T>(setting: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *setting = said;
    }
}

fn positive<T: PartialOrd + Default>(name: &str, said: Option<T>) -> Result<Option<T>, String> {
    match said {
        Some(number) if number <= T::default() => Err(format!("{name}: is 1 or more")),
        said => Ok(said),
    }
}

fn within<T>(name: &str, said: Option<T>, range: &RangeInclusive<T>) -> Result<Option<T>, String>
where
    T: PartialOrd + fmt::Display,
{
    match said {
        Some(number) if !range.contains(&number) => Err(format!("{name}: is {} to {}", range.start(), range.end())),
        said => Ok(said),
    }
}

fn millis(name: &str, said: Option<u64>) -> Result<Option<Duration>, String> {
    Ok(positive(name, said)?.map(Duration::from_millis))
}

fn slashed(name: &str, said: Option<String>) -> Result<Option<String>, String> {
    match said {
        Some(path) if path.len() < 2 || !path.starts_with('/') || !path.ends_with('/') => {
            Err(format!("{name}: begins and ends with a slash, as in /socket.io/"))
        }
        Some(path) if path.contains(['{', '}', '?', '#', '%']) || !path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(format!("{name}: is plain text without escapes"))
        }
        said => Ok(said),
    }
}

/// RFC 6265 §4.1.1: a token.
fn cookie_name(name: &str, said: Option<String>) -> Result<Option<String>, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match said {
        Some(cookie) if cookie.is_empty() || !cookie.bytes().all(token) => {
            Err(format!("{name}: is letters, digits and !#$%&'*+-.^_`|~"))
        }
        said => Ok(said),
    }
}

/// One coarse wheel turns for all connections, once a second.
fn seconds(name: &str, said: Option<u64>) -> Result<Option<Duration>, String> {
    match millis(name, said)? {
        Some(time) if time.subsec_millis() > 0 => Err(format!("{name}: is a whole number of seconds, in ms")),
        said => Ok(said),
    }
}

#[cfg(test)]
mod tests;
