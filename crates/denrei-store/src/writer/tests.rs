use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use denrei_hub::{Appended, Draft, Extent, LogError, Name, Seq};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{Desk, Group, Writer};
use crate::database::Database;
use crate::operation::{Answer, Append, Operation};
use crate::queue::Load;
use crate::sql::{Connection, Fault, Transaction, Value};
use crate::test_server::Server;
use crate::{PostgresUrl, events, postgres, sqlite};

macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[test]
            fn on_sqlite() {
                super::$test(super::Beneath::Sqlite);
            }

            #[test]
            fn on_postgres() {
                super::$test(super::Beneath::Postgres);
            }
        })+
    };
}

on_both!(
    an_operation_that_fails_spoils_no_other_of_its_group,
    an_operation_that_panics_spoils_no_other_of_its_group,
    a_room_made_by_an_operation_that_fails_is_not_made,
    an_epoch_begun_by_an_operation_that_fails_is_not_begun,
    a_broken_database_fails_the_group_and_is_opened_again,
    the_writer_outlives_the_panic_of_who_is_told,
    a_writer_that_ends_too_early_leaves_nobody_waiting,
);

#[derive(Clone, Copy)]
enum Beneath {
    Sqlite,
    Postgres,
}

fn an_operation_that_fails_spoils_no_other_of_its_group(beneath: Beneath) {
    let bench = Bench::new(beneath);
    let group = bench.group(vec![
        Order::Append("a"),
        Order::Do(|group| {
            // What it had done until then is undone.
            group.transaction.script("UPDATE rooms SET head = 1000; INSERT INTO meta VALUES ('half', 'done')")?;
            Err(Fault::Operation("it cannot be done".into()))
        }),
        Order::Append("b"),
    ]);
    assert_eq!(group, [Ok(1), Err(()), Ok(2)]);
    assert_eq!(bench.kept(), ["a", "b"]);
    assert_eq!(bench.meta("half"), None);
}

fn an_operation_that_panics_spoils_no_other_of_its_group(beneath: Beneath) {
    let bench = Bench::new(beneath);
    let group = bench.group(vec![
        Order::Append("a"),
        Order::Do(|group| {
            group.transaction.script("INSERT INTO meta VALUES ('half', 'done')")?;
            panic!("a test says so")
        }),
        Order::Append("b"),
        Order::Do(|_| panic!("a test says so")),
        Order::Do(|group| group.transaction.script("INSERT INTO meta VALUES ('whole', 'done')")),
    ]);
    assert_eq!(group, [Ok(1), Err(()), Ok(2), Err(()), Ok(0)]);
    assert_eq!(bench.kept(), ["a", "b"]);
    assert_eq!((bench.meta("half"), bench.meta("whole")), (None, Some("done".into())));
    assert_eq!(bench.group(vec![Order::Append("c")]), [Ok(3)], "the writer goes on");
}

fn a_room_made_by_an_operation_that_fails_is_not_made(beneath: Beneath) {
    let bench = Bench::new(beneath);
    let group = bench.group(vec![
        Order::Do(|group| {
            group.counters.take(&group.transaction, &name("feed:a"))?.head = Seq(7);
            Err(Fault::Operation("it cannot be done".into()))
        }),
        Order::Append("a"),
    ]);
    assert_eq!(group, [Err(()), Ok(1)]);
    assert_eq!(bench.kept(), ["a"]);
}

fn an_epoch_begun_by_an_operation_that_fails_is_not_begun(beneath: Beneath) {
    let bench = Bench::new(beneath);
    let before = bench.desk.epoch();
    let group = bench.group(vec![
        Order::Do(|group| {
            group.epoch = Some(denrei_hub::Epoch::random());
            Err(Fault::Operation("it cannot be done".into()))
        }),
        Order::Append("a"),
    ]);
    assert_eq!(group, [Err(()), Ok(1)]);
    assert_eq!(bench.desk.epoch(), before);
}

fn a_broken_database_fails_the_group_and_is_opened_again(beneath: Beneath) {
    let bench = Bench::new(beneath);
    assert_eq!(bench.group(vec![Order::Append("a")]), [Ok(1)]);
    let group = bench.group(vec![
        Order::Append("b"),
        Order::Do(|_| Err(Fault::Database("a test says so".into()))),
        Order::Append("c"),
    ]);
    assert_eq!(group, [Err(()), Err(()), Err(())]);
    let again = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        bench.group(vec![Order::Append("d")]).pop().and_then(Result::ok)
    });
    assert_eq!(again, Some(2), "refused drafts use no number");
    assert_eq!(bench.kept(), ["a", "d"]);
}

fn the_writer_outlives_the_panic_of_who_is_told(beneath: Beneath) {
    let bench = Bench::new(beneath);
    let done = |_: Result<Appended, LogError>| panic!("a test says so");
    bench.desk.submit(Operation::Append(Append::new(draft("a"), Box::new(done))));
    assert_eq!(bench.group(vec![Order::Append("b")]), [Ok(2)]);
}

fn a_writer_that_ends_too_early_leaves_nobody_waiting(beneath: Beneath) {
    let (_directory, desk, writer) = make(beneath);
    let (tell, told) = mpsc::sync_channel(1);
    let done = move |answer: Result<Appended, LogError>| tell.send(answer.is_err()).unwrap();
    desk.submit(Operation::Append(Append::new(draft("a"), Box::new(done))));
    drop(writer);
    assert!(told.recv().unwrap(), "what waited is refused");
    let (tell, told) = oneshot::channel();
    desk.submit(Operation::Touch(Answer::new(tell)));
    assert!(told.blocking_recv().unwrap().is_err(), "and so is what comes later");
}

/// A running writer.
struct Bench {
    _directory: TempDir,
    desk: Arc<Desk>,
    writer: Option<std::thread::JoinHandle<()>>,
}

enum Order {
    Append(&'static str),
    Do(fn(&mut Group<'_>) -> Result<(), Fault>),
}

impl Bench {
    fn new(beneath: Beneath) -> Self {
        let (directory, desk, writer) = make(beneath);
        Self { _directory: directory, desk, writer: Some(std::thread::spawn(move || writer.run())) }
    }

    /// Has orders done in one group; answers with numbers of messages, 0 for what is no append.
    fn group(&self, orders: Vec<Order>) -> Vec<Result<u64, ()>> {
        let (begin, begun) = mpsc::sync_channel::<()>(1);
        let (go, wait_to_go) = mpsc::sync_channel::<()>(1);
        let (tell, _told) = oneshot::channel();
        let occupy = move |_: &mut Group<'_>| {
            // Nobody listens when it is done a second time.
            let _ = begin.send(());
            let _ = wait_to_go.recv();
            Ok(())
        };
        self.desk.submit(Operation::Test(Box::new(occupy), Answer::new(tell)));
        // The writer may be out of order: then nothing is taken, and all is refused.
        let _ = begun.recv();
        let mut answers = Vec::new();
        for order in orders {
            let (tell, told) = mpsc::sync_channel(1);
            answers.push(told);
            match order {
                Order::Append(payload) => {
                    let done = move |answer: Result<Appended, LogError>| {
                        tell.send(answer.map(|appended| appended.message.seq.0).map_err(drop)).unwrap();
                    };
                    self.desk.submit(Operation::Append(Append::new(draft(payload), Box::new(done))));
                }
                Order::Do(work) => {
                    let (answer, answered) = oneshot::channel();
                    self.desk.submit(Operation::Test(Box::new(work), Answer::new(answer)));
                    std::thread::spawn(move || {
                        let answer = answered.blocking_recv().unwrap();
                        tell.send(answer.map(|()| 0).map_err(drop)).unwrap();
                    });
                }
            }
        }
        let _ = go.send(());
        answers.into_iter().map(|told| told.recv_timeout(Duration::from_secs(30)).unwrap()).collect()
    }

    fn kept(&self) -> Vec<String> {
        let mut connection = self.desk.database.reader().unwrap();
        let transaction = Transaction::read(&mut connection).unwrap();
        let page = events::page(&transaction, &name("feed:a"), Extent::After(Seq::ZERO, 100)).unwrap();
        page.messages.iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
    }

    fn meta(&self, key: &str) -> Option<String> {
        let mut connection = self.desk.database.reader().unwrap();
        let transaction = Transaction::read(&mut connection).unwrap();
        let sql = "SELECT value FROM meta WHERE key = $1";
        transaction.first(sql, &[Value::Text(key)], |row| row.text(0).map(str::to_owned)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.desk.queue.close();
        self.writer.take().unwrap().join().unwrap();
    }
}

fn make(beneath: Beneath) -> (TempDir, Arc<Desk>, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let patience = Duration::from_secs(5);
    let database = match beneath {
        Beneath::Sqlite => {
            Database::Sqlite(sqlite::Database::take(&directory.path().join("denrei.db"), patience).unwrap())
        }
        Beneath::Postgres => {
            let server = Server::shared();
            let url = PostgresUrl::parse(&server.url(&server.database())).unwrap();
            Database::Postgres(postgres::Database::new(url, patience, patience))
        }
    };
    let mut connection = database.writer().unwrap();
    let epoch = database.prepare(&mut connection).unwrap();
    let anchor = match &database {
        Database::Sqlite(database) => Some(Connection::Sqlite(database.anchor().unwrap())),
        Database::Postgres(_) => None,
    };
    let desk = Arc::new(Desk::new(database, Load { items: 100, bytes: 1 << 20 }, epoch));
    let writer = Writer::new(Arc::clone(&desk), connection, anchor);
    (directory, desk, writer)
}

fn draft(payload: &'static str) -> Draft {
    Draft::new(name("feed:a"), name("message"), payload.into(), 1)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
