//! Runs the server: one thread and one runtime per core, each with a shard and the connections it writes to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use denrei::{Config, Denrei, Listener, Parts, Place};
use denrei_bus::Joined;
use denrei_otlp::{Otlp, OtlpConfig};
use denrei_store::objects::Objects;
use denrei_store::{Store, StoreConfig};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Options;
use crate::config::{Bus, Collector, Database, FilesPlace, Settings};
use crate::reload::{self, Begun};
use crate::{logs, page, secret, welcome};

pub(crate) fn run(mut settings: Settings, options: Options) -> Result<(), String> {
    logs::start(&settings.log);
    let files = raise_file_limit();
    let begun = Begun::new(&options, &settings, files)?;
    bound_connections(&mut settings.config, files);
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
    let node = settings.config.hub.node.clone();
    for ignored in &settings.opentelemetry.ignored {
        tracing::warn!("environment: {ignored}");
    }
    let otlp = settings.opentelemetry.collector.map(|Collector { address, timeout }| {
        let instance = node.id.as_str().to_owned();
        let config = OtlpConfig { address, timeout, instance, version: env!("CARGO_PKG_VERSION") };
        Otlp::start(&config, first.handle()).map(Arc::new)
    });
    let otlp = otlp.transpose().map_err(|error| said("opentelemetry", &error))?;
    parts.backends.spans = otlp.clone().map(|otlp| otlp as _);
    let store = match &settings.database {
        Database::Sqlite(path) => Store::open(path, StoreConfig::default()),
        Database::Postgres(url) => Store::connect(url, StoreConfig::default()),
    };
    let store = Arc::new(store.map_err(|error| said("store", &error))?);
    parts.store = Some(Arc::clone(&store));
    let objects = settings.files.map(|place| match place {
        FilesPlace::Disk(folder) => Objects::on_disk(&folder),
        FilesPlace::Bucket(folder, bucket) => Objects::in_bucket(&folder, &bucket),
    });
    parts.objects = objects.transpose().map_err(|error| said("files", &error))?.map(Arc::new);
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
        let mut listeners = vec![Listener::from(listener)];
        if let Some(secure) = &settings.tls {
            let listener = listen(secure.listen).map_err(|error| said(&secure.listen.to_string(), &error))?;
            let address = listener.local_addr().map_err(|error| said("the listener has no address", &error))?;
            tracing::info!(%address, "listening for TLS");
            listeners.push(Listener::tls(listener, secure.tls.clone()));
        }
        if let Some(address) = settings.operators {
            let listener = listen(address).map_err(|error| said(&format!("metrics.listen: {address}"), &error))?;
            let address = listener.local_addr().map_err(|error| said("the listener has no address", &error))?;
            tracing::info!(metrics = %address, "operators are served here");
            let denrei = denrei.clone();
            tokio::spawn(async move { denrei.serve_operators(listener).await });
        }
        let stop = stopped().map_err(|error| said("signals cannot be heard", &error))?;
        let reload = reload::whenever_asked(denrei.clone(), options, settings.tls, begun);
        tokio::spawn(reload.map_err(|error| said("signals cannot be heard", &error))?);
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
        denrei.serve(listeners, places, page::routes(), stop).await;
        tracing::info!("stopped");
        Ok::<(), String>(())
    })?;
    // What is acknowledged is on disk already; what is under way gets there now.
    store.close();
    if let Some(otlp) = otlp {
        // It waits for tasks of this runtime.
        let _ = first.block_on(async { tokio::task::spawn_blocking(move || otlp.finish()).await });
    }
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
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            limit.current
        }
    }
}

/// A server that has no file left for its database, or to accept the connection that it could refuse, is worse than one
/// that is full.
pub(crate) fn bound_connections(config: &mut Config, files: Option<u64>) {
    /// For the database, the broker, other nodes, and what asks for nothing that lasts.
    const OTHERS: usize = 256;
    let Some(files) = files.and_then(|files| usize::try_from(files).ok()) else { return };
    let most = files.saturating_sub(OTHERS).max(files / 2);
    if config.limits.connections > most {
        tracing::info!(connections = most, files, "the limit of open files bounds the connections");
        config.limits.connections = most;
    }
}
