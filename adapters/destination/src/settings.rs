//! The settings that every destination has, whatever its cloud. They are checked before anything is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use keyplane_model::{DestinationName, Digest, InstallationId, Quota, Span, canonical_bytes};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cut;

/// The largest file of certificates that is read, in bytes: enough for some hundred certificates.
const MAX_CA: usize = 1 << 20;

/// The settings that every destination has. The configuration file sets all but the installation.
pub struct Settings {
    /// The destination's name in the configuration and in policy files.
    pub name: DestinationName,
    /// The installation of Keyplane; objects with its marks are ours.
    pub installation: InstallationId,
    /// Certificates in PEM, at most 1 MiB. They alone are trusted, by the cloud's endpoint and by the source of tokens. `None`: those
    /// that the operating system trusts.
    pub ca: Option<Vec<u8>>,
    /// The time-out of one call of the port. The engine enforces it; the adapter only declares it.
    pub call_timeout: Span,
    /// The longest time after a mutation for which a read may still show the state before it.
    pub consistency: Span,
    /// The number of equal reads in a row that prove an absence; at least 1.
    pub equal_reads: u32,
    /// The number of days for which a deleted object can be restored. Its range depends on the cloud.
    pub deletion_days: u32,
    /// Quotas that replace the published ones, by the name of the quota. A quota that is not in it stays as published.
    pub quotas: BTreeMap<String, Quota>,
}

/// Settings that cannot be used. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("`{endpoint}` is no endpoint: {reason}")]
    Endpoint {
        /// Cut to 80 characters.
        endpoint: String,
        reason: &'static str,
    },
    #[error("the private CA is not usable: {0}")]
    Ca(&'static str),
    /// No private CA is set, and the operating system trusts no certificate authority.
    #[error("the operating system trusts no certificate authority, and the destination names none of its own")]
    NoTrust,
    #[error("the attestation roots are not usable: {0}")]
    AttestationRoots(&'static str),
    #[error("`{field}` is {given}; it has to be {range}")]
    Range {
        field: &'static str,
        given: u32,
        /// The allowed values, for people.
        range: String,
    },
    #[error("`{given}` is no quota; there are: {known}")]
    Quota {
        given: String,
        /// The names of the published quotas, for people.
        known: String,
    },
    /// A quota allows no calls, or its time is zero.
    #[error("the quota `{0}` allows no call at all")]
    QuotaEmpty(String),
}

impl Settings {
    /// Checks all settings but the quotas. `deletion_days` is the range that the cloud allows.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn check(&self, deletion_days: RangeInclusive<u32>) -> Result<(), SettingsError> {
        if let Some(ca) = &self.ca {
            read_ca(ca).map_err(SettingsError::Ca)?;
        }
        if self.equal_reads == 0 {
            return Err(SettingsError::Range { field: "equal_reads", given: 0, range: "at least 1".to_owned() });
        }
        if !deletion_days.contains(&self.deletion_days) {
            let range = format!("{} to {}", deletion_days.start(), deletion_days.end());
            return Err(SettingsError::Range { field: "deletion_days", given: self.deletion_days, range });
        }
        Ok(())
    }

    /// The quotas in force: the published ones, where the settings do not replace them.
    ///
    /// # Errors
    /// When a quota is set that is not published, or that allows no calls.
    pub fn quotas(&self, published: BTreeMap<String, Quota>) -> Result<BTreeMap<String, Quota>, SettingsError> {
        let mut quotas = published;
        for (name, quota) in &self.quotas {
            if quota.calls == 0 || quota.per == Span::ZERO {
                return Err(SettingsError::QuotaEmpty(cut(name)));
            }
            let Some(published) = quotas.get_mut(name) else {
                let known = quotas.into_keys().collect::<Vec<_>>().join(", ");
                return Err(SettingsError::Quota { given: cut(name), known });
            };
            *published = *quota;
        }
        Ok(quotas)
    }

    /// The trusted root certificates: only those of the private CA, or else the operating system's. `tls`: whether anything is reached over
    /// TLS; if not, the result may be empty.
    ///
    /// # Errors
    /// When the private CA cannot be used, or nothing is trusted and TLS is used.
    pub fn trusted(&self, tls: bool) -> Result<RootCertStore, SettingsError> {
        if let Some(ca) = &self.ca {
            return read_ca(ca).map_err(SettingsError::Ca);
        }
        let mut roots = RootCertStore::empty();
        // A certificate of the operating system that cannot be read is not trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if tls && roots.is_empty() { Err(SettingsError::NoTrust) } else { Ok(roots) }
    }
}

/// The digest of the part of a configuration that is approved with the destination (rule 11).
#[must_use]
pub fn fingerprint(approved: &impl Serialize) -> Digest {
    // INVARIANT: adapters put in only strings, enums and digests, which always serialize. Otherwise the digest would be that of no text,
    // which nobody approved.
    Digest::of(&canonical_bytes(approved).unwrap_or_default())
}

/// A secret of a configuration. Its memory is wiped when it is dropped, and it has no `Debug`, `Display` or `Clone`.
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    #[must_use]
    pub fn new(secret: Box<str>) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret in plain text. It must not reach a log, an error or a `Debug`.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

/// Reads a secret whenever it is needed, so that nobody has to keep it.
#[derive(Clone)]
pub struct SecretSource(Arc<dyn Fn() -> io::Result<Secret> + Send + Sync>);

impl SecretSource {
    /// `read` decides which files it accepts. Its errors are for people: they name the file, and do not quote it.
    #[must_use]
    pub fn new(read: impl Fn() -> io::Result<Secret> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// # Errors
    /// When the secret cannot be read now.
    pub fn read(&self) -> io::Result<Secret> {
        (self.0)()
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSource")
    }
}

fn read_ca(pem: &[u8]) -> Result<RootCertStore, &'static str> {
    if pem.len() > MAX_CA {
        return Err("it is larger than 1 MiB");
    }
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "it is not PEM")?;
    if certificates.is_empty() {
        return Err("it holds no certificate");
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|_| "it holds a certificate that cannot be read")?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            name: "prod".parse().unwrap(),
            installation: "11111111-0000-8000-8000-000000000000".parse().unwrap(),
            ca: None,
            call_timeout: Span::seconds(10),
            consistency: Span::seconds(5),
            equal_reads: 1,
            deletion_days: 7,
            quotas: BTreeMap::new(),
        }
    }

    fn certificate() -> Vec<u8> {
        rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem().into_bytes()
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        let refusal = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check(7..=30).map_err(|error| error.to_string())
        };
        assert_eq!(refusal(|_| {}), Ok(()));
        assert_eq!(refusal(|s| s.ca = Some(certificate())), Ok(()));
        const GARBAGE: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        const BROKEN: &[u8] = b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
        for (refused, word) in [
            (refusal(|s| s.equal_reads = 0), "`equal_reads` is 0; it has to be at least 1"),
            (refusal(|s| s.deletion_days = 6), "`deletion_days` is 6; it has to be 7 to 30"),
            (refusal(|s| s.deletion_days = 31), "7 to 30"),
            (refusal(|s| s.ca = Some(b"not a certificate".to_vec())), "no certificate"),
            (refusal(|s| s.ca = Some(GARBAGE.to_vec())), "cannot be read"),
            (refusal(|s| s.ca = Some(BROKEN.to_vec())), "not PEM"),
            (refusal(|s| s.ca = Some(vec![b'\n'; MAX_CA + 1])), "1 MiB"),
        ] {
            assert!(refused.as_ref().is_err_and(|error| error.contains(word)), "{word}: {refused:?}");
        }
    }

    #[test]
    fn a_quota_replaces_the_published_one_of_its_name_and_no_other() {
        let quota = |calls| Quota { calls, per: Span::seconds(1) };
        let published = || BTreeMap::from([("Read".to_owned(), quota(600)), ("Write".to_owned(), quota(60))]);
        let with = |name: &str, quota| {
            let mut settings = settings();
            settings.quotas.insert(name.into(), quota);
            settings.quotas(published())
        };
        assert_eq!(settings().quotas(published()), Ok(published()));
        assert_eq!(with("Read", quota(1)), Ok(BTreeMap::from([("Read".to_owned(), quota(1)), ("Write".to_owned(), quota(60))])));
        for (name, quota, message) in [
            ("read", quota(1), "`read` is no quota; there are: Read, Write"),
            ("Read", quota(0), "the quota `Read` allows no call at all"),
            ("Read", Quota { calls: 1, per: Span::ZERO }, "the quota `Read` allows no call at all"),
        ] {
            assert_eq!(with(name, quota).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_private_ca_is_trusted_alone() {
        let settings = Settings { ca: Some(certificate()), ..settings() };
        assert_eq!(settings.trusted(true).unwrap().len(), 1);
    }
}
