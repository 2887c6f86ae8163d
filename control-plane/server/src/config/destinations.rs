//! The destinations in `keyplane.toml`, each in a section `[destination.CLOUD.NAME]`.
//!
//! Owns the format of a section, and the defaults. The adapters check the values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyplane_model::{DestinationName, Protection, Span};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Destinations {
    /// Each destination is an account and region.
    #[serde(default)]
    pub(crate) aws: BTreeMap<DestinationName, Aws>,
    /// Each destination is a key ring.
    #[serde(default)]
    pub(crate) gcp: BTreeMap<DestinationName, Gcp>,
    /// Each destination is a Key Vault or Managed HSM.
    #[serde(default)]
    pub(crate) azure: BTreeMap<DestinationName, Azure>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Aws {
    /// For example `us-east-1`.
    pub(crate) region: String,
    /// 12 digits.
    pub(crate) account: String,
    /// The address to use instead of AWS's: an emulator, a VPC endpoint, a sovereign cloud. Default: AWS's.
    pub(crate) endpoint: Option<String>,
    /// A file of certificates (PEM), the only ones trusted for this destination. Default: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Default: AWS's own chain.
    #[serde(default)]
    pub(crate) credentials: AwsCredentials,
    /// A file with the access policy (JSON) of new KMS keys. Default: AWS's, which lets the account's IAM decide.
    pub(crate) key_policy_file: Option<PathBuf>,
    /// Of one call. Default: 20 s.
    #[serde(default = "aws_call_timeout")]
    pub(crate) call_timeout: Span,
    /// The longest time for which a read may show the state before a change. Default: 10 s.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads in a row make an absence conclusive. Default: 3.
    #[serde(default = "three_reads")]
    pub(crate) equal_reads: u32,
    /// How many days AWS waits before a scheduled deletion, 7 to 30. Default: 7.
    #[serde(default = "aws_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests a second by the name of the quota, where the account's quotas differ from the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum AwsCredentials {
    /// AWS's own chain: environment, shared files, workload identity, instance.
    #[default]
    Default,
    /// A named profile of the shared files.
    Profile { name: String },
    /// An access key.
    Static {
        /// Not a secret.
        access_key_id: String,
        secret_access_key_file: PathBuf,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Gcp {
    /// The project's id, not its number.
    pub(crate) project: String,
    /// For example `europe-west3`.
    pub(crate) location: String,
    /// Has to exist. Key rings cannot be deleted, so none is created.
    pub(crate) key_ring: String,
    pub(crate) protection: Protection,
    /// The length of the RSA key that material is wrapped under, in bits: 4096 or 3072. Default: 4096.
    #[serde(default = "strongest")]
    pub(crate) import_key_size: u32,
    /// The address to use instead of Google's: an emulator, a private endpoint. Default: Google's.
    pub(crate) endpoint: Option<String>,
    /// A file of certificates (PEM), the only ones trusted for this destination. Default: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Default: the machine's service account.
    #[serde(default)]
    pub(crate) credentials: GcpCredentials,
    /// A file of root certificates (PEM) for the attestations of the cloud's HSMs. Default: none, and attestations prove nothing.
    pub(crate) attestation_roots: Option<PathBuf>,
    /// Of one call. Default: 30 s.
    #[serde(default = "call_timeout")]
    pub(crate) call_timeout: Span,
    /// The longest time for which a read may show the state before a change. Default: 10 s.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads in a row make an absence conclusive. Default: 2.
    #[serde(default = "two_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a version waits for its destruction. Set on keys when they are created. Default: 30.
    #[serde(default = "gcp_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests a minute by the name of the quota, where the project's quotas differ from the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum GcpCredentials {
    /// The machine's service account, from the metadata service.
    Metadata {
        /// The address of the metadata service. Default: Google's.
        endpoint: Option<String>,
    },
    /// A service account's key file (JSON).
    ServiceAccount { file: PathBuf },
    /// Workload identity federation: an external account's file (JSON).
    ExternalAccount { file: PathBuf },
}

impl Default for GcpCredentials {
    fn default() -> Self {
        Self::Metadata { endpoint: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Azure {
    /// The vault's host name, as in `corp-vault.vault.azure.net` or `corp-hsm.managedhsm.azure.net`.
    pub(crate) vault: String,
    pub(crate) kind: VaultKind,
    /// The vault's address as `host:port`, for a private endpoint or an emulator. Default: from the name service.
    pub(crate) address: Option<String>,
    /// A file of certificates (PEM), the only ones trusted for the vault and the issuer of tokens. Default: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The issuer of tokens. Default: Microsoft's login.
    pub(crate) authority: Option<String>,
    /// Default: the machine's managed identity.
    #[serde(default)]
    pub(crate) credentials: AzureCredentials,
    /// A file of root certificates (PEM) for the attestations of a Managed HSM. Default: none, and attestations prove nothing.
    pub(crate) attestation_roots: Option<PathBuf>,
    /// Of one call. Default: 30 s.
    #[serde(default = "call_timeout")]
    pub(crate) call_timeout: Span,
    /// The longest time for which a read may show the state before a change. Default: 10 s.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads in a row make an absence conclusive. Default: 3.
    #[serde(default = "three_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a deleted key can be recovered. Has to equal the vault's own setting. Default: 90.
    #[serde(default = "azure_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests in 10 seconds (Managed HSM: in one second) by the name of the quota, where the vault's quotas differ from the
    /// published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VaultKind {
    /// Of the Premium tier.
    KeyVault,
    ManagedHsm,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum AzureCredentials {
    ManagedIdentity {
        /// The client id of a user-assigned identity. Default: the machine's own identity.
        client: Option<String>,
        /// The address of the metadata service as `host:port`. Default: Azure's.
        address: Option<String>,
    },
    /// An application with a secret.
    ClientSecret {
        /// The id of the directory.
        tenant: String,
        /// The id of the application. Not a secret.
        client: String,
        secret_file: PathBuf,
    },
    /// An application that trusts tokens which somebody else writes into a file, as on Kubernetes.
    WorkloadIdentity {
        /// The id of the directory.
        tenant: String,
        /// The id of the application.
        client: String,
        token_file: PathBuf,
    },
}

impl Default for AzureCredentials {
    fn default() -> Self {
        Self::ManagedIdentity { client: None, address: None }
    }
}

/// Twice the slowest reply of KMS under load. A shorter time-out makes more replies ambiguous.
fn aws_call_timeout() -> Span {
    Span::seconds(20)
}

/// Google Cloud and Azure document seconds, and more for keys in HSMs. A shorter time-out makes more replies ambiguous.
fn call_timeout() -> Span {
    Span::seconds(30)
}

/// No cloud states a bound for reads of keys; their documents speak of seconds.
fn consistency() -> Span {
    Span::seconds(10)
}

/// Google Cloud documents that creating keys and enabling versions are strongly consistent.
fn two_reads() -> u32 {
    2
}

fn three_reads() -> u32 {
    3
}

/// The longest that Google Cloud offers, in bits.
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
