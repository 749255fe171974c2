//! `GET /health` (seed §12.1), `/livez` and `/readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::{App, now_ms};

/// How the process does: `ok`, or `degraded` with 503 above the limit of healthy connections.
pub(super) async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let connections = app.open();
    let (status, code) = match connections > app.limits().healthy_connections {
        false => ("ok", StatusCode::OK),
        true => ("degraded", StatusCode::SERVICE_UNAVAILABLE),
    };
    let body = json!({
        "status": status,
        "uptime": app.started.elapsed().as_secs_f64(),
        "connections": connections,
        "rooms": app.hub.rooms(),
        "memory": memory(),
        "timestamp": now_ms(),
    });
    (code, Json(body))
}

/// `GET /livez`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: whether new clients may be sent here, and how what it depends on does. `degraded`, still with 200, while
/// something does not do that can be done without for a while: other servers would not do better. `unready`, with 503,
/// without what new clients need; `stopping`, with 503, from the first word of a shutdown.
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let found = app.health.look(&app).await;
    let (status, code) = if app.is_stopping() || app.is_leaving() {
        ("stopping", StatusCode::SERVICE_UNAVAILABLE)
    } else if found.iter().any(|one| one.needed && !one.is_ok()) {
        ("unready", StatusCode::SERVICE_UNAVAILABLE)
    } else if found.iter().any(|one| !one.is_ok()) {
        ("degraded", StatusCode::OK)
    } else {
        ("ready", StatusCode::OK)
    };
    let dependencies: Value = found.iter().map(|one| (one.name.to_owned(), Value::from(one.state))).collect();
    let mut body = json!({ "status": status, "dependencies": dependencies });
    if app.hub.is_clustered() {
        let others: Vec<_> = app.hub.nodes().into_iter().map(|node| node.id.to_string()).collect();
        body["node"] = app.hub.node().id.as_str().into();
        body["others"] = others.into();
    }
    (code, Json(body))
}

/// Bytes that the process holds, as the kernel counts them; empty where it does not say.
fn memory() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let fields = [("rss", "VmRSS:"), ("peak", "VmHWM:"), ("virtual", "VmSize:")];
    fields.into_iter().filter_map(|(field, name)| Some((field.to_owned(), Value::from(bytes(name)?)))).collect()
}
