//! The denrei process.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod config;
mod doctor;
mod file;
mod logs;
mod page;
mod reload;
mod secret;
mod serve;
mod welcome;

/// Many small long-lived objects fragment glibc's arenas; in the binary only, never in the library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("denrei: {sentence}");
            ExitCode::FAILURE
        }
    }
}
