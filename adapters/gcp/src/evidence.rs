//! Evidence that a placement holds a copy, found without any effect.

use std::borrow::Cow;

use google_cloudkms1::api::CryptoKeyVersion;
use keyplane_model::{
    Algorithm, CheckValue, CopyRecord, Evidence, EvidenceStrength, MaterialSeen, ObjectSeen, Presence, Protection, Target, Timestamp,
};
use keyplane_port::CloudError;

use crate::GoogleKms;
use crate::attestation;
use crate::error::{contradiction, garbled};
use crate::kinds;
use crate::operation::Operation;

/// The strength of the evidence, whether it agrees with the ledger, and a reason if it disagrees or there is no evidence.
type Shown = (EvidenceStrength, bool, Option<Cow<'static, str>>);

impl GoogleKms {
    /// Checks that the version with which the import was confirmed is still there, came through our import job, and was not replaced. Then
    /// compares what the cloud shows of its bytes, by one more request, for which a look always leaves room (rule 8).
    pub(crate) async fn read_evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let object = self.read_listed(&target.name).await?.map(|key| key.object);
        let held = object.as_ref().ok_or("there is no such key").and_then(|object| holds(object, target, copy));
        let shown = match held {
            Ok(material) => self.shown(target, copy, material).await?,
            Err(reason) => (EvidenceStrength::None, false, Some(reason.into())),
        };
        let (strength, fits, reason) = shown;
        if !fits {
            tracing::debug!(destination = %self.destination.name, placement = %target.placement, reason = reason.as_deref(), "no evidence");
        }
        let recorded = object.iter().flat_map(|object| &object.materials).find(|material| material.id == copy.material);
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength,
            fits,
            reason: reason.map(Cow::into_owned),
            material: recorded.or_else(|| object.as_ref()?.current()).and_then(|material| material.id.clone()),
            check_value: copy.check_value,
            wrapped_under: copy.wrapped_under,
            at: now,
        })
    }

    /// Compares what the cloud shows of a version's bytes with the ledger: the public key, or the attested check value.
    async fn shown(&self, target: &Target, copy: &CopyRecord, material: &MaterialSeen) -> Result<Shown, CloudError> {
        use EvidenceStrength as S;
        if let Some(public_key) = &copy.public_key {
            return Ok(match self.public_key(&target.name, material).await? {
                Some(shown) if shown == public_key.digest() => (S::Equality, true, None),
                Some(_) => (S::None, false, Some("the public key is another one".into())),
                None => (S::None, true, Some("a disabled version does not show its public key".into())),
            });
        }
        if self.protection == Protection::Software {
            return Ok((S::None, true, Some("Google Cloud shows nothing of a software key's bytes".into())));
        }
        let Some(number) = &material.id else { return Ok((S::None, true, Some("the version has no number".into()))) };
        let name = self.ring.version(&target.name, number);
        let attestation = self.version(&name).await?.attestation;
        let Some(attestation) = attestation else { return Ok((S::None, true, Some("the version has no attestation".into()))) };
        // A statement that contradicts the ledger is reported even if its signature cannot be checked. One that agrees counts only if its
        // signature was checked. The HSM made it at the import.
        let statement = match attestation::read(&attestation, self.roots.as_ref(), copy.imported) {
            Ok(statement) => statement,
            Err(reason) => return Ok((S::None, self.roots.is_none(), Some(reason.into()))),
        };
        if !statement.is_about(&name) {
            return Ok((S::None, false, Some("the attestation is of another key".into())));
        }
        Ok(compared(copy.coordinates.algorithm, statement.check_value, copy.check_value, self.roots.is_some()))
    }

    /// Reads a version with its attestation.
    async fn version(&self, name: &str) -> Result<CryptoKeyVersion, CloudError> {
        const OPERATION: Operation = Operation::GetCryptoKeyVersion;
        let mut request = self.begin(OPERATION, name);
        let call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_get(name);
        let sent = call.delegate(&mut request).doit().await;
        let (_, version) = request.judge(sent).map_err(contradiction)?;
        if version.name.as_deref() != Some(name) {
            return Err(garbled(OPERATION, "an answer about another version"));
        }
        Ok(version)
    }
}

/// Compares the check value in an HSM's statement with the ledger's. `checked`: the statement's signature was checked.
///
/// Google does not document how the HSM computes the check value of a MAC key; ours is PKCS#11's, from the key's SHA-1. So equal values are
/// evidence, of 24 bits, and different values prove nothing.
// contract: gcp.attestation
fn compared(algorithm: Algorithm, shown: Option<CheckValue>, known: Option<CheckValue>, checked: bool) -> Shown {
    use EvidenceStrength as S;
    match (shown, known) {
        (Some(shown), Some(known)) if shown != known => match algorithm {
            Algorithm::HmacSha256 => {
                (S::None, true, Some("the HSM's check value is another one, and of what it makes a MAC key's is not published".into()))
            }
            _ => (S::None, false, Some("the HSM's check value is another one".into())),
        },
        _ if !checked => (S::None, true, Some("the attestation was not checked: no roots for it are configured".into())),
        (Some(_), Some(_)) => (S::CheckValue, true, None),
        (None, _) => (S::None, true, Some("the attestation carries no check value".into())),
        (_, None) => (S::None, true, Some("our own HSM gave no check value".into())),
    }
}

/// The material that a copy was imported as, if it is still there and was not replaced. The error is the reason.
fn holds<'a>(object: &'a ObjectSeen, target: &Target, copy: &CopyRecord) -> Result<&'a MaterialSeen, &'static str> {
    if !object.fits(target) {
        return Err("the key's kind, protection level, rotation or labels are not ours");
    }
    let recorded = copy.material.as_ref().ok_or("no import was ever confirmed")?;
    let material = object.materials.iter().find(|material| material.id.as_ref() == Some(recorded)).ok_or("the version is gone")?;
    if material.version != Some(copy.coordinates.version) {
        return Err("the version came through another import job");
    }
    match material.presence {
        // A disabled version still holds its bytes.
        Presence::Present | Presence::Disabled => {}
        Presence::Arriving | Presence::Missing | Presence::Failed(_) => return Err("the version holds no bytes"),
        Presence::Leaving => return Err("the version will be destroyed"),
    }
    // Keys of a kind without a primary version are used by the version's number, so no other version can replace it.
    let primary = object.current().filter(|_| kinds::has_primary(target.algorithm, target.purpose));
    match primary {
        Some(primary) if primary.id != material.id && primary.version <= material.version => Err("another version is the primary one"),
        _ => Ok(material),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Option<CheckValue> = Some(CheckValue([1, 2, 3]));
    const OTHER: Option<CheckValue> = Some(CheckValue([1, 2, 4]));

    fn outcome(algorithm: Algorithm, shown: Option<CheckValue>, known: Option<CheckValue>, checked: bool) -> (EvidenceStrength, bool) {
        let (strength, fits, reason) = compared(algorithm, shown, known, checked);
        assert_eq!(reason.is_none(), strength == EvidenceStrength::CheckValue, "what is no evidence has a reason");
        (strength, fits)
    }

    #[test]
    fn a_check_value_counts_where_it_is_the_same_and_the_statement_was_checked() {
        for algorithm in [Algorithm::Aes256, Algorithm::HmacSha256] {
            assert_eq!(outcome(algorithm, OURS, OURS, true), (EvidenceStrength::CheckValue, true));
            for (shown, known, checked) in [(OURS, OURS, false), (OURS, None, true), (None, OURS, true), (None, None, true)] {
                assert_eq!(outcome(algorithm, shown, known, checked), (EvidenceStrength::None, true));
            }
        }
    }

    /// An HSM that computes MAC keys' check values in another way must not raise an alarm for every key.
    #[test]
    fn another_check_value_is_drift_where_it_is_known_what_it_is_of() {
        for checked in [true, false] {
            assert_eq!(outcome(Algorithm::Aes256, OTHER, OURS, checked), (EvidenceStrength::None, false));
            assert_eq!(outcome(Algorithm::HmacSha256, OTHER, OURS, checked), (EvidenceStrength::None, true));
        }
    }
}
