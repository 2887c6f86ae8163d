//! The adapter connected to the emulated AWS KMS: the common suite, and what only AWS has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod answers;
mod emulated;
mod readings;
mod requests;
mod tls;
