//! AWS KMS as a destination: [`AwsKms`] is the [`keyplane_port::Cloud`] of one account and region.
//!
//! Owns the calls that we use, the translation between AWS's terms and ours, and the classes of AWS's errors. Must not know of quotas,
//! time-outs or repetitions (the engine's lanes handle these), of policy, ledger or HSM, or of any other cloud. What KMS promises is in the
//! rows `aws.…` of `tests/emulators/contracts.md`.
//!
//! # Words
//! An object is a KMS key, named by its key id. A material is a key material of that key, named by its key material id. The claim is
//! an alias under `alias/keyplane/`, which only one key of an account and region can have; the users' name is another alias.
//!
//! # Files
//! From the bottom up; each uses only files before it: `limit`, `names`, `operation`; `config`, `error`; `connect` (the client); `read`;
//! `act`; `cloud` (the port).
//!
//! # Permissions
//! On keys and aliases: `kms:CreateKey`, `kms:TagResource` (tags at creation need it), `kms:CreateAlias`,
//! `kms:GetParametersForImport`, `kms:ImportKeyMaterial`, `kms:EnableKey`, `kms:DisableKey`, `kms:ScheduleKeyDeletion`,
//! `kms:CancelKeyDeletion`. To read them: `kms:DescribeKey`, `kms:ListResourceTags`, `kms:GetKeyPolicy`, `kms:ListKeyRotations`. For
//! the account: `kms:ListKeys`. No permission encrypts or decrypts. A sweep is not complete while there is a key whose tags may not be
//! read, because that key could be ours.
//!
//! # Invariants
//! - A call of the port sends at most one mutating request, and sends it once: the SDK's retries are off.
//! - Material is always wrapped here, and is in no log line and no error.
//! - Dropping the future of a call has no effect, except that a request that was sent may still have its own.

mod act;
mod cloud;
mod config;
mod connect;
mod error;
mod limit;
mod names;
mod operation;
mod read;

pub use config::{AwsConfig, ConfigError, Credentials};
pub use connect::AwsKms;
pub use keyplane_destination::{Secret, SecretSource, Settings, SettingsError};
pub use names::{NameError, check_name};
