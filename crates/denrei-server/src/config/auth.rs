//! Who may come in: `[auth]`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use denrei::{Access, Algorithm, Key, KeySet, KeySource, Secret};

use super::{millis, set};
use crate::file::{self, Auth};

/// Puts together what was said; `secret` is the environment's.
pub(super) fn apply(file: Auth, secret: Option<&str>, listen: SocketAddr, access: &mut Access) -> Result<(), String> {
    let algorithm = algorithm("auth.algorithm", file.algorithm.as_deref())?.unwrap_or(Algorithm::Hs256);
    let secret = secret.or(file.secret.as_deref());
    if let Some(secret) = secret {
        let secret = Secret::of(algorithm, secret.as_bytes()).map_err(|error| format!("auth.secret: {error}"))?;
        access.secret = Some(secret);
    } else if algorithm != Algorithm::Hs256 {
        return Err("auth.algorithm: goes with auth.secret; a generated secret is for HS256".into());
    }
    let tokens = &mut access.tokens;
    for (number, key) in file.keys.iter().enumerate() {
        tokens.keys.push(parse_key(key).map_err(|error| format!("auth.keys, number {}: {error}", number + 1))?);
    }
    if let Some(place) = file.jwks {
        let mut set = KeySet::at(source(place)?);
        if let Some(refresh) = millis("auth.jwks_refresh_ms", file.jwks_refresh_ms)? {
            set.refresh = refresh;
        }
        tokens.published = Some(set);
    } else if file.jwks_refresh_ms.is_some() {
        return Err("auth.jwks_refresh_ms: goes with auth.jwks".into());
    }
    let known = secret.is_some() || tokens.has_keys();
    tokens.issuer = file.issuer;
    set(&mut tokens.audience, file.audience);
    set(&mut tokens.leeway, file.leeway_ms.map(Duration::from_millis));
    set(&mut tokens.warning, file.warning_ms.map(Duration::from_millis));
    set(&mut tokens.user_claim, file.user_claim);
    set(&mut tokens.roles_claim, file.roles_claim);
    set(&mut tokens.name_claim, file.name_claim);
    tokens.cookie = super::cookie_name("auth.cookie", file.cookie)?;
    let loopback = listen.ip().is_loopback();
    if !loopback && !known {
        return Err(format!(
            "{listen} can be reached by others, so say first who may come in. Set DENREI_SECRET in the environment to \
             at least 32 random bytes, or add to denrei.toml:\n\n    [auth]\n    secret = \"…\"\n\nor, for tokens of \
             somebody else:\n\n    [auth]\n    jwks = \"https://…\"\n"
        ));
    }
    access.development = loopback && !known && file.anonymous.is_none();
    access.anonymous = file.anonymous.unwrap_or(access.development);
    Ok(())
}

fn algorithm(name: &str, said: Option<&str>) -> Result<Option<Algorithm>, String> {
    said.map(|said| said.parse().map_err(|error| format!("{name}: {error}"))).transpose()
}

fn parse_key(file: &file::Key) -> Result<Key, String> {
    let algorithm = algorithm("algorithm", Some(&file.algorithm))?.expect("it was said");
    let key = match (&file.file, &file.secret) {
        (Some(path), None) => {
            let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            match algorithm {
                Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => Key::secret(algorithm, bytes.trim_ascii()),
                _ => Key::pem(algorithm, &bytes),
            }
        }
        (None, Some(secret)) => Key::secret(algorithm, secret.as_bytes()),
        _ => return Err("it has either a file or a secret".into()),
    };
    let key = key.map_err(|error| error.to_string())?;
    Ok(match &file.id {
        Some(id) => key.named(id),
        None => key,
    })
}

fn source(place: String) -> Result<KeySource, String> {
    if place.contains("://") {
        denrei::check_address(&place).map_err(|error| format!("auth.jwks: {error}"))?;
        return Ok(KeySource::Url(place));
    }
    // A file that is not there now is a mistake, most likely; one that goes later changes nothing.
    let json = std::fs::read(Path::new(&place)).map_err(|error| format!("auth.jwks: {place}: {error}"))?;
    Key::set(&json).map_err(|error| format!("auth.jwks: {place}: {error}"))?;
    Ok(KeySource::File(place.into()))
}
