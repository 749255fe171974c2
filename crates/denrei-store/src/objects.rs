//! The bytes of files: objects in a folder of this machine or in a bucket of an S3 server.
//!
//! Whatever comes is written to a file of this machine first, an [`Incoming`], wherever it goes then: what it is can only
//! be told when all of it is there, and nobody is to find an object that is not what its row says. Memory holds one piece
//! of it at a time.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::BoxStream;

mod bucket;
mod disk;
mod incoming;

use bucket::Bucket;
pub use bucket::S3;
use disk::Disk;
pub use incoming::Incoming;

/// Where the bytes of files are.
#[derive(Debug)]
pub struct Objects {
    incoming: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Disk(Disk),
    Bucket(Box<Bucket>),
}

/// Why an object is not there, or was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no such object.
    #[error("there is no such object")]
    Missing,
    /// The disk, or the S3 server.
    #[error("objects cannot be used: {0}")]
    Unavailable(String),
}

impl From<io::Error> for ObjectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// The pieces of an object.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// An object that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key.
    pub key: Box<str>,
    /// When it was written.
    pub written: SystemTime,
}

impl Objects {
    /// Objects in `folder` itself. Makes it, readable by its owner only. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn on_disk(folder: &Path) -> io::Result<Self> {
        let disk = Disk::new(folder.join("objects"))?;
        Ok(Self { incoming: made(folder.join("incoming"))?, place: Place::Disk(disk) })
    }

    /// Objects in a bucket; `folder` has what is on its way there. Asks nothing of the server yet. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made, or the settings cannot be.
    pub fn in_bucket(folder: &Path, settings: &S3) -> io::Result<Self> {
        let bucket = Bucket::new(settings).map_err(io::Error::other)?;
        Ok(Self { incoming: made(folder.join("incoming"))?, place: Place::Bucket(Box::new(bucket)) })
    }

    /// Begins to take an object in.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub async fn take_in(&self) -> Result<Incoming, ObjectError> {
        Ok(Incoming::new(&self.incoming).await?)
    }

    /// Makes an object of what has come. It is durable when this is done.
    ///
    /// # Errors
    /// It is not there, or nobody knows.
    pub async fn keep(&self, key: &str, incoming: Incoming) -> Result<(), ObjectError> {
        match &self.place {
            Place::Disk(disk) => Ok(disk.keep(key, incoming).await?),
            Place::Bucket(bucket) => bucket.keep(key, incoming).await,
        }
    }

    /// A part of an object. Nothing is read before it is asked for.
    ///
    /// # Errors
    /// It is not there, or not now.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Pieces, ObjectError> {
        match &self.place {
            Place::Disk(disk) => Ok(disk.read(key, range).await?),
            Place::Bucket(bucket) => bucket.read(key, range).await,
        }
    }

    /// How large an object is.
    ///
    /// # Errors
    /// It is not there, or not now.
    pub async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        match &self.place {
            Place::Disk(disk) => Ok(disk.size(key).await?),
            Place::Bucket(bucket) => bucket.size(key).await,
        }
    }

    /// Takes an object away; that there is none is no error.
    ///
    /// # Errors
    /// It may still be there.
    pub async fn remove(&self, key: &str) -> Result<(), ObjectError> {
        let removed = match &self.place {
            Place::Disk(disk) => disk.remove(key).await.map_err(ObjectError::from),
            Place::Bucket(bucket) => bucket.remove(key).await,
        };
        match removed {
            Err(ObjectError::Missing) => Ok(()),
            removed => removed,
        }
    }

    /// All objects, in any order.
    pub fn list(&self) -> BoxStream<'_, Result<Found, ObjectError>> {
        match &self.place {
            Place::Disk(disk) => disk.list(),
            Place::Bucket(bucket) => bucket.list(),
        }
    }

    /// An address where somebody else may put an object for some time, whatever its size; none where there is no bucket.
    ///
    /// # Errors
    /// It cannot be signed.
    pub async fn permit_put(&self, key: &str, lasts: Duration) -> Option<Result<String, ObjectError>> {
        match &self.place {
            Place::Disk(_) => None,
            Place::Bucket(bucket) => Some(bucket.permit_put(key, lasts).await),
        }
    }

    /// An address where somebody else may read an object for some time, under these headers; none where there is no bucket.
    ///
    /// # Errors
    /// It cannot be signed.
    pub async fn permit_get(
        &self,
        key: &str,
        kind: &str,
        disposition: &str,
        lasts: Duration,
    ) -> Option<Result<String, ObjectError>> {
        match &self.place {
            Place::Disk(_) => None,
            Place::Bucket(bucket) => Some(bucket.permit_get(key, kind, disposition, lasts).await),
        }
    }

    /// Takes away what came to this machine, and was not made an object or thrown away since: its process has died.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn clean(&self, before: SystemTime) -> io::Result<()> {
        incoming::clean(self.incoming.clone(), before).await
    }
}

/// Makes a folder that is its owner's only.
fn made(folder: PathBuf) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Does what waits for the disk on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Disk(disk) => write!(f, "{}", disk.folder().display()),
            Place::Bucket(bucket) => write!(f, "{bucket}"),
        }
    }
}
