//! The destinations in `keyplane.toml`: one section `[destination.CLOUD.NAME]` for each.
//!
//! Owns how a section is written, and the defaults. The adapters check the values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyplane_model::{DestinationName, Protection, Span};
use serde::Deserialize;

/// All destinations, by cloud and name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Destinations {
    /// AWS KMS: each destination is an account and region.
    #[serde(default)]
    pub(crate) aws: BTreeMap<DestinationName, Aws>,
    /// Google Cloud KMS: each destination is a key ring.
    #[serde(default)]
    pub(crate) gcp: BTreeMap<DestinationName, Gcp>,
    /// Azure: each destination is a Key Vault or Managed HSM.
    #[serde(default)]
    pub(crate) azure: BTreeMap<DestinationName, Azure>,
}

/// A destination at AWS KMS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Aws {
    /// The region, as in `us-east-1`.
    pub(crate) region: String,
    /// The account: 12 digits.
    pub(crate) account: String,
    /// The address to use instead of AWS's own: an emulator, a VPC endpoint, a sovereign cloud. Default: AWS's own.
    pub(crate) endpoint: Option<String>,
    /// A file of certificates (PEM), the only ones trusted for this destination. Default: those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// The source of the credentials. Default: AWS's own chain.
    #[serde(default)]
    pub(crate) credentials: AwsCredentials,
    /// A file with the access policy (JSON) of new KMS keys. Default: AWS's, which lets the account's IAM decide.
    pub(crate) key_policy_file: Option<PathBuf>,
    /// The time-out of one call. Default: 20 s.
    #[serde(default = "aws_call_timeout")]
    pub(crate) call_timeout: Span,
    /// The longest time for which a read may show the state before a change. Default: 10 s.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads in a row make an absence certain. Default: 3.
    #[serde(default = "three_reads")]
    pub(crate) equal_reads: u32,
    /// How many days AWS waits before a scheduled deletion, 7 to 30. Default: 7.
    #[serde(default = "aws_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests a second by the name of the quota, where the account's quotas differ from the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// The source of AWS credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum AwsCredentials {
    /// The cloud's own chain: environment, shared files, workload identity, instance.
    #[default]
    Default,
    /// A named profile of the shared files.
    Profile {
        /// The name of the profile.
        name: String,
    },
    /// An access key.
    Static {
        /// The id of the access key; no secret.
        access_key_id: String,
        /// The file that holds the secret access key.
        secret_access_key_file: PathBuf,
    },
}

/// A destination at Google Cloud KMS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Gcp {
    /// The project's id, not its number.
    pub(crate) project: String,
    /// The location, as in `europe-west3`.
    pub(crate) location: String,
    /// The key ring's id. It has to exist: key rings cannot be deleted.
    pub(crate) key_ring: String,
    /// Whether keys are kept in software or in an HSM.
    pub(crate) protection: Protection,
    /// The length of the RSA wrapping keys, in bits: 4096 or 3072. Default: 4096.
    #[serde(default = "strongest")]
    pub(crate) import_key_size: u32,
    /// The address to use instead of Google's own: an emulator, a private endpoint. Default: Google's own.
    pub(crate) endpoint: Option<String>,
    /// A file of certificates (PEM), the only ones trusted for this destination. Default: those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// The source of the credentials. Default: the machine's service account.
    #[serde(default)]
    pub(crate) credentials: GcpCredentials,
    /// A file of root certificates (PEM) for the attestations of the cloud's HSMs. Default: none, and attestations prove nothing.
    pub(crate) attestation_roots: Option<PathBuf>,
    /// The time-out of one call. Default: 30 s.
    #[serde(default = "call_timeout")]
    pub(crate) call_timeout: Span,
    /// The longest time for which a read may show the state before a change. Default: 10 s.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads in a row make an absence certain. Default: 2.
    #[serde(default = "two_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a version scheduled for destruction waits; set on keys when they are created. Default: 30.
    #[serde(default = "gcp_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests a minute by the name of the quota, where the project's quotas differ from the published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// The source of Google Cloud credentials.
#[derive(Debug, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum GcpCredentials {
    /// The machine's service account, from the metadata service.
    Metadata {
        /// The address of the metadata service. Default: Google's own.
        endpoint: Option<String>,
    },
    /// A service account's key file (JSON).
    ServiceAccount {
        /// The path of the file.
        file: PathBuf,
    },
    /// An external account's file (JSON): workload identity federation.
    ExternalAccount {
        /// The path of the file.
        file: PathBuf,
    },
}

impl Default for GcpCredentials {
    fn default() -> Self {
        Self::Metadata { endpoint: None }
    }
}

/// A destination at Azure Key Vault or Managed HSM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Azure {
    /// The vault's host name, as in `corp-vault.vault.azure.net` or `corp-hsm.managedhsm.azure.net`.
    pub(crate) vault: String,
    /// Whether it is a Key Vault or a Managed HSM.
    pub(crate) kind: VaultKind,
    /// The address of the vault, as `host:port`, for a private endpoint or an emulator. Default: what the name service says.
    pub(crate) address: Option<String>,
    /// A file of certificates (PEM), the only ones trusted for the vault and for the issuer of tokens. Default: those of the
    /// system.
    pub(crate) ca: Option<PathBuf>,
    /// The issuer of tokens. Default: Microsoft's login.
    pub(crate) authority: Option<String>,
    /// The source of the credentials. Default: the machine's managed identity.
    #[serde(default)]
    pub(crate) credentials: AzureCredentials,
    /// A file of root certificates (PEM) for the attestations of a Managed HSM. Default: none, and attestations prove nothing.
    pub(crate) attestation_roots: Option<PathBuf>,
    /// The time-out of one call. Default: 30 s.
    #[serde(default = "call_timeout")]
    pub(crate) call_timeout: Span,
    /// The longest time for which a read may show the state before a change. Default: 10 s.
    #[serde(default = "consistency")]
    pub(crate) consistency: Span,
    /// How many equal reads in a row make an absence certain. Default: 3.
    #[serde(default = "three_reads")]
    pub(crate) equal_reads: u32,
    /// How many days a deleted key can be recovered; has to be the vault's own setting. Default: 90.
    #[serde(default = "azure_deletion_days")]
    pub(crate) deletion_days: u32,
    /// Requests in 10 seconds (Managed HSM: in one second) by the name of the quota, where the vault's quotas differ from the
    /// published ones.
    #[serde(default)]
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// The kind of an Azure vault.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VaultKind {
    /// A Key Vault of the Premium tier.
    KeyVault,
    /// A Managed HSM.
    ManagedHsm,
}

/// The source of Azure credentials.
#[derive(Debug, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum AzureCredentials {
    /// The managed identity of the machine.
    ManagedIdentity {
        /// The client id of a user-assigned identity. Default: the machine's own identity.
        client: Option<String>,
        /// The address of the metadata service, as `host:port`. Default: Azure's own.
        address: Option<String>,
    },
    /// An application with a secret.
    ClientSecret {
        /// The id of the directory (tenant).
        tenant: String,
        /// The id of the application; no secret.
        client: String,
        /// The file that holds the application's secret.
        secret_file: PathBuf,
    },
    /// An application that trusts tokens which someone else writes into a file, as on Kubernetes.
    WorkloadIdentity {
        /// The id of the directory (tenant).
        tenant: String,
        /// The id of the application.
        client: String,
        /// The file that holds the token.
        token_file: PathBuf,
    },
}

impl Default for AzureCredentials {
    fn default() -> Self {
        Self::ManagedIdentity { client: None, address: None }
    }
}

/// Twice the slowest answer of KMS under load. A shorter time-out makes more replies ambiguous.
fn aws_call_timeout() -> Span {
    Span::seconds(20)
}

/// Google Cloud and Azure speak of seconds, and of more for keys in HSMs. A shorter time-out makes more replies ambiguous.
fn call_timeout() -> Span {
    Span::seconds(30)
}

/// No cloud states a bound for reads of keys; their documents speak of seconds.
fn consistency() -> Span {
    Span::seconds(10)
}

/// Creating keys and enabling versions are strongly consistent at Google Cloud.
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
