//! The custodian over PKCS#11. Only this crate holds the HSM's PIN.
//!
//! Owns the root of trust in the token, generates, derives and wraps copies, and decides last whether a request is allowed. Knows `port`,
//! `model` and `verifier`. Must not know the engine, the ledger or any cloud.
//!
//! Key bytes are never in this process's memory. They leave the token only as output of `C_WrapKey`: under the root wrapping key, under a
//! destination's public key, or under an ephemeral key that itself leaves only under that public key.
//!
//! From the bottom up: `pkcs11` (what `cryptoki` cannot do), `token` (a session), `template` (what keys may do), `pair` and `kind`
//! (algorithms in PKCS#11), `derive`, `root` (the root epoch), `seal`, `routes`, `throwaway`, `proof` and `controls` (what enrolment
//! tests), `record` (the result of those tests, kept for later processes), `charter`, `usage` (what change sets were used for), `vault`
//! (copies), `worker` (the thread that owns all of it), `custodian` (judges, then sends jobs to the thread).

mod charter;
mod config;
mod controls;
mod custodian;
mod derive;
mod error;
mod kind;
mod pair;
mod pkcs11;
mod proof;
pub mod provision;
mod record;
mod root;
mod routes;
mod seal;
mod software;
mod spki;
mod template;
mod throwaway;
mod token;
mod usage;
mod vault;
mod worker;

#[cfg(test)]
mod tests;

pub use config::{HsmConfig, Pin, PinSource};
pub use custodian::HsmCustodian;
pub use error::{HsmError, NoRoute, Unsupported};
