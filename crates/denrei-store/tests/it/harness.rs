//! What the tests share: a store in a directory of its own, and short ways to say things.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use denrei_hub::{Appended, Draft, Extent, Log, LogError, Name, Page, RoomName, Seq};
use denrei_store::{PostgresUrl, Store, StoreConfig, StoreError};
use tempfile::TempDir;

use crate::server::Server;

/// A place for one database of either kind.
pub(crate) enum Place {
    Sqlite(TempDir),
    /// The name of a database on the shared server.
    Postgres(String),
}

/// Makes a test of a function that takes a place: one test for each database.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[test]
            fn on_sqlite() {
                super::$test(&crate::harness::Place::sqlite());
            }

            #[test]
            fn on_postgres() {
                super::$test(&crate::harness::Place::postgres());
            }
        })+
    };
}
pub(crate) use on_both;

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Server::shared().database())
    }

    /// Another one of the same kind.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Sqlite(_) => Self::sqlite(),
            Self::Postgres(_) => Self::postgres(),
        }
    }

    /// The file of a SQLite database.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite(directory) => directory.path().join("denrei.db"),
            Self::Postgres(_) => panic!("a database on a server is no file of ours"),
        }
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(StoreConfig::default()).unwrap()
    }

    pub(crate) fn open_with(&self, config: StoreConfig) -> Result<Store, StoreError> {
        match self {
            Self::Sqlite(_) => Store::open(self.path(), config),
            Self::Postgres(name) => connect(&Server::shared().url(name), config),
        }
    }

    /// Does something to the database as another program would.
    pub(crate) fn meddle(&self, sql: &str) {
        match self {
            Self::Sqlite(_) => rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap(),
            Self::Postgres(name) => drop(Server::shared().ask(name, sql)),
        }
    }
}

pub(crate) fn connect(url: &str, config: StoreConfig) -> Result<Store, StoreError> {
    Store::connect(&PostgresUrl::parse(url)?, config)
}

/// Answers of one or more appends, as they come.
pub(crate) type Answers = mpsc::Receiver<Result<Appended, LogError>>;

/// Hands in drafts without waiting in between.
pub(crate) fn submit(log: &dyn Log, drafts: impl IntoIterator<Item = Draft>) -> Answers {
    let (tell, answers) = mpsc::sync_channel(100_000);
    for draft in drafts {
        let tell = tell.clone();
        log.append(draft, Box::new(move |answer| tell.send(answer).unwrap()));
    }
    answers
}

pub(crate) fn next(answers: &Answers) -> Result<Appended, LogError> {
    answers.recv_timeout(Duration::from_secs(60)).expect("every draft is answered")
}

pub(crate) fn try_append(log: &dyn Log, draft: Draft) -> Result<Appended, LogError> {
    next(&submit(log, [draft]))
}

pub(crate) fn append(log: &dyn Log, draft: Draft) -> Appended {
    try_append(log, draft).unwrap()
}

pub(crate) fn draft(room: &str, payload: &str) -> Draft {
    Draft::new(name(room), name("message"), payload.to_owned().into(), 1_000)
}

pub(crate) fn with_id(draft: Draft, id: &str) -> Draft {
    Draft { id: Some(name(id)), ..draft }
}

pub(crate) fn read(log: &dyn Log, room: &RoomName, extent: Extent) -> Page {
    wait(log.read(room, extent)).unwrap()
}

/// All that is kept of a room, page by page; fails at a hole.
pub(crate) fn read_all(log: &dyn Log, room: &str) -> Vec<(u64, String)> {
    let room = name(room);
    let mut all: Vec<(u64, String)> = Vec::new();
    let mut after = Seq::ZERO;
    loop {
        let page = read(log, &room, Extent::After(after, 500));
        let Some(last) = page.messages.last() else {
            assert!(all.last().is_none_or(|(seq, _)| *seq == page.head.0), "the last message is the head");
            return all;
        };
        after = last.seq;
        for message in page.messages {
            assert!(all.last().is_none_or(|(seq, _)| seq + 1 == message.seq.0), "a hole before {}", message.seq);
            all.push((message.seq.0, String::from_utf8(message.payload.to_vec()).unwrap()));
        }
    }
}

pub(crate) fn numbers(page: &Page) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.0).collect()
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Waits for an answer without a runtime of tokio: readings need none.
pub(crate) fn wait<T>(answer: impl Future<Output = T>) -> T {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(60)),
        }
    }
}
