//! The adapter connected to an emulated Key Vault and an emulated Managed HSM: the common suite, and what only Azure has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod answers;
mod emulated;
mod life;
mod readings;
mod requests;
