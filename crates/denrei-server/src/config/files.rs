//! `[files]`: where the bytes of files are kept, and how many.

use std::fmt;
use std::path::{Path, PathBuf};

use denrei::FilesConfig;
use denrei_store::objects::S3;

use super::{millis, positive, set};
use crate::file;

/// Where the bytes of files are kept.
#[derive(Debug)]
pub(crate) enum FilesPlace {
    Disk(PathBuf),
    /// A bucket; the folder has what is on its way there.
    Bucket(PathBuf, S3),
}

/// The key for S3, as the environment says it.
#[derive(Clone, Default)]
pub(crate) struct S3Key {
    id: Option<String>,
    secret: Option<String>,
}

impl S3Key {
    /// `DENREI_S3_ACCESS_KEY_ID` and `DENREI_S3_SECRET_ACCESS_KEY`.
    #[expect(clippy::disallowed_methods, reason = "this is the crate that reads the environment")]
    pub(crate) fn from_environment() -> Self {
        let said = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self { id: said("DENREI_S3_ACCESS_KEY_ID"), secret: said("DENREI_S3_SECRET_ACCESS_KEY") }
    }
}

impl fmt::Debug for S3Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Key(…)")
    }
}

/// Reads how many files there may be, and how large.
pub(super) fn apply(file: &mut file::Files, config: &mut FilesConfig) -> Result<(), String> {
    set(&mut config.max, positive("files.max_bytes", file.max_bytes)?);
    set(&mut config.per_user, positive("files.user_bytes", file.user_bytes)?);
    for pattern in file.types.iter().flatten() {
        let (family, kind) = pattern.split_once('/').unwrap_or_default();
        if family.is_empty() || kind.is_empty() || (family == "*" && kind != "*") {
            return Err(format!("files.types: {pattern:?} is neither like image/png nor image/* nor */*"));
        }
    }
    set(&mut config.types, file.types.take());
    set(&mut config.uploads, positive("files.uploads", file.uploads)?);
    set(&mut config.uploads_per_user, positive("files.uploads_per_user", file.uploads_per_user)?);
    set(&mut config.idle, millis("files.idle_timeout_ms", file.idle_timeout_ms)?);
    set(&mut config.whole, millis("files.upload_timeout_ms", file.upload_timeout_ms)?);
    set(&mut config.link, millis("files.link_ms", file.link_ms)?);
    set(&mut config.unclaimed, millis("files.unclaimed_ms", file.unclaimed_ms)?);
    set(&mut config.sweep, millis("files.sweep_ms", file.sweep_ms)?);
    set(&mut config.thumbnail, file.thumbnail_side);
    set(&mut config.pixels, file.thumbnail_pixels);
    set(&mut config.redirect, file.redirect);
    Ok(())
}

/// Reads where they are kept; none when they are not.
pub(super) fn place(file: file::Files, key: &S3Key, data: &Path, joined: bool) -> Result<Option<FilesPlace>, String> {
    if file.enabled == Some(false) {
        return Ok(None);
    }
    let folder = data.join("files");
    let store = file.store.clone();
    match store.as_deref().map(|store| store.split_once(':')) {
        None if joined && file.enabled == Some(true) => {
            Err("files.store: servers that are joined keep files where all of them find them: say s3://BUCKET/PREFIX, \
                 or disk:PATH of a folder that they share"
                .into())
        }
        None if joined => Ok(None),
        None => Ok(Some(FilesPlace::Disk(folder))),
        Some(Some(("disk", path))) if !path.is_empty() => Ok(Some(FilesPlace::Disk(path.into()))),
        Some(Some(("s3", rest))) if rest.len() > 2 && rest.starts_with("//") => {
            Ok(Some(FilesPlace::Bucket(folder, bucket(&rest[2..], file, key)?)))
        }
        Some(_) => Err("files.store: it is neither s3://BUCKET/PREFIX nor disk:PATH".into()),
    }
}

fn bucket(rest: &str, file: file::Files, key: &S3Key) -> Result<S3, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let secret = match (&key.secret, file.secret_access_key, file.secret_access_key_file) {
        (Some(secret), ..) => secret.clone(),
        (None, Some(secret), None) => secret,
        (None, None, Some(path)) => {
            let read = std::fs::read_to_string(&path);
            let text = read.map_err(|error| format!("files.secret_access_key_file: {}: {error}", path.display()))?;
            text.trim().to_owned()
        }
        (None, Some(_), Some(_)) => {
            return Err("files.secret_access_key: it also stands in secret_access_key_file: say one of them".into());
        }
        (None, None, None) => {
            return Err("files.secret_access_key: s3 takes a key: set DENREI_S3_ACCESS_KEY_ID and \
                        DENREI_S3_SECRET_ACCESS_KEY in the environment"
                .into());
        }
    };
    let id = key.id.clone().or(file.access_key_id);
    if let Some(endpoint) = &file.endpoint
        && !endpoint.starts_with("https://")
        && !endpoint.starts_with("http://")
    {
        return Err("files.endpoint: begins with https:// or http://".into());
    }
    Ok(S3 {
        bucket: bucket.into(),
        prefix: prefix.trim_matches('/').into(),
        region: file.region.unwrap_or_else(|| "us-east-1".into()),
        access_key_id: id.ok_or("files.access_key_id: s3 takes a key: or set DENREI_S3_ACCESS_KEY_ID")?,
        secret_access_key: secret,
        path_style: file.path_style.unwrap_or(file.endpoint.is_some()),
        endpoint: file.endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
    })
}
