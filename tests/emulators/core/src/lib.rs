//! Each cloud as a state machine without I/O.
//!
//! A cloud here is a value with one method, `handle(now, rng, request) -> answer`: no socket, no clock, no thread, no
//! ambient randomness, so that the same seed and the same requests give the same story. Cryptography stands behind
//! [`crypto::Crypto`].
//!
//! The emulators judge Keyplane's adapters. Therefore this crate knows no other Keyplane crate, not even the model: a
//! mistake that adapter and emulator shared would be seen by nobody. Its law is the contracts in the documentation and
//! the clouds' published service models.
//!
//! [`aws`] is AWS KMS, [`azure`] is Azure Key Vault and Managed HSM; [`frame`] with [`fault`], [`journal`] and [`quota`] are the same for every cloud.
//!
//! This is a development tool. It holds key material in the clear in its own memory and shows digests of it.

pub mod aws;
pub mod azure;
pub mod crypto;
pub mod fault;
pub mod frame;
pub mod gcp;
pub mod journal;
pub mod quota;
mod time;

pub use time::Timestamp;
