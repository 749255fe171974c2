//! A way to the server that can be made to fail.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Passes bytes between clients and a server, until it is told otherwise.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The server's answers are held back.
    stalled: Mutex<bool>,
    changed: Condvar,
    loss: AtomicU8,
}

const NONE: u8 = 0;
/// The next COMMIT is passed on.
const ARMED: u8 = 1;
/// Its answer is thrown away, and the connection closed.
const DUE: u8 = 2;

impl Proxy {
    pub(crate) fn start(server: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&server) else { continue };
                let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
                std::thread::spawn(move || one.ask(client, to_server));
                std::thread::spawn(move || other.answer(server, to_client));
            }
        });
        Self { port, state }
    }

    /// Holds back answers, or lets them through again.
    pub(crate) fn stall(&self, stalled: bool) {
        *self.state.stalled.lock().unwrap() = stalled;
        self.state.changed.notify_all();
    }

    /// Loses the answer to the next COMMIT, and the connection with it.
    pub(crate) fn lose_next_commit(&self) {
        self.state.loss.store(ARMED, Ordering::SeqCst);
    }

    /// Whether that has happened.
    pub(crate) fn has_lost(&self) -> bool {
        self.state.loss.load(Ordering::SeqCst) == NONE
    }
}

impl State {
    fn ask(&self, mut client: TcpStream, mut server: UnixStream) {
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            if buffer[..count].windows(7).any(|bytes| bytes == b"COMMIT\0") {
                let _ = self.loss.compare_exchange(ARMED, DUE, Ordering::SeqCst, Ordering::SeqCst);
            }
            if server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    fn answer(&self, mut server: UnixStream, mut client: TcpStream) {
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let stalled = self.stalled.lock().unwrap();
            drop(self.changed.wait_timeout_while(stalled, Duration::from_secs(60), |stalled| *stalled).unwrap());
            let lost = self.loss.compare_exchange(DUE, NONE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if lost || client.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}
