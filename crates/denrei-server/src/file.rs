//! The shape of `denrei.toml`: what is typed, with units in the names. Unknown settings are errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The annotated defaults, as `denrei config --all` prints them. A test holds them against the defaults in the code.
pub(crate) const DEFAULTS: &str = include_str!("defaults.toml");

/// What of them most servers set, as a file to begin with.
pub(crate) const STARTER: &str = include_str!("starter.toml");

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) store: Option<String>,
    pub(crate) bus: Option<String>,
    pub(crate) cluster: Cluster,
    pub(crate) origins: Option<Vec<String>>,
    pub(crate) trusted_proxies: Option<Vec<String>>,
    pub(crate) tls: Tls,
    pub(crate) auth: Auth,
    pub(crate) rates: Rates,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) websocket: WebSocket,
    pub(crate) sse: Sse,
    pub(crate) poll: Poll,
    pub(crate) chat: Chat,
    pub(crate) events: Events,
    pub(crate) files: Files,
    pub(crate) socketio: SocketIo,
    pub(crate) metrics: Metrics,
    pub(crate) opentelemetry: OpenTelemetry,
    pub(crate) log: Log,
    pub(crate) shutdown: Shutdown,
    pub(crate) memory: Memory,
    pub(crate) classes: BTreeMap<String, Class>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    pub(crate) node_id: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) lease_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    pub(crate) secret: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) anonymous: Option<bool>,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<Vec<String>>,
    pub(crate) leeway_ms: Option<u64>,
    pub(crate) warning_ms: Option<u64>,
    pub(crate) user_claim: Option<String>,
    pub(crate) roles_claim: Option<String>,
    pub(crate) name_claim: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) jwks: Option<String>,
    pub(crate) jwks_refresh_ms: Option<u64>,
    pub(crate) keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) algorithm: String,
    pub(crate) id: Option<String>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) secret: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) rooms: String,
    #[serde(default)]
    pub(crate) read: Vec<String>,
    #[serde(default)]
    pub(crate) publish: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    pub(crate) timeout_ms: Option<u64>,
    /// Said on purpose: neither is right for everybody.
    pub(crate) on_failure: OnFailure,
    pub(crate) publishing: Option<bool>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    Refuse,
    Allow,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rates {
    pub(crate) enabled: Option<bool>,
    pub(crate) connection: Option<Rate>,
    pub(crate) user: Option<Rate>,
    pub(crate) address: Option<Rate>,
    pub(crate) connect: Option<Rate>,
    pub(crate) refusals: Option<Rate>,
    pub(crate) costs: BTreeMap<String, u32>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) capacity: u32,
    pub(crate) refill_per_second: f64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) message_bytes: Option<usize>,
    pub(crate) fragments: Option<u32>,
    pub(crate) rooms_per_connection: Option<usize>,
    pub(crate) connections: Option<usize>,
    pub(crate) connections_per_address: Option<usize>,
    pub(crate) publishes_under_way: Option<u32>,
    pub(crate) outbox_bytes: Option<usize>,
    pub(crate) outboxes_bytes: Option<usize>,
    pub(crate) head_timeout_ms: Option<u64>,
    pub(crate) body_timeout_ms: Option<u64>,
    pub(crate) bodies_bytes: Option<usize>,
    pub(crate) max_connections_healthy: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebSocket {
    pub(crate) heartbeat_ms: Option<u64>,
    pub(crate) deflate: Option<bool>,
    pub(crate) deflate_level: Option<u32>,
    pub(crate) deflate_threshold_bytes: Option<usize>,
    pub(crate) deflate_window_bits: Option<u8>,
    pub(crate) client_no_context_takeover: Option<bool>,
    pub(crate) http2: Option<bool>,
    pub(crate) subprotocols: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sse {
    pub(crate) retry_ms: Option<u64>,
    pub(crate) keep_alive_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Chat {
    pub(crate) create_on_join: Option<bool>,
    pub(crate) content_bytes: Option<usize>,
    pub(crate) receipts_members: Option<u64>,
    pub(crate) presence_members: Option<u64>,
    pub(crate) presence_leave_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Poll {
    pub(crate) wait_ms: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) max_limit: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SocketIo {
    pub(crate) enabled: Option<bool>,
    pub(crate) path: Option<String>,
    pub(crate) rooms: Option<bool>,
    pub(crate) ping_interval_ms: Option<u64>,
    pub(crate) ping_timeout_ms: Option<u64>,
    pub(crate) upgrade_timeout_ms: Option<u64>,
    pub(crate) connect_timeout_ms: Option<u64>,
    pub(crate) packet_timeout_ms: Option<u64>,
    pub(crate) max_payload_bytes: Option<usize>,
    pub(crate) payload_packets: Option<usize>,
    pub(crate) attachments: Option<u32>,
    pub(crate) attachment_bytes: Option<usize>,
    pub(crate) namespaces_per_connection: Option<usize>,
    pub(crate) polling: Option<bool>,
    pub(crate) websocket: Option<bool>,
    pub(crate) upgrades: Option<bool>,
    pub(crate) allow_eio3: Option<bool>,
    pub(crate) parser: Option<Parser>,
    pub(crate) cookie: Option<String>,
    pub(crate) compression: Option<bool>,
    pub(crate) admin: Option<bool>,
    pub(crate) client_files: Option<PathBuf>,
    pub(crate) compression_threshold_bytes: Option<usize>,
    pub(crate) compat: BTreeMap<String, Compat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compat {
    pub(crate) adapter: Adapter,
    pub(crate) key: Option<String>,
    pub(crate) subscriptions: Option<Subscriptions>,
    pub(crate) requests_timeout_ms: Option<u64>,
    pub(crate) publish_on_specific_response_channel: Option<bool>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Adapter {
    Classic,
    Sharded,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subscriptions {
    Dynamic,
    Static,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Parser {
    Json,
    Msgpack,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Events {
    pub(crate) rooms: Vec<String>,
    pub(crate) hooks: Vec<EventHook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventHook {
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) secret: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    pub(crate) token: Option<String>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) events: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OpenTelemetry {
    pub(crate) endpoint: Option<String>,
    pub(crate) sample: Option<f64>,
    pub(crate) per_second: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) format: Option<LogFormat>,
    pub(crate) level: Option<String>,
}

#[derive(Deserialize, Clone, Copy, Default, Debug, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people in a terminal, JSON lines otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object in each line.
    Json,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Files {
    pub(crate) enabled: Option<bool>,
    pub(crate) store: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) secret_access_key_file: Option<PathBuf>,
    pub(crate) path_style: Option<bool>,
    pub(crate) redirect: Option<bool>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) user_bytes: Option<u64>,
    pub(crate) types: Option<Vec<String>>,
    pub(crate) uploads: Option<usize>,
    pub(crate) uploads_per_user: Option<usize>,
    pub(crate) idle_timeout_ms: Option<u64>,
    pub(crate) upload_timeout_ms: Option<u64>,
    pub(crate) link_ms: Option<u64>,
    pub(crate) unclaimed_ms: Option<u64>,
    pub(crate) sweep_ms: Option<u64>,
    pub(crate) thumbnail_side: Option<u32>,
    pub(crate) thumbnail_pixels: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Shutdown {
    pub(crate) delay_ms: Option<u64>,
    pub(crate) reconnect_delay_ms: Option<u64>,
    pub(crate) reconnect_spread_ms: Option<u64>,
    pub(crate) grace_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    pub(crate) rooms: Option<usize>,
    pub(crate) bytes: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Class {
    pub(crate) keep: Keep,
    pub(crate) events: Option<usize>,
    pub(crate) age_ms: Option<u64>,
    pub(crate) bytes: Option<usize>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Keep {
    None,
    Memory,
    Store,
}
