//! Objects in a bucket of an S3 server.

use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig,
};
use tokio::io::AsyncReadExt;

use super::{Found, Incoming, ObjectError, Pieces};

/// Where a bucket is, and with which key it is used.
#[derive(Clone)]
#[expect(missing_docs, reason = "the fields are what S3 calls them")]
pub struct S3 {
    pub bucket: String,
    /// What begins the names of all objects; what else begins with it is taken for ours. Without slashes at its ends.
    pub prefix: String,
    /// None: Amazon's.
    pub endpoint: Option<String>,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Whether the bucket stands in the path, and not in the host's name.
    pub path_style: bool,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, prefix, endpoint, region, path_style, .. } = self;
        let mut shown = f.debug_struct("S3");
        shown.field("bucket", bucket).field("prefix", prefix).field("endpoint", endpoint).field("region", region);
        shown.field("path_style", path_style).finish_non_exhaustive()
    }
}

pub(super) struct Bucket {
    store: AmazonS3,
    prefix: Path,
    shown: String,
}

/// What goes in one request, and what of an object is in memory at once. S3 wants 5 MiB or more of each part.
const PART: usize = 8 << 20;

impl Bucket {
    pub(super) fn new(settings: &S3) -> Result<Self, String> {
        let S3 { bucket, prefix, endpoint, region, access_key_id, secret_access_key, path_style } = settings;
        // The whole time of a download is its reader's; what counts is that the server goes on.
        let client = ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(Duration::from_secs(5))
            .with_read_timeout(Duration::from_secs(30));
        // Somebody waits for it.
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(10) };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(access_key_id)
            .with_secret_access_key(secret_access_key)
            .with_virtual_hosted_style_request(!path_style)
            .with_client_options(client)
            .with_retry(retry);
        let mut shown = format!("s3://{bucket}/{prefix}");
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
            shown = format!("{shown} at {endpoint}");
        }
        let store = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { store, prefix: Path::parse(prefix).map_err(|error| error.to_string())?, shown })
    }

    /// In one request, or in parts, one after another: an upload that was cut off leaves parts, which a rule of the bucket
    /// takes away.
    pub(super) async fn keep(&self, key: &str, mut incoming: Incoming) -> Result<(), ObjectError> {
        incoming.flush().await?;
        let (path, bytes) = (self.path(key), incoming.bytes());
        let mut file = tokio::fs::File::open(incoming.path()).await?;
        if bytes <= PART as u64 {
            let whole = part(&mut file).await?;
            self.store.put(&path, whole.into()).await.map_err(unavailable)?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&path).await.map_err(unavailable)?;
        let sent = async {
            loop {
                let piece = part(&mut file).await?;
                if piece.is_empty() {
                    return upload.complete().await.map_err(unavailable);
                }
                upload.put_part(piece.into()).await.map_err(unavailable)?;
            }
        };
        let sent = sent.await;
        if sent.is_err() {
            // It has failed already.
            let _ = upload.abort().await;
        }
        sent.map(drop)
    }

    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Result<Pieces, ObjectError> {
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(key), options).await.map_err(unavailable)?;
        Ok(found.into_stream().map_err(io::Error::other).boxed())
    }

    pub(super) async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        Ok(self.store.head(&self.path(key)).await.map_err(unavailable)?.size)
    }

    pub(super) async fn remove(&self, key: &str) -> Result<(), ObjectError> {
        self.store.delete(&self.path(key)).await.map_err(unavailable)
    }

    pub(super) fn list(&self) -> BoxStream<'_, Result<Found, ObjectError>> {
        let found = self.store.list(Some(&self.prefix)).map_err(unavailable);
        let ours = found.try_filter_map(async |object| {
            let key = object.location.prefix_match(&self.prefix).and_then(|mut parts| {
                let key = parts.next()?;
                parts.next().is_none().then(|| Box::from(key.as_ref()))
            });
            Ok(key.map(|key| Found { key, written: object.last_modified.into() }))
        });
        ours.boxed()
    }

    pub(super) async fn permit_put(&self, key: &str, lasts: Duration) -> Result<String, ObjectError> {
        let put = "PUT".parse().expect("it is a method");
        Ok(self.store.signed_url(put, &self.path(key), lasts).await.map_err(unavailable)?.into())
    }

    pub(super) async fn permit_get(
        &self,
        key: &str,
        kind: &str,
        disposition: &str,
        lasts: Duration,
    ) -> Result<String, ObjectError> {
        let said = [("response-content-type", kind), ("response-content-disposition", disposition)];
        let options = SignedUrlOptions::new().with_query(said);
        let get = "GET".parse().expect("it is a method");
        let url = self.store.signed_url_opts(get, &self.path(key), lasts, &options).await;
        Ok(url.map_err(unavailable)?.into())
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.clone().join(key)
    }
}

async fn part(file: &mut tokio::fs::File) -> io::Result<Bytes> {
    let mut part = BytesMut::new();
    let mut limited = file.take(PART as u64);
    while limited.read_buf(&mut part).await? > 0 {}
    Ok(part.freeze())
}

fn unavailable(error: Error) -> ObjectError {
    match error {
        Error::NotFound { .. } => ObjectError::Missing,
        error => ObjectError::Unavailable(error.to_string()),
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.shown).finish()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
