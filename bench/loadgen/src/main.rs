//! Load generator for realtime servers.
//!
//! One thread, edge-triggered epoll, and no code of the product: what it counts must be able to contradict the
//! product. `bench/README.md` says how to read its figures; `denrei-bench-loadgen --help` lists the options.
//!
//! Reading order: [`scenario`] (what is measured), [`fleet`] (the connections and their loop), [`tally`] and
//! [`ledger`] (what is counted), then the wire.

mod options;
mod scenario;

mod fleet;
mod target;

mod ledger;
mod tally;

mod connection;
mod http;
mod marker;
mod socket;
mod socketio;
mod template;
mod websocket;

mod clock;
mod histogram;
mod report;
mod usage;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match scenario::run(&options::Options::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("loadgen: {why}");
            ExitCode::from(2)
        }
    }
}
