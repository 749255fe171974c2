use std::time::Duration;

use super::Database;
use crate::PostgresUrl;
use crate::sql::{Connection, Fault, Rows, Transaction, Value};
use crate::test_server::Server;

fn database() -> Database {
    let server = Server::shared();
    let name = server.database();
    // Whoever runs the server may have chosen to lose something.
    server.ask("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let url = PostgresUrl::parse(&server.url(&name)).unwrap();
    let database = Database::new(url, Duration::from_secs(5), Duration::from_secs(5));
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    transaction.define("CREATE TABLE things (name TEXT PRIMARY KEY, size BIGINT, data BLOB NOT NULL)").unwrap();
    transaction.commit().unwrap();
    database
}

fn connect(database: &Database) -> Connection {
    Connection::Postgres(Box::new(database.connect().unwrap()))
}

fn put(transaction: &Transaction<'_>, name: &str, size: i64) -> Result<usize, Fault> {
    let values = [Value::Text(name), Value::Integer(size), Value::Bytes(b"\0\xff")];
    transaction.execute("INSERT INTO things (name, size, data) VALUES ($1, $2, $3)", &values)
}

fn sizes(database: &Database) -> Vec<i64> {
    let mut connection = connect(database);
    let transaction = Transaction::read(&mut connection).unwrap();
    let mut sizes = Vec::new();
    let visit = |row: &crate::sql::Row<'_>| {
        sizes.push(row.integer(0)?);
        Ok(Rows::More)
    };
    transaction.each("SELECT size FROM things ORDER BY size", &[], visit).unwrap();
    sizes
}

#[test]
fn a_commit_is_on_disk_whatever_the_servers_defaults_are() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    for (setting, value) in [
        ("synchronous_commit", "on"),
        ("transaction_isolation", "read committed"),
        ("lock_timeout", "5s"),
        ("statement_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "5s"),
    ] {
        let found = transaction
            .first("SELECT current_setting($1)", &[Value::Text(setting)], |row| row.text(0).map(str::to_owned));
        assert_eq!(found.unwrap().unwrap(), value, "{setting}");
    }
}

#[test]
fn faults_are_told_apart_by_their_state() {
    let database = database();
    let mut connection = connect(&database);
    for (state, kind) in [
        ("unique_violation", "operation"),
        ("numeric_value_out_of_range", "operation"),
        ("statement_too_complex", "operation"),
        ("serialization_failure", "conflict"),
        ("deadlock_detected", "conflict"),
        ("disk_full", "database"),
        ("out_of_memory", "database"),
        ("admin_shutdown", "database"),
        ("io_error", "database"),
        ("data_corrupted", "database"),
        ("read_only_sql_transaction", "database"),
        ("undefined_table", "database"),
        ("insufficient_privilege", "database"),
        ("query_canceled", "database"),
        ("lock_not_available", "database"),
    ] {
        let transaction = Transaction::write(&mut connection).unwrap();
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'a test says so' USING ERRCODE = '{state}'; END $$");
        let fault = transaction.script(&raise).unwrap_err();
        let found = match &fault {
            Fault::Operation(_) => "operation",
            Fault::Conflict(_) => "conflict",
            Fault::Database(_) => "database",
        };
        assert_eq!(found, kind, "{state}");
        assert!(fault.reason().contains("a test says so (SQLSTATE "), "{}", fault.reason());
    }
}

#[test]
fn a_failure_that_was_passed_over_is_not_committed() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 1).unwrap();
    assert!(put(&transaction, "a", 2).is_err());
    assert!(matches!(transaction.commit(), Err(Fault::Database(_))));
    assert_eq!(sizes(&database), [0_i64; 0]);
}

#[test]
fn after_a_return_to_a_savepoint_a_transaction_goes_on() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 1).unwrap();
    transaction.script("SAVEPOINT s").unwrap();
    assert!(matches!(put(&transaction, "a", 2), Err(Fault::Operation(_))));
    transaction.script("ROLLBACK TO s; RELEASE s").unwrap();
    put(&transaction, "b", 3).unwrap();
    transaction.commit().unwrap();
    assert_eq!(sizes(&database), [1, 3]);
}

#[test]
fn a_transaction_that_is_dropped_leaves_nothing_and_the_connection_is_good() {
    let database = database();
    let mut connection = connect(&database);
    drop(Transaction::write(&mut connection).unwrap());
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 1).unwrap();
    drop(transaction);
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 2).unwrap();
    transaction.commit().unwrap();
    assert_eq!(sizes(&database), [2]);
}

#[test]
fn one_statement_for_many_rows_answers_in_their_order() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    let names: Vec<_> = (0..3_000).map(|at| format!("thing {at}")).collect();
    let data = vec![7; 3_000];
    let rows: Vec<_> = (0..3_000)
        .map(|at| [Value::Text(&names[at % 2_000]), Value::Integer(at as i64), Value::Bytes(&data)])
        .collect();
    let sql = "INSERT INTO things (name, size, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let changed = transaction.execute_many(sql, &rows).unwrap();
    assert!((0..3_000).all(|at| changed[at] == usize::from(at < 2_000)));
    let wanted: Vec<_> = names.iter().rev().map(|name| [Value::Text(name)]).collect();
    let sql = "SELECT size, data FROM things WHERE name = $1";
    let found = transaction.first_many(sql, &wanted, |at, row| Ok((at, row.integer(0)?, row.bytes(1)?.len()))).unwrap();
    for (at, found) in found.into_iter().enumerate() {
        let number = 2_999 - at;
        assert_eq!(found, (number < 2_000).then_some((at, number as i64, 3_000)));
    }
    assert_eq!(
        transaction.execute_many("DELETE FROM things WHERE name = $1", &[] as &[[Value<'_>; 1]]).unwrap(),
        [0_usize; 0]
    );
}

#[test]
fn many_rows_are_inserted_but_for_those_that_are_there() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "b", 1).unwrap();
    let into = "things (name, size, data)";
    let row = |name, size| [Value::Text(name), Value::Integer(size), Value::Bytes(b"\0")];
    let rows = [row("a", 10), row("b", 20), row("c, \"d\" {}", 30), row("a", 40)];
    assert_eq!(transaction.insert_many(into, &rows).unwrap(), 2);
    assert_eq!(transaction.insert_many(into, &rows[..0]).unwrap(), 0);
    let save = "UPDATE things SET size = $1 WHERE name = $2";
    transaction.commit_after(save, &[[Value::Integer(2), Value::Text("b")]]).unwrap();
    assert_eq!(sizes(&database), [2, 10, 30]);
}

#[test]
fn a_commit_after_a_statement_that_fails_commits_nothing() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 1).unwrap();
    let save = "UPDATE things SET size = size / $1 WHERE name = $2";
    let fault = transaction.commit_after(save, &[[Value::Integer(0), Value::Text("a")]]).unwrap_err();
    assert!(matches!(&fault, Fault::Operation(reason) if reason.contains("22012")), "{fault:?}");
    assert_eq!(sizes(&database), [0_i64; 0]);
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 1).unwrap();
    let fault = transaction.commit_after(save, &[[Value::Text("0"), Value::Text("a")]]).unwrap_err();
    assert!(matches!(fault, Fault::Operation(_)), "{fault:?}");
    assert_eq!(sizes(&database), [0_i64; 0], "nor after one that could not be sent");
    let transaction = Transaction::write(&mut connection).unwrap();
    put(&transaction, "a", 2).unwrap();
    transaction.commit().unwrap();
    assert_eq!(sizes(&database), [2]);
}

#[test]
fn values_that_do_not_fit_fail_alone() {
    let database = database();
    let mut connection = connect(&database);
    let transaction = Transaction::write(&mut connection).unwrap();
    for (sql, value) in [
        ("SELECT name FROM things WHERE name = $1", Value::Text("a\0b")),
        ("SELECT name FROM things WHERE name = $1", Value::Integer(1)),
        ("SELECT name FROM things WHERE size = $1", Value::Text("1")),
        ("SELECT name FROM things WHERE size = $1", Value::Bytes(b"1")),
    ] {
        let fault = transaction.first(sql, &[value], |_| Ok(())).unwrap_err();
        assert!(matches!(fault, Fault::Operation(_)), "{sql}: {fault:?}");
    }
    let row = [Value::Text("a\0b"), Value::Integer(1), Value::Bytes(b"")];
    let fault = transaction.insert_many("things (name, size, data)", &[row]).unwrap_err();
    assert!(matches!(&fault, Fault::Operation(reason) if reason.contains("a NUL")), "{fault:?}");
}

#[test]
fn a_row_that_was_locked_waits_for_the_end_of_the_other_transaction() {
    let database = database();
    let [mut one, mut other] = [connect(&database), connect(&database)];
    let transaction = Transaction::write(&mut one).unwrap();
    put(&transaction, "a", 1).unwrap();
    transaction.commit().unwrap();
    let sql = "SELECT size FROM things WHERE name = $1";
    let name = [[Value::Text("a")]];
    let first = Transaction::write(&mut one).unwrap();
    assert_eq!(first.lock_many(sql, &name, |_, row| row.integer(0)).unwrap(), [Some(1)]);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let second = Transaction::write(&mut other).unwrap();
            second.lock_many(sql, &name, |_, row| row.integer(0)).unwrap()
        });
        first.execute("UPDATE things SET size = $1 WHERE name = $2", &[Value::Integer(2), Value::Text("a")]).unwrap();
        first.commit().unwrap();
        assert_eq!(second.join().unwrap(), [Some(2)], "it sees what the first has committed");
    });
}
