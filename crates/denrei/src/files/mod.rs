//! Files: uploads, what is known of them, and who may have them.
//!
//! What comes is written to this machine's disk piece by piece, counted, hashed and looked at; then it is made an object,
//! and only then its row says so. A [`Coming`] is an upload on its way: wherever it ends before that, what was set aside
//! for it is given back. What dies without a word is found by the [`sweep`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use denrei_hub::{Hub, LogError, Name, RoomName, random_token};
use denrei_proto::codes::Code;
use denrei_store::Store;
use denrei_store::files::{File, Finished, NewFile, Taken};
use denrei_store::objects::{Incoming, ObjectError, Objects};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::app::now_ms;
use crate::identity::Secret;
use crate::refusal::Refusal;

mod config;
pub(crate) mod kind;
mod links;
mod picture;
mod sweep;

pub use config::FilesConfig;
use links::Links;
pub(crate) use links::Part;
use picture::{Picture, Studio};

/// The files of a server.
pub(crate) struct Files {
    store: Arc<Store>,
    pub(crate) objects: Arc<Objects>,
    hub: Hub,
    pub(crate) config: FilesConfig,
    links: Links,
    studio: Studio,
    places: Arc<Semaphore>,
    users: Arc<Mutex<HashMap<Option<Name>, usize>>>,
}

/// What somebody wants to upload.
pub(crate) struct Upload {
    pub(crate) user: Option<Name>,
    pub(crate) room: Option<RoomName>,
    pub(crate) name: Box<str>,
    /// How many bytes it has, or at most has, as far as is said before.
    pub(crate) bytes: Option<u64>,
    /// What its SHA-256 has to be.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// A hash in hexadecimal.
fn hexadecimal(hash: &[u8]) -> Box<str> {
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// Characters of an id: 120 bits.
const ID: usize = 20;

/// Whether a file may have this id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl Files {
    pub(crate) fn new(
        store: Arc<Store>,
        objects: Arc<Objects>,
        hub: Hub,
        secret: Option<&Secret>,
        config: FilesConfig,
    ) -> Self {
        Self {
            links: Links::new(secret, config.link),
            studio: Studio::new(config.pixels, config.thumbnail),
            places: Arc::new(Semaphore::new(config.uploads)),
            users: Arc::default(),
            store,
            objects,
            hub,
            config,
        }
    }

    /// Signs links with another secret from now on.
    pub(crate) fn replace(&self, secret: Option<&Secret>) {
        if let Some(secret) = secret {
            self.links.replace(secret);
        }
    }

    /// Takes an upload. A piece that is an error ends it.
    pub(crate) async fn upload(
        &self,
        upload: Upload,
        mut pieces: impl Stream<Item = Result<Bytes, Refusal>> + Unpin,
    ) -> Result<File, Refusal> {
        if upload.bytes.is_some_and(|bytes| bytes > self.config.max) {
            return Err(self.too_large());
        }
        let _place = self.place(upload.user.as_ref())?;
        let end = Instant::now() + self.config.whole;
        let sha256 = upload.sha256;
        let coming = self.begin(upload).await?;
        let mut arriving = Arriving::new(self.objects.take_in().await.map_err(unavailable)?);
        loop {
            let idle = Instant::now() + self.config.idle;
            let next = tokio::time::timeout_at(idle.min(end), pieces.next()).await;
            let too_slow = |_| Refusal::new(Code::TooSlow, "the file took too long to arrive");
            match next.map_err(too_slow)?.transpose()? {
                Some(piece) => arriving.take(&piece, coming.bytes, || self.too_large()).await?,
                None => break,
            }
        }
        self.finish(coming, arriving, sha256).await
    }

    /// Lets somebody put a file into the bucket themselves.
    pub(crate) async fn direct(&self, upload: Upload) -> Result<(Box<str>, String, u64), Refusal> {
        let bytes = upload.bytes.unwrap_or(0);
        if bytes > self.config.max {
            return Err(self.too_large());
        }
        let mut coming = self.begin(upload).await?;
        let permitted = self.objects.permit_put(&direct_key(&coming.id), self.config.whole).await;
        let no_bucket =
            || Refusal::new(Code::NotFound, "files are kept by this server itself: upload them to /api/files");
        let url = permitted.ok_or_else(no_bucket)?.map_err(unavailable)?;
        coming.is_pending = false;
        let expires = now_ms().saturating_add(ms(self.config.whole));
        Ok((coming.id.clone(), url, expires))
    }

    /// Takes what somebody has put into the bucket. It is read once, and what was read is what is kept: the permission to
    /// put it there is still good.
    pub(crate) async fn complete(&self, file: File, sha256: Option<[u8; 32]>) -> Result<File, Refusal> {
        let user = file.user.as_deref().map(Name::parse).transpose()?;
        let _place = self.place(user.as_ref())?;
        let key = direct_key(&file.id);
        let missing = |error| match error {
            ObjectError::Missing => Refusal::new(Code::Conflict, "the file has not been put there yet"),
            error => unavailable(error),
        };
        let there = self.objects.size(&key).await.map_err(missing)?;
        if there != file.bytes {
            let sentence = format!("{there} bytes were put there, and {} announced", file.bytes);
            return Err(Refusal::new(Code::Conflict, sentence));
        }
        // Two who complete it at once could keep the bytes of one, and what is known of the other's.
        if !self.store.arrived_file(&file.id).await.map_err(unkept)? {
            return Err(Refusal::new(Code::Conflict, "the file is being completed already"));
        }
        // What is wrong with it from here on stays wrong: it has to be begun anew.
        let coming = Coming { store: Arc::clone(&self.store), id: file.id, bytes: file.bytes, is_pending: true };
        let mut pieces = self.objects.read(&key, 0..there).await.map_err(missing)?;
        let mut arriving = Arriving::new(self.objects.take_in().await.map_err(unavailable)?);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| unavailable(error.into()))?;
            arriving.take(&piece, there, || self.too_large()).await?;
        }
        let file = self.finish(coming, arriving, sha256).await?;
        if let Err(error) = self.objects.remove(&key).await {
            tracing::debug!(%error, "an upload stays in the bucket for now");
        }
        Ok(file)
    }

    async fn begin(&self, upload: Upload) -> Result<Coming, Refusal> {
        let (id, bytes) = (Box::from(random_token(ID)), upload.bytes.unwrap_or(self.config.max));
        let now = now_ms();
        let file = NewFile {
            id: Box::clone(&id),
            user: upload.user,
            room: upload.room,
            name: upload.name,
            bytes,
            created_at: now,
            until: now.saturating_add(ms(self.config.lost())),
        };
        // Whoever goes while this is asked has set something aside all the same.
        let coming = Coming { store: Arc::clone(&self.store), id, bytes, is_pending: true };
        if !self.store.begin_file(file, self.config.per_user).await.map_err(unkept)? {
            let most = self.config.per_user;
            let sentence = format!("a user's files have at most {most} bytes together: remove some of them");
            return Err(Refusal::new(Code::QuotaExceeded, sentence));
        }
        Ok(coming)
    }

    /// Makes a file of what has come, if it is what it has to be.
    async fn finish(&self, mut coming: Coming, arriving: Arriving, sha256: Option<[u8; 32]>) -> Result<File, Refusal> {
        let Arriving { mut incoming, hash, head } = arriving;
        let hash = hash.finish();
        if sha256.is_some_and(|expected| hash.as_ref() != expected) {
            return Err(Refusal::new(
                Code::InvalidField,
                "the file's SHA-256 is another one: it was changed on its way",
            ));
        }
        let kind = kind::of(&head);
        if !kind::fits(&self.config.types, kind) {
            return Err(Refusal::new(Code::UnsupportedType, format!("files of type {kind} are not taken here")));
        }
        incoming.flush().await.map_err(|error| unavailable(error.into()))?;
        let bytes = incoming.bytes();
        let Picture { size, thumbnail } = self.studio.look(incoming.path(), kind, bytes).await;
        let finished = Finished {
            kind: kind.into(),
            bytes,
            sha256: Some(hexadecimal(hash.as_ref())),
            size,
            thumbnail: thumbnail.as_ref().map(|thumbnail| thumbnail.kind.into()),
            unclaimed_until: now_ms().saturating_add(ms(self.config.unclaimed)),
        };
        if let Some(thumbnail) = thumbnail {
            let mut small = self.objects.take_in().await.map_err(unavailable)?;
            small.write(&thumbnail.bytes).await.map_err(|error| unavailable(error.into()))?;
            self.objects.keep(&thumbnail_key(&coming.id), small).await.map_err(unavailable)?;
        }
        self.objects.keep(&coming.id, incoming).await.map_err(unavailable)?;
        if !self.store.finish_file(&coming.id, finished).await.map_err(unkept)? {
            return Err(Refusal::new(Code::TooSlow, "the file took too long to arrive"));
        }
        coming.is_pending = false;
        self.find(&coming.id).await?.ok_or_else(no_file)
    }

    /// A file, all of it here or not.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<File>, Refusal> {
        if !is_id(id) {
            return Ok(None);
        }
        self.store.find_file(id).await.map_err(unkept)
    }

    /// Takes a file away: nobody finds it from here on, and what it had is free.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Refusal> {
        if !self.store.remove_file(id, Taken::Any).await.map_err(unkept)? {
            return Err(no_file());
        }
        if let Err(error) = self.discard(vec![id.into()]).await {
            // The sweep goes on with it.
            tracing::debug!(%error, "a file's object stays for now");
        }
        Ok(())
    }

    /// Whether a link may be followed.
    pub(crate) fn is_good(&self, id: &str, part: Part, expires: &str, signature: &str) -> bool {
        self.links.is_good(id, part, expires, signature, now_ms())
    }

    /// What is told of a file, with links to it.
    pub(crate) fn told(&self, file: &File) -> Value {
        let mut told = serde_json::to_value(file).expect("texts and numbers have a form in JSON");
        if file.is_stored {
            let expires = self.links.end(now_ms());
            told["url"] = self.links.link(&file.id, Part::Content, expires).into();
            if file.thumbnail.is_some() {
                told["thumbnailUrl"] = self.links.link(&file.id, Part::Thumbnail, expires).into();
            }
            told["expires"] = json!(expires);
        }
        told
    }

    /// A place among the uploads under way, of all and of a user.
    fn place(&self, user: Option<&Name>) -> Result<Place, Refusal> {
        let full = |_| Refusal::later(Code::Unavailable, "the server takes as many uploads as it may at once");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(full)?;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.entry(user.cloned()).or_default();
        if *count >= self.config.uploads_per_user {
            let sentence = format!("a user has at most {} uploads under way", self.config.uploads_per_user);
            return Err(Refusal::later(Code::RateLimited, sentence));
        }
        *count += 1;
        Ok(Place { _place: place, user: user.cloned(), users: Arc::clone(&self.users) })
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(Code::TooLarge, format!("a file is at most {} bytes, and what was announced", self.config.max))
    }
}

/// The key of a file's thumbnail.
pub(crate) fn thumbnail_key(id: &str) -> String {
    format!("{id}.thumbnail")
}

/// Where somebody else puts a file.
fn direct_key(id: &str) -> String {
    format!("{id}.direct")
}

/// What has come of a file so far.
struct Arriving {
    incoming: Incoming,
    hash: Context,
    head: Vec<u8>,
}

impl Arriving {
    fn new(incoming: Incoming) -> Self {
        Self { incoming, hash: Context::new(&SHA256), head: Vec::new() }
    }

    async fn take(&mut self, piece: &Bytes, most: u64, too_large: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
        if self.incoming.bytes() + piece.len() as u64 > most {
            return Err(too_large());
        }
        let wanted = kind::LOOKED_AT.saturating_sub(self.head.len());
        self.head.extend_from_slice(&piece[..wanted.min(piece.len())]);
        self.hash.update(piece);
        self.incoming.write(piece).await.map_err(|error| unavailable(error.into()))
    }
}

/// An upload on its way. Dropped while it is pending, it has failed, or its client has gone: what was set aside is free.
struct Coming {
    store: Arc<Store>,
    id: Box<str>,
    bytes: u64,
    is_pending: bool,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if self.is_pending {
            // It is handed in, and nobody waits for it. What it may have left on the disk is swept.
            drop(self.store.remove_file(&self.id, Taken::Pending));
        }
    }
}

/// A place among the uploads under way.
struct Place {
    _place: OwnedSemaphorePermit,
    user: Option<Name>,
    users: Arc<Mutex<HashMap<Option<Name>, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

pub(crate) fn no_file() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such file")
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The cause may name files or hosts; it is for the operator.
#[expect(clippy::needless_pass_by_value, reason = "it takes what `map_err` gives")]
pub(crate) fn unavailable(error: ObjectError) -> Refusal {
    tracing::warn!(%error, "a file could not be read or kept");
    Refusal::later(Code::Unavailable, "files cannot be read or kept now")
}

#[expect(clippy::needless_pass_by_value, reason = "it takes what `map_err` gives")]
fn unkept(error: LogError) -> Refusal {
    tracing::warn!(%error, "a file could not be looked up or kept");
    Refusal::later(Code::Unavailable, "files cannot be read or kept now")
}
