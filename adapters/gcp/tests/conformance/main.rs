//! The adapter connected to the emulated Google Cloud KMS: the common suite, and what only Google Cloud has.

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
