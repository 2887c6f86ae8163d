//! AWS KMS as a destination: [`AwsKms`] is the [`keyplane_port::Cloud`] of one account and region.
//!
//! Owns the calls that we use, what of AWS becomes which word of ours, and the classes of its errors. Must not know of
//! quotas kept, time-outs or repeated calls (the engine's lane), of policy, ledger or HSM, or of any other cloud. The
//! rules that it follows are `contracts/aws.md`, `identity.md` and `evidence.md`.
//!
//! # Permissions
//! On keys and aliases: `kms:CreateKey`, `kms:TagResource` (tags at creation need it), `kms:CreateAlias`,
//! `kms:GetParametersForImport`, `kms:ImportKeyMaterial`, `kms:EnableKey`, `kms:DisableKey`, `kms:ScheduleKeyDeletion`; to look:
//! `kms:DescribeKey`, `kms:ListResourceTags`, `kms:GetKeyPolicy`, `kms:ListKeyRotations`; for the account: `kms:ListKeys`. A key whose
//! tags may not be read keeps a sweep from being complete, for it could be ours. None of them encrypts or decrypts.
//!
//! # Invariants
//! - A call of the port sends at most one mutating request, once: the SDK's retries are off.
//! - Material passes through wrapped, and is in no log line and no error.
//! - Dropping a call's future at any point leaves nothing behind but, perhaps, its one request's effect.

mod act;
mod config;
mod connect;
mod error;
mod limit;
mod names;
mod operation;
mod read;

pub use config::{AwsConfig, ConfigError, Credentials};
pub use connect::AwsKms;
pub use keyplane_destination::{Secret, Settings, SettingsError};
pub use names::{NameError, check_name};
