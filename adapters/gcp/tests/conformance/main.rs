//! The adapter at the emulated Google Cloud KMS: what every cloud's adapter promises, and what only Google Cloud has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod answers;
mod emulated;
mod evidence;
mod jobs;
mod placement;
mod readings;
mod requests;
mod tls;
mod tokens;
