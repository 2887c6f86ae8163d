//! What a destination at Google Cloud is made of, checked before anything is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use google_cloudkms1::yup_oauth2::ServiceAccountKey;
use google_cloudkms1::yup_oauth2::external_account::{CredentialSource, ExternalAccountSecret};
use keyplane_model::{
    Algorithm, Capabilities, CloudKind, Creation, Destination, DestinationName, Digest, InstallationId, Protection, Quota, Span,
    canonical_bytes,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::attestation::Roots;
use crate::kinds;
use crate::names::{self, Ring};
use crate::operation;

/// Google's own endpoint.
const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// Where Google's own machines ask for tokens. Plain HTTP, and reachable from such a machine alone.
const METADATA: &str = "http://metadata.google.internal";

/// The largest file of certificates that we read, in bytes: some hundred of them.
const MAX_CA: usize = 1 << 20;

/// The longest project id or location that we take; a project's id has at most 30 characters and, in old organisations, a domain.
const MAX_WORD: usize = 63;

/// The longest endpoint that we take, in bytes.
const MAX_ENDPOINT: usize = 2_048;

/// The largest credential file that we read, in bytes.
const MAX_CREDENTIALS: usize = 1 << 16;

/// Which key ring, how to reach it, and as whom.
pub struct GcpConfig {
    /// The destination's name.
    pub name: DestinationName,
    /// The project's id (not its number).
    pub project: String,
    /// The location, as in `europe-west3`.
    pub location: String,
    /// The key ring's id. It has to exist: key rings cannot be deleted, so nobody makes one by the way.
    pub key_ring: String,
    /// How keys are protected there: what we make and accept.
    pub protection: Protection,
    /// Where KMS answers, as `https://host[:port]`; `http://` only on this machine. `None`: Google's own endpoint.
    pub endpoint: Option<String>,
    /// Certificates in PEM that alone are trusted, for KMS and for tokens; `None`: those that the operating system trusts. At
    /// most 1 MiB.
    pub ca: Option<Vec<u8>>,
    /// Where the access tokens come from.
    pub credentials: Credentials,
    /// Whose materials are ours.
    pub installation: InstallationId,
    /// Certificates in PEM that the HSMs' attestations are checked against: every one of them has to vouch for an attestation. `None`:
    /// attestations are not checked, and prove nothing.
    pub attestation_roots: Option<Vec<u8>>,
    /// The time-out of one call; kept by the engine, declared here.
    pub call_timeout: Span,
    /// How long a read may show the state before a mutation. Disabling and moving the primary can take hours to have their full
    /// effect; what is *read* follows sooner.
    pub consistency: Span,
    /// How many equal reads make a "no" conclusive; at least 1.
    pub equal_reads: u32,
    /// How many days a version that is to be destroyed waits, for keys made from now on: 1 to 120.
    pub deletion_days: u32,
    /// Quotas of this project that are not the published ones: `Read`, `Write`.
    pub quotas: BTreeMap<String, Quota>,
}

/// Where the access tokens come from.
pub enum Credentials {
    /// The JSON key file of a service account.
    ServiceAccount(Secret),
    /// The metadata server of the machine, for its own service account.
    Metadata {
        /// Where it answers, as `http://host[:port]`; `None`: Google's own address, which is this machine's alone.
        endpoint: Option<String>,
    },
    /// The JSON file of an external account (workload identity federation), whose own token comes from a file or a URL.
    ExternalAccount(Secret),
    /// An access token that somebody else fetched. It is never renewed.
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

/// A credential file or an access token: boxed, wiped when dropped, never printed.
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(secret: Box<str>) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself.
    pub(crate) fn expose_secret(&self) -> &str {
        &self.0
    }
}

/// A configuration that cannot be used; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The project is not written as one.
    #[error("`{0}` is no Google Cloud project: its id, not its number, as in `acme-prod`")]
    Project(String),
    /// The location is not written as one.
    #[error("`{0}` is no Google Cloud location: lower-case letters, digits and `-`, as in `europe-west3`")]
    Location(String),
    /// The key ring is not written as one.
    #[error("`{0}` is no key ring: 1 to 63 letters, digits, `_` and `-`")]
    KeyRing(String),
    /// An endpoint cannot be used.
    #[error("`{endpoint}` is no endpoint: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificates cannot be used.
    #[error("the private CA is not usable: {0}")]
    Ca(&'static str),
    /// There is no private CA, and the operating system has none either.
    #[error("the operating system trusts no certificate authority, and the destination names none of its own")]
    NoTrust,
    /// The roots of attestations cannot be used.
    #[error("the attestation roots are not usable: {0}")]
    AttestationRoots(&'static str),
    /// The credentials cannot be used.
    #[error("the credentials are not usable: {0}")]
    Credentials(&'static str),
    /// A number is out of its range.
    #[error("`{field}` is {given}; it has to be {range}")]
    Range {
        /// Which one.
        field: &'static str,
        /// What was given.
        given: u32,
        /// What it may be.
        range: &'static str,
    },
    /// A quota is named that we draw nothing from.
    #[error("`{given}` is no quota; there are: {known}")]
    Quota {
        /// What was given.
        given: String,
        /// The names.
        known: String,
    },
    /// A quota allows nothing.
    #[error("the quota `{0}` allows no call at all")]
    QuotaEmpty(String),
}

/// A configuration that was checked.
pub(crate) struct Checked {
    pub(crate) destination: Destination,
    pub(crate) ring: Ring,
    /// Where KMS answers, with the `/` that the client library wants at the end.
    pub(crate) endpoint: String,
    pub(crate) source: Source,
    /// Whether anything is reached without TLS.
    pub(crate) plain: bool,
    pub(crate) roots: Option<Roots>,
}

/// Where the access tokens come from, read and checked.
pub(crate) enum Source {
    ServiceAccount(Box<ServiceAccountKey>),
    /// The URL that gives tokens.
    Metadata(String),
    ExternalAccount(Box<ExternalAccountSecret>),
    Token(Secret),
}

impl Source {
    /// What of it is approved with the destination: the kind of source, and as whom or through whom. A new key of the same
    /// account is the same source.
    fn approved(&self) -> String {
        match self {
            Self::ServiceAccount(key) => format!("service-account {} {}", key.client_email, key.token_uri),
            Self::Metadata(url) => format!("metadata {url}"),
            Self::ExternalAccount(account) => format!(
                "external-account {} {} {}",
                account.audience,
                account.token_url,
                account.service_account_impersonation_url.as_deref().unwrap_or_default()
            ),
            Self::Token(_) => "token".to_owned(),
        }
    }
}

impl GcpConfig {
    /// Checks it, and works out what the destination is.
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
        let mut plain = !has_tls(endpoint)?;
        if let Some(ca) = &self.ca {
            check_ca(ca).map_err(ConfigError::Ca)?;
        }
        if self.equal_reads == 0 {
            return Err(ConfigError::Range { field: "equal_reads", given: 0, range: "at least 1" });
        }
        // From 24 hours to 120 days (the API's reference, `destroyScheduledDuration`).
        if !(1..=120).contains(&self.deletion_days) {
            return Err(ConfigError::Range { field: "deletion_days", given: self.deletion_days, range: "1 to 120" });
        }
        let roots = self.attestation_roots.as_deref().map(|pem| Roots::read(pem).map_err(ConfigError::AttestationRoots)).transpose()?;
        let destination = self.destination(Digest::of(&[]))?;
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        let ring = Ring::new(&self.project, &self.location, &self.key_ring);
        let source = source(self.credentials, &mut plain)?;
        let fingerprint = Approved {
            cloud: CloudKind::Gcp,
            ring: ring.name(),
            protection: self.protection,
            endpoint: self.endpoint.as_deref(),
            ca: self.ca.as_deref().map(Digest::of),
            attestation_roots: self.attestation_roots.as_deref().map(Digest::of),
            credentials: source.approved(),
        }
        .fingerprint();
        Ok(Checked { destination: Destination { fingerprint, ..destination }, ring, endpoint, source, plain, roots })
    }

    fn destination(&self, fingerprint: Digest) -> Result<Destination, ConfigError> {
        let mut quotas = operation::published_quotas();
        for (name, quota) in &self.quotas {
            if quota.calls == 0 || quota.per == Span::ZERO {
                return Err(ConfigError::QuotaEmpty(cut(name)));
            }
            let Some(published) = quotas.get_mut(name) else {
                let known = quotas.keys().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
                return Err(ConfigError::Quota { given: cut(name), known });
            };
            *published = *quota;
        }
        Ok(Destination {
            name: self.name.clone(),
            cloud: CloudKind::Gcp,
            // What Google Cloud counts requests by: all key rings of a location share it.
            home: format!("{}/{}", self.project, self.location),
            fingerprint,
            capabilities: Capabilities {
                algorithms: Algorithm::ALL.map(|algorithm| (algorithm, kinds::schemes(algorithm))).into(),
                generations: true,
                protection: self.protection,
                creation: Creation::Named,
                prepares: true,
                consistency: self.consistency,
                call_timeout: self.call_timeout,
                equal_reads: self.equal_reads,
                quotas,
                draws: operation::draws(),
                deletion_days: self.deletion_days,
            },
        })
    }
}

/// What was approved (rule 11): nothing of it changes without another fingerprint.
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

impl Approved<'_> {
    fn fingerprint(&self) -> Digest {
        // INVARIANT: strings and enums only, which is always JSON; were it not, nothing at all would be approved.
        Digest::of(&canonical_bytes(self).unwrap_or_default())
    }
}

/// Reads credentials; `plain` becomes true when a token comes from somewhere without TLS.
fn source(credentials: Credentials, plain: &mut bool) -> Result<Source, ConfigError> {
    let readable = |secret: &Secret| match secret.expose_secret().len() {
        0 => Err(ConfigError::Credentials("they are empty")),
        length if length > MAX_CREDENTIALS => Err(ConfigError::Credentials("they are longer than 64 KiB")),
        _ => Ok(()),
    };
    let mut token_endpoint = |url: &str| -> Result<(), ConfigError> {
        *plain |= !url_has_tls(url).map_err(|reason| ConfigError::Endpoint { endpoint: cut(url), reason })?;
        Ok(())
    };
    match credentials {
        Credentials::Token(secret) => {
            readable(&secret)?;
            if !secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConfigError::Credentials("the token has characters that no token has"));
            }
            Ok(Source::Token(secret))
        }
        Credentials::ServiceAccount(secret) => {
            readable(&secret)?;
            // What is wrong with it is not said in more words: the text is secret.
            let key: ServiceAccountKey = serde_json::from_str(secret.expose_secret())
                .map_err(|_| ConfigError::Credentials("they are not the JSON key file of a service account"))?;
            if key.key_type.as_deref().is_some_and(|kind| kind != "service_account") {
                return Err(ConfigError::Credentials("the JSON file is of another type than `service_account`"));
            }
            token_endpoint(&key.token_uri)?;
            Ok(Source::ServiceAccount(Box::new(key)))
        }
        Credentials::ExternalAccount(secret) => {
            readable(&secret)?;
            let account: ExternalAccountSecret = serde_json::from_str(secret.expose_secret()).map_err(|_| {
                ConfigError::Credentials("they are not the JSON file of an external account whose token comes from a file or a URL")
            })?;
            if account.key_type != "external_account" {
                return Err(ConfigError::Credentials("the JSON file is of another type than `external_account`"));
            }
            token_endpoint(&account.token_url)?;
            if let Some(url) = &account.service_account_impersonation_url {
                token_endpoint(url)?;
            }
            // The machine's own token source may be what it is: a link-local address without TLS at most clouds.
            if let CredentialSource::Url { url, headers, .. } = &account.credential_source {
                *plain |= url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http"));
                let is_header = |(name, value): (&String, &String)| {
                    name.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok()
                };
                let headers = headers.iter().flatten();
                if url.parse::<http::Uri>().is_err() || !headers.into_iter().all(is_header) {
                    return Err(ConfigError::Credentials("the URL or the headers of the external account's own token cannot be sent"));
                }
            }
            Ok(Source::ExternalAccount(Box::new(account)))
        }
        Credentials::Metadata { endpoint } => {
            *plain = true;
            let endpoint = match endpoint {
                None => METADATA.to_owned(),
                Some(endpoint) => {
                    parts(&endpoint).map_err(|reason| ConfigError::Endpoint { endpoint: cut(&endpoint), reason })?;
                    endpoint.trim_end_matches('/').to_owned()
                }
            };
            // The client library would take a key file that this variable names, silently: that is another source than was approved.
            if std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").is_some() {
                return Err(ConfigError::Credentials(
                    "the variable `GOOGLE_APPLICATION_CREDENTIALS` names another source than the metadata server",
                ));
            }
            Ok(Source::Metadata(format!("{endpoint}/computeMetadata/v1/instance/service-accounts/default/token")))
        }
    }
}

/// Whether an endpoint is reached over TLS.
fn has_tls(endpoint: &str) -> Result<bool, ConfigError> {
    endpoint_has_tls(endpoint).map_err(|reason| ConfigError::Endpoint { endpoint: cut(endpoint), reason })
}

/// Whether an endpoint is reached over TLS; what is wrong with it otherwise.
fn endpoint_has_tls(endpoint: &str) -> Result<bool, &'static str> {
    parts(endpoint)?;
    url_has_tls(endpoint)
}

/// Whether it is written as an endpoint.
fn parts(endpoint: &str) -> Result<(), &'static str> {
    if endpoint.len() > MAX_ENDPOINT {
        return Err("it is longer than 2048 characters");
    }
    let uri: http::Uri = endpoint.parse().map_err(|_| "it is no URL")?;
    let (Some(_), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("it has to be written as `https://host[:port]`");
    };
    if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
        return Err("it has to be written as `https://host[:port]`, with nothing before the host or behind the port");
    }
    Ok(())
}

/// Whether a URL is reached over TLS; what is wrong with it otherwise.
fn url_has_tls(url: &str) -> Result<bool, &'static str> {
    let uri: http::Uri = url.parse().map_err(|_| "it is no URL")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err("it is no URL") };
    match scheme {
        "https" => Ok(true),
        // INVARIANT: a wrapping key that anybody on the way could have replaced is never used (rule 11), nor is a token shown
        // to anybody on the way.
        "http" if is_this_machine(authority.host()) => Ok(false),
        "http" => Err("without TLS only this machine can be reached"),
        _ => Err("it begins with neither `https://` nor `http://`"),
    }
}

fn is_this_machine(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn check_ca(pem: &[u8]) -> Result<(), &'static str> {
    if pem.len() > MAX_CA {
        return Err("it is larger than 1 MiB");
    }
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "it is not PEM")?;
    if certificates.is_empty() {
        return Err("it holds no certificate");
    }
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(|_| "it holds a certificate that cannot be read")?;
    }
    Ok(())
}

/// What is shown of a text from outside: no more than can be read.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use keyplane_model::WrapScheme;

    use super::*;

    fn config() -> GcpConfig {
        GcpConfig {
            name: "prod".parse().unwrap(),
            project: "acme-prod".into(),
            location: "europe-west3".into(),
            key_ring: "payments".into(),
            protection: Protection::Hsm,
            endpoint: None,
            ca: None,
            credentials: token("ya29.token"),
            installation: "11111111-0000-8000-8000-000000000000".parse().unwrap(),
            attestation_roots: None,
            call_timeout: Span::seconds(10),
            consistency: Span::seconds(10),
            equal_reads: 2,
            deletion_days: 30,
            quotas: BTreeMap::new(),
        }
    }

    fn token(text: &str) -> Credentials {
        Credentials::Token(Secret::new(text.into()))
    }

    fn service_account(email: &str, token_uri: &str) -> Credentials {
        let text = format!(r#"{{"type":"service_account","client_email":"{email}","private_key":"hunter2","token_uri":"{token_uri}"}}"#);
        Credentials::ServiceAccount(Secret::new(text.into()))
    }

    fn external_account(source: &str) -> Credentials {
        let text = format!(
            r#"{{"type":"external_account","audience":"//iam","subject_token_type":"urn:ietf:params:oauth:token-type:jwt",
                "token_url":"https://sts.example/v1/token","credential_source":{source}}}"#
        );
        Credentials::ExternalAccount(Secret::new(text.into()))
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
        assert!(refusal(|c| c.deletion_days = 0).contains("1 to 120"));
        assert!(refusal(|c| c.deletion_days = 121).contains("1 to 120"));
        assert!(refusal(|c| c.equal_reads = 0).contains("at least 1"));
        assert!(refusal(|c| c.ca = Some(b"not a certificate".to_vec())).contains("no certificate"));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(refusal(|c| c.ca = Some(garbage.clone())).contains("cannot be read"));
        assert!(refusal(|c| c.attestation_roots = Some(garbage.clone())).contains("attestation roots"));
        assert!(refusal(|c| c.attestation_roots = Some(Vec::new())).contains("no certificate"));
        let quota = |calls| Quota { calls, per: Span::seconds(60) };
        assert!(refusal(|c| assert!(c.quotas.insert("read".into(), quota(1)).is_none())).contains("Read, Write"));
        assert!(refusal(|c| assert!(c.quotas.insert("Read".into(), quota(0)).is_none())).contains("`Read`"));
    }

    #[test]
    fn credentials_that_cannot_work_are_refused_and_never_shown() {
        for (credentials, word) in [
            (token(""), "empty"),
            (token("two\nlines"), "no token has"),
            (Credentials::ServiceAccount(Secret::new("hunter2".into())), "key file"),
            (Credentials::ServiceAccount(Secret::new(r#"{"private_key":"hunter2"}"#.into())), "key file"),
            (service_account("a@b", "http://tokens.example/token"), "without TLS"),
            (service_account("a@b", "tokens"), "no URL"),
            (Credentials::ExternalAccount(Secret::new("hunter2".into())), "external account"),
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
        for (endpoint, tls) in [
            ("https://kms.example", Ok(true)),
            ("https://kms.example:8443/", Ok(true)),
            ("http://127.0.0.1:4566", Ok(false)),
            ("http://[::1]:4566", Ok(false)),
            ("http://localhost:4566", Ok(false)),
            ("http://kms.example", Err(())),
            ("http://127.0.0.1.example", Err(())),
            ("http://10.0.0.1", Err(())),
            ("https://user@kms.example", Err(())),
            ("https://kms.example/path", Err(())),
            ("kms.example", Err(())),
            ("ftp://127.0.0.1", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(endpoint_has_tls(endpoint).map_err(drop), tls, "{endpoint:?}");
        }
    }

    #[test]
    fn the_destination_says_what_google_cloud_takes_and_what_the_project_allows() {
        let mut config = config();
        let raised = Quota { calls: 300, per: Span::seconds(60) };
        assert!(config.quotas.insert("Write".into(), raised).is_none());
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
            fingerprint(&|c| c.ca = Some(certificate())),
            fingerprint(&|c| c.attestation_roots = Some(certificate())),
            fingerprint(&|c| c.credentials = service_account("one@acme", "https://t/")),
            fingerprint(&|c| c.credentials = service_account("two@acme", "https://t/")),
            fingerprint(&|c| c.credentials = service_account("one@acme", "https://u/")),
            fingerprint(&|c| c.credentials = Credentials::Metadata { endpoint: None }),
            fingerprint(&|c| c.credentials = external_account(r#"{"file":"/t"}"#)),
        ];
        let distinct: BTreeSet<Digest> = others.into_iter().chain([base]).collect();
        assert_eq!(distinct.len(), 13);
        assert_eq!(fingerprint(&|c| c.equal_reads = 7), base);
        assert_eq!(fingerprint(&|c| c.credentials = token("another")), base, "a new token is the same source");
    }
}
