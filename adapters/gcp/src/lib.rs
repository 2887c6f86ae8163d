//! Google Cloud KMS as a destination: [`GoogleKms`] is the [`keyplane_port::Cloud`] of one key ring.
//!
//! Owns the calls that we use, the translation between Google Cloud's terms and ours, and the classes of its errors. Must not know of
//! quotas, time-outs or repetitions (the engine's lanes handle these), of policy, ledger or HSM, or of any other cloud. What Cloud KMS
//! promises is in the rows `gcp.…` of `tests/emulators/contracts.md`.
//!
//! # Words
//! An object is a crypto key, named by its id in the key ring, which is also the users' name of it. A material is a version of the
//! key, named by its number. A wrapping key is an import job of ours, which serves only one copy.
//!
//! # Files
//! From the bottom up; each uses only files before it: `answer`, `attestation`, `kinds`, `names`, `operation`, `reach`; `config`; `token`;
//! `error`; `connect` (the client); `checks`; `jobs`, `read`; `act`, `evidence`; `cloud` (the port).
//!
//! # Permissions
//! On the key ring: `cloudkms.cryptoKeys.create`, `cloudkms.importJobs.create`, `cloudkms.importJobs.useToImport`,
//! `cloudkms.cryptoKeyVersions.create`, `cloudkms.cryptoKeyVersions.update`, `cloudkms.cryptoKeys.update` (for the primary version).
//! To read it: `cloudkms.cryptoKeys.get`, `cloudkms.cryptoKeys.list`, `cloudkms.cryptoKeyVersions.get`,
//! `cloudkms.cryptoKeyVersions.list`, `cloudkms.cryptoKeyVersions.viewPublicKey`, `cloudkms.importJobs.get`. No permission encrypts,
//! decrypts or signs.
//!
//! # Invariants
//! - A call of the port sends at most one mutating request, and sends it once: the client library repeats nothing.
//! - Material is always wrapped here, and is in no log line and no error. Access tokens are in none either: the token library
//!   logs them at debug level through the `log` crate, and that level is compiled out.
//! - Dropping the future of a call has no effect, except that a request that was sent may still have its own.

mod act;
mod answer;
mod attestation;
mod checks;
mod cloud;
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
pub use keyplane_destination::{Secret, SecretSource, Settings, SettingsError};
pub use names::{NameError, check_name};
