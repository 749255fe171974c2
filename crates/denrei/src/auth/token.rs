//! What a token has to say, and what it is refused for.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use denrei_hub::Name;
use denrei_proto::codes::Code;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::{Key, KeySet};
use crate::identity::Identity;
use crate::refusal::Refusal;

/// What tokens must say, and where they say it.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Keys besides the server's own secret. Default none.
    pub keys: Vec<Key>,
    /// Keys that somebody else publishes, and changes. Default none.
    pub published: Option<KeySet>,
    /// What `iss` must be; none takes any issuer. Default none.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; with none, a token that names an audience is for somebody else. Default none.
    pub audience: Vec<String>,
    /// How far clocks may differ. Default 30 s.
    pub leeway: Duration,
    /// Where the user's id is: a claim, or a path into objects with dots. Default `sub`.
    pub user_claim: String,
    /// Where the user's roles are: an array of texts, or one text with spaces between. Default `roles`.
    pub roles_claim: String,
    /// Where the name for people is. Default `name`.
    pub name_claim: String,
    /// A cookie that may hold the token. Default none.
    pub cookie: Option<String>,
    /// How long before its token expires a client is told. Default 60 s.
    pub warning: Duration,
}

impl Tokens {
    /// Whether tokens of somebody else than the server itself can be verified.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.published.is_some()
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            published: None,
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::from_secs(30),
            user_claim: "sub".into(),
            roles_claim: "roles".into(),
            name_claim: "name".into(),
            cookie: None,
            warning: Duration::from_secs(60),
        }
    }
}

/// What is remembered of the token that showed who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    /// `jti`.
    pub(crate) id: Option<Box<str>>,
    /// `iat`, in s since 1970; 0 where the token does not say, which is before anything is taken back.
    pub(crate) issued: u64,
    /// `exp`, in s since 1970, without leeway.
    pub(crate) expires: u64,
    /// What tells the key that has signed it, where the operator has configured that.
    pub(crate) key: Option<u64>,
}

/// Why a token shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is none where one is needed.
    Missing,
    /// It is not a token, or says something impossible.
    Malformed,
    /// No key of its algorithm has its name, or has signed it.
    Unverified,
    Expired,
    /// Its `nbf`, or its `iat`, is yet to come.
    Early,
    Audience,
    Issuer,
    Revoked,
}

impl From<Fault> for Refusal {
    /// In the words of the seed (§10.1); the code says more.
    fn from(fault: Fault) -> Self {
        let (code, sentence) = match fault {
            Fault::Missing => (Code::TokenMissing, "Authentication token required"),
            Fault::Expired => (Code::TokenExpired, "Token expired"),
            Fault::Revoked => (Code::TokenRevoked, "Token revoked"),
            Fault::Malformed | Fault::Unverified => (Code::TokenInvalid, "Invalid authentication token"),
            Fault::Early => (Code::TokenEarly, "Invalid authentication token"),
            Fault::Audience => (Code::TokenAudience, "Invalid authentication token"),
            Fault::Issuer => (Code::TokenIssuer, "Invalid authentication token"),
        };
        Self::new(code, sentence)
    }
}

/// Longer tokens are refused before any cryptography.
const LONGEST: usize = 8 * 1024;

/// A token in its parts, not verified.
pub(crate) struct Unverified<'a> {
    pub(crate) algorithm: String,
    pub(crate) key: Option<String>,
    pub(crate) message: &'a [u8],
    pub(crate) signature: &'a str,
    claims: &'a str,
}

/// What is read of a header. `jku`, `jwk`, `x5u` and `x5c`, by which a token would bring its own key, are nothing to us.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): we know none.
    crit: Option<Value>,
    /// Whether the payload is encoded (RFC 7797): it is.
    b64: Option<Value>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > LONGEST {
            return Err(Fault::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Fault::Malformed)?;
        if claims.contains('.') || signature.is_empty() {
            return Err(Fault::Malformed);
        }
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| Fault::Malformed)?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Fault::Malformed);
        }
        let Header { alg, kid, .. } = header;
        Ok(Self { algorithm: alg, key: kid, message: message.as_bytes(), signature, claims })
    }

    /// Its claims, for who has verified the signature.
    pub(crate) fn claims(&self) -> Result<Claims, Fault> {
        let claims = serde_json::from_slice(&decoded(self.claims)?).map_err(|_| Fault::Malformed)?;
        Ok(Claims(claims))
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)
}

/// The claims of a token that was verified.
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Who it says somebody is, if it says so to us, now (s since 1970).
    pub(crate) fn identity(&self, tokens: &Tokens, now: u64, key: Option<u64>) -> Result<Identity, Fault> {
        let leeway = tokens.leeway.as_secs();
        let expires = self.time("exp")?.ok_or(Fault::Malformed)?;
        if expires.saturating_add(leeway) <= now {
            return Err(Fault::Expired);
        }
        let issued = self.time("iat")?;
        let begins = self.time("nbf")?.max(issued).unwrap_or_default();
        if begins > now.saturating_add(leeway) {
            return Err(Fault::Early);
        }
        if let Some(issuer) = &tokens.issuer
            && self.text("iss") != Some(issuer)
        {
            return Err(Fault::Issuer);
        }
        if !self.is_for(&tokens.audience)? {
            return Err(Fault::Audience);
        }
        let user = self.at(&tokens.user_claim).and_then(Value::as_str).ok_or(Fault::Malformed)?;
        let user = Name::parse(user).map_err(|_| Fault::Malformed)?;
        let id = self.text("jti").map(Into::into);
        Ok(Identity {
            user: Some(user),
            roles: self.roles(&tokens.roles_claim),
            name: self.at(&tokens.name_claim).and_then(Value::as_str).map(Into::into),
            address: None,
            credential: Some(Box::new(Credential { id, issued: issued.unwrap_or_default(), expires, key })),
        })
    }

    /// A NumericDate (RFC 7519 §2), which is a whole number here: texts and fractions have been taken for times that
    /// never come (CVE-2026-25537).
    fn time(&self, claim: &str) -> Result<Option<u64>, Fault> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(Fault::Malformed),
        }
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.0.get(claim)?.as_str()
    }

    fn is_for(&self, audience: &[String]) -> Result<bool, Fault> {
        let named = match self.0.get("aud") {
            None => return Ok(audience.is_empty()),
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => {
                many.iter().map(Value::as_str).collect::<Option<_>>().ok_or(Fault::Malformed)?
            }
            Some(_) => return Err(Fault::Malformed),
        };
        Ok(named.iter().any(|named| audience.iter().any(|ours| ours == named)))
    }

    /// What is at a path; a claim that has dots in its own name is found first.
    fn at(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(self.0.get(first)?, |value, key| value.get(key))
    }

    fn roles(&self, path: &str) -> Vec<String> {
        match self.at(path) {
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).map(Into::into).collect(),
            Some(Value::String(roles)) => roles.split_whitespace().map(Into::into).collect(),
            _ => Vec::new(),
        }
    }
}
