//! Where the signing secret comes from: what was configured, else a file that is generated once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use denrei::Secret;
use denrei_hub::random_token;

use crate::config::Settings;

/// `DENREI_SECRET`.
pub(crate) fn from_environment() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the crate that reads the environment")]
    std::env::var("DENREI_SECRET").ok().filter(|secret| !secret.is_empty())
}

/// The configured secret, or that of the data folder, which is made if it is not there.
pub(crate) fn find_or_make(settings: &Settings) -> Result<Secret, String> {
    if let Some(secret) = &settings.config.access.secret {
        return Ok(secret.clone());
    }
    let path = settings.data.join("secret");
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(&path).map_err(|error| said(&error))?,
        Err(error) => return Err(said(&error)),
    };
    Secret::new(text.trim()).map_err(|error| said(&error))
}

/// 258 random bits, readable by the owner only. Written whole under another name first: two processes that begin at
/// once agree on one secret, and neither reads half of it.
fn make(path: &Path) -> std::io::Result<String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(random_token(8));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(random_token(43).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(path),
    }
}
