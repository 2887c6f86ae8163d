//! What AWS's documents leave open: the suite under other readings than the default, and how the adapter behaves under each.

use keyplane_aws::{AwsConfig, AwsKms};
use keyplane_conformance::{Subject as _, Tampering, wrap};
use keyplane_emulator_core::aws::{
    ImportTokenUse, ImportWhileDisabled, LeavingRotations, MultiRegionRotation, MutationsSee, PolicyText, Readings, RepeatedPendingImport,
    RestoredDisabledKey, RotationsOrder,
};
use keyplane_model::{
    Class, CopyCoordinates, CopyRecord, EpochId, EvidenceStrength, IdTree, KeyId, MaterialSeen, MaterialState, ObjectId, ObjectSeen,
    ObjectState, PlacementId, Source, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud as _, CloudError, Mutation, WrapFor};
use serde_json::json;

use crate::emulated::{Emulated, begin_with, config};
use crate::requests::{import, marks, target};

const OURS: [u8; 32] = [7; 32];

fn usual() -> Readings {
    Readings::default()
}

/// For each reading another answer than the default.
fn others() -> Readings {
    Readings {
        import_while_disabled: ImportWhileDisabled::Enables,
        repeated_pending_import: RepeatedPendingImport::InvalidState,
        import_token_use: ImportTokenUse::Once,
        restored_disabled_key: RestoredDisabledKey::Disabled,
        multi_region_rotation: MultiRegionRotation::Refused,
        rotation_seconds: 60,
        mutations_see: MutationsSee::Present,
        rotations_order: RotationsOrder::NewestFirst,
        leaving_rotations: LeavingRotations::Refused,
        policy_text: PolicyText::Reordered,
    }
}

/// The third answer, where a reading has three.
fn further() -> Readings {
    Readings {
        import_while_disabled: ImportWhileDisabled::Refused,
        mutations_see: MutationsSee::RecentPast,
        policy_text: PolicyText::Reformatted,
        ..others()
    }
}

async fn begin(readings: Readings) -> Emulated {
    let late = readings.mutations_see == MutationsSee::RecentPast;
    let emulated = begin_with(readings).await;
    if late {
        // This reading matters only where reads lag.
        emulated.control.lag(Span::seconds(5)).await;
    }
    emulated
}

// contract: aws.unstated.rotations_order, aws.unstated.policy_text, aws.unstated.leaving_rotations
keyplane_conformance::runs!(usual others further);

#[test]
fn every_answer_is_in_force_in_a_whole_run() {
    keyplane_conformance::assert_every_answer_is_in_force!([usual(), others(), further()]; Readings {
        import_while_disabled: ImportWhileDisabled { Accepted Enables Refused }
        repeated_pending_import: RepeatedPendingImport { IncorrectKeyMaterial InvalidState }
        import_token_use: ImportTokenUse { Repeatable Once }
        restored_disabled_key: RestoredDisabledKey { Enabled Disabled }
        multi_region_rotation: MultiRegionRotation { Allowed Refused }
        mutations_see: MutationsSee { Present RecentPast }
        rotations_order: RotationsOrder { OldestFirst NewestFirst }
        leaving_rotations: LeavingRotations { Listed Refused }
        policy_text: PolicyText { AsWritten Reformatted Reordered }
    }; numbers { rotation_seconds }; beside {});
}

async fn created(emulated: &Emulated, target: &Target) -> ObjectId {
    let marks = keyplane_model::Marks { placement: target.placement, ..marks() };
    let Acted::Created(object) = emulated.cloud.act(&Mutation::Create { target: target.clone(), marks }).await.unwrap() else {
        unreachable!("creating gives an object")
    };
    object
}

/// The import of bytes into a key, wrapped under a new wrapping key.
async fn import_of(emulated: &Emulated, object: &ObjectId, bytes: &[u8]) -> Mutation {
    let wrapping_key = emulated.cloud.wrapping_key(&WrapFor::Object(object.clone()), WrapScheme::RsaOaepSha256).await.unwrap();
    let wrapped = wrap(&wrapping_key, bytes);
    import(object, Version(1), wrapping_key, wrapped)
}

/// Creates a key that has the claim and our bytes.
async fn imported(emulated: &Emulated) -> ObjectId {
    let object = created(emulated, &target()).await;
    emulated.cloud.act(&Mutation::Claim { target: target(), object: object.clone() }).await.unwrap();
    emulated.cloud.act(&import_of(emulated, &object, &OURS).await).await.unwrap();
    object
}

async fn inspect(emulated: &Emulated, object: &ObjectId) -> ObjectSeen {
    emulated.cloud.inspect(object).await.unwrap().unwrap()
}

async fn disable(emulated: &Emulated, object: &ObjectId) {
    emulated.cloud.act(&Mutation::Disable { object: object.clone(), material: None }).await.unwrap();
    assert_eq!(inspect(emulated, object).await.state, ObjectState::Disabled);
}

/// The evidence that the key with the claim still holds this material.
async fn evidence(emulated: &Emulated, material: &MaterialSeen) -> (EvidenceStrength, bool) {
    let copy = CopyRecord {
        coordinates: CopyCoordinates {
            installation: target().installation,
            key: KeyId(IdTree::new([7; 32]).uuid()),
            version: Version(1),
            placement: target().placement,
            algorithm: target().algorithm,
            source: Source::Derived,
            epoch: EpochId(1),
            profile: "standard".parse().unwrap(),
            approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
        },
        bytes_of: None,
        check_value: None,
        blob: None,
        public_key: None,
        material: material.id.clone(),
        wrapped_under: None,
        imported: None,
    };
    let shown = emulated.cloud.evidence(&target(), &copy, Timestamp(0)).await.unwrap();
    (shown.strength, shown.fits)
}

const THERE: (EvidenceStrength, bool) = (EvidenceStrength::SameObject, true);
const NONE: (EvidenceStrength, bool) = (EvidenceStrength::None, false);

fn told(error: &CloudError) -> (Class, Cause) {
    (error.class, error.cause)
}

/// The adapter has to read the state after an import, not conclude it from the request.
// contract: aws.unstated.import_while_disabled
#[tokio::test]
async fn a_disabled_key_that_is_given_its_bytes_again_is_seen_as_kms_left_it() {
    for (reading, outcome, state) in [
        (ImportWhileDisabled::Accepted, Ok(Acted::Done), ObjectState::Disabled),
        (ImportWhileDisabled::Enables, Ok(Acted::Done), ObjectState::Usable),
        (ImportWhileDisabled::Refused, Err((Class::Stale, Cause::Plain)), ObjectState::Disabled),
    ] {
        let emulated = begin_with(Readings { import_while_disabled: reading, ..others() }).await;
        let object = imported(&emulated).await;
        let before = inspect(&emulated, &object).await;
        disable(&emulated, &object).await;
        let acted = emulated.cloud.act(&import_of(&emulated, &object, &OURS).await).await;
        assert_eq!(acted.map_err(|error| told(&error)), outcome, "{reading:?}");
        let after = inspect(&emulated, &object).await;
        assert_eq!((after.state, &after.materials), (state, &before.materials), "{reading:?}");
        assert_eq!(evidence(&emulated, &before.materials[0]).await, THERE, "{reading:?}");
    }
}

/// A key that lost its material was disabled before, and after the next import it may be either. The state has to be read.
// contract: aws.unstated.restored_disabled_key
#[tokio::test]
async fn a_disabled_key_that_lost_its_material_is_seen_as_kms_brought_it_back() {
    for (reading, state) in [(RestoredDisabledKey::Enabled, ObjectState::Usable), (RestoredDisabledKey::Disabled, ObjectState::Disabled)] {
        let emulated = begin_with(Readings { restored_disabled_key: reading, ..others() }).await;
        let object = imported(&emulated).await;
        let before = inspect(&emulated, &object).await;
        disable(&emulated, &object).await;
        emulated.tamper(&object, Tampering::NoMaterial).await;
        let lost = inspect(&emulated, &object).await;
        assert!(lost.state == ObjectState::AwaitingMaterial && !lost.is_empty(), "taken for a key that never held anything: {lost:?}");
        assert_eq!(evidence(&emulated, &before.materials[0]).await, NONE);

        emulated.cloud.act(&import_of(&emulated, &object, &OURS).await).await.unwrap();
        let after = inspect(&emulated, &object).await;
        assert_eq!((after.state, after.materials), (state, before.materials.clone()), "{reading:?}");
        assert_eq!(evidence(&emulated, &before.materials[0]).await, THERE, "{reading:?}");
    }
}

/// An import whose reply was lost may have used up its token. KMS's refusal then must not be taken for that of other bytes, which is an
/// alarm, nor for an ambiguous failure.
// contract: aws.unstated.import_token_use
#[tokio::test]
async fn a_used_token_is_no_other_material_and_a_new_one_works() {
    for (reading, outcome) in [(ImportTokenUse::Repeatable, Ok(Acted::Done)), (ImportTokenUse::Once, Err((Class::Invalid, Cause::Plain)))] {
        let emulated = begin_with(Readings { import_token_use: reading, ..others() }).await;
        let object = created(&emulated, &target()).await;
        let first = import_of(&emulated, &object, &OURS).await;
        emulated.control.next("ImportKeyMaterial", json!({ "kind": "lost_reply" })).await;
        assert_eq!(emulated.cloud.act(&first).await.unwrap_err().class, Class::Ambiguous);
        let seen = inspect(&emulated, &object).await;
        assert_eq!(emulated.cloud.act(&first).await.map_err(|error| told(&error)), outcome, "{reading:?}");
        assert_eq!(emulated.cloud.act(&import_of(&emulated, &object, &OURS).await).await, Ok(Acted::Done), "{reading:?}");
        assert_eq!(inspect(&emulated, &object).await, seen, "{reading:?}");
        assert!(emulated.holds(&object, &OURS).await);
    }
}

/// Until a rotation is done, our material protects. The adapter must not report the change too early, nor miss it.
// contract: aws.unstated.rotation_seconds
#[tokio::test]
async fn a_rotation_that_takes_its_time_takes_the_key_from_us_when_it_is_done() {
    let emulated = begin_with(others()).await;
    let object = imported(&emulated).await;
    let ours = inspect(&emulated, &object).await.materials[0].clone();
    emulated.import_other(&object).await;
    emulated.client.rotate_key_on_demand().key_id(&object.0).send().await.unwrap();
    let states = |seen: &ObjectSeen| {
        let mut states: Vec<_> = seen.materials.iter().map(|material| (material.version, material.state)).collect();
        states.sort_by_key(|(version, _)| *version);
        states
    };
    let during = inspect(&emulated, &object).await;
    assert_eq!(states(&during), [(None, MaterialState::Pending), (Some(Version(1)), MaterialState::Current)]);
    assert_eq!(evidence(&emulated, &ours).await, THERE);
    emulated.advance(Span::seconds(61)).await;
    let after = inspect(&emulated, &object).await;
    assert_eq!(states(&after), [(None, MaterialState::Current), (Some(Version(1)), MaterialState::Former)]);
    assert_eq!(evidence(&emulated, &ours).await, NONE);
}

/// Both readings concern requests for new material, or multi-Region keys. We send neither; a change of that has to change this test.
// contract: aws.unstated.repeated_pending_import, aws.unstated.multi_region_rotation
#[tokio::test]
async fn our_bytes_come_again_beside_pending_material_and_never_as_new() {
    for repeated_pending_import in [RepeatedPendingImport::IncorrectKeyMaterial, RepeatedPendingImport::InvalidState] {
        let emulated = begin_with(Readings { repeated_pending_import, ..others() }).await;
        let object = imported(&emulated).await;
        emulated.import_other(&object).await;
        let before = inspect(&emulated, &object).await;
        assert_eq!(emulated.cloud.act(&import_of(&emulated, &object, &OURS).await).await, Ok(Acted::Done));
        assert_eq!(inspect(&emulated, &object).await, before);
        let requests = emulated.control.call("GET", "requests", None).await;
        let ours = requests.as_array().unwrap().iter().filter(|request| request["body"]["KeyMaterialDescription"].is_string());
        assert!(ours.clone().count() == 2 && ours.clone().all(|request| request["body"]["ImportType"].is_null()));
        assert!(requests.as_array().unwrap().iter().all(|request| request["body"]["MultiRegion"].is_null()));
    }
}

/// The adapter shows a key that waits for its deletion, whatever KMS says about its materials. Otherwise each sweep would be incomplete
/// until the key is deleted.
// contract: aws.unstated.leaving_rotations
#[tokio::test]
async fn a_key_that_waits_for_its_deletion_keeps_no_sweep_from_being_complete() {
    for leaving_rotations in [LeavingRotations::Listed, LeavingRotations::Refused] {
        let emulated = begin_with(Readings { leaving_rotations, ..others() }).await;
        let object = imported(&emulated).await;
        emulated.cloud.act(&Mutation::ScheduleDeletion { object: object.clone(), material: None, days: 30 }).await.unwrap();
        let leaving = inspect(&emulated, &object).await;
        assert!(matches!(leaving.state, ObjectState::DeletionScheduled(Some(_))) && !leaving.is_empty(), "{leaving:?}");
        assert_eq!(emulated.cloud.look(&target()).await.unwrap().claimed.as_ref(), Some(&leaving));
        let page = emulated.cloud.sweep(None).await.unwrap();
        assert_eq!((page.objects, page.broken, page.next), (vec![leaving], 0, None));
    }
}

/// A policy with lists of principals, actions and statements.
fn policy(principals: [&str; 2], last_action: &str) -> String {
    let arn = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Principal": { "AWS": principals.map(arn) }, "Action": "kms:*", "Resource": "*" },
            { "Effect": "Allow", "Principal": { "AWS": arn("app") }, "Action": ["kms:Encrypt", last_action], "Resource": "*" },
        ],
    })
    .to_string()
}

/// Otherwise every key of such a configuration would seem to have another policy, and would get no material.
// contract: aws.unstated.policy_text
#[tokio::test]
async fn a_policy_fits_in_any_order_and_no_other_does() {
    for policy_text in [PolicyText::AsWritten, PolicyText::Reformatted, PolicyText::Reordered] {
        let emulated = begin_with(Readings { policy_text, ..others() }).await;
        let with =
            async |policy: String| AwsKms::connect(AwsConfig { key_policy: Some(policy), ..config(&emulated.endpoint) }).await.unwrap();
        let cloud = with(policy(["admin", "keys"], "kms:Decrypt")).await;
        let Acted::Created(object) = cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap() else {
            unreachable!("creating gives an object")
        };
        let fits = async |cloud: AwsKms| cloud.inspect(&object).await.unwrap().unwrap().policy_fits;
        assert!(fits(cloud).await, "{policy_text:?}");
        assert!(fits(with(policy(["keys", "admin"], "kms:Decrypt")).await).await, "{policy_text:?}");
        for other in
            [policy(["admin", "other"], "kms:Decrypt"), policy(["admin", "admin"], "kms:Decrypt"), policy(["admin", "keys"], "kms:*")]
        {
            assert!(!fits(with(other.clone()).await).await, "{policy_text:?}: {other}");
        }
    }
}

/// How often a mutation is refused before it works.
async fn misses(emulated: &Emulated, mutation: &Mutation) -> usize {
    for missed in 0..100 {
        match emulated.cloud.act(mutation).await {
            Ok(done) => {
                assert_eq!(done, Acted::Done);
                return missed;
            }
            // A certain refusal: nobody has to wait for an effect. Nor may it look like another's claim.
            Err(error) => assert_eq!(told(&error), (Class::NotFound, Cause::Plain), "{}: {error}", mutation.word()),
        }
    }
    unreachable!("{} never works", mutation.word())
}

/// If a mutation does not see a new key yet, the refusal is certain and without effect: repeating it makes one claim, one name and one
/// material.
// contract: aws.unstated.mutations_see
#[tokio::test]
async fn a_mutation_that_misses_what_was_just_made_is_refused_and_can_be_repeated() {
    for reading in [MutationsSee::Present, MutationsSee::RecentPast] {
        let emulated = begin_with(Readings { mutations_see: reading, ..others() }).await;
        emulated.control.lag(Span::seconds(3_600)).await;
        let mut missed = 0;
        let mut made = Vec::new();
        for number in 1..=8 {
            let placement: PlacementId = format!("33333333-3333-8333-8333-{number:012}").parse().unwrap();
            let target = Target { placement, name: format!("key-{number}"), ..target() };
            let object = created(&emulated, &target).await;
            missed += misses(&emulated, &Mutation::Claim { target: target.clone(), object: object.clone() }).await;
            // Reads lag under either reading.
            let wrapping_key = loop {
                match emulated.cloud.wrapping_key(&WrapFor::Object(object.clone()), WrapScheme::RsaOaepSha256).await {
                    Ok(given) => break given,
                    Err(error) => assert_eq!(error.class, Class::NotFound, "{error}"),
                }
            };
            let wrapped = wrap(&wrapping_key, &OURS);
            missed += misses(&emulated, &import(&object, Version(1), wrapping_key, wrapped)).await;
            missed += misses(&emulated, &Mutation::Publish { target: target.clone(), object: object.clone(), material: None }).await;
            made.push((target, object));
        }
        assert_eq!(missed > 0, reading == MutationsSee::RecentPast, "{reading:?}: {missed} misses");
        emulated.advance(Span::seconds(3_601)).await;
        for (target, object) in made {
            let seen = emulated.cloud.look(&target).await.unwrap();
            assert_eq!(seen.claimed, seen.published);
            let holder = seen.claimed.unwrap();
            assert_eq!((&holder.object, holder.state, holder.materials.len()), (&object, ObjectState::Usable, 1));
            assert!(holder.fits(&target) && emulated.holds(&object, &OURS).await);
        }
    }
}
