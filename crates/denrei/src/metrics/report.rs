//! Everything that is counted, as one page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use denrei_hub::span::SpanStatistics;
use denrei_hub::{BusStatistics, Distribution, HubStatistics, Keep, PublishOutcome};

use super::text::{Format, Kind, Page};
use super::{Ending, METHODS, Metrics, Transport, process};
use crate::app::App;
use crate::tls::Tls;

use Kind::{Counter, Gauge, Histogram as Buckets};

/// Writes the page. It looks at every connection: on a thread that may take its time.
pub(crate) fn report(app: &App, format: Format) -> String {
    let mut page = Page::new(format);
    let hub = app.hub.statistics();
    seed(&mut page, app, &hub);
    connections(&mut page, app);
    publishes(&mut page, &hub);
    shards(&mut page, app, &hub);
    refusals(&mut page, app);
    requests(&mut page, &app.metrics);
    store(&mut page, app);
    if let Some(bus) = &hub.bus {
        self::bus(&mut page, bus);
    }
    let ends = app.tls.get().into_iter().flatten().filter_map(Tls::ends).min();
    if let Some(ends) = ends.and_then(|ends| ends.duration_since(UNIX_EPOCH).ok()) {
        let help = "When the certificate of TLS ends, in seconds since 1970.";
        page.one("denrei_certificate_expiry_timestamp_seconds", Gauge, help, ends.as_secs_f64());
    }
    if let Some(spans) = app.hub.spans() {
        let SpanStatistics { ended, exported, failed } = spans.statistics();
        page.one("denrei_spans_ended_total", Counter, "Spans for OpenTelemetry.", ended);
        let help = "Spans that were sent to the collector, and whether it took them.";
        let mut family = page.family("denrei_spans_sent_total", Counter, help);
        for (outcome, count) in [("exported", exported), ("failed", failed)] {
            family.sample(&[("outcome", outcome)], count);
        }
    }
    let about = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("denrei_build_info", Gauge, "Which denrei it is.").sample(&about, 1_u64);
    let up = app.started.elapsed().as_secs_f64();
    page.one("denrei_uptime_seconds", Gauge, "Time since it was started.", up);
    process::write(&mut page, app.started_at);
    page.finish()
}

/// Nanoseconds as seconds.
const NANOS: f64 = 1e-9;

/// What logs publishes go to, in the order of [`HubStatistics::took`].
const KEEPS: [&str; 3] = ["none", "memory", "store"];

/// The three that the seed names (§12.3); their WebSockets are here whatever carries a client.
fn seed(page: &mut Page, app: &App, hub: &HubStatistics) {
    let help = "Clients that are connected for long: by WebSocket, event stream or Socket.IO.";
    page.one("websocket_connections_active", Gauge, help, app.metrics.live());
    let help = "Messages of those clients and of HTTP: in, what was asked, by its kind or its event; out, messages \
                given to readers, by their event. An event that is not known is other.";
    let mut family = page.family("websocket_messages_total", Counter, help);
    for (number, name) in app.hub.event_names().all().enumerate() {
        let asked: u64 = app.metrics.asked.iter().map(|asked| value(&asked.0[number])).sum();
        let delivered: u64 = hub.shards.iter().map(|shard| shard.delivered[number]).sum();
        let given = delivered + hub.replayed[number];
        for (direction, count) in [("in", asked), ("out", given)] {
            if count > 0 || name == "message" {
                family.sample(&[("direction", direction), ("type", name)], count);
            }
        }
    }
    let help = "Time from a publish to its answer, when it is as durable as its room makes it.";
    let mut family = page.family("websocket_message_latency_seconds", Buckets, help);
    family.histogram(&[], &coarse(&hub.took), NANOS);
}

/// The times of all publishes by the seed's bounds, each of which is one of ours.
fn coarse(times: &[Distribution]) -> Distribution {
    const BOUNDS: &[u64] = &[1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 500_000_000, 1_000_000_000];
    let mut counts = vec![0; BOUNDS.len() + 1];
    for took in times {
        for (at, count) in took.counts.iter().enumerate() {
            let place = took.bounds.get(at).map_or(BOUNDS.len(), |bound| BOUNDS.partition_point(|ours| ours < bound));
            counts[place] += count;
        }
    }
    Distribution { bounds: BOUNDS, counts, sum: times.iter().map(|took| took.sum).sum() }
}

fn connections(page: &mut Page, app: &App) {
    let metrics = &app.metrics;
    let mut family = page.family("denrei_connections", Gauge, "Open connections, by what they are.");
    for (transport, connections) in metrics.transports() {
        family.sample(&[("transport", transport)], connections.open.load(Ordering::Relaxed));
    }
    // Those that have not become a session: requests, and what has not said yet what it wants.
    family.sample(&[("transport", "http")], app.open().saturating_sub(metrics.live()));
    let mut family = page.family("denrei_connections_opened_total", Counter, "Connections that began.");
    for (transport, connections) in metrics.transports() {
        family.sample(&[("transport", transport)], value(&connections.opened));
    }
    let mut family = page.family("denrei_connections_closed_total", Counter, "Connections that ended, by why.");
    for (transport, connections) in metrics.transports() {
        for (ending, count) in Ending::ALL.iter().zip(&connections.closed) {
            let count = value(count);
            if count > 0 || *ending == Ending::Client {
                family.sample(&[("transport", transport), ("reason", ending.as_str())], count);
            }
        }
    }
    let waiting = metrics.waiting.load(Ordering::Relaxed);
    page.one("denrei_polls_waiting", Gauge, "Long polls that wait for an event.", waiting);
    page.one("denrei_connections_limit", Gauge, "The most connections that are let in.", app.limits().connections);
    let bodies = app.bodies.load(Ordering::Relaxed);
    page.one("denrei_request_bodies_bytes", Gauge, "Bytes of large bodies that are held.", bodies);
}

fn publishes(page: &mut Page, hub: &HubStatistics) {
    let help = "Publishes, by the class of the room, where its log lives, and what became of them.";
    let mut family = page.family("denrei_publishes_total", Counter, help);
    for class in &hub.classes {
        let keep = match class.keep {
            Keep::None => KEEPS[0],
            Keep::Memory(_) => KEEPS[1],
            Keep::Store(_) => KEEPS[2],
        };
        for (outcome, count) in PublishOutcome::ALL.iter().zip(class.publishes) {
            let outcome = match outcome {
                PublishOutcome::Taken => "taken",
                PublishOutcome::Duplicate => "duplicate",
                PublishOutcome::Full => "full",
                PublishOutcome::Unavailable => "unavailable",
            };
            family.sample(&[("class", &class.name), ("keep", keep), ("outcome", outcome)], count);
        }
    }
    let help = "Time from a publish to its answer, by where the room's log lives.";
    let mut family = page.family("denrei_publish_seconds", Buckets, help);
    for (keep, took) in KEEPS.into_iter().zip(&hub.took) {
        family.histogram(&[("keep", keep)], took, NANOS);
    }
    let replayed: u64 = hub.replayed.iter().sum();
    let help = "Messages read from logs for readers that came later or fell behind, and for polls.";
    page.one("denrei_replayed_messages_total", Counter, help, replayed);
    page.one("denrei_gaps_told_total", Counter, "Times that a reader was told that messages are lost to it.", hub.gaps);
}

fn shards(page: &mut Page, app: &App, hub: &HubStatistics) {
    let sum = |of: fn(&denrei_hub::ShardStatistics) -> u64| hub.shards.iter().map(of).sum::<u64>();
    let deliveries = sum(|shard| shard.delivered.iter().sum());
    page.one("denrei_deliveries_total", Counter, "Messages given to live readers.", deliveries);
    page.one("denrei_writes_total", Counter, "Calls that gave bytes to a socket.", sum(|shard| shard.writes));
    page.one("denrei_sent_bytes_total", Counter, "Bytes given to sockets.", sum(|shard| shard.bytes));
    let help = "Times that a reader was too slow, or found a hole, and reads the log by itself.";
    page.one("denrei_readers_fallen_behind_total", Counter, help, sum(|shard| shard.fallen));
    let help = "Messages that were not given to a slow reader, and are kept nowhere.";
    page.one("denrei_messages_dropped_total", Counter, help, sum(|shard| shard.dropped));
    let help = "Connections that were too slow for what must not be lost, and were ended.";
    page.one("denrei_overflows_total", Counter, help, sum(|shard| shard.overflows));
    page.one("denrei_readers", Gauge, "Readers of rooms.", sum(|shard| shard.readers));
    page.one("denrei_readers_behind", Gauge, "Readers that read the log by themselves now.", sum(|shard| shard.behind));
    let mut family = page.family("denrei_rooms", Gauge, "Rooms with readers, by their class.");
    for class in hub.classes.iter().filter(|class| !["sys", "emits"].contains(&&*class.name)) {
        family.sample(&[("class", &class.name)], class.rooms as u64);
    }
    let (bytes, most) = app.hub.outboxes();
    page.one("denrei_outbox_bytes", Gauge, "Bytes that wait for clients to take them.", bytes);
    page.one("denrei_outbox_limit_bytes", Gauge, "Bytes that may wait, before memory is shed.", most);
    page.one("denrei_outboxes_waiting", Gauge, "Connections that bytes wait for.", app.hub.waiting());
    let numbers: Vec<_> = (0..hub.shards.len()).map(|number| number.to_string()).collect();
    let help =
        "Time spent delivering, without what other tasks took in between; divided by deliveries, what one costs.";
    let mut family = page.family("denrei_shard_busy_seconds_total", Counter, help);
    for (number, shard) in numbers.iter().zip(&hub.shards) {
        family.sample(&[("shard", number)], shard.busy.as_secs_f64());
    }
    let help = "Turns of a shard, with what other tasks took in between: how long a message may wait.";
    let mut family = page.family("denrei_shard_turn_seconds", Buckets, help);
    for (number, shard) in numbers.iter().zip(&hub.shards) {
        family.histogram(&[("shard", number)], &shard.turns, NANOS);
    }
}

fn refusals(page: &mut Page, app: &App) {
    let by_code = [
        (
            "denrei_auth_refusals_total",
            "Tokens that were refused or missing, by why; a client of Socket.IO may still bring one.",
            &app.auth.refused,
        ),
        ("denrei_admission_refusals_total", "Requests that were not let in, by why.", &app.metrics.admission),
    ];
    for (name, help, refused) in by_code {
        let mut family = page.family(name, Counter, help);
        for (code, count) in refused.read().filter(|(_, count)| *count > 0) {
            family.sample(&[("code", code)], count);
        }
    }
    let help = "What was refused because too much was asked, by whose limit it was; abuse ended the connection.";
    let mut family = page.family("denrei_rate_limited_total", Counter, help);
    for (scope, count) in app.limiter.limited() {
        family.sample(&[("scope", scope)], count);
    }
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let mut family = page.family("denrei_http_requests_total", Counter, "Requests that were answered.");
    for (label, route) in metrics.labels.iter().zip(&metrics.routes) {
        for (method, statuses) in METHODS.iter().zip(&route.methods) {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(statuses) {
                let count = value(count);
                if count > 0 {
                    family.sample(&[("route", label), ("method", method), ("status", class)], count);
                }
            }
        }
    }
    let help = "Time until a request is answered; long polls and streams take theirs.";
    let mut family = page.family("denrei_http_request_seconds", Buckets, help);
    for (label, route) in metrics.labels.iter().zip(&metrics.routes) {
        let took = route.took.read();
        if took.counts.iter().any(|count| *count > 0) {
            family.histogram(&[("route", label)], &took, NANOS);
        }
    }
}

fn store(page: &mut Page, app: &App) {
    let Some(chat) = &app.chat else { return };
    let (kind, store) = (chat.store().kind(), chat.store().statistics());
    let kind = [("kind", kind)];
    page.family("denrei_store_info", Gauge, "Which database the store is on.").sample(&kind, 1_u64);
    page.one("denrei_store_operations_total", Counter, "Operations that were committed.", store.operations);
    page.one("denrei_store_refused_total", Counter, "Operations that were refused at once.", store.refused);
    let help = "Times that the database could not be written and was opened again.";
    page.one("denrei_store_failures_total", Counter, help, store.failures);
    page.one("denrei_store_queue_operations", Gauge, "Operations that wait for the disk.", store.waiting_operations);
    page.one("denrei_store_queue_bytes", Gauge, "The bytes of operations that wait for the disk.", store.waiting_bytes);
    page.family("denrei_store_commit_seconds", Buckets, "Time of a commit.").histogram(&[], &store.took, NANOS);
    let mut family = page.family("denrei_store_group_operations", Buckets, "Operations that are committed together.");
    family.histogram(&[], &store.groups, 1.0);
}

fn bus(page: &mut Page, bus: &BusStatistics) {
    page.one("denrei_bus_connected", Gauge, "Whether the other nodes can be heard.", bus.connected);
    page.one("denrei_bus_nodes", Gauge, "Other nodes that are there.", bus.nodes);
    page.one("denrei_bus_published_total", Counter, "Messages that were told to other nodes.", bus.told.0);
    page.one("denrei_bus_published_bytes_total", Counter, "Bytes that were told to other nodes.", bus.told.1);
    page.one("denrei_bus_received_total", Counter, "Messages of other nodes.", bus.heard.0);
    page.one("denrei_bus_received_bytes_total", Counter, "Bytes of other nodes.", bus.heard.1);
    page.one("denrei_bus_losses_total", Counter, "Times that messages may have been lost.", bus.lost);
    page.one("denrei_bus_unread_total", Counter, "Messages of other nodes that could not be read.", bus.unread);
    page.one("denrei_bus_errors_total", Counter, "Subscriptions that failed.", bus.failed);
}

impl Metrics {
    fn transports(&self) -> impl Iterator<Item = (&'static str, &super::Connections)> {
        Transport::ALL.into_iter().map(|transport| (transport.as_str(), &self.connections[transport as usize]))
    }

    /// Clients that are connected for long.
    fn live(&self) -> usize {
        self.connections.iter().map(|connections| connections.open.load(Ordering::Relaxed)).sum()
    }
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
