//! Real servers, ended by their process id.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const ASK: Duration = Duration::from_secs(20);

/// A `redis-server` on a free loopback port.
pub(super) struct Server {
    pub(super) port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { port: free_port(), folder, arguments, child: None };
        server.begin();
        server
    }

    /// Starts it again where it was.
    pub(super) fn begin(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"]).arg(self.folder.path());
        if !self.arguments.iter().any(|argument| argument == "--appendonly") {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        self.child =
            Some(child.expect("redis-server cannot be started: install it (Debian: apt-get install redis-server)"));
        self.wait_for("PING\r\n", "+PONG");
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours can be killed");
            child.wait().expect("a child of ours can be waited for");
        }
    }

    pub(super) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to one line.
    pub(super) fn ask(&self, line: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return String::new() };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let mut answer = vec![0; 64 * 1024];
        let read =
            stream.write_all(format!("{}\r\n", line.trim_end()).as_bytes()).and_then(|()| stream.read(&mut answer));
        String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
    }

    fn wait_for(&self, line: &str, expected: &str) {
        let since = Instant::now();
        while !self.ask(line).contains(expected) {
            assert!(since.elapsed() < ASK, "redis-server does not say {expected} in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis Cluster of three masters.
pub(super) struct Cluster(pub(super) Vec<Server>);

impl Cluster {
    pub(super) fn start() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let servers: Vec<_> = (0..3).map(|_| Server::start(&arguments)).collect();
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]).args(addresses).args(["--cluster-replicas", "0", "--cluster-yes"]);
        let output =
            command.output().expect("redis-cli cannot be started: install it (Debian: apt-get install redis-tools)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for server in &servers {
            server.wait_for("CLUSTER INFO", "cluster_state:ok");
            server.wait_for("CLUSTER INFO", "cluster_known_nodes:3");
        }
        Self(servers)
    }

    /// One of them tells of the others.
    pub(super) fn address(&self) -> String {
        self.0[1].address()
    }
}

/// Below those that the system gives to clients, and with a place for a cluster's second port, 10,000 above.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let next = (std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let port = 20_000 + u16::try_from(next).expect("below 10,000");
        let free = [port, port + 10_000].iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        if free {
            return port;
        }
    }
    panic!("no port is free");
}
