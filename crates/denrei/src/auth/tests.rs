use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use denrei_hub::Name;
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

use super::*;
use crate::NewToken;

const SECRET: &str = "a secret of at least thirty-two bytes";

fn auth(tokens: &Tokens) -> Auth {
    Auth::new(Some(&Secret::new(SECRET).expect("long enough")), tokens)
}

/// A token of these texts, signed for HS256 with the server's secret whatever the header says.
fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).expect("it signs");
    format!("{message}.{signature}")
}

fn of_claims(claims: &Value) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

fn code(auth: &Auth, token: &str) -> &'static str {
    match auth.verify(token) {
        Ok(_) => "ok",
        Err(refusal) => refusal.code.as_str(),
    }
}

#[test]
fn a_minted_token_shows_who_it_is_for() {
    let secret = Secret::new(SECRET).expect("long enough");
    let (user, roles) = (Name::parse("alice").expect("a name"), ["admin".to_owned()]);
    let token = secret.mint(&NewToken { name: Some("Alice"), roles: &roles, ..NewToken::of(&user) }).expect("it signs");
    let identity = auth(&Tokens::default()).verify(&token).expect("it verifies");
    assert_eq!((identity.user.as_ref(), identity.name.as_deref()), (Some(&user), Some("Alice")));
    assert!(identity.has_role("admin") && !identity.has_role("owner"));
}

#[test]
fn a_header_decides_nothing_but_which_key_is_tried() {
    let auth = auth(&Tokens::default());
    let claims = json!({"sub": "a", "exp": now() + 60}).to_string();
    assert_eq!(code(&auth, &signed(r#"{"alg":"HS256"}"#, &claims)), "ok");
    // It names a key, and ours has no name.
    assert_eq!(code(&auth, &signed(r#"{"alg":"HS256","kid":"../../etc/passwd"}"#, &claims)), "ok");
    // A key that it brings is not looked at.
    assert_eq!(code(&auth, &signed(r#"{"alg":"HS256","jku":"https://evil.example","jwk":{}}"#, &claims)), "ok");
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"nOnE"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":["HS256"]}"#,
        "{}",
        "[]",
        "",
    ] {
        assert_eq!(code(&auth, &signed(header, &claims)), "token_invalid", "{header}");
    }
}

#[test]
fn what_is_not_three_parts_that_fit_is_no_token() {
    let auth = auth(&Tokens::default());
    let good = of_claims(&json!({"sub": "a", "exp": now() + 60}));
    assert_eq!(code(&auth, &good), "ok");
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let mut damaged = good.clone();
    damaged.pop();
    for token in [
        "".to_owned(),
        "x".into(),
        "..".into(),
        format!("{message}."),
        message.to_owned(),
        format!("{good}.x"),
        format!("{good}.x.y"),
        format!("{good}="),
        format!(" {good}"),
        format!("{message}.{}", signature.replace(['-', '_'], "+")) + "/",
        damaged,
        format!(
            "{}.{signature}",
            of_claims(&json!({"sub": "b", "exp": now() + 60})).rsplit_once('.').expect("parts").0
        ),
        "e".repeat(LONG),
        of_claims(&json!({"sub": "a", "exp": now() + 60, "more": "m".repeat(LONG)})),
    ] {
        assert_eq!(code(&auth, &token), "token_invalid", "{token:.90}");
    }
}

const LONG: usize = 9000;

#[test]
fn times_are_whole_numbers_and_hold() {
    let auth = auth(&Tokens { leeway: Duration::from_secs(10), ..Tokens::default() });
    let now = now();
    for (claims, expected) in [
        (json!({"sub": "a", "exp": now + 60}), "ok"),
        (json!({"sub": "a", "exp": now - 5}), "ok"),
        (json!({"sub": "a", "exp": now - 20}), "token_expired"),
        (json!({"sub": "a", "exp": 0}), "token_expired"),
        (json!({"sub": "a", "exp": u64::MAX}), "ok"),
        (json!({"sub": "a"}), "token_invalid"),
        (json!({"sub": "a", "exp": null}), "token_invalid"),
        (json!({"sub": "a", "exp": (now + 60).to_string()}), "token_invalid"),
        (json!({"sub": "a", "exp": 1e300}), "token_invalid"),
        (json!({"sub": "a", "exp": -1}), "token_invalid"),
        (json!({"sub": "a", "exp": [now + 60]}), "token_invalid"),
        (json!({"sub": "a", "exp": now + 60, "nbf": now + 5}), "ok"),
        (json!({"sub": "a", "exp": now + 60, "nbf": now + 30}), "token_not_yet_valid"),
        (json!({"sub": "a", "exp": now + 60, "iat": now + 30}), "token_not_yet_valid"),
        (json!({"sub": "a", "exp": now + 60, "nbf": "0"}), "token_invalid"),
        (json!({"sub": "a", "exp": now + 60, "iat": "0"}), "token_invalid"),
    ] {
        assert_eq!(code(&auth, &of_claims(&claims)), expected, "{claims}");
    }
}

#[test]
fn a_token_is_from_and_for_whom_the_operator_says() {
    let exp = now() + 60;
    let anyone = auth(&Tokens::default());
    assert_eq!(code(&anyone, &of_claims(&json!({"sub": "a", "exp": exp, "iss": "anyone"}))), "ok");
    assert_eq!(code(&anyone, &of_claims(&json!({"sub": "a", "exp": exp, "aud": "x"}))), "token_wrong_audience");
    let strict = auth(&Tokens {
        issuer: Some("https://id.example".into()),
        audience: vec!["chat".into(), "feed".into()],
        ..Tokens::default()
    });
    for (issuer, audience, expected) in [
        (json!("https://id.example"), json!("chat"), "ok"),
        (json!("https://id.example"), json!(["other", "feed"]), "ok"),
        (json!("https://id.example"), json!(["other"]), "token_wrong_audience"),
        (json!("https://id.example"), json!([]), "token_wrong_audience"),
        (json!("https://id.example"), json!([5]), "token_invalid"),
        (json!("https://id.example"), json!({"chat": 1}), "token_invalid"),
        (json!("https://id.example/"), json!("chat"), "token_wrong_issuer"),
        (json!(["https://id.example"]), json!("chat"), "token_wrong_issuer"),
    ] {
        let claims = json!({"sub": "a", "exp": exp, "iss": issuer, "aud": audience});
        assert_eq!(code(&strict, &of_claims(&claims)), expected, "{claims}");
    }
    assert_eq!(code(&strict, &of_claims(&json!({"sub": "a", "exp": exp}))), "token_wrong_issuer");
}

#[test]
fn users_and_roles_are_where_the_operator_says() {
    let keycloak = auth(&Tokens {
        user_claim: "preferred_username".into(),
        roles_claim: "realm_access.roles".into(),
        ..Tokens::default()
    });
    let claims = json!({
        "sub": "f3", "preferred_username": "bob", "exp": now() + 60,
        "realm_access": {"roles": ["admin", 5, "user"]}
    });
    let identity = keycloak.verify(&of_claims(&claims)).expect("it verifies");
    assert_eq!(identity.user, Some(Name::parse("bob").expect("a name")));
    assert_eq!(identity.roles, ["admin", "user"]);

    let dotted = auth(&Tokens { roles_claim: "https://app.example/roles".into(), ..Tokens::default() });
    let claims = json!({"sub": "a", "exp": now() + 60, "https://app.example/roles": "one two"});
    assert_eq!(dotted.verify(&of_claims(&claims)).expect("it verifies").roles, ["one", "two"]);

    for user in [json!(5), json!(null), json!(""), json!("a\u{0}b"), json!("u".repeat(300))] {
        let claims = json!({"sub": user, "exp": now() + 60});
        assert_eq!(code(&auth(&Tokens::default()), &of_claims(&claims)), "token_invalid", "{claims:.60}");
    }
}

#[test]
fn a_key_is_for_its_own_algorithm() {
    assert!(Key::secret(Algorithm::Hs256, &[7; 31]).is_err());
    assert!(Key::secret(Algorithm::Hs512, &[7; 63]).is_err());
    assert!(Key::secret(Algorithm::Hs512, &[7; 64]).is_ok());
    assert!(Key::secret(Algorithm::Rs256, &[7; 64]).is_err());
    assert!(Key::pem(Algorithm::Hs256, b"-----BEGIN PUBLIC KEY-----").is_err());
    assert!(Key::pem(Algorithm::Es256, b"").is_err());
    assert!("none".parse::<Algorithm>().is_err());
    // Secrets in a published set are not ours to use.
    assert!(Key::set(br#"{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}"#).is_err());
    assert!(Key::set(b"[]").is_err());
}

#[test]
fn how_somebody_stands_changes_with_time() {
    let auth = auth(&Tokens { leeway: Duration::ZERO, warning: Duration::from_secs(60), ..Tokens::default() });
    let identity = |exp: u64| Identity {
        credential: Some(Box::new(Credential { id: None, issued: now(), expires: exp, key: None })),
        ..Identity::default()
    };
    assert_eq!(auth.standing(&Identity::default()), Standing::Good(None));
    assert!(matches!(auth.standing(&identity(now() + 100)), Standing::Good(Some(left)) if left.as_secs() >= 38));
    let soon = now() + 30;
    assert!(matches!(auth.standing(&identity(soon)), Standing::Expiring(at, _) if at == soon * 1000));
    assert!(
        matches!(auth.standing(&identity(now() - 1)), Standing::Over(refusal) if refusal.code == Code::TokenExpired)
    );
    // No clock ever comes there.
    assert!(matches!(auth.standing(&identity(u64::MAX)), Standing::Good(Some(_))));
}
