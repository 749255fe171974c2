//! A NATS server of a test's own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Ends with the value.
pub(super) struct Server {
    process: Child,
    port: u16,
    folder: TempDir,
    jetstream: bool,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::run(true)
    }

    pub(super) fn without_jetstream() -> Self {
        Self::run(false)
    }

    fn run(jetstream: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("denrei-nats-").tempdir().unwrap();
        // Somebody else may take the port in between.
        for _ in 0..5 {
            let port = free_port();
            if let Some(process) = launch(port, &folder, jetstream) {
                return Self { process, port, folder, jetstream };
            }
        }
        panic!("nats-server does not start");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// As `kill -9`.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts again at the same port.
    pub(super) fn start_again(&mut self) {
        self.process = launch(self.port, &self.folder, self.jetstream).expect("nats-server starts again");
    }

    /// Empties the folder of a server that was killed.
    pub(super) fn lose_everything(&self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody has now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn launch(port: u16, folder: &TempDir, jetstream: bool) -> Option<Child> {
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
    if jetstream {
        command.arg("-js").arg("-sd").arg(folder.path());
    }
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut process = started.expect("nats-server must be installed (Debian: apt-get install nats-server)");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}
