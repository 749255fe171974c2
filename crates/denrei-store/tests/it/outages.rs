//! Servers that are killed, that cut off, hang, or refuse.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use denrei_hub::{Draft, Extent, LogError, Seq};
use denrei_store::{Store, StoreConfig, StoreError};

use crate::harness::{Place, append, connect, draft, name, next, read_all, submit, try_append, wait, with_id};
use crate::proxy::Proxy;
use crate::server::{Durability, Server};

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let mut server = Server::start(Durability::Kept);
    let url = server.url(&server.database());
    let store = connect(&url, StoreConfig::default()).unwrap();
    let load = Load::default();
    std::thread::scope(|scope| {
        let _end = load.run(scope, &store);
        for round in 0..6 {
            load.goes_on();
            if round % 2 == 0 {
                server.kill();
            } else {
                server.stop_immediately();
            }
            server.run();
        }
        load.goes_on();
    });
    assert!(store.statistics().failures > 0);
    load.holds(&store);
    drop(store);
    load.holds(&connect(&url, StoreConfig::default()).unwrap());
}

#[test]
fn nothing_acknowledged_is_lost_when_sessions_are_ended() {
    let server = Server::shared();
    let database = server.database();
    let store = connect(&server.url(&database), StoreConfig::default()).unwrap();
    let load = Load::default();
    std::thread::scope(|scope| {
        let _end = load.run(scope, &store);
        for _ in 0..10 {
            load.goes_on();
            let others = "datname = current_database() AND pid <> pg_backend_pid()";
            server.ask(&database, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"));
        }
        load.goes_on();
    });
    load.holds(&store);
}

#[test]
fn a_server_that_was_restarted_while_nobody_wrote_costs_no_refusal() {
    let mut server = Server::start(Durability::Spared);
    let store = connect(&server.url(&server.database()), StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "1"));
    assert_eq!(read_all(&store, "feed:a").len(), 1);
    server.stop_immediately();
    server.run();
    assert_eq!(append(&store, draft("feed:a", "2")).message.seq, Seq(2));
    assert_eq!(read_all(&store, "feed:a").len(), 2);
    assert_eq!(store.statistics().failures, 0);
}

#[test]
fn while_there_is_no_server_everything_is_refused_at_once() {
    let mut server = Server::start(Durability::Spared);
    let store = connect(&server.url(&server.database()), StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "1"));
    server.kill();
    assert!(matches!(try_append(&store, draft("feed:a", "lost")), Err(LogError::Unavailable(_))));
    let answer = submit(&store, [draft("feed:a", "lost")]).try_recv();
    assert!(matches!(answer, Ok(Err(LogError::Unavailable(_)))), "nothing is queued meanwhile");
    assert!(wait(store.check()).is_err());
    let read = || wait(denrei_hub::Log::read(&store, &name("feed:a"), Extent::Newest(1)));
    assert!((0..100).all(|_| matches!(read(), Err(LogError::Unavailable(_)))));
    server.run();
    recovers(&store);
    assert_eq!(append(&store, draft("feed:a", "2")).message.seq, Seq(2), "refused drafts use no number");
}

#[test]
fn when_the_answer_to_a_commit_is_lost_a_resend_is_a_duplicate() {
    let server = Server::shared();
    let database = server.database();
    let proxy = Proxy::start(server.socket());
    let store = connect(&through(&proxy, server, &database), StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "1"));
    proxy.lose_next_commit();
    let lost = with_id(draft("feed:a", "2"), "x");
    let refused = try_append(&store, lost.clone());
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "what may not be kept is not acknowledged");
    assert!(proxy.has_lost());
    recovers(&store);
    let resent = append(&store, lost);
    assert_eq!((resent.duplicate, resent.message.seq), (true, Seq(2)), "it had been kept");
    assert_eq!(append(&store, draft("feed:a", "3")).message.seq, Seq(3));
    assert_eq!(read_all(&store, "feed:a").len(), 3);
}

#[test]
fn a_server_that_does_not_answer_hangs_nobody() {
    let server = Server::shared();
    let database = server.database();
    let proxy = Proxy::start(server.socket());
    let short = Duration::from_millis(300);
    let config = StoreConfig { answer_timeout: short, readers: 2, ..StoreConfig::default() };
    let store = connect(&through(&proxy, server, &database), config).unwrap();
    append(&store, draft("feed:a", "1"));
    proxy.stall(true);
    assert!(matches!(try_append(&store, with_id(draft("feed:a", "2"), "x")), Err(LogError::Unavailable(_))));
    assert!(wait(denrei_hub::Log::read(&store, &name("feed:a"), Extent::Newest(1))).is_err());
    let error = connect(&through(&proxy, server, &database), config).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    proxy.stall(false);
    recovers(&store);
    append(&store, with_id(draft("feed:a", "2"), "x"));
    let kept = read_all(&store, "feed:a");
    assert_eq!(kept, [(1, "1".into()), (2, "2".into())]);
}

#[test]
fn another_program_that_locks_a_room_delays_its_appends_but_loses_none() {
    let server = Server::shared();
    let database = server.database();
    let store = connect(&server.url(&database), StoreConfig::default()).unwrap();
    append(&store, draft("feed:a", "1"));
    let mut other = server.psql(&database).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut words = other.stdin.take().unwrap();
    std::io::Write::write_all(&mut words, b"BEGIN; SELECT FROM rooms FOR UPDATE;\n").unwrap();
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND pid IN
                   (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    eventually("the lock is held", || {
        server.ask(
            &database,
            "SELECT COUNT(*) FROM pg_stat_activity WHERE
        datname = current_database() AND state = 'idle in transaction'",
        ) == "1"
    });
    let answers = submit(&store, [draft("feed:a", "2")]);
    eventually("the writer waits", || server.ask(&database, waiting) == "1");
    assert!(answers.try_recv().is_err(), "the other program holds the lock");
    drop(words);
    other.wait().unwrap();
    assert_eq!(next(&answers).unwrap().message.seq, Seq(2));
    assert_eq!(store.statistics().failures, 0);
}

#[test]
fn when_the_servers_disk_is_full_appends_are_refused_until_it_is_not() {
    let place = Place::postgres();
    let store = place.open();
    append(&store, draft("feed:a", "1"));
    place.meddle(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()",
    );
    let answers = submit(&store, (0..50).map(|at| with_id(draft("feed:a", "2"), &at.to_string())));
    assert!((0..50).all(|_| matches!(next(&answers), Err(LogError::Unavailable(_)))));
    assert_eq!(read_all(&store, "feed:a"), [(1, "1".into())], "what is kept can be read");
    place.meddle("DROP TRIGGER full_disk ON events");
    recovers(&store);
    let resent = append(&store, with_id(draft("feed:a", "2"), "0"));
    assert_eq!((resent.duplicate, resent.message.seq), (false, Seq(2)), "refused drafts have left nothing");
}

#[test]
fn what_a_server_cannot_hold_is_refused_alone() {
    let store = Place::postgres().open();
    let odd = Draft { from: Some("a\0b".into()), ..draft("feed:a", "odd") };
    let answers = submit(&store, [draft("feed:a", "1"), odd, draft("feed:a", "2")]);
    let answers: Vec<_> = answers.iter().map(|answer| answer.map(|appended| appended.message.seq.0).ok()).collect();
    assert_eq!(answers, [Some(1), None, Some(2)]);
    assert_eq!(store.statistics().failures, 0);
}

#[test]
fn who_may_not_use_a_database_is_told_why_and_the_password_is_not() {
    let server = Server::shared();
    let database = server.database();
    let latin = server.database();
    server.ask("postgres", &format!("DROP DATABASE {latin}"));
    server.ask("postgres", &format!("CREATE DATABASE {latin} ENCODING 'LATIN1' TEMPLATE template0"));
    for (url, part) in [
        (server.url_with(&database, "hunter2"), "password authentication failed"),
        (server.url("nowhere"), "does not exist"),
        (server.url(&latin), "LATIN1"),
        ("postgres://denrei:hunter2@127.0.0.1:1/x".into(), "is the server running"),
        ("postgres://denrei:hunter2@host.invalid/x".into(), "is the server running"),
        ("postgres://denrei:hunter2@%2Fdoes%2Fnot%2Fexist/x".into(), "is the server running"),
    ] {
        let error = connect(&url, StoreConfig::default()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(!text.contains("hunter2") && !text.contains("p@ss"), "{text}");
    }
}

#[test]
fn a_server_without_encryption_is_refused_where_the_url_asks_for_it() {
    let server = Server::shared();
    let database = server.database();
    let url = format!("{}?sslmode=verify-full", through(&Proxy::start(server.socket()), server, &database));
    match connect(&url, StoreConfig::default()) {
        Err(StoreError::Unreachable { reason, .. }) => assert!(reason.contains("TLS"), "{reason}"),
        // Where there are no authorities to check with, the URL is refused already.
        Err(StoreError::Url { reason }) => assert!(reason.contains("sslrootcert"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_is_spoken_to_encrypted_where_the_url_asks_for_it_and_its_certificate_is_checked() {
    let server = Server::start_encrypted();
    let database = server.database();
    let url = server.encrypted_url(&database);
    let believed = server.certificate();
    for mode in ["verify-full", "require"] {
        let url = format!("{url}?sslmode={mode}&sslrootcert={}", believed.display());
        let store = connect(&url, StoreConfig::default()).unwrap();
        append(&store, draft("feed:a", mode));
        let plain = "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'denrei' AND NOT ssl";
        assert_eq!(server.ask(&database, plain), "0");
    }
    // Of another name than the certificate's.
    let other = url.replace("127.0.0.1", "localhost");
    let other = format!("{other}?sslmode=require&sslrootcert={}", believed.display());
    let reason = connect(&other, StoreConfig::default()).unwrap_err().to_string();
    assert!(reason.contains("certificate") && reason.contains("localhost"), "{reason}");
    // Of nobody whom the system believes.
    let reason = connect(&format!("{url}?sslmode=require"), StoreConfig::default()).unwrap_err().to_string();
    assert!(reason.contains("certificate"), "{reason}");
}

fn through(proxy: &Proxy, server: &Server, database: &str) -> String {
    let url = server.url(database);
    let host = &url[url.find("@%2F").unwrap() + 1..url.rfind('/').unwrap()];
    url.replace(host, &format!("127.0.0.1:{}", proxy.port))
}

fn recovers(store: &Store) {
    eventually("the store recovers by itself", || wait(store.check()).is_ok());
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Callers that send each draft until it is acknowledged, always under the same id.
#[derive(Default)]
struct Load {
    /// What was acknowledged: number and payload, per room.
    acknowledged: Mutex<HashMap<&'static str, HashMap<u64, String>>>,
    count: AtomicUsize,
    ended: AtomicBool,
}

/// Ends a load, also when a test fails in between: a scope waits for its threads.
struct End<'l>(&'l Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

impl Load {
    fn run<'s>(&'s self, scope: &'s std::thread::Scope<'s, '_>, store: &'s Store) -> End<'s> {
        for room in ["feed:a", "feed:a", "feed:b", "feed:c"] {
            scope.spawn(move || {
                while !self.ended.load(Ordering::SeqCst) {
                    let ids: Vec<_> = (0..20).map(|_| denrei_hub::random_token(16)).collect();
                    self.insist(store, room, ids);
                }
            });
        }
        End(self)
    }

    fn insist(&self, store: &Store, room: &'static str, mut ids: Vec<String>) {
        while !ids.is_empty() && !self.ended.load(Ordering::SeqCst) {
            let answers = submit(store, ids.iter().map(|id| with_id(draft(room, id), id)));
            let mut refused = Vec::new();
            for id in ids {
                match next(&answers) {
                    Ok(appended) => {
                        let payload = String::from_utf8(appended.message.payload.to_vec()).unwrap();
                        assert_eq!(payload, id);
                        let mut all = self.acknowledged.lock().unwrap();
                        let before = all.entry(room).or_default().insert(appended.message.seq.0, id);
                        assert_eq!(before, None, "{room} {} is given once", appended.message.seq);
                        self.count.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(LogError::Unavailable(_)) => refused.push(id),
                    Err(error) => panic!("{error}"),
                }
            }
            if !refused.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            ids = refused;
        }
    }

    /// Waits until some more has been acknowledged.
    fn goes_on(&self) {
        let enough = self.count.load(Ordering::SeqCst) + 300;
        eventually("appends are acknowledged", || self.count.load(Ordering::SeqCst) >= enough);
    }

    fn holds(&self, store: &Store) {
        let acknowledged = self.acknowledged.lock().unwrap();
        assert_eq!(acknowledged.len(), 3);
        for (room, messages) in &*acknowledged {
            // It fails at a hole.
            let all = read_all(store, room);
            let ids: HashSet<_> = all.iter().map(|(_, payload)| payload).collect();
            assert_eq!(ids.len(), all.len(), "{room}: nothing is kept twice");
            let kept: HashMap<_, _> = all.iter().map(|(seq, payload)| (*seq, payload)).collect();
            for (seq, payload) in messages {
                assert_eq!(kept.get(seq), Some(&payload), "{room} {seq} was acknowledged");
            }
        }
    }
}
