//! The adapter at the emulated AWS KMS: what every cloud's adapter promises, and what only AWS has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod answers;
mod emulated;
mod readings;
mod requests;
mod tls;
