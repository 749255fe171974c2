//! How many events and messages of chats a second the store takes on either database, and how many share a commit; beside
//! plain loops that insert one row per transaction.
//!
//! `cargo bench -p denrei-store --bench append [-- DIRECTORY]`: 128 bytes each, with client ids, in one room and in 100, for
//! several numbers under way. SQLite's files are made in the directory; PostgreSQL is started for this,
//! in the system's temporary directory, with `fsync` on.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use denrei_hub::{Draft, Extent, Log, Name, Seq};
use denrei_store::chat::{Actor, Change, Changed, MessageKind, NewMessage, Outcome};
use denrei_store::{PostgresUrl, Store, StoreConfig};

#[path = "../tests/it/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests use more of it")]
mod server;

use server::{Durability, Server};

const LENGTH: Duration = Duration::from_secs(3);

fn main() {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from).join(denrei_hub::random_token(8));
    let server = Server::start(Durability::Kept);
    let config = StoreConfig::default();
    let sqlite = || {
        let path = directory.join(denrei_hub::random_token(8));
        Store::open(path, config).expect("the directory can be written")
    };
    let postgres = || {
        let url = PostgresUrl::parse(&server.url(&server.database())).expect("it is one");
        Store::connect(&url, config).expect("the server was started")
    };
    println!(
        "| database | what | rooms | under way | kept/s | per commit | answered after p50 ms | p99 ms | CPU µs here |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let databases: [(&str, &dyn Fn() -> Store); 2] = [("SQLite", &sqlite), ("PostgreSQL", &postgres)];
    for rooms in [1, 100] {
        for under_way in [1, 16, 1000] {
            for (name, open) in databases {
                keep(name, "event", &open(), rooms, under_way, append);
                let store = open();
                prepare(&store, rooms);
                keep(name, "chat message", &store, rooms, under_way, send);
            }
        }
    }
    plain_sqlite(&directory);
    plain(&server);
    println!("\n| database | messages in a page | µs, one page after another |\n|---|---|---|");
    for (name, open) in databases {
        let store = open();
        fill(&store);
        read(name, &store);
    }
    drop(server);
    std::fs::remove_dir_all(directory).expect("it is ours");
}

/// Told how it ended.
type Done = Box<dyn FnOnce(bool) + Send>;

fn append(store: &Store, number: u64, rooms: u64, done: Done) {
    store.append(draft(number, rooms), Box::new(move |answer| done(answer.is_ok())));
}

fn send(store: &Store, number: u64, rooms: u64, done: Done) {
    let message = NewMessage {
        room: name(&format!("chat:{}", number % rooms)),
        by: alice(),
        kind: MessageKind::Text,
        content: "x".repeat(128).into(),
        id: Some(name(&format!("message-{number:012}"))),
        reply_to: None,
        thread: None,
        mentions: Vec::new(),
        data: None,
        file: None,
        at_ms: 1_763_600_000_000 + number,
    };
    store.send(message, Box::new(move |answer| done(matches!(answer, Ok(Ok(_))))));
}

fn alice() -> Actor {
    Actor { user: Some(name("alice")), client: Some("connection-1".into()), ..Actor::default() }
}

/// Makes the rooms that messages are sent to.
fn prepare(store: &Store, rooms: u64) {
    let (end, ended) = mpsc::sync_channel(1);
    for number in 0..rooms {
        let end = end.clone();
        let told = move |answer: Outcome<Changed>| end.send(matches!(answer, Ok(Ok(_)))).expect("someone waits");
        store.change(name(&format!("chat:{number}")), alice(), 1, Change::Join { create: true }, Box::new(told));
        assert!(ended.recv().expect("every change is answered"));
    }
}

fn keep(database: &str, what: &str, store: &Store, rooms: u64, under_way: usize, hand_in: fn(&Store, u64, u64, Done)) {
    let (end, ended) = mpsc::sync_channel::<Instant>(under_way);
    let mut delays = Vec::new();
    let before = store.statistics();
    let begin = Instant::now();
    let cpu = cpu_microseconds();
    let mut count = 0_u64;
    let mut answered = 0_u64;
    while begin.elapsed() < LENGTH {
        while count - answered >= under_way as u64 {
            delays.push(ended.recv().expect("every append is answered").elapsed());
            answered += 1;
        }
        count += 1;
        let (end, sent) = (end.clone(), Instant::now());
        let done = move |kept: bool| {
            assert!(kept, "the disk works");
            end.send(sent).expect("someone waits");
        };
        hand_in(store, count, rooms, Box::new(done));
    }
    while answered < count {
        delays.push(ended.recv().expect("every append is answered").elapsed());
        answered += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let commits = (store.statistics().commits - before.commits) as f64;
    delays.sort();
    let quantile = |part: f64| delays[(part * (delays.len() - 1) as f64) as usize].as_secs_f64() * 1000.0;
    let cpu = (cpu_microseconds() - cpu) / count as f64;
    let (rate, size, half, most) = (count as f64 / seconds, count as f64 / commits, quantile(0.5), quantile(0.99));
    println!(
        "| {database} | {what} | {rooms} | {under_way} | {rate:.0} | {size:.1} | {half:.2} | {most:.2} | {cpu:.1} |"
    );
}

/// What the process has used, the part of the one who appends included: steady on a machine that does other things.
fn cpu_microseconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // USER_HZ is 100 on every Linux.
    ticks as f64 * 10_000.0
}

/// What a program does that has no log: a row, a commit.
fn plain(server: &Server) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let url = server.url(&server.database());
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("it was started");
        tokio::spawn(connection);
        client.batch_execute("CREATE TABLE events (id BIGSERIAL PRIMARY KEY, body BYTEA)").await.expect("it is empty");
        let insert = client.prepare("INSERT INTO events (body) VALUES ($1)").await.expect("it is there");
        let (begin, mut count) = (Instant::now(), 0_u64);
        while begin.elapsed() < LENGTH {
            client.execute(&insert, &[&[b'x'; 128].as_slice()]).await.expect("the disk works");
            count += 1;
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        println!("| PostgreSQL | plain INSERT | – | 1 | {rate:.0} | 1.0 | | | |");
    });
}

/// The same on SQLite, with its settings as the store's.
fn plain_sqlite(directory: &Path) {
    let path = directory.join(denrei_hub::random_token(8));
    let database = rusqlite::Connection::open(path).expect("the directory can be written");
    let prepare = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                   CREATE TABLE events (id INTEGER PRIMARY KEY, body BLOB)";
    database.execute_batch(prepare).expect("it is empty");
    let mut insert = database.prepare("INSERT INTO events (body) VALUES ($1)").expect("it is there");
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < LENGTH {
        insert.execute([[b'x'; 128].as_slice()]).expect("the disk works");
        count += 1;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("| SQLite | plain INSERT | – | 1 | {rate:.0} | 1.0 | | | |");
}

fn fill(store: &Store) {
    let (end, ended) = mpsc::sync_channel(10_000);
    for number in 0..10_000 {
        let end = end.clone();
        let done = move |answer: Result<denrei_hub::Appended, _>| end.send(answer.is_ok()).expect("someone waits");
        store.append(draft(number, 1), Box::new(done));
    }
    assert!((0..10_000).all(|_| ended.recv().expect("every append is answered")));
}

fn read(database: &str, store: &Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let room = name("feed:0");
    for limit in [1, 64, 1000] {
        let begin = Instant::now();
        let mut pages = 0_u32;
        let mut after = Seq::ZERO;
        while begin.elapsed() < Duration::from_secs(1) {
            let page = runtime.block_on(store.read(&room, Extent::After(after, limit))).expect("it can be read");
            after = page.messages.last().map_or(Seq::ZERO, |message| message.seq);
            pages += 1;
        }
        let each = begin.elapsed().as_micros() as f64 / f64::from(pages);
        println!("| {database} | {limit} | {each:.1} |");
    }
}

fn draft(number: u64, rooms: u64) -> Draft {
    Draft {
        from: Some("connection-1".into()),
        user: Some(name("alice")),
        id: Some(name(&format!("message-{number:012}"))),
        ..Draft::new(
            name(&format!("feed:{}", number % rooms)),
            name("message"),
            vec![b'x'; 128].into(),
            1_763_600_000_000 + number,
        )
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}
