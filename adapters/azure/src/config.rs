//! The configuration of a destination at Azure, checked before anything is sent.

use std::fmt;
use std::path::PathBuf;

use http::uri::Authority;
use keyplane_destination::{Roots, SecretSource, Settings, SettingsError, check_endpoint, cut, fingerprint};
use keyplane_model::{Capabilities, CloudKind, Creation, Destination, Digest, Protection, WrapScheme};
use rustls::RootCertStore;
use serde::Serialize;

use crate::operation;
use crate::vault::{self, VaultKind};

/// The longest tenant, client id or address that is taken, in bytes.
const MAX_TEXT: usize = 2_048;

/// A key vault or Managed HSM, its address, and the credentials.
pub struct AzureConfig {
    /// Azure does not document how long reads may be old; 10 s and 3 equal reads are Keyplane's defaults. [`Settings::deletion_days`] is 7
    /// to 90, and has to be what was chosen when the vault was made.
    // contract: azure.delete.soft
    pub settings: Settings,
    /// The vault's own name, as in `corp-vault.vault.azure.net` or `corp-hsm.managedhsm.azure.net`. The server has to prove it by TLS,
    /// and keys of any other vault are refused ([`keyplane_port::Cause::WrongHome`]).
    pub vault: String,
    /// A key vault has to be a Premium one, because others have no HSM keys.
    pub kind: VaultKind,
    /// The address at which the vault answers, as `host:port`: a private endpoint, or an emulator. `None`: the name service's.
    pub address: Option<String>,
    /// The login service that gives tokens, as `https://host[:port]`; `None`: Microsoft's own, of the vault's cloud.
    pub authority: Option<String>,
    pub credentials: Credentials,
    /// Root certificates in PEM for a Managed HSM's attestations of its key exchange keys: those on the site of the HSMs' manufacturer.
    /// `None`: an attestation has to be there, but is not checked. Not for a Key Vault, which attests nothing.
    pub attestation_roots: Option<Vec<u8>>,
}

pub enum Credentials {
    /// A service principal with a client secret.
    ClientSecret {
        /// The directory's id.
        tenant: String,
        /// The application's client id, which is no secret.
        client: String,
        /// Read when the client is made, and again for each of Azure's tokens.
        secret: SecretSource,
    },
    /// A service principal that trusts the issuer of a token in a file, as on Kubernetes.
    WorkloadIdentity {
        /// The directory's id.
        tenant: String,
        client: String,
        /// The file's name, which is approved (rule 11).
        token_file: PathBuf,
        /// Reads that file: when the client is made, and again for each of Azure's tokens.
        token: SecretSource,
    },
    /// The machine's managed identity.
    ManagedIdentity {
        /// The client id of a user-assigned identity; `None`: the system-assigned one.
        client: Option<String>,
        /// The address of the machine's metadata service, as `host:port`, for emulators; `None`: the one that Azure sets.
        address: Option<String>,
    },
}

impl Credentials {
    /// The approved part (rule 11): the kind of source, and the identity.
    fn source(&self) -> String {
        match self {
            Self::ClientSecret { tenant, client, .. } => format!("client-secret {tenant} {client}"),
            Self::WorkloadIdentity { tenant, client, token_file, token: _ } => {
                format!("workload-identity {tenant} {client} {}", token_file.display())
            }
            Self::ManagedIdentity { client, address } => {
                format!("managed-identity {} {}", client.as_deref().unwrap_or("-"), address.as_deref().unwrap_or("-"))
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let secret = match self {
            Self::ClientSecret { secret, .. } => Some(secret),
            Self::WorkloadIdentity { token, .. } => Some(token),
            Self::ManagedIdentity { .. } => None,
        };
        if let Some(secret) = secret
            && secret.read().map_err(|error| ConfigError::Secret(error.to_string()))?.expose_secret().is_empty()
        {
            return Err(ConfigError::Credentials("the secret is empty"));
        }
        // The tenant becomes part of a path, so the SDK's own rule is checked here.
        let is_tenant = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let (tenant, client) = match self {
            Self::ClientSecret { tenant, client, .. } | Self::WorkloadIdentity { tenant, client, .. } => (Some(tenant), Some(client)),
            Self::ManagedIdentity { client, address } => {
                if let Some(address) = address {
                    check_address(address).map_err(|reason| ConfigError::Address { address: cut(address), reason })?;
                }
                (None, client.as_ref())
            }
        };
        if tenant.is_some_and(|tenant| tenant.is_empty() || tenant.len() > MAX_TEXT || !is_tenant(tenant)) {
            return Err(ConfigError::Credentials("the tenant is written with letters, digits, `.` and `-`"));
        }
        if client.is_some_and(|client| client.is_empty() || client.len() > MAX_TEXT) {
            return Err(ConfigError::Credentials("the client's id is empty or too long"));
        }
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.source())
    }
}

/// Why a configuration cannot be used. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("`{vault}` is no vault: {reason}")]
    Vault {
        /// Cut to 80 characters.
        vault: String,
        reason: &'static str,
    },
    /// The vault's name is one of another kind than the configured one.
    #[error("`{vault}` is a {is}, and the destination is to be a {given}")]
    Kind {
        vault: String,
        /// The kind that the suffix of the name says.
        is: VaultKind,
        given: VaultKind,
    },
    #[error("`{address}` is no address: {reason}")]
    Address {
        /// Cut to 80 characters.
        address: String,
        reason: &'static str,
    },
    /// The login service cannot be used.
    #[error("`{authority}` is nowhere to log in: {reason}")]
    Authority {
        /// Cut to 80 characters.
        authority: String,
        reason: &'static str,
    },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the credentials are not usable: {0}")]
    Credentials(&'static str),
    #[error("the credentials are not usable: {0}")]
    Secret(String),
    /// The SDK refuses the configuration, although it passed the checks here. The text is the SDK's.
    #[error("the client does not take the configuration: {0}")]
    Client(String),
}

pub(crate) struct Checked {
    pub(crate) destination: Destination,
    /// The host name of the resource that tokens are requested for.
    pub(crate) resource: &'static str,
    /// The URL of the login service.
    pub(crate) authority: String,
    /// For TLS.
    pub(crate) roots: RootCertStore,
    /// `None`: attestations are not checked.
    pub(crate) attestation_roots: Option<Roots>,
}

impl AzureConfig {
    /// Checks the configuration, and derives the destination and its capabilities from it.
    pub(crate) fn check(&self) -> Result<Checked, ConfigError> {
        let (resource, is, login) = vault::named(&self.vault).map_err(|reason| ConfigError::Vault { vault: cut(&self.vault), reason })?;
        if is != self.kind {
            return Err(ConfigError::Kind { vault: self.vault.clone(), is, given: self.kind });
        }
        if let Some(address) = &self.address {
            check_address(address).map_err(|reason| ConfigError::Address { address: cut(address), reason })?;
        }
        let authority = self.authority.as_deref().unwrap_or(login);
        check_authority(authority).map_err(|reason| ConfigError::Authority { authority: cut(authority), reason })?;
        self.credentials.check()?;
        // contract: azure.delete.soft
        self.settings.check(7..=90)?;
        let roots = self.settings.trusted(true)?;
        let attestation_roots = match (&self.attestation_roots, self.kind) {
            (Some(_), VaultKind::KeyVault) => return Err(SettingsError::AttestationRoots("a Key Vault attests nothing").into()),
            (Some(pem), VaultKind::ManagedHsm) => Some(Roots::read(pem)?),
            (None, _) => None,
        };
        Ok(Checked { destination: self.destination()?, resource, authority: authority.to_owned(), roots, attestation_roots })
    }

    fn destination(&self) -> Result<Destination, ConfigError> {
        Ok(Destination {
            name: self.settings.name.clone(),
            cloud: CloudKind::Azure,
            home: self.vault.clone(),
            fingerprint: self.fingerprint(),
            capabilities: Capabilities {
                algorithms: vault::algorithms(self.kind)
                    .into_iter()
                    .map(|algorithm| (algorithm, vec![WrapScheme::RsaAesKeyWrapSha1]))
                    .collect(),
                generations: true,
                protection: Protection::Hsm,
                creation: Creation::Imported,
                prepares: true,
                consistency: self.settings.consistency,
                call_timeout: self.settings.call_timeout,
                equal_reads: self.settings.equal_reads,
                quotas: self.settings.quotas(operation::published_quotas(self.kind))?,
                draws: operation::draws(self.kind),
                deletion_days: self.settings.deletion_days,
            },
        })
    }

    /// The digest of what is approved (rule 11): vault, address, CA, authority, source of credentials and attestation roots.
    fn fingerprint(&self) -> Digest {
        #[derive(Serialize)]
        struct Approved<'a> {
            cloud: CloudKind,
            vault: &'a str,
            kind: VaultKind,
            address: Option<&'a str>,
            ca: Option<Digest>,
            authority: Option<&'a str>,
            credentials: String,
            attestation_roots: Option<Digest>,
        }
        fingerprint(&Approved {
            cloud: CloudKind::Azure,
            vault: &self.vault,
            kind: self.kind,
            address: self.address.as_deref(),
            ca: self.settings.ca.as_deref().map(Digest::of),
            authority: self.authority.as_deref(),
            credentials: self.credentials.source(),
            attestation_roots: self.attestation_roots.as_deref().map(Digest::of),
        })
    }
}

/// Checks that a text is `host:port`.
fn check_address(address: &str) -> Result<(), &'static str> {
    let read: Authority = address.parse().map_err(|_| "it has to be written as `host:port`")?;
    if address.len() > MAX_TEXT || address.contains('@') || read.port_u16().is_none_or(|port| port == 0) || read.host().is_empty() {
        return Err("it has to be written as `host:port`");
    }
    Ok(())
}

/// Checks that a login service is reached over TLS.
///
/// INVARIANT: a secret is sent only to a server that proves its name.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    match check_endpoint(authority)?.scheme_str() {
        Some("https") => Ok(()),
        _ => Err("it has to begin with `https://`"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use keyplane_destination::Secret;
    use keyplane_model::{Algorithm, Quota, Span};

    use super::*;

    fn config() -> AzureConfig {
        AzureConfig {
            settings: Settings {
                name: "prod".parse().unwrap(),
                installation: "11111111-0000-8000-8000-000000000000".parse().unwrap(),
                ca: Some(authority_pem()),
                call_timeout: Span::seconds(10),
                consistency: Span::seconds(10),
                equal_reads: 3,
                deletion_days: 90,
                quotas: BTreeMap::new(),
            },
            vault: "corp-vault.vault.azure.net".into(),
            kind: VaultKind::KeyVault,
            address: None,
            authority: None,
            credentials: Credentials::ManagedIdentity { client: None, address: None },
            attestation_roots: None,
        }
    }

    fn authority_pem() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem().into_bytes()
    }

    fn fixed(secret: &str) -> SecretSource {
        let secret = secret.to_owned();
        SecretSource::new(move || Ok(Secret::new(secret.as_str().into())))
    }

    fn secret(tenant: &str, client: &str, secret: &str) -> Credentials {
        Credentials::ClientSecret { tenant: tenant.into(), client: client.into(), secret: fixed(secret) }
    }

    fn refusal(change: impl FnOnce(&mut AzureConfig)) -> String {
        let mut config = config();
        change(&mut config);
        match config.check() {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        assert!(config().check().is_ok());
        for vault in [
            "",
            "corp-vault",
            "corp-vault.vault.azure.com",
            "corp-vault.vault.azure.net.evil.example",
            "evil.example/.vault.azure.net",
            "Corp.vault.azure.net",
            "1corp.vault.azure.net",
            "a.b.vault.azure.net",
            "ab.vault.azure.net",
            "https://corp-vault.vault.azure.net",
            "corp-vault.vault.azure.net:8443",
        ] {
            assert!(refusal(|c| c.vault = vault.into()).contains("is no vault"), "{vault:?}");
        }
        assert!(refusal(|c| c.kind = VaultKind::ManagedHsm).contains("is a Key Vault"));
        assert!(refusal(|c| c.vault = "corp-hsm.managedhsm.azure.net".into()).contains("is a Managed HSM"));
        for address in ["", "127.0.0.1", "127.0.0.1:0", "user@host:1", "https://host:1", "host:99999"] {
            assert!(refusal(|c| c.address = Some(address.into())).contains("host:port"), "{address:?}");
        }
        for authority in ["", "http://login.example", "login.example", "https://user@login.example", "https://login.example/path"] {
            assert!(refusal(|c| c.authority = Some(authority.into())).contains("nowhere to log in"), "{authority:?}");
        }
        assert!(refusal(|c| c.settings.deletion_days = 6).contains("7 to 90"));
        assert!(refusal(|c| c.settings.deletion_days = 91).contains("7 to 90"));
        assert!(refusal(|c| c.settings.equal_reads = 0).contains("at least 1"));
        assert!(refusal(|c| c.settings.ca = Some(b"not a certificate".to_vec())).contains("no certificate"));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(refusal(|c| c.settings.ca = Some(garbage)).contains("cannot be read"));
        assert!(refusal(|c| c.credentials = secret("tenant", "client", "")).contains("secret is empty"));
        assert!(refusal(|c| c.credentials = secret("", "client", "s")).contains("tenant"));
        assert!(refusal(|c| c.credentials = secret("a/../b", "client", "s")).contains("tenant"));
        assert!(refusal(|c| c.credentials = secret("tenant", "", "s")).contains("client"));
        let quota = |calls| Quota { calls, per: Span::seconds(1) };
        assert!(refusal(|c| assert!(c.settings.quotas.insert("createhsm".into(), quota(1)).is_none())).contains("CreateHsm, Operations"));
        assert!(refusal(|c| assert!(c.settings.quotas.insert("Operations".into(), quota(0)).is_none())).contains("`Operations`"));
    }

    #[test]
    fn the_destination_says_what_azure_takes_and_what_the_vault_allows() {
        let mut config = config();
        let raised = Quota { calls: 20, per: Span::seconds(10) };
        assert!(config.settings.quotas.insert("CreateHsm".into(), raised).is_none());
        let destination = config.check().map(|checked| checked.destination).unwrap();
        let capabilities = &destination.capabilities;
        assert_eq!((destination.cloud, destination.home.as_str()), (CloudKind::Azure, "corp-vault.vault.azure.net"));
        assert_eq!((capabilities.creation, capabilities.prepares, capabilities.generations), (Creation::Imported, true, true));
        assert_eq!(capabilities.quotas["CreateHsm"], raised);
        assert_eq!(capabilities.quotas["Operations"], Quota { calls: 2_000, per: Span::seconds(10) }, "the published one");
        assert!(!capabilities.algorithms.contains_key(&Algorithm::Aes256), "a key vault takes no AES keys");
        assert_eq!(capabilities.algorithms[&Algorithm::Rsa4096], [WrapScheme::RsaAesKeyWrapSha1]);
        assert_eq!(capabilities.algorithms.len(), 5);

        config.vault = "corp-hsm.managedhsm.azure.net".into();
        config.kind = VaultKind::ManagedHsm;
        let capabilities = config.check().map(|checked| checked.destination.capabilities).unwrap();
        assert_eq!(capabilities.algorithms[&Algorithm::Aes256], [WrapScheme::RsaAesKeyWrapSha1]);
        assert!(!capabilities.algorithms.contains_key(&Algorithm::HmacSha256), "nobody imports HMAC keys");
    }

    #[test]
    fn every_cloud_has_its_own_login() {
        for (vault, kind, resource, login) in [
            ("corp.vault.azure.net", VaultKind::KeyVault, "vault.azure.net", "https://login.microsoftonline.com"),
            ("corp.managedhsm.azure.net", VaultKind::ManagedHsm, "managedhsm.azure.net", "https://login.microsoftonline.com"),
            ("corp.vault.azure.cn", VaultKind::KeyVault, "vault.azure.cn", "https://login.partner.microsoftonline.cn"),
            ("corp.vault.usgovcloudapi.net", VaultKind::KeyVault, "vault.usgovcloudapi.net", "https://login.microsoftonline.us"),
        ] {
            let mut config = config();
            (config.vault, config.kind) = (vault.into(), kind);
            let checked = config.check().map(|checked| (checked.resource, checked.authority)).unwrap();
            assert_eq!(checked, (resource, login.to_owned()), "{vault}");
        }
    }

    #[test]
    fn the_fingerprint_changes_with_what_is_approved_and_with_nothing_else() {
        let fingerprint = |change: fn(&mut AzureConfig)| {
            let mut config = config();
            config.settings.ca = None;
            change(&mut config);
            config.fingerprint()
        };
        let base = fingerprint(|_| {});
        let others = [
            fingerprint(|c| c.vault = "other.vault.azure.net".into()),
            fingerprint(|c| c.kind = VaultKind::ManagedHsm),
            fingerprint(|c| c.address = Some("127.0.0.1:1".into())),
            fingerprint(|c| c.authority = Some("https://login.example".into())),
            fingerprint(|c| c.settings.ca = Some(Vec::new())),
            fingerprint(|c| c.attestation_roots = Some(Vec::new())),
            fingerprint(|c| c.credentials = Credentials::ManagedIdentity { client: Some("one".into()), address: None }),
            fingerprint(|c| c.credentials = Credentials::ManagedIdentity { client: None, address: Some("127.0.0.1:1".into()) }),
            fingerprint(|c| c.credentials = secret("tenant", "client", "s")),
            fingerprint(|c| c.credentials = secret("tenant", "other", "s")),
            fingerprint(|c| {
                let token = fixed("token");
                c.credentials =
                    Credentials::WorkloadIdentity { tenant: "tenant".into(), client: "client".into(), token_file: "/token".into(), token };
            }),
        ];
        let distinct: BTreeSet<Digest> = others.into_iter().chain([base]).collect();
        assert_eq!(distinct.len(), 12);
        assert_eq!(fingerprint(|c| c.settings.equal_reads = 7), base);
        assert_eq!(
            fingerprint(|c| c.credentials = secret("tenant", "client", "one")),
            fingerprint(|c| c.credentials = secret("tenant", "client", "two")),
            "a rotated secret is the same source"
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        assert!(!format!("{:?}", secret("tenant", "client", "hunter2")).contains("hunter2"));
    }
}
