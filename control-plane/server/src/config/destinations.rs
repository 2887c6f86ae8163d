//! The destinations in `keyplane.toml`, a section each: `[destination.CLOUD.NAME]`.
//!
//! What a section may say is the adapter's to check; here is how it is written, and what it means when it says nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyplane_model::{DestinationName, Protection, Span};
use serde::Deserialize;

/// Where keys may go, by cloud and name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Destinations {
    /// AWS KMS: an account and region each.
    #[serde(default)]
    pub(crate) aws: BTreeMap<DestinationName, Aws>,
    /// Google Cloud KMS: a key ring each.
    #[serde(default)]
    pub(crate) gcp: BTreeMap<DestinationName, Gcp>,
    /// Azure Key Vault and Managed HSM: a vault each.
    #[serde(default)]
    pub(crate) azure: BTreeMap<DestinationName, Azure>,
}

/// An AWS account and region.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Aws {
    /// As in `us-east-1`.
    pub(crate) region: String,
    /// 12 digits.
    pub(crate) account: String,
    /// In place of AWS's own: an emulator, a VPC endpoint, a sovereign cloud.
    pub(crate) endpoint: Option<String>,
    /// Certificates (PEM) that alone are trusted there.
    pub(crate) ca: Option<PathBuf>,
    /// Where credentials come from.
    #[serde(default)]
    pub(crate) credentials: AwsCredentials,
    /// The access policy of new keys (JSON).
    pub(crate) key_policy_file: Option<PathBuf>,
    /// The time-out of one call.
    #[serde(default = "aws_call_timeout")]
    pub(crate) call_timeout: Span,
    /// How long reads may show what was before.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads make certain that something is not there.
    #[serde(default = "three_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a scheduled deletion waits.
    #[serde(default = "aws_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests a second, where the account's quotas are not the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// Where AWS credentials come from.
#[derive(Debug, Default, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum AwsCredentials {
    /// The cloud's own chain: environment, shared files, workload identity, instance.
    #[default]
    Default,
    /// A named profile of the shared files.
    Profile {
        /// Its name.
        name: String,
    },
    /// An access key.
    Static {
        /// Its id: no secret.
        access_key_id: String,
        /// The file that holds its secret.
        secret_access_key_file: PathBuf,
    },
}

/// A Google Cloud key ring.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Gcp {
    /// The project's id, not its number.
    pub(crate) project: String,
    /// As in `europe-west3`.
    pub(crate) location: String,
    /// The key ring's id. It has to exist: key rings cannot be deleted.
    pub(crate) key_ring: String,
    /// How keys are kept there.
    pub(crate) protection: Protection,
    /// How long the keys are that material is wrapped under, in bits.
    #[serde(default = "strongest")]
    pub(crate) import_key_size: u32,
    /// In place of Google's own: an emulator, a private endpoint.
    pub(crate) endpoint: Option<String>,
    /// Certificates (PEM) that alone are trusted there.
    pub(crate) ca: Option<PathBuf>,
    /// Where credentials come from.
    #[serde(default)]
    pub(crate) credentials: GcpCredentials,
    /// Certificates (PEM) that have to vouch for what the cloud's HSMs say of a key; without them, attestations prove nothing.
    pub(crate) attestation_roots: Option<PathBuf>,
    /// The time-out of one call.
    #[serde(default = "call_timeout")]
    pub(crate) call_timeout: Span,
    /// How long reads may show what was before.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads make certain that something is not there.
    #[serde(default = "two_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a version that is to be destroyed waits, for keys that are made from now on.
    #[serde(default = "gcp_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests a minute, where the project's quotas are not the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// Where Google Cloud credentials come from.
#[derive(Debug, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum GcpCredentials {
    /// The service account of the machine.
    Metadata {
        /// In place of Google's own address.
        endpoint: Option<String>,
    },
    /// A service account's key file (JSON).
    ServiceAccount {
        /// Where it is.
        file: PathBuf,
    },
    /// An external account's file (JSON): workload identity federation.
    ExternalAccount {
        /// Where it is.
        file: PathBuf,
    },
}

impl Default for GcpCredentials {
    fn default() -> Self {
        Self::Metadata { endpoint: None }
    }
}

/// An Azure vault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Azure {
    /// Its name, as in `corp-vault.vault.azure.net` or `corp-hsm.managedhsm.azure.net`.
    pub(crate) vault: String,
    /// What it is.
    pub(crate) kind: VaultKind,
    /// Where that name answers, as `host:port`: a private endpoint, an emulator.
    pub(crate) address: Option<String>,
    /// Certificates (PEM) that alone are trusted there, and where tokens come from.
    pub(crate) ca: Option<PathBuf>,
    /// Where tokens come from, in place of Microsoft's own login.
    pub(crate) authority: Option<String>,
    /// Where credentials come from.
    #[serde(default)]
    pub(crate) credentials: AzureCredentials,
    /// Certificates (PEM) that have to vouch for what a Managed HSM says of a key; without them, attestations prove nothing.
    pub(crate) attestation_roots: Option<PathBuf>,
    /// The time-out of one call.
    #[serde(default = "call_timeout")]
    pub(crate) call_timeout: Span,
    /// How long reads may show what was before.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads make certain that something is not there.
    #[serde(default = "three_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a deleted key can be recovered: the vault's own number.
    #[serde(default = "azure_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests in 10 seconds (a Managed HSM: a second), where the vault's quotas are not the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// What a vault is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VaultKind {
    /// Key Vault, Premium.
    KeyVault,
    /// Managed HSM.
    ManagedHsm,
}

/// Where Azure credentials come from.
#[derive(Debug, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum AzureCredentials {
    /// The identity that Azure gives to the machine.
    ManagedIdentity {
        /// A user-assigned one, in place of the machine's own.
        client: Option<String>,
        /// In place of Azure's own metadata service, as `host:port`.
        address: Option<String>,
    },
    /// An application with a secret.
    ClientSecret {
        /// The directory's id.
        tenant: String,
        /// The application's id: no secret.
        client: String,
        /// The file that holds its secret.
        secret_file: PathBuf,
    },
    /// An application that trusts whoever wrote a token into a file, as on Kubernetes.
    WorkloadIdentity {
        /// The directory's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file.
        token_file: PathBuf,
    },
}

impl Default for AzureCredentials {
    fn default() -> Self {
        Self::ManagedIdentity { client: None, address: None }
    }
}

/// 20 s: twice what KMS takes at its slowest under load; a shorter one makes more replies ambiguous.
fn aws_call_timeout() -> Span {
    Span::seconds(20)
}

/// 30 s: both clouds speak of seconds, and of more for keys in HSMs; a shorter one makes more replies ambiguous.
fn call_timeout() -> Span {
    Span::seconds(30)
}

/// 10 s: no cloud states a bound for what reads show of keys; their documents speak of seconds.
fn consistency() -> Span {
    Span::seconds(10)
}

/// Creating keys and enabling versions are strongly consistent at Google Cloud (contracts, "consistency").
fn two_reads() -> u32 {
    2
}

fn three_reads() -> u32 {
    3
}

/// The longest that Google Cloud makes.
fn strongest() -> u32 {
    4_096
}

fn aws_deletion_days() -> u32 {
    7
}

/// Google's own default.
fn gcp_deletion_days() -> u32 {
    30
}

/// Azure's own default.
fn azure_deletion_days() -> u32 {
    90
}
