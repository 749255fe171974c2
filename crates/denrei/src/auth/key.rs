//! What tokens are verified with.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{DecodingKey, crypto};
use serde::Deserialize;

use crate::auth::token::Unverified;

/// How a token is signed (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256: the secret that verifies also signs.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2,048 bits and more.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 6] = [Self::Hs256, Self::Hs384, Self::Hs512, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name, as it stands in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The shortest secret, in bytes: as long as the hash (RFC 7518 §3.2); none where there is no secret.
    fn shortest_secret(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256 | Self::Es256 | Self::EdDsa => None,
        }
    }

    pub(crate) fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
        known.ok_or_else(|| InvalidKey(format!("{text} is none of HS256, HS384, HS512, RS256, ES256 and EdDSA")))
    }
}

/// Why a key is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(String);

/// A key that tokens are verified with, for one algorithm. Shown nowhere.
#[derive(Clone)]
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
    /// Tells it from others; none for one that somebody else publishes.
    print: Option<u64>,
}

impl Key {
    /// A secret, which is at least as long as the algorithm's hash.
    ///
    /// # Errors
    /// It is shorter, or the algorithm has public keys.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidKey> {
        let Some(shortest) = algorithm.shortest_secret() else {
            return Err(InvalidKey(format!("{algorithm} is verified with a public key, not with a secret")));
        };
        if secret.len() < shortest {
            let length = secret.len();
            return Err(InvalidKey(format!("a secret of {length} bytes is shorter than the least of {shortest}")));
        }
        Ok(Self { id: None, algorithm, key: DecodingKey::from_secret(secret), print: Some(print(algorithm, secret)) })
    }

    /// A public key in PEM.
    ///
    /// # Errors
    /// It is none, of another kind, or the algorithm has secrets.
    pub fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, InvalidKey> {
        let key = match algorithm {
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem),
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                // Whoever reads a public key could sign with it (RFC 8725 §2.1).
                return Err(InvalidKey(format!("{algorithm} is verified with a secret, not with a public key")));
            }
        };
        let key = key.map_err(|_| InvalidKey(format!("it is no public key for {algorithm} in PEM")))?;
        Ok(Self { id: None, algorithm, key, print: Some(print(algorithm, pem)) })
    }

    /// Names it: it is tried for tokens that name it (`kid`), and for those that name none.
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The public keys of a JWK set (RFC 7517) that sign and whose algorithm is known. Secrets in it are left out: what
    /// is published is none.
    ///
    /// # Errors
    /// It is no JWK set, or has no such key.
    pub fn set(json: &[u8]) -> Result<Vec<Self>, InvalidKey> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| InvalidKey("it is no JWK set".into()))?;
        // A key that is not understood is somebody else's.
        let jwks = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = jwks.filter_map(|jwk| Self::of_jwk(&jwk)).collect();
        if keys.is_empty() {
            return Err(InvalidKey("the JWK set has no public key for RS256, ES256 or EdDSA".into()));
        }
        Ok(keys)
    }

    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::Rs256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::Es256,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDsa,
            _ => return None,
        };
        let said = jwk.common.key_algorithm;
        let fits = said.is_none_or(|said| {
            matches!(
                (kind, said),
                (Algorithm::Rs256, KeyAlgorithm::RS256)
                    | (Algorithm::Es256, KeyAlgorithm::ES256)
                    | (Algorithm::EdDsa, KeyAlgorithm::EdDSA)
            )
        });
        let signs = jwk.common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature);
        if !fits || !signs {
            return None;
        }
        let key = Self { id: None, algorithm: kind, key: DecodingKey::from_jwk(jwk).ok()?, print: None };
        Some(match &jwk.common.key_id {
            Some(id) => key.named(id),
            None => key,
        })
    }

    /// What it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What tells it from other keys.
    pub(crate) fn print(&self) -> Option<u64> {
        self.print
    }

    /// Whether it has signed the token: of its own algorithm, and named by the token if both name one.
    pub(crate) fn verifies(&self, token: &Unverified<'_>) -> bool {
        let named = token.key.is_none() || self.id.is_none() || self.id.as_deref() == token.key.as_deref();
        token.algorithm == self.algorithm.as_str()
            && named
            && crypto::verify(token.signature, token.message, &self.key, self.algorithm.library()).unwrap_or(false)
    }
}

fn print(algorithm: Algorithm, key: &[u8]) -> u64 {
    let mut hash = Context::new(&SHA256);
    hash.update(algorithm.as_str().as_bytes());
    hash.update(key);
    let hash = hash.finish();
    hash.as_ref().iter().take(8).fold(0, |print, byte| print << 8 | u64::from(*byte))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
