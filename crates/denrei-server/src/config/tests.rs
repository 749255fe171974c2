use denrei::socketio::{Compat, Subscriptions};

use super::*;

fn config(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    let mut file = parse(text)?;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    auth::apply(std::mem::take(&mut file.auth), None, address, &mut config.access)?;
    config.rates = rates::resolve(std::mem::take(&mut file.rates), false)?;
    policy::resolve(std::mem::take(&mut file.policy))?;
    observing::metrics(std::mem::take(&mut file.metrics), None, &mut config.metrics)?;
    let logging = observing::log(&Options::default(), std::mem::take(&mut file.log))?;
    assert!(text != file::DEFAULTS || logging == observing::log(&Options::default(), file::Log::default())?);
    opentelemetry::resolve(std::mem::take(&mut file.opentelemetry), |_| None, &mut config.spans)?;
    files::apply(&mut file.files, &mut config.files)?;
    apply(file, &mut config)?;
    Ok(config)
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let mut printed = config(file::DEFAULTS).unwrap();
    // That of an address that others cannot reach.
    assert!(printed.access.development && printed.access.anonymous);
    (printed.access.development, printed.access.anonymous) = (false, false);
    // The library limits nothing by itself; what is printed is what the server does where nothing is said.
    assert_eq!(printed.rates, config("").unwrap().rates);
    let defaults = Config::default();
    printed.rates = defaults.rates.clone();
    // Another one at each start.
    printed.hub.node = defaults.hub.node.clone();
    assert_eq!(format!("{printed:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_file_to_begin_with_is_short_says_nothing_new_and_has_no_wrong_name() {
    let is_setting = |line: &&str| {
        let name = line.strip_prefix("# ").unwrap_or(line).split(" = ").next().unwrap_or_default();
        line.contains(" = ") && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    };
    let settings = file::STARTER.lines().filter(is_setting).count();
    assert!((15..=25).contains(&settings), "{settings} settings");
    assert_eq!(format!("{:?}", config(file::STARTER).unwrap().limits), format!("{:?}", config("").unwrap().limits));
    // With every line in use, it is a file that is understood.
    let used = |line: &str| if is_setting(&line) { line.trim_start_matches("# ").to_owned() } else { line.to_owned() };
    parse(&file::STARTER.lines().map(used).collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn namespaces_are_shared_by_a_bus_in_ways_that_there_are() {
    let shared = |text: &str, bus| compat::resolve(parse(text)?.socketio.compat, bus);
    let shop = "[socketio.compat.\"/shop\"]\nadapter = ";
    let whole = format!("{shop}\"sharded\"\nkey = \"io\"\nsubscriptions = \"static\"\nrequests_timeout_ms = 1000");
    let [(name, compat)] = &shared(&whole, true).unwrap()[..] else { panic!("one namespace") };
    let expected = Compat::node().key("io").sharded(Subscriptions::Static).requests_timeout(Duration::from_secs(1));
    assert_eq!((&**name, format!("{compat:?}")), ("/shop", format!("{expected:?}")));
    for (text, part) in [
        (&*format!("{shop}\"streams\""), "streams"),
        ("[socketio.compat.\"/shop\"]", "adapter"),
        ("[socketio.compat.\"shop\"]\nadapter = \"classic\"", "shop"),
        ("[socketio.compat.\"/chat\"]\nadapter = \"classic\"", "/chat"),
        (&*format!("{shop}\"classic\"\nkey = \"a#\""), "key"),
        (&*format!("{shop}\"classic\"\nsubscriptions = \"static\""), "subscriptions"),
        (&*format!("{shop}\"sharded\"\npublish_on_specific_response_channel = true"), "publish_on"),
    ] {
        let error = shared(text, true).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(shared(&whole, false).unwrap_err().contains("bus"));
}

#[test]
fn files_are_kept_where_every_server_finds_them() {
    let key = S3Key::default();
    let place = |text: &str, joined| files::place(parse(text)?.files, &key, Path::new("data"), joined);
    let Some(FilesPlace::Disk(folder)) = place("", false).unwrap() else { panic!("a folder") };
    assert_eq!(folder, Path::new("data/files"));
    assert!(place("", true).unwrap().is_none());
    assert!(place("[files]\nenabled = false", false).unwrap().is_none());
    let shared = "[files]\nstore = \"s3://bucket/a/b/\"\nendpoint = \"http://127.0.0.1:9000/\"\naccess_key_id = \"id\"\n\
                  secret_access_key = \"hush\"";
    let Some(FilesPlace::Bucket(_, bucket)) = place(shared, true).unwrap() else { panic!("a bucket") };
    assert_eq!((&*bucket.bucket, &*bucket.prefix, bucket.path_style), ("bucket", "a/b", true));
    assert_eq!(bucket.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    assert!(!format!("{bucket:?}").contains("hush"));
    for (text, joined, part) in [
        ("[files]\nenabled = true", true, "files.store"),
        ("[files]\nstore = \"ftp://x\"", false, "files.store"),
        ("[files]\nstore = \"s3://x\"", false, "DENREI_S3_SECRET_ACCESS_KEY"),
        ("[files]\nstore = \"s3://x\"\nsecret_access_key = \"x\"", false, "files.access_key_id"),
        ("[files]\nstore = \"s3://x\"\nsecret_access_key_file = \"./nowhere\"", false, "nowhere"),
    ] {
        let error = place(text, joined).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn unknown_settings_and_impossible_values_are_errors_that_name_the_setting() {
    for (text, part) in [
        ("lisen = 1", "lisen"),
        ("[limits]\nmessage_bytes = 0", "limits.message_bytes"),
        ("[websocket]\nheartbeat_ms = 1500", "websocket.heartbeat_ms"),
        ("[websocket]\ndeflate_level = 10", "websocket.deflate_level"),
        ("[socketio]\nping_interval_ms = 0", "socketio.ping_interval_ms"),
        ("[socketio]\npath = \"/socket.io\"", "socketio.path"),
        ("[socketio]\npath = \"/{x}/\"", "socketio.path"),
        ("[socketio]\ncookie = \"a b\"", "socketio.cookie"),
        ("[socketio]\nparser = \"xml\"", "xml"),
        ("[files]\nmax_bytes = 0", "files.max_bytes"),
        ("[files]\ntypes = [\"png\"]", "files.types"),
        ("[auth]\nsecret = \"short\"", "auth.secret"),
        ("[auth]\nalgorithm = \"none\"", "auth.algorithm"),
        ("[auth]\nalgorithm = \"HS512\"", "auth.algorithm"),
        ("[auth]\nalgorithm = \"HS512\"\nsecret = \"0123456789abcdef0123456789abcdef\"", "64"),
        ("[auth]\njwks = \"http://id.example/keys\"", "https"),
        ("[auth]\njwks = \"./nowhere.json\"", "nowhere.json"),
        ("[auth]\njwks_refresh_ms = 1000", "auth.jwks"),
        ("[[auth.keys]]\nalgorithm = \"RS256\"", "number 1"),
        ("[[auth.keys]]\nalgorithm = \"RS256\"\nsecret = \"0123456789abcdef0123456789abcdef\"", "public key"),
        ("[[auth.keys]]\nalgorithm = \"ES256\"\nfile = \"./nowhere.pem\"", "nowhere.pem"),
        ("[[policy.rules]]\nrooms = \"x\"\nread = [\"admins\"]", "number 1"),
        ("[[policy.rules]]\nrooms = \"x\"\nwrite = []", "write"),
        ("[policy.webhook]\nurl = \"https://app.example/may\"", "on_failure"),
        ("[policy.webhook]\nurl = \"http://app.example/may\"\non_failure = \"allow\"", "https"),
        ("trusted_proxies = [\"10.0.0.0/40\"]", "trusted_proxies"),
        ("[rates.user]\ncapacity = 0\nrefill_per_second = 1", "rates.user"),
        ("[rates.user]\ncapacity = 1\nrefill_per_second = 0", "rates.user"),
        ("[rates.user]\ncapacity = 1\nrefill_per_second = nan", "rates.user"),
        ("[rates.costs]\nfly = 1", "fly"),
        ("[rates.costs]\n\"join:x\" = 1", "join:x"),
        ("[metrics]\ntoken = \"short\"", "metrics.token"),
        ("[metrics]\nlisten = \"0.0.0.0:9090\"", "metrics.token"),
        ("[metrics]\nevents = [\"\"]", "metrics.events"),
        ("[opentelemetry]\nsample = -0.1", "opentelemetry.sample"),
        ("[log]\nlevel = \"denrei=loud\"", "log.level"),
        ("[log]\nformat = \"xml\"", "xml"),
        ("[classes.x]\nkeep = \"disk\"", "disk"),
        ("[classes.x]\nkeep = \"none\"\nevents = 3", "classes.x"),
        ("[classes.x]\nkeep = \"store\"\nbytes = 3", "classes.x"),
        ("[classes.x]\nkeep = \"none\"\nage_ms = 3", "age_ms"),
        ("[classes.x]\nkeep = \"store\"\nage_ms = 0", "classes.x.age_ms"),
        ("[classes.sio]\nkeep = \"memory\"", "classes.sio"),
        ("[classes.\"a:b\"]\nkeep = \"none\"", "classes.a:b"),
    ] {
        let error = config(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

fn options(listen: &str, secret: Option<&str>) -> Options {
    Options { listen: Some(listen.parse().unwrap()), secret: secret.map(str::to_owned), ..Options::default() }
}

#[test]
fn an_address_that_others_can_reach_needs_a_secret_and_the_error_says_the_line() {
    let error = resolve(&options("0.0.0.0:8080", None)).unwrap_err();
    assert!(error.contains("[auth]") && error.contains("DENREI_SECRET"), "{error}");
    let settings = resolve(&options("0.0.0.0:8080", Some("0123456789abcdef0123456789abcdef"))).unwrap();
    assert!(!settings.config.access.development && !settings.config.access.anonymous);
    assert!(resolve(&options("0.0.0.0:8080", Some("short"))).unwrap_err().contains("shorter"));
}

#[test]
fn loopback_without_configuration_is_development_mode() {
    let settings = resolve(&options("127.0.0.1:0", None)).unwrap();
    assert!(settings.config.access.development && settings.config.access.anonymous);
    let settings = resolve(&options("[::1]:0", Some("0123456789abcdef0123456789abcdef"))).unwrap();
    assert!(!settings.config.access.development && !settings.config.access.anonymous);
}

#[test]
fn a_store_is_a_file_or_a_server_and_its_password_is_not_shown() {
    let store = |url: &str| resolve(&Options { store: Some(url.into()), ..Options::default() });
    let settings = store("sqlite:/tmp/x.db").unwrap();
    assert!(matches!(&settings.database, Database::Sqlite(path) if path == Path::new("/tmp/x.db")));
    for url in ["postgres://alice:hunter2@db/x", "postgresql://alice:hunter2@db:5433/x"] {
        let settings = store(url).unwrap();
        assert!(matches!(&settings.database, Database::Postgres(_)));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
    for url in ["sqlite:", "postgre://alice:hunter2@db/x", "postgres:hunter2", "postgres://a:hunter@2@db/x", "hunter2"]
    {
        let error = store(url).unwrap_err();
        assert!(error.starts_with("store: ") && !error.contains("hunter"), "{url}: {error}");
    }
}

#[test]
fn what_several_servers_must_share_is_asked_for() {
    let joining = |store: Option<&str>, secret: Option<&str>| {
        let options = Options {
            bus: Some("redis://127.0.0.1:6379".into()),
            node_id: Some("node-1".into()),
            store: store.map(Into::into),
            secret: secret.map(Into::into),
            ..Options::default()
        };
        resolve(&options)
    };
    const POSTGRES: &str = "postgres://denrei@localhost/denrei";
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let error = joining(None, Some(SECRET)).unwrap_err();
    assert!(error.contains("sqlite:") && error.contains("--store postgres://"), "{error}");
    let error = joining(Some(POSTGRES), None).unwrap_err();
    assert!(error.contains("DENREI_SECRET"), "{error}");
    let settings = joining(Some(POSTGRES), Some(SECRET)).unwrap();
    let node = &settings.config.hub.node;
    assert_eq!((node.id.as_str(), node.address.as_deref()), ("node-1", Some("http://127.0.0.1:8080")));
    assert_eq!(settings.bus.unwrap().joining.prefix, "denrei");
    for (advertise, fine) in [
        ("http://10.0.0.3:8080", true),
        ("http://node-1:8080/", true),
        ("https://x", false),
        ("10.0.0.3", false),
        ("http://a/b", false),
    ] {
        let options = Options {
            bus: Some("nats://127.0.0.1".into()),
            store: Some(POSTGRES.into()),
            secret: Some(SECRET.into()),
            advertise: Some(advertise.into()),
            ..Options::default()
        };
        assert_eq!(resolve(&options).is_ok(), fine, "{advertise}");
    }
}
