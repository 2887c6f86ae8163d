//! The tests of the policy language from outside: they see what a caller sees.
#![cfg(test)]

mod common;
mod examples;
mod limits;
mod mistakes;
mod properties;
mod schema;
