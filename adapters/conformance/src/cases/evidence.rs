//! What shows that the right key is there (`contracts/evidence.md`).

use keyplane_model::{EvidenceStrength, ObjectState, Timestamp, Version};
use keyplane_port::Mutation;

use crate::fixture::Fixture;
use crate::{Subject, Tampering};

/// Any moment: evidence carries it and nothing else depends on it.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

async fn strength(fixture: &Fixture, copy: &keyplane_model::CopyRecord) -> EvidenceStrength {
    let evidence = fixture.cloud.evidence(&fixture.target, copy, NOW).await.expect("a read");
    assert_eq!((evidence.placement, evidence.version, evidence.at), (fixture.target.placement, Version(1), NOW));
    evidence.strength
}

/// Neither without an object, nor with an empty one.
pub async fn there_is_none_before_an_import<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "bare");
    let copy = fixture.copy().await;
    assert_eq!(strength(&fixture, &copy).await, EvidenceStrength::None);
    fixture.claimed().await;
    assert_eq!(strength(&fixture, &copy).await, EvidenceStrength::None);
}

/// As long as the recorded material is the current one, and only for the record of that material.
pub async fn an_imported_copy_is_the_same_object<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "proven");
    fixture.published().await;
    let mut copy = fixture.copy().await;
    assert!(strength(&fixture, &copy).await >= EvidenceStrength::SameObject);
    let shown = fixture.cloud.evidence(&fixture.target, &copy, NOW).await.expect("a read");
    assert_eq!(shown.material, copy.material);

    copy.material = Some("0".repeat(64));
    assert_eq!(strength(&fixture, &copy).await, EvidenceStrength::None, "another material than the recorded one");
    copy.material = None;
    assert_eq!(strength(&fixture, &copy).await, EvidenceStrength::None, "no material was ever recorded");
}

/// Unusable is not gone.
pub async fn a_disabled_copy_is_still_the_same_object<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "resting");
    let object = fixture.published().await;
    let copy = fixture.copy().await;
    fixture.act(&Mutation::Disable { object }).await;
    assert_eq!(fixture.holder().await.state, ObjectState::Disabled);
    assert!(strength(&fixture, &copy).await >= EvidenceStrength::SameObject);
}

/// Whatever somebody changes, the evidence is gone, and looking shows why.
pub async fn tampering_takes_it_away<S: Subject>(subject: &S) {
    for tampering in [Tampering::Marks, Tampering::Policy, Tampering::OtherMaterial, Tampering::NoMaterial] {
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
        assert!(strength(&fixture, &copy).await >= EvidenceStrength::SameObject, "{tampering:?}");
        subject.tamper(&object, tampering).await;
        assert_eq!(strength(&fixture, &copy).await, EvidenceStrength::None, "{tampering:?}");

        let seen = fixture.holder().await;
        match tampering {
            Tampering::Marks => assert_eq!(seen.marks, None),
            Tampering::Policy => assert!(seen.marks.is_some() && !seen.policy_fits),
            Tampering::OtherMaterial => assert_ne!(seen.current().and_then(|material| material.id.clone()), copy.material),
            Tampering::NoMaterial => assert!(seen.materials.iter().all(|material| !material.present), "{seen:?}"),
        }
    }
}
