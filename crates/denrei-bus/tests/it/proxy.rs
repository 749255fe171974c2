//! A link that can be cut, with or without anybody being told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Carries bytes to a port, or swallows them.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    swallows: Arc<AtomicBool>,
    shut: Arc<AtomicBool>,
    ends: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallows, shut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ends = watch::Sender::default();
        let (switch, closed, ender) = (Arc::clone(&swallows), Arc::clone(&shut), ends.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if closed.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let ((from, to), (from_server, to_server)) = (client.into_split(), server.into_split());
                for (from, to) in [(from, to_server), (from_server, to)] {
                    let (switch, mut ended) = (Arc::clone(&switch), ender.subscribe());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = pass(from, to, switch) => {}
                            _ = ended.changed() => {}
                        }
                    });
                }
            }
        });
        Self { port, swallows, shut, ends, accepting }
    }

    /// Whether from now on nothing comes through, in neither direction, and nothing says so. Connections that have lost
    /// something stay so.
    pub(crate) fn swallow(&self, swallows: bool) {
        self.swallows.store(swallows, Ordering::SeqCst);
    }

    /// Ends all connections, and every new one for as long as it is shut.
    #[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "Redis is cut in the other way"))]
    pub(crate) fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::SeqCst);
        self.ends.send_replace(());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, swallows: Arc<AtomicBool>) {
    let mut bytes = vec![0; 64 * 1024];
    let mut broken = false;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // What follows swallowed bytes would be read as something else.
        broken |= swallows.load(Ordering::SeqCst);
        if !broken && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
