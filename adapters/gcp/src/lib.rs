//! Google Cloud KMS as a destination: [`GoogleKms`] is the [`keyplane_port::Cloud`] of one key ring.
//!
//! Owns the calls that we use, what of Google Cloud becomes which word of ours, and the classes of its errors. Must not know
//! of quotas kept, time-outs or repeated calls (the engine's lane), of policy, ledger or HSM, or of any other cloud. The
//! rules that it follows are `contracts/gcp.md`, `identity.md` and `evidence.md`.
//!
//! # Words
//! An object is a crypto key, named by its id in the key ring, which is the users' name of it. A material is a version of
//! the key, named by its number. A wrapping key is an import job of ours, which serves one copy and no other.
//!
//! # Permissions
//! On the key ring: `cloudkms.cryptoKeys.create`, `cloudkms.importJobs.create`, `cloudkms.importJobs.useToImport`,
//! `cloudkms.cryptoKeyVersions.create`, `cloudkms.cryptoKeyVersions.update`, `cloudkms.cryptoKeys.update` (for the primary); to
//! look: `cloudkms.cryptoKeys.get`, `cloudkms.cryptoKeys.list`, `cloudkms.cryptoKeyVersions.get`, `cloudkms.cryptoKeyVersions.list`,
//! `cloudkms.cryptoKeyVersions.viewPublicKey`, `cloudkms.importJobs.get`. None of them encrypts, decrypts or signs.
//!
//! # Invariants
//! - A call of the port sends at most one mutating request, once: nothing below repeats.
//! - Material passes through wrapped, and is in no log line and no error. Access tokens are in none either: the token library
//!   writes them at debug level through the `log` crate, and that level is compiled out.
//! - Dropping a call's future at any point leaves nothing behind but, perhaps, its one request's effect.

mod act;
mod attestation;
mod checksum;
mod config;
mod connect;
mod error;
mod evidence;
mod jobs;
mod kinds;
mod names;
mod operation;
mod reach;
mod read;
mod token;

pub use config::{ConfigError, Credentials, GcpConfig};
pub use connect::GoogleKms;
pub use keyplane_destination::{Secret, Settings, SettingsError};
pub use names::{NameError, check_name};
