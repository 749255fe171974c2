//! Settings of files.

use std::time::Duration;

/// Settings of files. Where they are kept is said by [`Parts::objects`](crate::Parts::objects).
#[derive(Clone, Debug)]
pub struct FilesConfig {
    /// Bytes of one file. Default 25 MiB.
    pub max: u64,
    /// Bytes of all files of a user. Default 1 GiB.
    pub per_user: u64,
    /// Media types that are taken, as they are found in the file's first bytes; `image/*` is all images. Default `*/*`.
    pub types: Vec<String>,
    /// Uploads under way. Default 64.
    pub uploads: usize,
    /// Uploads of one user under way. Default 8.
    pub uploads_per_user: usize,
    /// How long an upload may bring nothing. Default 30 s.
    pub idle: Duration,
    /// How long an upload may take. Default 15 min.
    pub whole: Duration,
    /// How long a link is good at most; at least it is half as long. Default 1 h.
    pub link: Duration,
    /// After which time a file goes that no room has. Default 24 h.
    pub unclaimed: Duration,
    /// Time between looks for what is to go. Default 10 min.
    pub sweep: Duration,
    /// Pixels of a picture that a thumbnail is made of; eight bytes of memory for each. Default 25 million.
    pub pixels: u64,
    /// The longer side of a thumbnail; 0 for none. Default 320.
    pub thumbnail: u32,
    /// Whether downloads go to the bucket, and not through this server. Default false.
    pub redirect: bool,
}

impl FilesConfig {
    /// After which time whatever belongs to an upload under way belongs to none.
    pub(super) fn lost(&self) -> Duration {
        self.whole * 2
    }
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            max: 25 << 20,
            per_user: 1 << 30,
            types: vec!["*/*".into()],
            uploads: 64,
            uploads_per_user: 8,
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(15 * 60),
            link: Duration::from_secs(3600),
            unclaimed: Duration::from_secs(24 * 3600),
            sweep: Duration::from_secs(10 * 60),
            pixels: 25_000_000,
            thumbnail: 320,
            redirect: false,
        }
    }
}
