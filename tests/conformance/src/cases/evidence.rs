//! Evidence that a destination holds the right key (`contracts/evidence.md`).

use keyplane_model::{Algorithm, CopyRecord, Creation, Evidence, EvidenceStrength, ObjectState, Purpose, Timestamp};

use crate::fixture::{Fixture, VERSION};
use crate::material::Material;
use crate::{Subject, Tampering};

/// Any time: evidence carries it, and nothing else depends on it.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

async fn evidence(fixture: &Fixture<'_>, copy: &CopyRecord) -> Evidence {
    fixture.settle().await;
    let evidence = fixture.cloud.evidence(&fixture.target, copy, NOW).await.expect("a read");
    assert_eq!((evidence.placement, evidence.version, evidence.at), (fixture.target.placement, VERSION, NOW));
    assert!(evidence.fits || evidence.strength == EvidenceStrength::None, "strong evidence of something else: {evidence:?}");
    assert!(evidence.strength != EvidenceStrength::None || evidence.reason.is_some(), "none, and no reason why: {evidence:?}");
    evidence
}

async fn assert_none(fixture: &Fixture<'_>, copy: &CopyRecord, why: &str) {
    let evidence = evidence(fixture, copy).await;
    assert_eq!((evidence.strength, evidence.fits), (EvidenceStrength::None, false), "{why}: {evidence:?}");
}

async fn assert_there(fixture: &Fixture<'_>, copy: &CopyRecord) {
    let evidence = evidence(fixture, copy).await;
    assert_eq!((evidence.strength, evidence.fits), (fixture.subject.symmetric_evidence(), true), "{evidence:?}");
    assert_eq!(evidence.material, copy.material);
}

/// Neither without an object nor with an empty one.
pub async fn there_is_none_before_an_import<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "bare");
    let copy = fixture.copy().await;
    assert_none(&fixture, &copy, "no object").await;
    if fixture.creation_kind() != Creation::Imported {
        fixture.claimed().await;
        assert_none(&fixture, &copy, "an empty object").await;
    }
}

/// As long as the recorded material is the one in use, and only for the record of that material.
pub async fn an_imported_copy_is_what_the_cloud_shows<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "proven");
    fixture.published().await;
    let mut copy = fixture.copy().await;
    assert_there(&fixture, &copy).await;

    if copy.check_value.is_some() && subject.symmetric_evidence() >= EvidenceStrength::CheckValue {
        let mut other = copy.clone();
        other.check_value = Material::symmetric(vec![9; 32]).check_value(fixture.target.algorithm);
        assert_none(&fixture, &other, "the check value of other bytes").await;
    }
    copy.material = Some("0".repeat(64));
    assert_none(&fixture, &copy, "another material than the recorded one").await;
    copy.material = None;
    assert_none(&fixture, &copy, "no material was ever recorded").await;
}

/// Where the destination takes key pairs, an equal public key is evidence that nothing else gives.
pub async fn a_key_pair_is_told_by_its_public_key<S: Subject>(subject: &S) {
    if !subject.cloud().destination().capabilities.algorithms.contains_key(&Algorithm::EcP256) {
        return;
    }
    let fixture = Fixture::of(subject, "signing", Algorithm::EcP256, Purpose::Sign, Material::of(Algorithm::EcP256));
    fixture.imported().await;
    let mut copy = fixture.copy().await;
    let shown = evidence(&fixture, &copy).await;
    assert_eq!((shown.strength, shown.fits), (EvidenceStrength::Equality, true), "{shown:?}");
    copy.public_key = Material::of(Algorithm::EcP256).public_key;
    assert_none(&fixture, &copy, "another key pair").await;
}

/// An unusable key is not a missing one.
pub async fn a_disabled_copy_is_still_there<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "resting");
    let object = fixture.published().await;
    let copy = fixture.copy().await;
    fixture.act(&fixture.disabling(&object).await).await;
    assert_eq!(fixture.holder().await.state, ObjectState::Disabled);
    assert_there(&fixture, &copy).await;
}

/// Whatever is changed, the evidence is gone, and a look shows why.
pub async fn tampering_takes_it_away<S: Subject>(subject: &S) {
    for tampering in subject.tamperings() {
        let fixture = Fixture::new(
            subject,
            match tampering {
                Tampering::Marks => "marks",
                Tampering::Policy => "policy",
                Tampering::OtherMaterial => "material",
                Tampering::NoMaterial => "nothing",
            },
        );
        let object = fixture.published().await;
        let copy = fixture.copy().await;
        assert_there(&fixture, &copy).await;
        subject.tamper(&object, tampering).await;
        fixture.settled().await;
        assert_none(&fixture, &copy, &format!("{tampering:?}")).await;

        let seen = fixture.holder().await;
        match tampering {
            Tampering::Marks => assert_eq!(seen.marks, None),
            Tampering::Policy => assert!(seen.marks.is_some() && !seen.policy_fits),
            Tampering::OtherMaterial => assert_ne!(seen.current().and_then(|material| material.id.clone()), copy.material),
            Tampering::NoMaterial => assert!(seen.materials.iter().all(|material| !material.is_present()), "{seen:?}"),
        }
    }
}
