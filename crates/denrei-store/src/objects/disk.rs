//! Objects in a folder: each is a file, in one of 4,096 folders by how its key begins.

use std::fs::{self, File};
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Found, Incoming, ObjectError, Pieces, blocking, made};

#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

impl Disk {
    pub(super) fn new(folder: PathBuf) -> io::Result<Self> {
        Ok(Self { folder: made(folder)? })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// First the bytes are made durable, then the name is given, then that is made durable: after a power cut there is the
    /// whole object or none.
    pub(super) async fn keep(&self, key: &str, mut incoming: Incoming) -> io::Result<()> {
        incoming.sync().await?;
        let (folder, path) = (self.folder.clone(), self.path(key)?);
        blocking(move || {
            let within = path.parent().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
            if !within.exists() {
                made(within.clone())?;
                File::open(folder)?.sync_all()?;
            }
            fs::rename(incoming.path(), path)?;
            File::open(within)?.sync_all()
        })
        .await
    }

    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> io::Result<Pieces> {
        let mut file = tokio::fs::File::open(self.path(key)?).await?;
        file.seek(SeekFrom::Start(range.start)).await?;
        let left = range.end.saturating_sub(range.start);
        let pieces = stream::try_unfold((file, left), async |(mut file, left)| {
            if left == 0 {
                return Ok(None);
            }
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let mut piece = BytesMut::zeroed(most);
            let read = file.read(&mut piece).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            piece.truncate(read);
            Ok(Some((piece.freeze(), (file, left - read as u64))))
        });
        Ok(pieces.boxed())
    }

    pub(super) async fn size(&self, key: &str) -> io::Result<u64> {
        Ok(tokio::fs::metadata(self.path(key)?).await?.len())
    }

    pub(super) async fn remove(&self, key: &str) -> io::Result<()> {
        tokio::fs::remove_file(self.path(key)?).await
    }

    pub(super) fn list(&self) -> BoxStream<'_, Result<Found, ObjectError>> {
        let top = self.folder.clone();
        let folders =
            stream::once(blocking(move || entries(&top))).map_ok(|folders| stream::iter(folders).map(io::Result::Ok));
        let within = folders.try_flatten().and_then(|(folder, _)| blocking(move || entries(&folder)));
        let files = within.map_ok(|files| stream::iter(files).map(io::Result::Ok)).try_flatten();
        let found = files.try_filter_map(async |(path, written)| {
            let key = path.file_name().and_then(|name| name.to_str());
            Ok(key.map(|key| Found { key: key.into(), written }))
        });
        found.map_err(ObjectError::from).boxed()
    }

    /// A key that is none of ours has no path: there is nothing to climb out of the folder with.
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match key.get(..2) {
            Some(first) if key.bytes().all(plain) && !first.contains('.') => Ok(self.folder.join(first).join(key)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, std::time::SystemTime)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that has gone meanwhile is not there.
        if let Ok(written) = entry.metadata().and_then(|metadata| metadata.modified()) {
            found.push((entry.path(), written));
        }
    }
    Ok(found)
}
