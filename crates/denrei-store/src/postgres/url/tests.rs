use super::PostgresUrl;

#[test]
fn neither_form_of_a_url_shows_who_we_are() {
    for (text, shown) in [
        ("postgres://alice:hunter2@db.example:5433/denrei", "postgres://db.example:5433/denrei"),
        ("postgresql://alice:hunter2@db.example/denrei?options=-csearch_path%3Dx", "postgres://db.example:5432/denrei"),
        (
            "postgres://alice:hunter%402@one,two/denrei?target_session_attrs=read-write",
            "postgres://one:5432,two:5432/denrei",
        ),
        ("postgres://alice:hunter2@%2Frun%2Fpostgresql/denrei", "postgres:///run/postgresql:5432/denrei"),
        ("postgres://alice:hunter2@db.example", "postgres://db.example:5432/alice"),
    ] {
        let url = PostgresUrl::parse(text).unwrap();
        assert_eq!(url.to_string(), shown);
        let debug = format!("{url:?} {:?}", url.config);
        assert!(!debug.contains("hunter"), "{debug}");
    }
}

#[test]
fn a_url_that_cannot_be_understood_is_not_quoted() {
    for (text, part) in [
        ("mysql://alice:hunter2@db/x", "it is not postgres://"),
        ("postgres:alice:hunter2@db/x", "it is not postgres://"),
        ("postgres://alice:hunter@2@db/x", "%40"),
        ("postgres://alice:12/hunter2@db/x", "%2F"),
        ("postgres://alice:12?hunter2@db/x", "%3F"),
        ("postgres://alice:12#hunter2@db/x", "%23"),
        ("postgres://alice:hunter2@db:port/x", "port"),
        ("postgres://alice:hunter2@db/x?sslmode=prefer", "sslmode is"),
        ("postgres://alice:hunter2@db/x?sslmode=verify-ca", "sslmode is"),
        ("postgres://alice:hunter2@db/x?sslrootcert=/x", "goes with"),
        ("postgres://alice:hunter2@db/x?sslmode=require&sslrootcert=/does/not/exist", "/does/not/exist"),
        ("postgres://alice:hunter2@db/x?colour=blue", "colour"),
        ("postgres:///x", "no host"),
    ] {
        let error = PostgresUrl::parse(text).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("hunter"), "{text}: {error}");
    }
}

#[test]
fn a_server_is_asked_for_encryption_where_the_url_says_so() {
    let encrypted = |query: &str| {
        let url = PostgresUrl::parse(&format!("postgres://alice@db.example/denrei{query}")).unwrap();
        url.encryption.is_some()
    };
    assert!(!encrypted(""));
    assert!(!encrypted("?sslmode=disable"));
}
