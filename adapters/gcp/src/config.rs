//! The configuration of a destination at Google Cloud, checked before anything is sent.

use std::fmt;

use google_cloudkms1::yup_oauth2::ServiceAccountKey;
use google_cloudkms1::yup_oauth2::external_account::{CredentialSource, ExternalAccountSecret};
use keyplane_destination::{
    Roots, Secret, SecretSource, Settings, SettingsError, check_endpoint, cut, endpoint_has_tls, fingerprint, has_tls,
};
use keyplane_model::{Algorithm, Capabilities, CloudKind, Creation, Destination, Digest, Protection};
use serde::Serialize;

use crate::kinds;
use crate::names::{self, Ring};
use crate::operation;

/// The endpoint of Cloud KMS, unless the configuration sets another one.
const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// The metadata server, from which a machine at Google Cloud gets tokens. It speaks plain HTTP and is reachable from that machine alone.
const METADATA: &str = "http://metadata.google.internal";

/// The longest project id or location that is accepted, in bytes. A project id has at most 30 characters and, in old organisations, a
/// domain before them.
const MAX_WORD: usize = 63;

/// The largest credential file that is read, in bytes.
const MAX_CREDENTIALS: usize = 1 << 16;

/// A key ring of Google Cloud, the endpoint of KMS, and the credentials.
pub struct GcpConfig {
    /// [`Settings::deletion_days`] is 1 to 120, and holds for keys that are made from now on. [`Settings::consistency`] is about reads
    /// only: a disabled or former primary version may stay usable for hours longer.
    // contract: gcp.consistency
    pub settings: Settings,
    /// The project's id (not its number).
    pub project: String,
    /// The location, as in `europe-west3`.
    pub location: String,
    /// The key ring's id. It has to exist: a key ring can never be deleted, so Keyplane makes none.
    pub key_ring: String,
    /// The protection level of the keys that we make. Keys of another level are not accepted.
    pub protection: Protection,
    /// The length of import jobs' RSA keys, in bits: 4096, or 3072 for an HSM that cannot wrap under longer ones. It is not part of what is
    /// approved (rule 11): both are strong enough.
    pub import_key_size: u32,
    /// The endpoint of KMS, as `https://host[:port]`; `http://` only on this machine. `None`: Google's own.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// Root certificates in PEM for the HSMs' attestations. A signature has to hold under each of them: the manufacturer's and Google's, if
    /// both are given. `None`: attestations are not checked, and prove nothing.
    pub attestation_roots: Option<Vec<u8>>,
}

pub enum Credentials {
    /// The contents of a service account's JSON key file. Read for each access token.
    ServiceAccount(SecretSource),
    /// The machine's metadata server, for the machine's own service account.
    Metadata {
        /// The metadata server's endpoint, as `http://host[:port]`; `None`: Google's own, which only the machine itself can reach.
        endpoint: Option<String>,
    },
    /// The contents of an external account's JSON file (workload identity federation), whose own token comes from a file or a URL. Read for
    /// each access token.
    ExternalAccount(SecretSource),
    /// An access token that was fetched elsewhere. It is not renewed.
    Token(Secret),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceAccount(_) => "Credentials(service account)",
            Self::Metadata { .. } => "Credentials(metadata server)",
            Self::ExternalAccount(_) => "Credentials(external account)",
            Self::Token(_) => "Credentials(token)",
        })
    }
}

/// Why a configuration cannot be used. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("`{0}` is no Google Cloud project: its id, not its number, as in `acme-prod`")]
    Project(String),
    #[error("`{0}` is no Google Cloud location: lower-case letters, digits and `-`, as in `europe-west3`")]
    Location(String),
    #[error("`{0}` is no key ring: 1 to 63 letters, digits, `_` and `-`")]
    KeyRing(String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the credentials are not usable: {0}")]
    Credentials(&'static str),
    #[error("the credentials are not usable: {0}")]
    Secret(String),
}

pub(crate) struct Checked {
    pub(crate) settings: Settings,
    pub(crate) destination: Destination,
    pub(crate) ring: Ring,
    /// With the `/` at the end that the client library needs.
    pub(crate) endpoint: String,
    pub(crate) source: Source,
    /// Whether KMS or the source of tokens is reached without TLS.
    pub(crate) plain: bool,
    pub(crate) roots: Option<Roots>,
}

/// The source of the access tokens: [`Credentials`] after checks.
pub(crate) enum Source {
    /// A file of an account.
    Account(AccountFile),
    /// The URL for tokens.
    Metadata(String),
    Token(Secret),
}

impl Source {
    /// The approved part (rule 11): the kind of source, its account and its servers. A new key of the same account is the same source.
    fn approved(&self) -> String {
        match self {
            Self::Account(file) => file.approved.clone(),
            Self::Metadata(url) => format!("metadata {url}"),
            Self::Token(_) => "token".to_owned(),
        }
    }
}

/// A file with an account, which is read for each token, so that its key is in memory no longer than that.
pub(crate) struct AccountFile {
    kind: AccountKind,
    file: SecretSource,
    /// [`Source::approved`], from the file as it was first read.
    approved: String,
}

#[derive(Clone, Copy)]
enum AccountKind {
    Service,
    External,
}

/// The contents of an account's file.
pub(crate) enum Account {
    Service(Box<ServiceAccountKey>),
    External(Box<ExternalAccountSecret>),
}

impl AccountFile {
    /// Reads and checks the file. Sets `plain` if tokens come from a source without TLS.
    fn new(kind: AccountKind, file: SecretSource, plain: &mut bool) -> Result<Self, ConfigError> {
        let approved = Account::read(kind, &file, plain)?.approved();
        Ok(Self { kind, file, approved })
    }

    /// Reads the file again.
    ///
    /// INVARIANT: it names the account and the servers that were approved.
    pub(crate) fn read(&self) -> Result<Account, ConfigError> {
        // Whether a server is reached without TLS follows from its URL, which is approved, or is a matter of the machine alone.
        let account = Account::read(self.kind, &self.file, &mut false)?;
        if account.approved() == self.approved {
            Ok(account)
        } else {
            Err(ConfigError::Credentials("their file has changed, and names another account or other servers"))
        }
    }
}

impl Account {
    fn read(kind: AccountKind, file: &SecretSource, plain: &mut bool) -> Result<Self, ConfigError> {
        let secret = file.read().map_err(|error| ConfigError::Secret(error.to_string()))?;
        readable(&secret)?;
        match kind {
            AccountKind::Service => Ok(Self::Service(Box::new(service_account(&secret, plain)?))),
            AccountKind::External => Ok(Self::External(Box::new(external_account(&secret, plain)?))),
        }
    }

    fn approved(&self) -> String {
        match self {
            Self::Service(key) => format!("service-account {} {}", key.client_email, key.token_uri),
            Self::External(account) => format!(
                "external-account {} {} {}",
                account.audience,
                account.token_url,
                account.service_account_impersonation_url.as_deref().unwrap_or_default()
            ),
        }
    }
}

impl GcpConfig {
    /// Checks the configuration, and derives the destination and its capabilities from it.
    pub(crate) fn check(self) -> Result<Checked, ConfigError> {
        let word = |text: &str, more: &[u8]| {
            (1..=MAX_WORD).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
        };
        if !word(&self.project, b"-.:") || self.project.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ConfigError::Project(cut(&self.project)));
        }
        if !word(&self.location, b"-") {
            return Err(ConfigError::Location(cut(&self.location)));
        }
        if names::check_name(&self.key_ring).is_err() {
            return Err(ConfigError::KeyRing(cut(&self.key_ring)));
        }
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT);
        let mut plain = !endpoint_has_tls(endpoint)?;
        // From 24 hours to 120 days (the API's reference, `destroyScheduledDuration`).
        self.settings.check(1..=120)?;
        if !kinds::SIZES.contains(&self.import_key_size) {
            let range = kinds::SIZES.map(|bits| bits.to_string()).join(" or ");
            return Err(SettingsError::Range { field: "import_key_size", given: self.import_key_size, range }.into());
        }
        let roots = self.attestation_roots.as_deref().map(Roots::read).transpose()?;
        let destination = self.destination(Digest::of(&[]))?;
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        let ring = Ring::new(&self.project, &self.location, &self.key_ring);
        let source = source(self.credentials, &mut plain)?;
        let fingerprint = fingerprint(&Approved {
            cloud: CloudKind::Gcp,
            ring: ring.name(),
            protection: self.protection,
            endpoint: self.endpoint.as_deref(),
            ca: self.settings.ca.as_deref().map(Digest::of),
            attestation_roots: self.attestation_roots.as_deref().map(Digest::of),
            credentials: source.approved(),
        });
        let destination = Destination { fingerprint, ..destination };
        Ok(Checked { settings: self.settings, destination, ring, endpoint, source, plain, roots })
    }

    fn destination(&self, fingerprint: Digest) -> Result<Destination, ConfigError> {
        Ok(Destination {
            name: self.settings.name.clone(),
            cloud: CloudKind::Gcp,
            // The quota scope: all key rings of a project and location share their quotas.
            home: format!("{}/{}", self.project, self.location),
            fingerprint,
            capabilities: Capabilities {
                algorithms: Algorithm::ALL.map(|algorithm| (algorithm, kinds::schemes(algorithm))).into(),
                generations: true,
                protection: self.protection,
                creation: Creation::Named,
                prepares: true,
                consistency: self.settings.consistency,
                call_timeout: self.settings.call_timeout,
                equal_reads: self.settings.equal_reads,
                quotas: self.settings.quotas(operation::published_quotas())?,
                draws: operation::draws(),
                deletion_days: self.settings.deletion_days,
            },
        })
    }
}

/// What is approved (rule 11). Any change of it changes the destination's fingerprint.
#[derive(Serialize)]
struct Approved<'a> {
    cloud: CloudKind,
    ring: &'a str,
    protection: Protection,
    endpoint: Option<&'a str>,
    ca: Option<Digest>,
    attestation_roots: Option<Digest>,
    credentials: String,
}

/// Checks credentials. Sets `plain` if tokens come from a source without TLS.
fn source(credentials: Credentials, plain: &mut bool) -> Result<Source, ConfigError> {
    match credentials {
        Credentials::Token(secret) => {
            readable(&secret)?;
            if !secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConfigError::Credentials("the token has characters that no token has"));
            }
            Ok(Source::Token(secret))
        }
        Credentials::ServiceAccount(file) => AccountFile::new(AccountKind::Service, file, plain).map(Source::Account),
        Credentials::ExternalAccount(file) => AccountFile::new(AccountKind::External, file, plain).map(Source::Account),
        Credentials::Metadata { endpoint } => {
            *plain = true;
            let endpoint = match endpoint {
                None => METADATA.to_owned(),
                Some(endpoint) => {
                    check_endpoint(&endpoint).map_err(|reason| SettingsError::Endpoint { endpoint: cut(&endpoint), reason })?;
                    endpoint.trim_end_matches('/').to_owned()
                }
            };
            // If this variable names a key file, the client library silently uses that: another source than was approved.
            if std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").is_some() {
                return Err(ConfigError::Credentials(
                    "the variable `GOOGLE_APPLICATION_CREDENTIALS` names another source than the metadata server",
                ));
            }
            Ok(Source::Metadata(format!("{endpoint}/computeMetadata/v1/instance/service-accounts/default/token")))
        }
    }
}

fn readable(secret: &Secret) -> Result<(), ConfigError> {
    match secret.expose_secret().len() {
        0 => Err(ConfigError::Credentials("they are empty")),
        length if length > MAX_CREDENTIALS => Err(ConfigError::Credentials("they are longer than 64 KiB")),
        _ => Ok(()),
    }
}

fn service_account(secret: &Secret, plain: &mut bool) -> Result<ServiceAccountKey, ConfigError> {
    // The parser's own message is dropped, because it could quote the secret.
    let key: ServiceAccountKey = serde_json::from_str(secret.expose_secret())
        .map_err(|_| ConfigError::Credentials("they are not the JSON key file of a service account"))?;
    if key.key_type.as_deref().is_some_and(|kind| kind != "service_account") {
        return Err(ConfigError::Credentials("the JSON file is of another type than `service_account`"));
    }
    *plain |= !has_tls(&key.token_uri)?;
    Ok(key)
}

fn external_account(secret: &Secret, plain: &mut bool) -> Result<ExternalAccountSecret, ConfigError> {
    let account: ExternalAccountSecret = serde_json::from_str(secret.expose_secret()).map_err(|_| {
        ConfigError::Credentials("they are not the JSON file of an external account whose token comes from a file or a URL")
    })?;
    if account.key_type != "external_account" {
        return Err(ConfigError::Credentials("the JSON file is of another type than `external_account`"));
    }
    *plain |= !has_tls(&account.token_url)?;
    if let Some(url) = &account.service_account_impersonation_url {
        *plain |= !has_tls(url)?;
    }
    // The source of the machine's own token may have no TLS: at most clouds it is a link-local address.
    if let CredentialSource::Url { url, headers, .. } = &account.credential_source {
        *plain |= url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http"));
        let is_header =
            |(name, value): (&String, &String)| name.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok();
        let headers = headers.iter().flatten();
        if url.parse::<http::Uri>().is_err() || !headers.into_iter().all(is_header) {
            return Err(ConfigError::Credentials("the URL or the headers of the external account's own token cannot be sent"));
        }
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use keyplane_model::{Quota, Span, WrapScheme};

    use super::*;

    fn config() -> GcpConfig {
        GcpConfig {
            settings: Settings {
                name: "prod".parse().unwrap(),
                installation: "11111111-0000-8000-8000-000000000000".parse().unwrap(),
                ca: None,
                call_timeout: Span::seconds(10),
                consistency: Span::seconds(10),
                equal_reads: 2,
                deletion_days: 30,
                quotas: BTreeMap::new(),
            },
            project: "acme-prod".into(),
            location: "europe-west3".into(),
            key_ring: "payments".into(),
            protection: Protection::Hsm,
            import_key_size: 4_096,
            endpoint: None,
            credentials: token("ya29.token"),
            attestation_roots: None,
        }
    }

    fn token(text: &str) -> Credentials {
        Credentials::Token(Secret::new(text.into()))
    }

    fn service_account(email: &str, token_uri: &str) -> Credentials {
        let text = format!(r#"{{"type":"service_account","client_email":"{email}","private_key":"hunter2","token_uri":"{token_uri}"}}"#);
        Credentials::ServiceAccount(fixed(text))
    }

    fn external_account(source: &str) -> Credentials {
        let text = format!(
            r#"{{"type":"external_account","audience":"//iam","subject_token_type":"urn:ietf:params:oauth:token-type:jwt",
                "token_url":"https://sts.example/v1/token","credential_source":{source}}}"#
        );
        Credentials::ExternalAccount(fixed(text))
    }

    fn fixed(text: impl Into<String>) -> SecretSource {
        let text = text.into();
        SecretSource::new(move || Ok(Secret::new(text.as_str().into())))
    }

    fn refusal(change: impl FnOnce(&mut GcpConfig)) -> String {
        let mut config = config();
        change(&mut config);
        match config.check() {
            Ok(_) => unreachable!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        assert!(config().check().is_ok());
        for project in ["", "Acme", "acme/x", "123456789012", &"a".repeat(64)] {
            assert!(refusal(|c| c.project = project.into()).contains("project"), "{project:?}");
        }
        assert!(refusal(|c| c.location = "europe_west3".into()).contains("`europe_west3`"));
        assert!(refusal(|c| c.location = "x/../y".into()).contains("location"));
        assert!(refusal(|c| c.key_ring = "a/b".into()).contains("key ring"));
        for bits in [0, 2_048, 8_192] {
            assert!(refusal(|c| c.import_key_size = bits).contains("it has to be 3072 or 4096"));
        }
        assert!(refusal(|c| c.settings.deletion_days = 0).contains("1 to 120"));
        assert!(refusal(|c| c.settings.deletion_days = 121).contains("1 to 120"));
        assert!(refusal(|c| c.settings.equal_reads = 0).contains("at least 1"));
        assert!(refusal(|c| c.settings.ca = Some(b"not a certificate".to_vec())).contains("no certificate"));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(refusal(|c| c.settings.ca = Some(garbage.clone())).contains("cannot be read"));
        assert!(refusal(|c| c.attestation_roots = Some(garbage.clone())).contains("attestation roots"));
        assert!(refusal(|c| c.attestation_roots = Some(Vec::new())).contains("no certificate"));
        let quota = |calls| Quota { calls, per: Span::seconds(60) };
        assert!(refusal(|c| assert!(c.settings.quotas.insert("read".into(), quota(1)).is_none())).contains("Read, Write"));
        assert!(refusal(|c| assert!(c.settings.quotas.insert("Read".into(), quota(0)).is_none())).contains("`Read`"));
    }

    #[test]
    fn credentials_that_cannot_work_are_refused_and_never_shown() {
        for (credentials, word) in [
            (token(""), "empty"),
            (token("two\nlines"), "no token has"),
            (Credentials::ServiceAccount(fixed("hunter2")), "key file"),
            (Credentials::ServiceAccount(fixed(r#"{"private_key":"hunter2"}"#)), "key file"),
            (service_account("a@b", "http://tokens.example/token"), "without TLS"),
            (service_account("a@b", "tokens"), "no URL"),
            (Credentials::ExternalAccount(fixed("hunter2")), "external account"),
            (external_account(r#"{"environment_id":"aws1","url":"http://169.254.169.254/"}"#), "external account"),
            (external_account(r#"{"executable":{"command":"/bin/hunter2"}}"#), "external account"),
            (external_account(r#"{"url":"http://x/","headers":{"a b":"c"},"format":{"type":"text"}}"#), "headers"),
            (Credentials::Metadata { endpoint: Some("http://metadata/path".into()) }, "behind the port"),
        ] {
            let mut plain = false;
            let Err(error) = source(credentials, &mut plain) else { unreachable!("{word}: it was taken") };
            assert!(error.to_string().contains(word), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(!format!("{:?}", service_account("a@b", "https://tokens")).contains("hunter2"));
    }

    #[test]
    fn without_tls_only_what_has_none_is_reached() {
        for (credentials, without_tls) in [
            (token("t"), false),
            (service_account("a@b", "https://oauth2.googleapis.com/token"), false),
            (service_account("a@b", "http://127.0.0.1:8080/token"), true),
            (external_account(r#"{"file":"/var/run/token"}"#), false),
            (external_account(r#"{"url":"http://169.254.169.254/token","format":{"type":"text"}}"#), true),
            (Credentials::Metadata { endpoint: None }, true),
        ] {
            let mut plain = false;
            assert!(source(credentials, &mut plain).is_ok());
            assert_eq!(plain, without_tls);
        }
    }

    #[test]
    fn the_destination_says_what_google_cloud_takes_and_what_the_project_allows() {
        let mut config = config();
        let raised = Quota { calls: 300, per: Span::seconds(60) };
        assert!(config.settings.quotas.insert("Write".into(), raised).is_none());
        let destination = config.check().map(|checked| checked.destination).unwrap();
        let capabilities = &destination.capabilities;
        assert_eq!((destination.cloud, destination.home.as_str()), (CloudKind::Gcp, "acme-prod/europe-west3"));
        assert_eq!((capabilities.creation, capabilities.prepares, capabilities.generations), (Creation::Named, true, true));
        assert_eq!((capabilities.protection, capabilities.deletion_days), (Protection::Hsm, 30));
        assert_eq!(capabilities.algorithms.len(), Algorithm::ALL.len());
        assert_eq!(capabilities.algorithms[&Algorithm::Aes256][0], WrapScheme::RsaOaepSha256);
        assert_eq!(capabilities.algorithms[&Algorithm::Rsa3072], [WrapScheme::RsaAesKeyWrapSha256]);
        assert_eq!((capabilities.quotas["Write"], capabilities.quotas["Read"].calls), (raised, 600));
    }

    #[test]
    fn the_fingerprint_changes_with_what_is_approved_and_with_nothing_else() {
        let fingerprint = |change: &dyn Fn(&mut GcpConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().map(|checked| checked.destination.fingerprint).unwrap()
        };
        let certificate = || rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem().into_bytes();
        let base = fingerprint(&|_| {});
        let others = [
            fingerprint(&|c| c.project = "acme-dev".into()),
            fingerprint(&|c| c.location = "europe-west4".into()),
            fingerprint(&|c| c.key_ring = "other".into()),
            fingerprint(&|c| c.protection = Protection::Software),
            fingerprint(&|c| c.endpoint = Some("https://kms.example".into())),
            fingerprint(&|c| c.settings.ca = Some(certificate())),
            fingerprint(&|c| c.attestation_roots = Some(certificate())),
            fingerprint(&|c| c.credentials = service_account("one@acme", "https://t/")),
            fingerprint(&|c| c.credentials = service_account("two@acme", "https://t/")),
            fingerprint(&|c| c.credentials = service_account("one@acme", "https://u/")),
            fingerprint(&|c| c.credentials = Credentials::Metadata { endpoint: None }),
            fingerprint(&|c| c.credentials = external_account(r#"{"file":"/t"}"#)),
        ];
        let distinct: BTreeSet<Digest> = others.into_iter().chain([base]).collect();
        assert_eq!(distinct.len(), 13);
        assert_eq!(fingerprint(&|c| c.settings.equal_reads = 7), base);
        assert_eq!(fingerprint(&|c| c.import_key_size = 3_072), base, "it is the same destination's key");
        assert_eq!(fingerprint(&|c| c.credentials = token("another")), base, "a new token is the same source");
    }
}
