//! Azure Key Vault and Managed HSM as a destination: [`AzureVault`] is the [`keyplane_port::Cloud`] of one of them.
//!
//! Owns the calls that we use, what of Azure becomes which word of ours, and the classes of its errors. Must not know of
//! quotas kept, time-outs or repeated calls (the engine's lane), of policy, ledger or HSM, or of any other cloud. The
//! rules that it follows are `contracts/azure.md`, `identity.md` and `evidence.md`.
//!
//! # Permissions
//! `keys/create` (keys to wrap under), `keys/import`, `keys/update` (to switch a version), `keys/delete`; to look: `keys/get`,
//! `keys/list`, both of deleted keys too. On a Managed HSM the role "Managed HSM Crypto Officer", or one of its own with
//! these. None of them encrypts, decrypts, purges or recovers.
//!
//! # Invariants
//! - A call of the port sends at most one request that could have an effect, once: the SDK's retries are off, and the only
//!   request that it repeats is one that was answered with 401.
//! - A call sends no more requests than it declares to draw (rule 8), however many versions a key has: a key with more than can be
//!   listed so is [`keyplane_model::Class::Unsupported`], and not shown in part.
//! - A token is sent to the vault's own name only, over TLS that proves the name, wherever the configuration says that it
//!   answers; a page that leads elsewhere is refused.
//! - Material passes through wrapped, and is in no log line and no error.
//! - Dropping a call's future at any point leaves nothing behind but, perhaps, its one request's effect.

mod act;
mod attestation;
mod byok;
mod config;
mod connect;
mod error;
mod jwk;
mod names;
mod operation;
mod read;
mod transport;

pub use config::{AzureConfig, ConfigError, Credentials, VaultKind};
pub use connect::AzureVault;
pub use keyplane_destination::{Secret, Settings, SettingsError};
pub use names::{NameError, check_name};
