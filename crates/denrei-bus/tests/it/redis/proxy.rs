//! A link that can be cut without anybody being told.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Carries bytes to a port, or swallows them.
pub(super) struct Proxy {
    pub(super) port: u16,
    swallows: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let swallows = Arc::new(watch::Sender::new(false));
        let told = Arc::clone(&swallows);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let told = Arc::clone(&told);
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    let there = tokio::spawn(carry(near_in, far_out, told.subscribe()));
                    carry(far_in, near_out, told.subscribe()).await;
                    there.abort();
                });
            }
        });
        Self { port, swallows }
    }

    pub(super) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on nothing comes through, in neither direction, and nothing says so.
    pub(super) fn cut(&self) {
        self.swallows.send_replace(true);
    }

    /// New connections work; those that were cut stay so.
    pub(super) fn mend(&self) {
        self.swallows.send_replace(false);
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, told: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut cut = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        cut |= *told.borrow();
        if !cut && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
