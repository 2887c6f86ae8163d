//! What Azure's documents leave open: the suite under other readings than the default, and how the adapter behaves under each.

use http::Method;
use keyplane_azure::VaultKind;
use keyplane_conformance::Subject as _;
use keyplane_emulator_core::azure::{Config, DisabledKey, Full, ImportQuota, Limits, Pages, PlainKeyIntoHsm, Readings, VersionsOrder};
use keyplane_model::{Algorithm, Class, ObjectId, ObjectState, Purpose, Span, Target, Version, WrapScheme};
use keyplane_port::{Acted, Cause, Cloud as _, Mutation};
use serde_json::json;

use crate::emulated::{DAYS, Emulated, begin_with};
use crate::requests::{aes, import, material, target};

fn usual() -> Readings {
    Readings::default()
}

/// For each reading another answer than the default.
fn others() -> Readings {
    Readings {
        import_quota: ImportQuota::Other,
        versions_order: VersionsOrder::OldestFirst,
        pages: Pages::Short,
        transition_seconds: 10,
        disabled_key: DisabledKey::DoesNothing,
        plain_key_into_hsm: PlainKeyIntoHsm::Accepted,
        full: Full::Forbidden,
    }
}

/// The third answer, where a reading has three.
fn further() -> Readings {
    Readings { versions_order: VersionsOrder::NewestFirst, full: Full::BadParameter, ..others() }
}

async fn begin(kind: VaultKind, readings: Readings) -> Emulated {
    begin_with(kind, |config| config.readings = readings).await
}

// contract: azure.unstated.disabled_key, azure.unstated.plain_key_into_hsm, azure.unstated.versions_order, azure.unstated.pages
mod key_vault {
    use super::{Emulated, Readings, VaultKind, further, others, usual};

    async fn begin(readings: Readings) -> Emulated {
        super::begin(VaultKind::KeyVault, readings).await
    }

    keyplane_conformance::runs!(usual others further);
}

mod managed_hsm {
    use super::{Emulated, Readings, VaultKind, further, others, usual};

    async fn begin(readings: Readings) -> Emulated {
        super::begin(VaultKind::ManagedHsm, readings).await
    }

    keyplane_conformance::runs!(usual others further);
}

#[test]
fn every_answer_is_in_force_in_a_whole_run() {
    keyplane_conformance::assert_every_answer_is_in_force!([usual(), others(), further()]; Readings {
        import_quota: ImportQuota { Create Other }
        versions_order: VersionsOrder { ById OldestFirst NewestFirst }
        pages: Pages { Full Short }
        disabled_key: DisabledKey { PublicHalfWorks DoesNothing }
        plain_key_into_hsm: PlainKeyIntoHsm { Refused Accepted }
        full: Full { Conflict Forbidden BadParameter }
    }; numbers { transition_seconds }; beside {});
}

fn object() -> ObjectId {
    ObjectId("payments-db".into())
}

async fn digests(emulated: &Emulated) -> serde_json::Value {
    emulated.control.call("GET", "dump", None).await["keys"].take()
}

/// While a key is being deleted or recovered, no read shows it, but its name is taken. A request for the name is told to come again, and
/// afterwards finds the key.
// contract: azure.unstated.transition_seconds
#[tokio::test]
async fn a_name_that_looks_free_meanwhile_is_not_given_away() {
    let emulated = begin(VaultKind::ManagedHsm, Readings { transition_seconds: 60, pages: Pages::Full, ..others() }).await;
    let cloud = &emulated.cloud;
    cloud.act(&import(&emulated, &aes(), Version(1), &[7; 32]).await).await.unwrap();
    let before = cloud.look(&aes()).await.unwrap();
    let again = import(&emulated, &aes(), Version(1), &[7; 32]).await;
    let nowhere = async || {
        let seen = cloud.look(&aes()).await.unwrap();
        assert_eq!((seen.claimed, seen.published), (None, None));
        let page = cloud.sweep(None).await.unwrap();
        assert_eq!((page.objects, page.broken, page.next), (vec![], 0, None));
        let refused = cloud.act(&again).await.unwrap_err();
        assert_eq!((refused.class, refused.cause), (Class::Transient, Cause::Plain), "{refused}");
    };

    cloud.act(&Mutation::ScheduleDeletion { object: object(), material: None, days: DAYS }).await.unwrap();
    nowhere().await;
    emulated.advance(Span::seconds(61)).await;
    let deleted = cloud.look(&aes()).await.unwrap().claimed.unwrap();
    assert!(deleted.fits(&aes()) && matches!(deleted.state, ObjectState::DeletionScheduled(Some(_))), "{deleted:?}");
    assert_eq!(cloud.act(&again).await.unwrap_err().class, Class::AlreadyExists);

    emulated.does(Method::POST, "deletedkeys/payments-db/recover", None).await;
    nowhere().await;
    emulated.advance(Span::seconds(61)).await;
    assert_eq!(cloud.look(&aes()).await.unwrap(), before, "it came back as another one");
}

/// However a Managed HSM says that it is full, the failure is certain, is not a taken name, and changes nothing.
// contract: azure.unstated.full
#[tokio::test]
async fn a_full_hsm_is_told_from_a_taken_name_and_from_doubt() {
    for (full, class) in [(Full::Conflict, Class::Stale), (Full::Forbidden, Class::Denied), (Full::BadParameter, Class::Invalid)] {
        let emulated = begin_with(VaultKind::ManagedHsm, |config: &mut Config| {
            config.readings = Readings { full, ..others() };
            // The key exchange key counts as one of them.
            config.limits = Limits { keys: Some(2), versions: Some(1) };
        })
        .await;
        let cloud = &emulated.cloud;
        let first = import(&emulated, &aes(), Version(1), &[7; 32]).await;
        cloud.act(&first).await.unwrap();
        let before = (cloud.look(&aes()).await.unwrap(), digests(&emulated).await);

        let mut elsewhere = first.clone();
        let Mutation::Import { target: other, object, .. } = &mut elsewhere else { unreachable!("an import is an import") };
        (other.name, *object) = ("another".into(), None);
        let placement = "55555555-5555-8555-8555-555555555555".parse().unwrap();
        let preparation =
            Mutation::Prepare { target: Target { placement, ..aes() }, version: Version(1), scheme: WrapScheme::RsaAesKeyWrapSha1 };
        for (mutation, what) in [(first, "another version"), (elsewhere, "another key"), (preparation, "another key to wrap under")] {
            let refused = cloud.act(&mutation).await.unwrap_err();
            assert_eq!((refused.class, refused.cause, refused.retry_after), (class, Cause::Plain, None), "{what}: {refused}");
        }
        assert_eq!((cloud.look(&aes()).await.unwrap(), digests(&emulated).await), before);
    }
}

/// A caller that keeps to what an import declares is never throttled, whichever quota the import counts for. One that does not is told so,
/// and how long to wait.
// contract: azure.unstated.import_quota
#[tokio::test]
async fn imports_at_the_declared_pace_are_never_throttled() {
    for (kind, algorithm, purpose) in
        [(VaultKind::ManagedHsm, Algorithm::Aes256, Purpose::Encrypt), (VaultKind::KeyVault, Algorithm::EcP256, Purpose::Sign)]
    {
        for reading in [ImportQuota::Create, ImportQuota::Other] {
            let emulated = begin(kind, Readings { import_quota: reading, ..others() }).await;
            let (bytes, _) = material(algorithm);
            let import = import(&emulated, &target(algorithm, purpose), Version(1), &bytes).await;
            let capabilities = &emulated.cloud.destination().capabilities;
            let [drawn] = capabilities.draws["import"].as_slice() else { unreachable!("an import draws once") };
            let quota = &capabilities.quotas[drawn];
            let pause = quota.per.divided_by(quota.calls);
            emulated.control.call("POST", "quotas", Some(json!({ "on": true }))).await;
            for number in 0..30 {
                assert_eq!(emulated.cloud.act(&import).await, Ok(Acted::Done), "{kind} {reading:?}: import {number}");
                emulated.advance(pause).await;
            }
            let mut refused = None;
            for _ in 0..30 {
                refused = refused.or(emulated.cloud.act(&import).await.err());
            }
            assert_eq!(refused.is_some(), reading == ImportQuota::Create, "{kind} {reading:?}: {refused:?}");
            if let Some(error) = refused {
                assert_eq!((error.class, error.cause), (Class::Throttled, Cause::Plain), "{error}");
                assert!(error.retry_after.is_some_and(|wait| wait > Span::ZERO), "{error:?}");
            }
        }
    }
}
