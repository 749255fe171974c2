use super::*;

fn access(development: bool, origins: &[&str]) -> Access {
    Access {
        development,
        anonymous: true,
        secret: None,
        tokens: Default::default(),
        allow_origin: None,
        trusted_proxies: Vec::new(),
        origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
    }
}

fn admitted(access: &Access, host: &str, origins: &[&str]) -> bool {
    let mut headers = vec![httparse::Header { name: "Host", value: host.as_bytes() }];
    headers.extend(origins.iter().map(|origin| httparse::Header { name: "Origin", value: origin.as_bytes() }));
    admit(access, &Facts::parsed("GET", "/ws", 1, &headers)).is_ok()
}

#[test]
fn development_mode_answers_to_loopback_hosts_only() {
    for host in
        ["localhost", "localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "app.localhost"]
    {
        assert!(admitted(&access(true, &[]), host, &[]), "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]", "evillocalhost"]
    {
        assert!(!admitted(&access(true, &[]), host, &[]), "{host}");
    }
}

#[test]
fn development_mode_lets_in_loopback_pages_and_no_others() {
    for origin in ["http://localhost:3000", "http://127.0.0.1:5173", "https://localhost"] {
        assert!(admitted(&access(true, &[]), "localhost:8080", &[origin]), "{origin}");
    }
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://evil.example@localhost",
        "file://",
        "",
    ] {
        assert!(!admitted(&access(true, &[]), "localhost:8080", &[origin]), "{origin}");
    }
}

#[test]
fn elsewhere_the_own_origin_and_the_listed_ones_are_let_in_exactly() {
    let access = access(false, &["https://app.example"]);
    for origin in ["https://rt.example", "https://app.example"] {
        assert!(admitted(&access, "rt.example", &[origin]), "{origin}");
    }
    for origin in [
        "https://app.example:444",
        "http://app.example",
        "https://app.example.evil.example",
        "https://evil.example",
        "https://APP.example",
        "null",
        "http://localhost",
    ] {
        assert!(!admitted(&access, "rt.example", &[origin]), "{origin}");
    }
}

#[test]
fn two_origins_are_none_that_is_allowed() {
    assert!(!admitted(&access(true, &[]), "localhost", &["http://localhost", "http://localhost"]));
}

#[test]
fn a_star_stands_for_what_is_below_a_name() {
    let access = access(false, &["https://*.app.example", "http://*.dev.example:3000", "https://*evil.example"]);
    for origin in ["https://a.app.example", "https://a.b.app.example", "http://x.dev.example:3000"] {
        assert!(admitted(&access, "rt.example", &[origin]), "{origin}");
    }
    for origin in [
        "https://app.example",
        "https://.app.example",
        "https://evil-app.example",
        "http://a.app.example",
        "https://a.app.example:444",
        "https://a.app.example.evil.example",
        "https://evil.example/.app.example",
        "https://evil.example:1.app.example",
        "https://user@a.app.example",
        "http://x.dev.example",
        "https://notevil.example",
        "https://x.evil.example",
    ] {
        assert!(!admitted(&access, "rt.example", &[origin]), "{origin}");
    }
}

#[test]
fn an_application_has_its_word_on_origins() {
    let mut access = access(false, &["https://app.example"]);
    access.allow_origin = Some(AllowOrigin::new(|origin| origin == "capacitor://localhost" || origin == "null"));
    for origin in ["https://app.example", "https://rt.example", "capacitor://localhost", "null"] {
        assert!(admitted(&access, "rt.example", &[origin]), "{origin}");
    }
    assert!(!admitted(&access, "rt.example", &["https://evil.example"]));
    assert!(!admitted(&access, "rt.example", &["null", "null"]), "two lines are no origin");
}
