//! Who a client is: what its token says, or nobody.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use denrei_hub::Name;
use denrei_proto::codes::Code;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user that the token names; none for an anonymous client.
    pub user: Option<Name>,
    /// The user's roles.
    pub roles: Vec<String>,
}

/// What tokens are signed with. Shown nowhere.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The shortest secret, in bytes: as long as the hash (RFC 7518 §3.2).
    pub const SHORTEST: usize = 32;

    /// Takes a secret.
    ///
    /// # Errors
    /// A sentence when it is too short to be one.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        if bytes.len() < Self::SHORTEST {
            return Err(format!("a secret of {} bytes is shorter than the least of {}", bytes.len(), Self::SHORTEST));
        }
        Ok(Self(bytes))
    }

    /// Signs a token that says who somebody is.
    ///
    /// # Errors
    /// A sentence when the cryptography library fails.
    pub fn mint(&self, user: &Name, name: Option<&str>, roles: &[String], ttl: Duration) -> Result<String, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            sub: user.as_str().to_owned(),
            name: name.map(str::to_owned),
            roles: roles.to_vec(),
            iat: Some(now.as_secs()),
            exp: (now + ttl).as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&self.0))
            .map_err(|error| error.to_string())
    }

    /// Reads a token: HS256 and nothing else, whatever its header says; `exp` and `sub` must be there (RFC 8725).
    ///
    /// # Errors
    /// 401 in the words of the seed (§10.1).
    pub fn verify(&self, token: &str) -> Result<Identity, Refusal> {
        let invalid = || Refusal::new(Code::Unauthorized, "Invalid authentication token");
        if token.len() > LONGEST_TOKEN {
            return Err(invalid());
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 30;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub"]);
        match jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&self.0), &validation) {
            Ok(token) => {
                let user = Name::parse(&token.claims.sub).map_err(|_| invalid())?;
                Ok(Identity { user: Some(user), roles: token.claims.roles })
            }
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
                Err(Refusal::new(Code::Unauthorized, "Token expired"))
            }
            Err(_) => Err(invalid()),
        }
    }
}

/// Longer tokens are refused before any cryptography.
const LONGEST_TOKEN: usize = 8 * 1024;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(default)]
    iat: Option<u64>,
    exp: u64,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
