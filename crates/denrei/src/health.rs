//! How what the server depends on does, for `/readyz`.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::app::App;
use crate::auth::KeysState;

/// What was last seen of dependencies that have to be asked.
#[derive(Default)]
pub(crate) struct Health(Mutex<Option<(Instant, bool)>>);

/// Something that the server depends on.
pub(crate) struct Dependency {
    pub(crate) name: &'static str,
    /// `ok` or what is wrong, in one word.
    pub(crate) state: &'static str,
    /// New clients cannot be served without it, though those of other nodes may be.
    pub(crate) needed: bool,
}

impl Dependency {
    pub(crate) fn is_ok(&self) -> bool {
        self.state == "ok"
    }
}

impl Health {
    /// What a look is good for: however often somebody asks, the store is not written to more often.
    const FRESH: Duration = Duration::from_secs(2);
    /// How long the store may take to write.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Looks at everything that is there.
    pub(crate) async fn look(&self, app: &App) -> Vec<Dependency> {
        let mut found = Vec::new();
        if let Some(chat) = &app.chat {
            let mut seen = self.0.lock().await;
            let writes = match *seen {
                Some((at, writes)) if at.elapsed() < Self::FRESH => writes,
                _ => {
                    let writes = matches!(timeout(Self::PATIENCE, chat.store().check()).await, Ok(Ok(())));
                    *seen = Some((Instant::now(), writes));
                    writes
                }
            };
            found.push(Dependency { name: "store", state: if writes { "ok" } else { "unavailable" }, needed: false });
        }
        if app.hub.is_clustered() {
            let state = if app.hub.is_cut_off() { "unavailable" } else { "ok" };
            found.push(Dependency { name: "bus", state, needed: false });
        }
        if let Some(keys) = app.auth.published() {
            let state = match keys {
                KeysState::Good => "ok",
                KeysState::Stale => "stale",
                KeysState::Missing => "missing",
            };
            let needed = keys == KeysState::Missing && !app.access().anonymous;
            found.push(Dependency { name: "keys", state, needed });
        }
        found
    }
}
