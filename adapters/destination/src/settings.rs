//! What is set for a destination at any cloud, checked before anything is sent.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use keyplane_model::{DestinationName, Digest, InstallationId, Quota, Span, canonical_bytes};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cut;

/// The largest file of certificates that is read, in bytes: some hundred of them.
const MAX_CA: usize = 1 << 20;

/// What is set for a destination at any cloud.
pub struct Settings {
    /// The destination's name.
    pub name: DestinationName,
    /// Whose materials are ours.
    pub installation: InstallationId,
    /// Certificates in PEM that alone are trusted, there and wherever tokens come from; `None`: those that the operating system
    /// trusts. At most 1 MiB.
    pub ca: Option<Vec<u8>>,
    /// The time-out of one call; kept by the engine, declared here.
    pub call_timeout: Span,
    /// How long a read may show the state before a mutation.
    pub consistency: Span,
    /// How many equal reads make a "no" conclusive; at least 1.
    pub equal_reads: u32,
    /// How many days what is deleted can be restored, within what the cloud allows.
    pub deletion_days: u32,
    /// Quotas that are not the published ones, by the names that the adapter draws from.
    pub quotas: BTreeMap<String, Quota>,
}

/// Settings that cannot be used; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
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
    /// A number is out of its range.
    #[error("`{field}` is {given}; it has to be {range}")]
    Range {
        /// Which one.
        field: &'static str,
        /// What was given.
        given: u32,
        /// What it may be.
        range: String,
    },
    /// A quota is named that the adapter draws nothing from.
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

impl Settings {
    /// Checks all but the quotas; the cloud says how long a deletion may wait.
    ///
    /// # Errors
    /// Says what cannot be used.
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

    /// The published quotas, with what is set in their place.
    ///
    /// # Errors
    /// When a quota is set that is not published, or allows nothing.
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

    /// Who is trusted: with a private CA, that one alone. `tls`: whether there is anything to prove.
    ///
    /// # Errors
    /// When the private CA cannot be used, or there is something to prove and nobody is trusted.
    pub fn trusted(&self, tls: bool) -> Result<RootCertStore, SettingsError> {
        if let Some(ca) = &self.ca {
            return read_ca(ca).map_err(SettingsError::Ca);
        }
        let mut roots = RootCertStore::empty();
        // One that cannot be read is one that is not trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if tls && roots.is_empty() { Err(SettingsError::NoTrust) } else { Ok(roots) }
    }
}

/// The digest of what is approved with a destination (rule 11).
#[must_use]
pub fn fingerprint(approved: &impl Serialize) -> Digest {
    // INVARIANT: strings and enums only, which is always JSON; were it not, nothing at all would be approved.
    Digest::of(&canonical_bytes(approved).unwrap_or_default())
}

/// A secret of a configuration: boxed, wiped when dropped, never printed.
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(secret: Box<str>) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
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
