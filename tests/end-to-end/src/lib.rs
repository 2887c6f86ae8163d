//! Tests of the real `keyplane` from outside: with emulators for clouds, a development token, and people who approve.
//!
//! The binaries have to be built first (`cargo build`; `make test` does).
#![cfg(test)]

mod bad_input;
mod bytes;
mod kill;
mod matrix;
mod memory;
mod path;
mod requests;
mod site;
mod spill;
mod stranger;
mod world;
