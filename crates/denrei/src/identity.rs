//! Who a client is: what its token says, or nobody.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use denrei_hub::{Name, random_token};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use crate::auth::{Algorithm, Credential, InvalidKey, Key, now};

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user that the token names; none for an anonymous client.
    pub user: Option<Name>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The user's name, for people.
    pub name: Option<Box<str>>,
    /// Where the client is, as far as trusted proxies say.
    pub address: Option<IpAddr>,
    /// What it was shown with.
    pub(crate) credential: Option<Box<Credential>>,
}

impl Identity {
    /// Whether the user has a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

/// What the server's own tokens are signed with. Shown nowhere.
#[derive(Clone)]
pub struct Secret {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Secret {
    /// Takes a secret for HS256, of at least 32 bytes.
    ///
    /// # Errors
    /// It is too short to be one.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, InvalidKey> {
        Self::of(Algorithm::Hs256, bytes)
    }

    /// Takes a secret for one of the algorithms that have one, at least as long as its hash.
    ///
    /// # Errors
    /// It is too short, or the algorithm has public keys.
    pub fn of(algorithm: Algorithm, bytes: impl Into<Vec<u8>>) -> Result<Self, InvalidKey> {
        let bytes = bytes.into();
        Key::secret(algorithm, &bytes)?;
        Ok(Self { algorithm, bytes })
    }

    /// Signs a token that says who somebody is.
    ///
    /// # Errors
    /// A sentence when the cryptography library fails.
    pub fn mint(&self, claims: &NewToken<'_>) -> Result<String, String> {
        let header = Header::new(self.algorithm.library());
        jsonwebtoken::encode(&header, &claims.to_claims(), &EncodingKey::from_secret(&self.bytes))
            .map_err(|error| error.to_string())
    }

    /// A key for something else than tokens: who learns one of them learns no other.
    pub(crate) fn derived(&self, purpose: &str) -> hmac::Key {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, purpose.as_bytes()).as_ref())
    }

    /// What verifies its tokens.
    pub(crate) fn key(&self) -> Key {
        Key::secret(self.algorithm, &self.bytes).expect("a secret is long enough")
    }
}

/// What a new token says.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// The user.
    pub user: &'a Name,
    /// The user's name, for people.
    pub name: Option<&'a str>,
    /// The user's roles.
    pub roles: &'a [String],
    /// How long it is valid.
    pub ttl: Duration,
    /// Who it is from and for, where the server asks.
    pub issuer: Option<&'a str>,
    /// Whom it is for, where the server asks.
    pub audience: Option<&'a str>,
}

impl<'a> NewToken<'a> {
    /// A token for a user, valid for an hour.
    pub fn of(user: &'a Name) -> Self {
        Self { user, name: None, roles: &[], ttl: Duration::from_secs(3600), issuer: None, audience: None }
    }

    fn to_claims(&self) -> impl Serialize + use<'a> {
        #[derive(Serialize)]
        struct Claims<'a> {
            sub: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            roles: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            iss: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<&'a str>,
            jti: String,
            iat: u64,
            exp: u64,
        }
        let iat = now();
        Claims {
            sub: self.user.as_str(),
            name: self.name,
            roles: self.roles,
            iss: self.issuer,
            aud: self.audience,
            // By which it can be taken back.
            jti: random_token(16),
            iat,
            exp: iat.saturating_add(self.ttl.as_secs()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
