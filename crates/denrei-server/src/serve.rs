//! Runs the server: one thread and one runtime per core, each with a shard and the connections it writes to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use denrei::{Denrei, Parts, Place};
use denrei_bus::Joined;
use denrei_store::{Store, StoreConfig};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{Bus, Database, Settings};
use crate::{page, secret, welcome};

pub(crate) fn run(mut settings: Settings) -> Result<(), String> {
    start_logging();
    raise_file_limit();
    let said = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let signing = secret::find_or_make(&settings)?;
    settings.config.access.secret = Some(signing.clone());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    settings.config.hub.shards = cores;
    let development = settings.config.access.development;
    let unmade = |error: io::Error| said("a runtime cannot be made", &error);
    // The first runtime is this thread's; it accepts for all, and speaks with the other servers.
    let first = runtime().map_err(unmade)?;
    let mut parts = Parts { policy: settings.policy, ..Parts::default() };
    if let Some(Bus { address, mut joining }) = settings.bus {
        joining.classes = Arc::new(settings.config.hub.classes.clone());
        let joined = first.block_on(denrei_bus::join(&address, joining)).map_err(|error| said("bus", &error))?;
        let Joined { bus, log, leases, shelf, channels } = joined;
        parts.backends.bus = Some(bus);
        parts.backends.memory = Some(log);
        parts.backends.leases = Some(leases);
        parts.shelf = Some(shelf);
        parts.channels = Some(channels);
    }
    let store = match &settings.database {
        Database::Sqlite(path) => Store::open(path, StoreConfig::default()),
        Database::Postgres(url) => Store::connect(url, StoreConfig::default()),
    };
    let store = Arc::new(store.map_err(|error| said("store", &error))?);
    parts.store = Some(Arc::clone(&store));
    let node = settings.config.hub.node.clone();
    let (denrei, shards) = Denrei::with(settings.config, parts);
    let mut runtimes = vec![first];
    let mut places = Vec::new();
    for (number, shard) in shards.into_iter().enumerate() {
        if number == runtimes.len() {
            runtimes.push(runtime().map_err(unmade)?);
        }
        let runtime = &runtimes[number];
        places.push(Place { shard: shard.handle().clone(), runtime: runtime.handle().clone() });
        runtime.spawn(vital(shard.run()));
    }
    let first = runtimes.remove(0);
    for (number, runtime) in runtimes.into_iter().enumerate() {
        thread::Builder::new()
            .name(format!("shard-{}", number + 1))
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(|error| said("a thread cannot be made", &error))?;
    }
    first.block_on(async {
        for (namespace, compat) in settings.shared {
            denrei.relay(&namespace, compat).map_err(|error| said("socketio.compat", &error))?;
        }
        let listener = listen(settings.listen).map_err(|error| said(&settings.listen.to_string(), &error))?;
        let address = listener.local_addr().map_err(|error| said("the listener has no address", &error))?;
        let stop = stopped().map_err(|error| said("signals cannot be heard", &error))?;
        tokio::spawn(vital(denrei.clone().run()));
        denrei.ready().await;
        tracing::info!(%address, cores, node = %node.id, "listening");
        if denrei.hub().is_clustered() {
            match &node.address {
                Some(advertise) => tracing::info!(%advertise, "the other nodes reach this one here"),
                None => tracing::warn!(
                    "the other nodes do not know where to reach this one: set --advertise, or have clients stick to a node"
                ),
            }
        }
        if development {
            welcome::developer(address, &signing);
        }
        denrei.serve(listener, places, page::routes(), stop).await;
        tracing::info!("stopped");
        Ok::<(), String>(())
    })?;
    // What is acknowledged is on disk already; what is under way gets there now.
    store.close();
    Ok(())
}

/// Runs what everybody depends on: if it panics, the process ends. A server without one of its shards would take
/// connections and never write to them; one that is started again resumes its readers.
async fn vital(task: impl Future<Output = ()>) {
    struct Vital;
    impl Drop for Vital {
        fn drop(&mut self) {
            if thread::panicking() {
                tracing::error!("a shard or the hub has panicked: the process ends, to be started again");
                std::process::abort();
            }
        }
    }
    let _vital = Vital;
    task.await;
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(16).build()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Waits for SIGTERM or SIGINT; a second one ends the process at once.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// Every connection is a file: as many as the system lets this process have.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Logs go to standard error; `DENREI_LOG` says how much, in the words of tracing's filter (`info`, `denrei=debug`).
fn start_logging() {
    let filter = EnvFilter::try_from_env("DENREI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}
