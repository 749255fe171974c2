//! The store from outside: laws, contents, reopening, faults.

mod harness;

mod bounds;
mod children;
mod concurrency;
mod contents;
mod durability;
mod faults;
mod laws;
mod opening;
mod trimming;
