use super::{Login, Servers, checked};
use crate::encoded;

#[test]
fn addresses_and_how_to_log_in_are_read() {
    let servers =
        Servers::parse("nats://al%40ice:p%2Fw@one:4222, two,tls://three:7").map_err(|error| error.to_string());
    let servers = servers.expect("an address");
    let addresses: Vec<_> = servers.addresses.iter().map(|server| (server.host(), server.port())).collect();
    assert_eq!(addresses, [("one", 4222), ("two", 4222), ("three", 7)]);
    assert!(matches!(&servers.login, Login::Password(user, password) if user == "al@ice" && password == "p/w"));
    assert!(servers.addresses.iter().all(|server| !server.as_url_str().contains("alice") && !server.has_user_pass()));
    let servers = Servers::parse("nats://secret@one").map_err(|error| error.to_string()).expect("an address");
    assert!(matches!(&servers.login, Login::Token(token) if token == "secret"));
}

#[test]
fn an_address_that_is_none_is_refused_without_showing_it() {
    for address in
        ["nats://", "nats://user:secret@", "nats://one,redis://user:secret@two", "nats://one,,two", "ws://one"]
    {
        let Err(error) = Servers::parse(address) else { panic!("{address} was taken") };
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_prefix_is_one_token() {
    assert!(checked("denrei-1_A").is_ok());
    for prefix in ["", "a.b", "a b", "*", ">", "é", &"a".repeat(65)] {
        assert!(checked(prefix).is_err(), "{prefix:?}");
    }
}

#[test]
fn a_name_becomes_one_token() {
    for name in ["a.b", "*", ">", "a b", "é", "\u{7f}", "$JS.API"] {
        assert!(encoded(name).bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{name:?}");
    }
}
