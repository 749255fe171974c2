//! Where the signing secret comes from: what was configured, else a file that is generated once.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use denrei::Secret;
use denrei_hub::random_token;

use crate::config::Settings;

/// `DENREI_SECRET`, or what is in the file of `DENREI_SECRET_FILE`.
pub(crate) fn from_environment() -> Result<Option<String>, String> {
    match variable("DENREI_SECRET") {
        Some(secret) => Ok(Some(secret)),
        None => of_file("DENREI_SECRET_FILE"),
    }
}

/// `DENREI_METRICS_TOKEN`, or what is in the file of `DENREI_METRICS_TOKEN_FILE`.
pub(crate) fn metrics_token() -> Result<Option<String>, String> {
    match variable("DENREI_METRICS_TOKEN") {
        Some(token) => Ok(Some(token)),
        None => of_file("DENREI_METRICS_TOKEN_FILE"),
    }
}

/// What is in the file that a variable names: so that a secret need not stand in the environment, which processes hand
/// down.
pub(crate) fn of_file(name: &str) -> Result<Option<String>, String> {
    let read = |path: String| {
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {path}: {error}"))?;
        Ok(text.trim().to_owned())
    };
    variable(name).map(read).transpose()
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the crate that reads the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
        // The folder holds the database too.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_and_the_secret_are_the_owners_only() {
        let folder = std::env::temp_dir().join(random_token(20));
        make(&folder.join("secret")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let modes = [mode(&folder), mode(&folder.join("secret"))];
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(modes, [0o700, 0o600]);
    }
}
