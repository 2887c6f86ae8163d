//! Each cloud as a state machine without I/O.
//!
//! A cloud here is a value with one method, `handle(now, rng, request) -> answer`. It has no socket, clock or thread, and draws
//! randomness only from its argument, so the same seed and the same requests give the same answers. Cryptography is behind
//! [`crypto::Crypto`].
//!
//! The emulators judge Keyplane's adapters. Therefore this crate knows no other Keyplane crate, not even the model: nobody would notice a
//! mistake that adapter and emulator shared. Its sources are `tests/emulators/contracts.md` and the clouds' published service models.
//!
//! [`aws`] is AWS KMS, [`gcp`] is Google Cloud KMS, [`azure`] is Azure Key Vault and Managed HSM. [`frame`] with [`fault`], [`journal`] and
//! [`quota`] is common to every cloud.
//!
//! In each cloud, `mod.rs` calls the operations; these use `scope.rs` (what serving one request needs), which uses the state of keys, the
//! configuration and the refusals.
//!
//! This is a development tool: it holds key material in the clear in its own memory and shows digests of it.

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
