//! The configuration of a destination at AWS, checked before anything is sent.

use std::collections::BTreeMap;
use std::fmt;

use keyplane_destination::{SecretSource, Settings, SettingsError, cut, endpoint_has_tls, fingerprint};
use keyplane_model::{Algorithm, Capabilities, CloudKind, Creation, Destination, Digest, Protection, WrapScheme};
use serde::Serialize;
use serde_json::{Value, json};

use crate::operation;

/// The longest key policy that `CreateKey` takes, in bytes (service model of KMS, `PolicyType`).
const MAX_POLICY: usize = 131_072;

/// The longest region name that is taken, in bytes. AWS's longest so far has 15.
const MAX_REGION: usize = 32;

/// The account and region, the endpoint of KMS and the credentials.
pub struct AwsConfig {
    /// The settings that every destination has; [`Settings::deletion_days`] is 7 to 30.
    pub settings: Settings,
    /// The region, as in `us-east-1`.
    pub region: String,
    /// The account id, 12 digits. An answer for another account is refused ([`keyplane_port::Cause::WrongHome`]).
    pub account: String,
    /// The endpoint of KMS, as `https://host[:port]`; `http://` only on this machine. `None`: AWS's own in the region.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    /// The access policy of new KMS keys, as JSON, at most 128 KiB. It has to be written as AWS gives it back, except for white space and
    /// the order of members and lists. `None`: AWS's default policy, by which the account's IAM decides. That policy names the account, so
    /// AWS refuses to create a key with it in any other.
    pub key_policy: Option<String>,
}

pub enum Credentials {
    /// An access key.
    Static {
        /// The access key's id, which is no secret.
        access_key_id: String,
        /// Read for each request.
        secret: SecretSource,
    },
    /// A named profile of the shared AWS configuration files.
    Profile(String),
    /// AWS's default chain: environment, shared files, web identity, container, instance.
    Default,
}

impl Credentials {
    /// The approved part (rule 11): the kind of source, and the name of a profile.
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

/// Why a configuration cannot be used. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("`{0}` is no AWS region: lower-case letters, digits and `-`, as in `us-east-1`")]
    Region(String),
    #[error("`{0}` is no AWS account: 12 digits")]
    Account(String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Longer than 128 KiB, or not a JSON object.
    #[error("the key policy is not usable: {0}")]
    Policy(&'static str),
    #[error("the access key id or its secret is empty")]
    Credentials,
    #[error("the credentials are not usable: {0}")]
    Secret(String),
}

pub(crate) struct Checked {
    pub(crate) destination: Destination,
    pub(crate) policy_text: String,
    /// For comparison with the policies of keys.
    pub(crate) policy: Value,
    pub(crate) tls: bool,
}

impl AwsConfig {
    /// Checks the configuration, and derives the destination and its capabilities from it.
    pub(crate) fn check(&self) -> Result<Checked, ConfigError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || self.region.len() > MAX_REGION || !self.region.bytes().all(plain) {
            return Err(ConfigError::Region(cut(&self.region)));
        }
        if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ConfigError::Account(cut(&self.account)));
        }
        let tls = self.endpoint.as_deref().map_or(Ok(true), endpoint_has_tls)?;
        if let Credentials::Static { access_key_id, secret } = &self.credentials {
            let secret = secret.read().map_err(|error| ConfigError::Secret(error.to_string()))?;
            if access_key_id.is_empty() || secret.expose_secret().is_empty() {
                return Err(ConfigError::Credentials);
            }
        }
        // contract: aws.deletion.waiting
        self.settings.check(7..=30)?;
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
        Ok(Destination {
            name: self.settings.name.clone(),
            cloud: CloudKind::Aws,
            home: format!("{}/{}", self.account, self.region),
            fingerprint: self.fingerprint(),
            capabilities: Capabilities {
                algorithms: BTreeMap::from([(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256])]),
                protection: Protection::Hsm,
                creation: Creation::Claimed,
                prepares: false,
                generations: false,
                consistency: self.settings.consistency,
                call_timeout: self.settings.call_timeout,
                equal_reads: self.settings.equal_reads,
                quotas: self.settings.quotas(operation::published_quotas())?,
                draws: operation::draws(),
                deletion_days: self.settings.deletion_days,
            },
        })
    }

    /// The digest of what is approved (rule 11): endpoint, CA, account, region and source of the credentials.
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
        fingerprint(&Approved {
            cloud: CloudKind::Aws,
            region: &self.region,
            account: &self.account,
            endpoint: self.endpoint.as_deref(),
            ca: self.settings.ca.as_deref().map(Digest::of),
            credentials: self.credentials.source(),
        })
    }
}

/// The AWS partition of a region: the second part of its ARNs.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keyplane_destination::Secret;
    use keyplane_model::{Quota, Span};

    use super::*;

    fn config() -> AwsConfig {
        AwsConfig {
            settings: Settings {
                name: "prod".parse().unwrap(),
                installation: "11111111-0000-8000-8000-000000000000".parse().unwrap(),
                ca: None,
                call_timeout: Span::seconds(10),
                consistency: Span::seconds(5),
                equal_reads: 3,
                deletion_days: 30,
                quotas: BTreeMap::new(),
            },
            region: "us-east-1".into(),
            account: "111122223333".into(),
            endpoint: None,
            credentials: Credentials::Default,
            key_policy: None,
        }
    }

    fn fixed(access_key_id: &str, secret: &str) -> Credentials {
        let secret = secret.to_owned();
        let secret = SecretSource::new(move || Ok(Secret::new(secret.as_str().into())));
        Credentials::Static { access_key_id: access_key_id.to_owned(), secret }
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
        assert!(refusal(|c| c.settings.deletion_days = 6).contains("7 to 30"));
        assert!(refusal(|c| c.settings.equal_reads = 0).contains("at least 1"));
        assert!(refusal(|c| c.key_policy = Some("{".into())).contains("no JSON"));
        assert!(refusal(|c| c.key_policy = Some("[]".into())).contains("object"));
        assert!(refusal(|c| c.settings.ca = Some(b"not a certificate".to_vec())).contains("no certificate"));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert!(refusal(|c| c.settings.ca = Some(garbage)).contains("cannot be read"));
        assert!(refusal(|c| c.credentials = fixed("A", "")).contains("empty"));
        let quota = |calls| Quota { calls, per: Span::seconds(1) };
        assert!(refusal(|c| assert!(c.settings.quotas.insert("createkey".into(), quota(1)).is_none())).contains("CreateKey"));
        assert!(refusal(|c| assert!(c.settings.quotas.insert("CreateKey".into(), quota(0)).is_none())).contains("`CreateKey`"));
    }

    #[test]
    fn the_destination_says_what_aws_takes_and_what_the_account_allows() {
        let mut config = config();
        let raised = Quota { calls: 10, per: Span::seconds(1) };
        assert!(config.settings.quotas.insert("GetParametersForImport".into(), raised).is_none());
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
            fingerprint(|c| c.settings.ca = Some(Vec::new())),
            fingerprint(|c| c.credentials = Credentials::Profile("ops".into())),
            fingerprint(|c| c.credentials = Credentials::Profile("dev".into())),
            fingerprint(|c| c.credentials = fixed("A", "s")),
        ];
        let distinct: BTreeSet<Digest> = others.into_iter().chain([base]).collect();
        assert_eq!(distinct.len(), 8);
        assert_eq!(fingerprint(|c| c.settings.equal_reads = 7), base);
        let rotated = |secret: &str| {
            let mut config = config();
            config.credentials = fixed(secret, secret);
            config.fingerprint()
        };
        assert_eq!(rotated("one"), rotated("two"), "a rotated access key is the same source");
    }

    #[test]
    fn nothing_secret_is_printed() {
        assert!(!format!("{:?}", fixed("AKIA", "hunter2")).contains("hunter2"));
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
