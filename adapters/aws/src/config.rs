//! What a destination at AWS is made of, checked before anything is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use keyplane_model::{
    Algorithm, Capabilities, CloudKind, Creation, Destination, DestinationName, Digest, InstallationId, Protection, Quota, Span,
    WrapScheme, canonical_bytes,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::operation;

/// The longest key policy that `CreateKey` takes, in bytes (KMS service model, `PolicyType`).
const MAX_POLICY: usize = 131_072;

/// The largest file of certificates that we read, in bytes: some hundred of them.
const MAX_CA: usize = 1 << 20;

/// The longest region name that we take; the longest so far has 15 characters.
const MAX_REGION: usize = 32;

/// The longest endpoint that we take, in bytes.
const MAX_ENDPOINT: usize = 2_048;

/// Which account and region, how to reach it, and as whom.
pub struct AwsConfig {
    /// The destination's name.
    pub name: DestinationName,
    /// The region, as in `us-east-1`.
    pub region: String,
    /// The account: 12 digits. Whatever answers for another one is refused ([`keyplane_port::Cause::WrongHome`]).
    pub account: String,
    /// Where KMS answers, as `https://host[:port]`; `http://` only on this machine. `None`: AWS's own endpoint of the region.
    pub endpoint: Option<String>,
    /// Certificates in PEM that alone are trusted; `None`: those that the operating system trusts. At most 1 MiB.
    pub ca: Option<Vec<u8>>,
    /// Where the credentials come from.
    pub credentials: Credentials,
    /// Whose materials are ours.
    pub installation: InstallationId,
    /// The access policy that keys get, as JSON and as AWS gives it back, but for the order of its lists; `None`: AWS's own default,
    /// which leaves it to the account's IAM. The default names the account: in any other one AWS refuses to create a key with it.
    pub key_policy: Option<String>,
    /// The time-out of one call; kept by the engine, declared here.
    pub call_timeout: Span,
    /// How long a read may show the state before a mutation.
    pub consistency: Span,
    /// How many equal reads make a "no" conclusive; at least 1.
    pub equal_reads: u32,
    /// How many days a scheduled deletion waits: 7 to 30.
    pub deletion_days: u32,
    /// Quotas of this account that are not the published ones, by AWS's operation names.
    pub quotas: BTreeMap<String, Quota>,
}

/// Where the credentials come from.
pub enum Credentials {
    /// An access key.
    Static {
        /// Its id: no secret.
        access_key_id: String,
        /// Its secret.
        secret: Secret,
    },
    /// A named profile of the shared AWS configuration files.
    Profile(String),
    /// AWS's own chain: environment, files, web identity, container, instance.
    Default,
}

impl Credentials {
    /// What of it is approved with the destination: the kind of source, and which profile.
    fn source(&self) -> String {
        match self {
            Self::Static { .. } => "static".to_owned(),
            Self::Profile(name) => format!("profile {name}"),
            Self::Default => "default".to_owned(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.source())
    }
}

/// A secret access key: boxed, wiped when dropped, never printed.
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
    /// The region is not written as one.
    #[error("`{0}` is no AWS region: lower-case letters, digits and `-`, as in `us-east-1`")]
    Region(String),
    /// The account is not written as one.
    #[error("`{0}` is no AWS account: 12 digits")]
    Account(String),
    /// The endpoint cannot be used.
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
    /// The key policy cannot be used.
    #[error("the key policy is not usable: {0}")]
    Policy(&'static str),
    /// The access key is empty.
    #[error("the access key id or its secret is empty")]
    Credentials,
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
    /// The policy as it is sent.
    pub(crate) policy_text: String,
    /// The policy as it is compared.
    pub(crate) policy: Value,
    /// Whether TLS has anything to do.
    pub(crate) tls: bool,
}

impl AwsConfig {
    /// Checks it, and works out what the destination is.
    pub(crate) fn check(&self) -> Result<Checked, ConfigError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || self.region.len() > MAX_REGION || !self.region.bytes().all(plain) {
            return Err(ConfigError::Region(cut(&self.region)));
        }
        if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ConfigError::Account(cut(&self.account)));
        }
        let tls = match &self.endpoint {
            None => true,
            Some(endpoint) => endpoint_has_tls(endpoint).map_err(|reason| ConfigError::Endpoint { endpoint: cut(endpoint), reason })?,
        };
        if let Some(ca) = &self.ca {
            check_ca(ca).map_err(ConfigError::Ca)?;
        }
        if let Credentials::Static { access_key_id, secret } = &self.credentials
            && (access_key_id.is_empty() || secret.expose_secret().is_empty())
        {
            return Err(ConfigError::Credentials);
        }
        if self.equal_reads == 0 {
            return Err(ConfigError::Range { field: "equal_reads", given: 0, range: "at least 1" });
        }
        // contracts/aws.md, "deletion".
        if !(7..=30).contains(&self.deletion_days) {
            return Err(ConfigError::Range { field: "deletion_days", given: self.deletion_days, range: "7 to 30" });
        }
        let (policy_text, policy) = self.policy()?;
        let destination = self.destination()?;
        Ok(Checked { destination, policy_text, policy, tls })
    }

    fn policy(&self) -> Result<(String, Value), ConfigError> {
        let Some(text) = &self.key_policy else {
            let policy = json!({
                "Version": "2012-10-17",
                "Id": "key-default-1",
                "Statement": [{
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": { "AWS": format!("arn:{}:iam::{}:root", partition(&self.region), self.account) },
                    "Action": "kms:*",
                    "Resource": "*",
                }],
            });
            return Ok((policy.to_string(), policy));
        };
        if text.len() > MAX_POLICY {
            return Err(ConfigError::Policy("it is longer than 128 KiB"));
        }
        let policy: Value = serde_json::from_str(text).map_err(|_| ConfigError::Policy("it is no JSON"))?;
        if !policy.is_object() {
            return Err(ConfigError::Policy("it is no JSON object"));
        }
        Ok((text.clone(), policy))
    }

    fn destination(&self) -> Result<Destination, ConfigError> {
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
            cloud: CloudKind::Aws,
            home: format!("{}/{}", self.account, self.region),
            fingerprint: self.fingerprint(),
            capabilities: Capabilities {
                algorithms: BTreeMap::from([(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256])]),
                protection: Protection::Hsm,
                creation: Creation::Claimed,
                prepares: false,
                generations: false,
                consistency: self.consistency,
                call_timeout: self.call_timeout,
                equal_reads: self.equal_reads,
                quotas,
                draws: operation::draws(),
                deletion_days: self.deletion_days,
            },
        })
    }

    /// The digest of what was approved (rule 11): an endpoint, a CA, an account, a region or a source of
    /// credentials cannot change without it.
    fn fingerprint(&self) -> Digest {
        #[derive(Serialize)]
        struct Approved<'a> {
            cloud: CloudKind,
            region: &'a str,
            account: &'a str,
            endpoint: Option<&'a str>,
            ca: Option<Digest>,
            credentials: String,
        }
        let approved = Approved {
            cloud: CloudKind::Aws,
            region: &self.region,
            account: &self.account,
            endpoint: self.endpoint.as_deref(),
            ca: self.ca.as_deref().map(Digest::of),
            credentials: self.credentials.source(),
        };
        // INVARIANT: strings and enums only, which is always JSON; were it not, nothing at all would be approved.
        Digest::of(&canonical_bytes(&approved).unwrap_or_default())
    }
}

/// Which of AWS's separate worlds a region is in: the second part of its ARNs.
fn partition(region: &str) -> &'static str {
    [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-iso-", "aws-iso"),
        ("eusc-", "aws-eusc"),
    ]
    .into_iter()
    .find_map(|(prefix, partition)| region.starts_with(prefix).then_some(partition))
    .unwrap_or("aws")
}

/// Whether an endpoint is reached over TLS; what is wrong with it otherwise.
fn endpoint_has_tls(endpoint: &str) -> Result<bool, &'static str> {
    if endpoint.len() > MAX_ENDPOINT {
        return Err("it is longer than 2048 characters");
    }
    let uri: http::Uri = endpoint.parse().map_err(|_| "it is no URL")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("it has to be written as `https://host[:port]`");
    };
    if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
        return Err("it has to be written as `https://host[:port]`, with nothing before the host or behind the port");
    }
    match scheme {
        "https" => Ok(true),
        // INVARIANT: a wrapping key that anybody on the way could have replaced is never used (rule 11).
        "http" if is_this_machine(authority.host()) => Ok(false),
        "http" => Err("without TLS only this machine can be reached"),
        _ => Err("it begins with neither `https://` nor `http://`"),
    }
}

fn is_this_machine(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The SDK takes certificates without looking and panics on the first bad one: so we look.
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
    use super::*;

    fn config() -> AwsConfig {
        AwsConfig {
            name: "prod".parse().unwrap(),
            region: "us-east-1".into(),
            account: "111122223333".into(),
            endpoint: None,
            ca: None,
            credentials: Credentials::Default,
            installation: "11111111-0000-8000-8000-000000000000".parse().unwrap(),
            key_policy: None,
            call_timeout: Span::seconds(10),
            consistency: Span::seconds(5),
            equal_reads: 3,
            deletion_days: 30,
            quotas: BTreeMap::new(),
        }
    }

    fn refusal(change: impl FnOnce(&mut AwsConfig)) -> String {
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
        assert!(refusal(|c| c.region = "us_east_1".into()).contains("`us_east_1`"));
        assert!(refusal(|c| c.region = "x.evil.example/".into()).contains("region"));
        assert!(refusal(|c| c.account = "11112222333".into()).contains("12 digits"));
        assert!(refusal(|c| c.deletion_days = 6).contains("7 to 30"));
        assert!(refusal(|c| c.equal_reads = 0).contains("at least 1"));
        assert!(refusal(|c| c.key_policy = Some("{".into())).contains("no JSON"));
        assert!(refusal(|c| c.key_policy = Some("[]".into())).contains("object"));
        assert!(refusal(|c| c.ca = Some(b"not a certificate".to_vec())).contains("no certificate"));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(refusal(|c| c.ca = Some(garbage)).contains("cannot be read"));
        assert!(
            refusal(|c| c.credentials = Credentials::Static { access_key_id: "A".into(), secret: Secret::new("".into()) })
                .contains("empty")
        );
        let quota = |calls| Quota { calls, per: Span::seconds(1) };
        assert!(refusal(|c| assert!(c.quotas.insert("createkey".into(), quota(1)).is_none())).contains("CreateKey"));
        assert!(refusal(|c| assert!(c.quotas.insert("CreateKey".into(), quota(0)).is_none())).contains("`CreateKey`"));
    }

    #[test]
    fn the_destination_says_what_aws_takes_and_what_the_account_allows() {
        let mut config = config();
        let raised = Quota { calls: 10, per: Span::seconds(1) };
        assert!(config.quotas.insert("GetParametersForImport".into(), raised).is_none());
        let destination = config.check().map(|checked| checked.destination).unwrap();
        let capabilities = &destination.capabilities;
        assert_eq!((destination.cloud, destination.home.as_str()), (CloudKind::Aws, "111122223333/us-east-1"));
        assert_eq!((capabilities.protection, capabilities.creation, capabilities.deletion_days), (Protection::Hsm, Creation::Claimed, 30));
        assert_eq!(capabilities.algorithms[&Algorithm::Aes256][0], WrapScheme::RsaOaepSha256);
        assert_eq!(capabilities.algorithms.len(), 1);
        assert_eq!(capabilities.quotas["GetParametersForImport"], raised);
        assert_eq!(capabilities.quotas["ImportKeyMaterial"].calls, 15, "the published one");
    }

    #[test]
    fn without_tls_only_this_machine_is_reached() {
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
    fn the_fingerprint_changes_with_what_is_approved_and_with_nothing_else() {
        let fingerprint = |change: fn(&mut AwsConfig)| {
            let mut config = config();
            change(&mut config);
            config.fingerprint()
        };
        let base = fingerprint(|_| {});
        let others = [
            fingerprint(|c| c.region = "us-east-2".into()),
            fingerprint(|c| c.account = "111122223334".into()),
            fingerprint(|c| c.endpoint = Some("https://kms.example".into())),
            fingerprint(|c| c.ca = Some(Vec::new())),
            fingerprint(|c| c.credentials = Credentials::Profile("ops".into())),
            fingerprint(|c| c.credentials = Credentials::Profile("dev".into())),
            fingerprint(|c| c.credentials = Credentials::Static { access_key_id: "A".into(), secret: Secret::new("s".into()) }),
        ];
        let distinct: BTreeSet<Digest> = others.into_iter().chain([base]).collect();
        assert_eq!(distinct.len(), 8);
        assert_eq!(fingerprint(|c| c.equal_reads = 7), base);
        let rotated = |secret: &str| {
            let mut config = config();
            config.credentials = Credentials::Static { access_key_id: secret.into(), secret: Secret::new(secret.into()) };
            config.fingerprint()
        };
        assert_eq!(rotated("one"), rotated("two"), "a rotated access key is the same source");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = Credentials::Static { access_key_id: "AKIA".into(), secret: Secret::new("hunter2".into()) };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn the_default_policy_names_the_account_in_its_own_partition() {
        for (region, arn) in [("us-east-1", "arn:aws:iam::111122223333:root"), ("cn-north-1", "arn:aws-cn:iam::111122223333:root")] {
            let mut config = config();
            config.region = region.into();
            let (text, value) = config.policy().unwrap();
            assert_eq!(value["Statement"][0]["Principal"]["AWS"], arn);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
