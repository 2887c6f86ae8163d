//! Tests of the policy language through its public functions.
#![cfg(test)]

mod common;
mod examples;
mod limits;
mod mistakes;
mod properties;
mod schema;
