//! What is reached over the network, and by whom.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use denrei_bus::Broker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Report, amount};
use crate::config::Settings;

const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the brokers answer, and keep what they are given.
pub(super) async fn bus(report: &mut Report, settings: &Settings) {
    let Some(bus) = &settings.bus else { return };
    let found = match denrei_bus::examine(&bus.address).await {
        Ok(found) => found,
        Err(error) => return report.error("bus", error.to_string(), "correct --bus or DENREI_BUS"),
    };
    for broker in found {
        match broker {
            Ok(Broker::Redis { version, most_memory, policy, appends, time_us }) => {
                redis(report, &version, most_memory, &policy, appends);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
                let ahead = (i128::from(time_us) - i128::try_from(now).unwrap_or_default()) / 1000;
                if ahead.abs() > 1000 {
                    let finding = format!("differs from the broker's by {ahead} ms");
                    report.warn("clock", finding, "run an NTP client on both machines");
                }
            }
            Ok(Broker::Nats { version, jetstream: false, .. }) => {
                let finding = format!("NATS {version} keeps nothing: JetStream is off");
                report.error("bus", finding, "start nats-server with --jetstream");
            }
            Ok(Broker::Nats { version, most_payload, .. }) => {
                let wanted = settings.config.limits.message;
                let finding =
                    format!("NATS {version}, JetStream is on, messages of up to {}", amount(most_payload as u64));
                if most_payload < wanted {
                    let advice =
                        "max_payload of nats-server above limits.message_bytes, with some room for what is added";
                    report.warn("bus", format!("{finding}; clients may send {}", amount(wanted as u64)), advice);
                } else {
                    report.ok("bus", finding);
                }
            }
            Ok(_) => {}
            Err(error) => report.error("bus", error.to_string(), "see that it runs, and that the address is right"),
        }
    }
}

/// Whether anybody listens where spans are sent.
pub(super) async fn collector(report: &mut Report, settings: &Settings) {
    for ignored in &settings.opentelemetry.ignored {
        report.warn("collector", ignored, "correct it, or take it away for this server");
    }
    let Some(collector) = &settings.opentelemetry.collector else { return };
    let Ok(address) = collector.address.parse::<http::Uri>() else { return };
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = address.port_u16().unwrap_or(if address.scheme_str() == Some("https") { 443 } else { 80 });
    let place = format!("{host}:{port}");
    let asking = timeout(PATIENCE, TcpStream::connect((host, port)));
    let advice = "start the collector, or correct its address: until then spans are dropped, and nothing else happens";
    match asking.await {
        Ok(Ok(_)) => report.ok("collector", format!("a collector listens at {place}")),
        Ok(Err(error)) => report.warn("collector", format!("{place}: {error}"), advice),
        Err(_) => report.warn("collector", format!("{place} does not answer"), advice),
    }
}

fn redis(report: &mut Report, version: &str, most_memory: u64, policy: &str, appends: bool) {
    let finding =
        format!("Redis {version}, RESP3, {}", if appends { "appends to a file" } else { "forgets when it ends" });
    if most_memory > 0 && policy != "noeviction" {
        let finding = format!("{finding}; past {} it throws away rooms ({policy})", amount(most_memory));
        return report.warn("bus", finding, "maxmemory-policy noeviction");
    }
    if appends {
        report.ok("bus", finding);
    } else {
        let advice = "appendonly yes, unless rooms in memory may be lost with it: readers are told";
        report.warn("bus", finding, advice);
    }
}

/// Whether the server can listen; true when one does.
pub(super) async fn port(report: &mut Report, listen: SocketAddr) -> bool {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // As the server does it, but it never listens: nobody is taken from anybody.
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        socket.listen(1).map(drop)
    });
    match bound {
        Ok(()) => report.ok("port", format!("{listen} is free")),
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            report.error(
                "port",
                format!("{listen}: {error}"),
                "listen on an address of this machine that the user may use",
            );
        }
        Err(_) if is_denrei(listen).await => {
            report.ok("port", format!("a denrei listens on {listen}"));
            return true;
        }
        Err(_) => {
            report.error("port", format!("another program listens on {listen}"), "end it, or take another --listen");
        }
    }
    false
}

async fn is_denrei(mut at: SocketAddr) -> bool {
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let ask = async {
        let mut stream = TcpStream::connect(at).await?;
        let request = format!("GET /livez HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, ask).await.ok().and_then(Result::ok).unwrap_or_default();
    String::from_utf8_lossy(&answer).contains(r#"{"status":"ok"}"#)
}

/// Whether the other nodes reach this one where they are told.
pub(super) async fn advertised(report: &mut Report, settings: &Settings, running: bool) {
    if settings.bus.is_none() {
        return;
    }
    let Some(address) = &settings.config.hub.node.address else {
        let finding = "the other nodes do not know where to reach this one";
        return report.warn("advertise", finding, "--advertise http://HOST:PORT, or have clients stick to a node");
    };
    let host = address.trim_start_matches("http://");
    let host = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    match timeout(PATIENCE, TcpStream::connect(&host)).await {
        Ok(Ok(_)) => report.ok("advertise", format!("{address} answers")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused && !running => {
            report.ok("advertise", format!("{address} is there, and nobody listens yet"));
        }
        Ok(Err(error)) => report.error("advertise", format!("{address}: {error}"), "where other nodes reach this one"),
        Err(_) => report.error("advertise", format!("{address} does not answer"), "where other nodes reach this one"),
    }
}

/// Whether the keys that others publish can be read.
pub(super) async fn keys(report: &mut Report, settings: &Settings) {
    let Some(set) = &settings.config.access.tokens.published else { return };
    match set.look().await {
        Ok(count) => report.ok("keys", format!("auth.jwks has {count} that can be used")),
        Err(error) => report.error("keys", format!("auth.jwks: {error}"), "see that it can be reached from here"),
    }
}
