//! How many appends a second the store takes, and how many share a commit.
//!
//! `cargo bench -p denrei-store --bench append [-- DIRECTORY]`: one room, 128-byte payloads with client ids, for
//! several numbers of appends under way.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use denrei_hub::{Draft, Log, Name, Seq, Span};
use denrei_store::{Store, StoreConfig};

fn main() {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from).join(denrei_hub::random_token(8));
    println!("| under way | appends/s | per commit | answered after p50 ms | p99 ms | CPU µs per append |");
    println!("|---|---|---|---|---|---|");
    for under_way in [1, 8, 64, 256, 1024, 4096] {
        let store = Store::open(directory.join(format!("{under_way}.db")), StoreConfig::default())
            .expect("the directory can be written");
        append(&store, under_way, Duration::from_secs(3));
    }
    let store = Store::open(directory.join("256.db"), StoreConfig::default()).expect("it was made before");
    read(&store);
    drop(store);
    std::fs::remove_dir_all(directory).expect("it is ours");
}

fn append(store: &Store, under_way: usize, length: Duration) {
    let (end, ended) = mpsc::sync_channel::<Instant>(under_way);
    let mut delays = Vec::new();
    let before = store.statistics();
    let begin = Instant::now();
    let cpu = cpu_microseconds();
    let mut count = 0_u64;
    let mut answered = 0_u64;
    while begin.elapsed() < length {
        while count - answered >= under_way as u64 {
            delays.push(ended.recv().expect("every append is answered").elapsed());
            answered += 1;
        }
        count += 1;
        let (end, sent) = (end.clone(), Instant::now());
        let done = move |answer: Result<_, _>| {
            answer.map(drop).expect("the disk works");
            end.send(sent).expect("someone waits");
        };
        store.append(draft(count), Box::new(done));
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
    println!("| {under_way} | {rate:.0} | {size:.1} | {half:.2} | {most:.2} | {cpu:.1} |");
}

/// What the process has used, the part of the one who appends included: steady on a machine that does other things.
fn cpu_microseconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // USER_HZ is 100 on every Linux.
    ticks as f64 * 10_000.0
}

fn read(store: &Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let room = name("feed:bench");
    for limit in [1, 64, 1000] {
        let begin = Instant::now();
        let mut pages = 0_u32;
        let mut after = Seq::ZERO;
        while begin.elapsed() < Duration::from_secs(1) {
            let page = runtime.block_on(store.read(&room, Span::After(after, limit))).expect("it can be read");
            after = page.messages.last().map_or(Seq::ZERO, |message| message.seq);
            pages += 1;
        }
        println!(
            "a page of {limit}: {:.1} µs, one after another",
            begin.elapsed().as_micros() as f64 / f64::from(pages)
        );
    }
}

fn draft(number: u64) -> Draft {
    Draft {
        room: name("feed:bench"),
        event: name("message"),
        payload: vec![b'x'; 128].into(),
        from: Some("connection-1".into()),
        user: Some(name("alice")),
        id: Some(name(&format!("message-{number:012}"))),
        origin: 0,
        timestamp: 1_763_600_000_000 + number,
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}
