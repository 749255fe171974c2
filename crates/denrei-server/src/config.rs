//! Settings: flags before the environment, the environment before the file, the file before the defaults.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use denrei::{Config, Secret};
use denrei_hub::{Class, Keep, Window};

use crate::cli::Options;
use crate::file::{self, File};

/// What the process runs on.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    /// The SQLite database.
    pub(crate) database: PathBuf,
    pub(crate) config: Config,
}

/// Puts everything together that was said.
pub(crate) fn resolve(options: Options) -> Result<Settings, String> {
    let file = read(options.config.as_deref())?;
    let listen = options.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let data = options.data.or(file.data.clone()).unwrap_or_else(|| "./denrei-data".into());
    let database = match options.store.as_ref().or(file.store.as_ref()) {
        None => data.join("denrei.db"),
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => path.into(),
            _ => return Err(format!("store: {url} is not sqlite:PATH")),
        },
    };
    let mut config = Config::default();
    let secret = options.secret.as_ref().or(file.auth.secret.as_ref());
    let configured = secret.is_some() || file.auth.anonymous.is_some();
    if let Some(secret) = secret {
        config.access.secret = Some(Secret::new(secret.as_bytes()).map_err(|error| format!("auth.secret: {error}"))?);
    }
    let loopback = listen.ip().is_loopback();
    if !loopback && secret.is_none() {
        return Err(format!(
            "{listen} can be reached by others, so say first who may come in. Set DENREI_SECRET in the environment to \
             at least 32 random bytes, or add to denrei.toml:\n\n    [auth]\n    secret = \"…\"\n"
        ));
    }
    config.access.development = loopback && !configured;
    config.access.anonymous = file.auth.anonymous.unwrap_or(config.access.development);
    apply(file, &mut config)?;
    Ok(Settings { listen, data, database, config })
}

fn read(path: Option<&Path>) -> Result<File, String> {
    let (path, asked) = path.map_or((Path::new("denrei.toml"), false), |path| (path, true));
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if !asked && error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn apply(file: File, config: &mut Config) -> Result<(), String> {
    set(&mut config.access.origins, file.origins);
    let limits = file.limits;
    set(&mut config.limits.message, positive("limits.message_bytes", limits.message_bytes)?);
    set(&mut config.limits.fragments, positive("limits.fragments", limits.fragments)?);
    set(&mut config.limits.rooms, positive("limits.rooms_per_connection", limits.rooms_per_connection)?);
    set(&mut config.limits.connections, positive("limits.connections", limits.connections)?);
    set(&mut config.limits.publishes, positive("limits.publishes_under_way", limits.publishes_under_way)?);
    set(&mut config.hub.outbox.bytes, positive("limits.outbox_bytes", limits.outbox_bytes)?);
    set(&mut config.limits.head, millis("limits.head_timeout_ms", limits.head_timeout_ms)?);
    set(&mut config.limits.body, millis("limits.body_timeout_ms", limits.body_timeout_ms)?);
    set(&mut config.limits.healthy_connections, limits.max_connections_healthy);
    websocket(file.websocket, config)?;
    set(&mut config.sse.retry, millis("sse.retry_ms", file.sse.retry_ms)?);
    set(&mut config.sse.keep_alive, seconds("sse.keep_alive_ms", file.sse.keep_alive_ms)?);
    set(&mut config.poll.wait, millis("poll.wait_ms", file.poll.wait_ms)?);
    set(&mut config.poll.limit, positive("poll.limit", file.poll.limit)?);
    set(&mut config.poll.most, positive("poll.max_limit", file.poll.max_limit)?);
    let shutdown = file.shutdown;
    set(&mut config.shutdown.reconnect_delay, shutdown.reconnect_delay_ms.map(Duration::from_millis));
    set(&mut config.shutdown.reconnect_spread, shutdown.reconnect_spread_ms.map(Duration::from_millis));
    set(&mut config.shutdown.grace, shutdown.grace_ms.map(Duration::from_millis));
    set(&mut config.hub.memory.rooms, positive("memory.rooms", file.memory.rooms)?);
    set(&mut config.hub.memory.bytes, positive("memory.bytes", file.memory.bytes)?);
    for (name, class) in file.classes {
        let class = parse_class(&name, &class)?;
        config.hub.classes.set(&name, class);
    }
    Ok(())
}

fn websocket(file: file::WebSocket, config: &mut Config) -> Result<(), String> {
    set(&mut config.websocket.heartbeat, seconds("websocket.heartbeat_ms", file.heartbeat_ms)?);
    set(&mut config.websocket.subprotocols, file.subprotocols);
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
    T: PartialOrd + std::fmt::Display,
{
    match said {
        Some(number) if !range.contains(&number) => Err(format!("{name}: is {} to {}", range.start(), range.end())),
        said => Ok(said),
    }
}

fn millis(name: &str, said: Option<u64>) -> Result<Option<Duration>, String> {
    Ok(positive(name, said)?.map(Duration::from_millis))
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
