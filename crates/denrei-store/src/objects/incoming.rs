//! What is on its way to be an object.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use denrei_hub::random_token;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::blocking;

/// What has come of an object, in a file that goes when this goes.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Incoming {
    pub(super) async fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(random_token(20));
        let at = path.clone();
        let file =
            blocking(move || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(at)).await?;
        Ok(Self { path, file: File::from_std(file), bytes: 0 })
    }

    /// Adds what has come.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece).await?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Waits until all that was written can be read at [`Incoming::path`].
    ///
    /// # Errors
    /// The disk is full or gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.file.flush().await
    }

    /// How many bytes have come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until they are on the disk.
    pub(super) async fn sync(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_all().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Where it has become an object, there is nothing any more; elsewhere the sweep sees to it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes away files that were last written before a time.
pub(super) async fn clean(folder: PathBuf, before: SystemTime) -> io::Result<()> {
    blocking(move || {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // One that has gone meanwhile has become an object.
            if entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|written| written < before) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    })
    .await
}
