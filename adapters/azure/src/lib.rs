//! Azure Key Vault and Managed HSM as a destination: [`AzureVault`] is the [`keyplane_port::Cloud`] of one of them.
//!
//! Owns the calls that we use, the translation between Azure's terms and ours, and the classes of its errors. Must not know of quotas,
//! time-outs or repetitions (the engine's lanes handle these), of policy, ledger or HSM, or of any other cloud. What Azure promises is in
//! the rows `azure.…` of `tests/emulators/contracts.md`.
//!
//! # Words
//! An object is a key of the vault, named by its name, which is also the users' name of it. A material is a version of the key, named
//! by its version id. A wrapping key is a key exchange key (KEK) of ours, which serves only one copy.
//!
//! # Files
//! From the bottom up; each uses only files before it: `attestation`, `byok`, `jwk`, `names`, `transport`, `vault`; `operation`; `config`,
//! `error`; `connect` (the client); `key`; `act`, `read`; `cloud` (the port).
//!
//! # Permissions
//! `keys/create` (for key exchange keys), `keys/import`, `keys/update` (to disable and enable a version), `keys/delete`. To read keys
//! and deleted keys: `keys/get`, `keys/list`. On a Managed HSM: the role "Managed HSM Crypto Officer", or a custom role with these. No
//! permission encrypts, decrypts, purges or recovers.
//!
//! # Invariants
//! - A call of the port sends at most one mutating request, and sends it once: the SDK's retries are off, and the only request that
//!   it repeats is one that was answered with 401.
//! - A call sends no more requests than it declares to draw (rule 8), however many versions a key has. A key with more versions than
//!   can be listed within that is [`keyplane_model::Class::Unsupported`], and not shown in part.
//! - A token is sent only to a server that proves the vault's own name by TLS, at whatever address is configured. A list whose
//!   next page is elsewhere is refused.
//! - Material is always wrapped here, and is in no log line and no error.
//! - Dropping the future of a call has no effect, except that a request that was sent may still have its own.

mod act;
mod attestation;
mod byok;
mod cloud;
mod config;
mod connect;
mod error;
mod jwk;
mod key;
mod names;
mod operation;
mod read;
mod transport;
mod vault;

pub use config::{AzureConfig, ConfigError, Credentials};
pub use connect::AzureVault;
pub use keyplane_destination::{Secret, SecretSource, Settings, SettingsError};
pub use names::{NameError, check_name};
pub use vault::VaultKind;
