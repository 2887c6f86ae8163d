//! The tests of the policy language, from outside: what a caller of this room sees.
#![cfg(test)]

mod common;
mod examples;
mod limits;
mod mistakes;
mod properties;
mod schema;
