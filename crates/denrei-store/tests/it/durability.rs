use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use denrei_hub::Log;
use denrei_store::{Store, StoreConfig};

use crate::children::{child, directory};
use crate::harness::{Place, append, draft, read_all, with_id};

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    const ROUNDS: usize = 8;
    let place = Place::sqlite();
    let path = place.path();
    let mut acknowledged: HashMap<String, HashMap<u64, String>> = HashMap::new();
    for round in 0..ROUNDS {
        let mut process = child("durability::appends_until_it_is_killed", path.parent().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.by_ref().find(|line| line.starts_with("ack ")).expect("the child begins");
        let reading = std::thread::spawn(move || std::iter::once(first).chain(lines).collect::<Vec<_>>());
        let pause = std::hash::RandomState::new().build_hasher().finish() % 400;
        std::thread::sleep(Duration::from_millis(pause));
        process.kill().unwrap();
        process.wait().unwrap();

        let mut heard = 0;
        for line in reading.join().unwrap() {
            // The last line may be cut off.
            let fields: Vec<_> = line.split(' ').collect();
            if let ["ack", room, seq, id, "."] = fields[..] {
                acknowledged.entry(room.into()).or_default().insert(seq.parse().unwrap(), id.into());
                heard += 1;
            }
        }
        let store = place.open();
        for (room, messages) in &acknowledged {
            let kept: HashMap<_, _> = read_all(&store, room).into_iter().collect();
            for (seq, id) in messages {
                assert_eq!(kept.get(seq), Some(id), "round {round}: {room} {seq}");
            }
            let (seq, id) = messages.iter().max().unwrap();
            let again = append(&store, with_id(draft(room, "again"), id));
            assert!(again.duplicate && again.message.seq.0 == *seq, "round {round}: {room} {seq} is known by its id");
        }
        assert!(heard > 0, "round {round}: something was acknowledged in {pause} ms");
    }
    let database = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
#[ignore = "the child of nothing_acknowledged_is_lost_to_kill_9"]
fn appends_until_it_is_killed() {
    let store = Arc::new(Store::open(directory().join("denrei.db"), StoreConfig::default()).unwrap());
    std::thread::scope(|scope| {
        for room in ["feed:a", "feed:a", "feed:b", "feed:c"] {
            let store = &store;
            scope.spawn(move || {
                // As a session does: at most 256 under way.
                let (end, ended) = mpsc::sync_channel(256);
                for at in 0_u64.. {
                    if at >= 256 {
                        ended.recv().unwrap();
                    }
                    let id = denrei_hub::random_token(16);
                    let end = end.clone();
                    store.append(
                        with_id(draft(room, &id), &id),
                        Box::new(move |answer| {
                            let message = answer.unwrap().message;
                            let line = format!("ack {} {} {id} .\n", message.room, message.seq);
                            std::io::stdout().write_all(line.as_bytes()).unwrap();
                            std::io::stdout().flush().unwrap();
                            end.send(()).unwrap();
                        }),
                    );
                }
            });
        }
    });
}
