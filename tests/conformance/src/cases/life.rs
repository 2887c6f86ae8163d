//! What works, and what has to be refused.

use keyplane_model::{
    Algorithm, Class, Creation, EvidenceStrength, MaterialState, ObjectSeen, ObjectState, Presence, Purpose, Span, Timestamp, WrapScheme,
};
use keyplane_port::{Acted, Cause, Mutation, WrapFor};

use crate::fixture::{Fixture, VERSION, assert_is_printable};
use crate::material::Material;
use crate::{Subject, Tampering, wrap};

/// Create, claim, wrap, import and activate, by every scheme that the destination takes: the cloud then holds exactly these bytes.
pub async fn an_imported_key_is_the_key_that_was_wrapped<S: Subject>(subject: &S) {
    let algorithms = subject.cloud().destination().capabilities.algorithms.clone();
    let usual = Fixture::new(subject, "any").target.algorithm;
    let schemes: Vec<WrapScheme> = algorithms.get(&usual).cloned().unwrap_or_default();
    assert!(!schemes.is_empty());
    for scheme in schemes {
        let fixture = Fixture::new(subject, &format!("by-{scheme}"));
        let nothing = fixture.look().await;
        assert_eq!((nothing.claimed, nothing.published), (None, None));

        let object = fixture.ready().await;
        assert!(fixture.is_bare().await);
        if let Some(empty) = fixture.look().await.claimed {
            assert_eq!(empty.object, object);
            assert!(empty.fits(&fixture.target), "{empty:?}");
        }

        let from = prepared_for(&fixture, &object, scheme).await;
        fixture.settle().await;
        let wrapping_key = fixture.cloud.wrapping_key(&from, scheme).await.expect("a wrapping key");
        assert_eq!(wrapping_key.scheme, scheme);
        let wrapped = wrap(&wrapping_key, &fixture.material.bytes);
        fixture.act(&fixture.import_of(&object, wrapping_key, wrapped)).await;
        fixture.settled().await;
        if fixture.generations() && fixture.publishes() {
            assert_eq!(fixture.look().await.published, None, "what nobody published is used");
        }
        fixture.publish(&object).await;

        let seen = fixture.look().await;
        assert_eq!(seen.claimed, seen.published, "the users' name leads to the claimed object");
        let holder = seen.claimed.expect("the claim is held");
        assert!(holder.fits(&fixture.target), "{holder:?}");
        assert_eq!(holder.state, ObjectState::Usable);
        let current = holder.current().expect("current material");
        assert_eq!((current.version, current.is_present(), current.state), (Some(VERSION), true, MaterialState::Current));
        assert_eq!(fixture.inspect(&object).await, Some(holder.clone()));

        assert!(fixture.holds_its_own(&object).await, "other bytes arrived than were wrapped");
        let ciphertext = subject.encrypt(&fixture.target.name, b"attack at dawn").await.expect("the cloud encrypts under the users' name");
        assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"attack at dawn"[..]));
    }
}

/// For clouds whose wrapping keys have to be made: one for this scheme.
async fn prepared_for(fixture: &Fixture<'_>, object: &keyplane_model::ObjectId, scheme: WrapScheme) -> WrapFor {
    if !fixture.prepares() {
        return WrapFor::Object(object.clone());
    }
    let preparation = Mutation::Prepare { target: fixture.target.clone(), version: VERSION, scheme };
    assert!(matches!(fixture.cloud.act(&preparation).await, Ok(Acted::Created(_))));
    fixture.wrap_for(object).await
}

/// Every algorithm that the destination takes, for every purpose that it serves there; a key pair is recognised by its public key.
pub async fn every_kind_of_key_is_the_key_that_was_wrapped<S: Subject>(subject: &S) {
    let algorithms: Vec<Algorithm> = subject.cloud().destination().capabilities.algorithms.keys().copied().collect();
    for algorithm in algorithms {
        let material = Material::of(algorithm);
        for purpose in [Purpose::Encrypt, Purpose::Sign, Purpose::Mac].into_iter().filter(|purpose| algorithm.serves(*purpose)) {
            let fixture = Fixture::of(subject, &format!("{algorithm}-{purpose}"), algorithm, purpose, material.clone());
            let object = fixture.imported().await;
            if fixture.look().await.published.is_none() {
                fixture.act(&fixture.publication(&object).await).await;
            }
            let seen = fixture.look().await;
            assert_eq!(seen.claimed, seen.published, "{algorithm} {purpose}");
            let holder = seen.claimed.expect("the claim is held");
            assert!(holder.fits(&fixture.target), "{algorithm} {purpose}: {holder:?}");
            let current = holder.current().expect("current material");
            assert_eq!((current.version, current.is_present()), (Some(VERSION), true), "{algorithm} {purpose}");
            assert_eq!(current.public_key, material.public_key.as_ref().map(keyplane_model::PublicKey::digest), "{algorithm} {purpose}");
            assert!(fixture.holds_its_own(&object).await, "{algorithm} {purpose}: other bytes arrived than were wrapped");

            let copy = fixture.copy().await;
            let shown = fixture.cloud.evidence(&fixture.target, &copy, Timestamp(0)).await.expect("a read");
            assert!(shown.fits, "{algorithm} {purpose}: {shown:?}");
            if material.public_key.is_some() {
                assert_eq!(shown.strength, EvidenceStrength::Equality, "{algorithm} {purpose}");
            }
        }
    }
}

/// An object can be recognised as ours without any further read, write or wait.
pub async fn an_object_is_recognisable_from_its_first_moment<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "shell");
    let (_, making) = fixture.making().await;
    let before = subject.mutations().await;
    let object = match fixture.cloud.act(&making).await.expect("the object is made") {
        Acted::Created(object) => object,
        Acted::Done => fixture.holder().await.object,
    };
    assert_eq!(subject.mutations().await, before + 1, "the marks came with a request of their own");
    let seen = fixture.inspect(&object).await.expect("the object");
    assert_eq!(seen.marks.as_ref(), Some(&fixture.marks));
    assert!(seen.fits(&fixture.target), "{seen:?}");
    assert_eq!(seen.is_empty(), fixture.creation_kind() != Creation::Imported, "{seen:?}");
    assert!(seen.created.is_some());

    let stranger = Fixture::new(subject, "another");
    assert!(!seen.fits(&stranger.target), "an object fits a placement that it was not made for");
    assert_eq!(fixture.swept().await, [seen]);
}

/// Of two objects for one placement, only one gets the claim.
pub async fn a_claim_can_be_had_once<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "contested");
    if fixture.cloud.destination().capabilities.creation != Creation::Claimed {
        return;
    }
    let (first, second) = (fixture.created().await, fixture.created().await);
    assert_ne!(first, second);
    fixture.act(&fixture.claim(&first)).await;
    for object in [&second, &first] {
        assert_eq!(fixture.refused(&fixture.claim(object)).await.class, Class::AlreadyExists);
    }
    assert_eq!(fixture.holder().await.object, first);
}

/// A look shows that another object has the claim, and the claim cannot be had.
pub async fn a_squatted_claim_shows_who_has_it<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "squatted");
    if fixture.cloud.destination().capabilities.creation != Creation::Claimed {
        return;
    }
    let foreign = subject.crowd(1).await.remove(0);
    subject.squat(&fixture.target, &foreign).await;
    let object = fixture.created().await;
    assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::AlreadyExists);
    let holder = fixture.holder().await;
    assert_eq!((&holder.object, holder.marks.as_ref()), (&foreign, None));
    assert!(!holder.fits(&fixture.target), "material would go into somebody else's object");
}

/// A users' name that leads to a foreign object is not changed.
pub async fn a_taken_name_is_seen_and_not_taken_over<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "taken");
    let foreign = subject.occupy(&fixture.target.name).await;
    let assert_foreign = |seen: Option<ObjectSeen>| {
        let seen = seen.expect("the name is taken");
        assert_eq!((&seen.object, seen.marks.as_ref()), (&foreign, None));
        assert!(!seen.fits(&fixture.target), "material would go into somebody else's object");
    };
    if fixture.creation_kind() != Creation::Claimed {
        // Here the name makes an object the placement's.
        let before = fixture.look().await;
        assert_foreign(before.claimed.clone());
        if fixture.creation_kind() == Creation::Named {
            assert_eq!(fixture.refused(&fixture.creation()).await.class, Class::AlreadyExists);
        }
        assert_eq!(fixture.look().await, before);
        return;
    }
    let object = fixture.claimed().await;
    let seen = fixture.look().await;
    assert_eq!(seen.claimed.map(|holder| holder.object), Some(object.clone()));
    assert_foreign(seen.published);

    assert_eq!(fixture.refused(&fixture.publication(&object).await).await.class, Class::AlreadyExists);
    assert_eq!(fixture.look().await.published.map(|object| object.object), Some(foreign));
}

/// A name that only one object can have is given only once, even to us.
pub async fn an_object_has_its_name_alone<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "alone");
    if fixture.creation_kind() != Creation::Named {
        return;
    }
    fixture.created().await;
    let before = fixture.holder().await;
    let mut second = Fixture::new(subject, "second");
    second.target.name.clone_from(&fixture.target.name);
    for creation in [fixture.creation(), second.creation()] {
        assert_eq!(fixture.refused(&creation).await.class, Class::AlreadyExists);
    }
    assert_eq!(fixture.holder().await, before);
    assert!(!second.holder().await.fits(&second.target), "the object of another placement fits");
}

/// "Not found" is a class of its own, for reads and for mutations.
pub async fn what_does_not_exist_is_a_typed_not_found<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "missing");
    let object = subject.unknown_object();
    assert_eq!(fixture.inspect(&object).await, None);
    assert_eq!(fixture.refused(&fixture.disabling(&object).await).await.class, Class::NotFound);
    if fixture.creation_kind() == Creation::Claimed {
        assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::NotFound);
    }
    let from = if fixture.prepares() { WrapFor::Prepared(subject.unknown_wrapping_key()) } else { WrapFor::Object(object) };
    let error = fixture.cloud.wrapping_key(&from, fixture.scheme()).await.expect_err("no object, no key");
    assert_eq!(error.class, Class::NotFound);
    assert_eq!(fixture.prepared(None).await, None);
}

/// Names are checked before they are put into a request.
pub async fn a_name_that_the_cloud_cannot_have_is_refused_without_a_request<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "named");
    let object = fixture.created().await;
    let (_, making) = fixture.making().await;
    let before = subject.mutations().await;
    for name in ["", "a b", "a\nb", "ä", "../a", "a?b", &"a".repeat(1_000)] {
        fixture.target.name = name.to_owned();
        if fixture.publishes() {
            assert_eq!(fixture.refused(&fixture.publication(&object).await).await.class, Class::Invalid, "{name:?}");
        }
        if let Mutation::Import { .. } = &making {
            let mut named = making.clone();
            let Mutation::Import { target, .. } = &mut named else { unreachable!("an import is an import") };
            target.name = name.to_owned();
            assert_eq!(fixture.refused(&named).await.class, Class::Invalid, "{name:?}");
        }
        if fixture.creation_kind() != Creation::Claimed {
            let creation = fixture.refused(&fixture.creation()).await;
            assert!(matches!(creation.class, Class::Invalid | Class::Unsupported), "{name:?}: {creation}");
        }
        assert_eq!(fixture.cloud.look(&fixture.target).await.map_err(|error| error.class), Err(Class::Invalid), "{name:?}");
    }
    assert_eq!(subject.mutations().await, before);
}

/// Disabling affects the cloud's own users, and enabling undoes it.
pub async fn a_disabled_object_is_unusable_until_it_is_enabled<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "switched");
    let object = fixture.published().await;
    let ciphertext = subject.encrypt(&fixture.target.name, b"before").await.expect("the cloud encrypts");
    fixture.act(&fixture.disabling(&object).await).await;
    assert_eq!(fixture.holder().await.state, ObjectState::Disabled);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await, None, "a disabled key decrypts");
    fixture.act(&fixture.enabling(&object).await).await;
    assert_eq!(fixture.holder().await.state, ObjectState::Usable);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"before"[..]));
}

/// The date is the cloud's, and a delay that it does not offer is refused. A name that could never be had again is not deleted.
pub async fn a_scheduled_deletion_says_when<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "leaving");
    let object = fixture.created().await;
    let days = fixture.cloud.destination().capabilities.deletion_days;
    let deletion = Mutation::ScheduleDeletion { object: object.clone(), material: None, days };
    if fixture.creation_kind() == Creation::Named {
        let before = subject.mutations().await;
        assert_eq!(fixture.refused(&deletion).await.class, Class::Unsupported);
        assert_eq!(subject.mutations().await, before);
        return;
    }
    let none = Mutation::ScheduleDeletion { object: object.clone(), material: None, days: 0 };
    assert_eq!(fixture.refused(&none).await.class, Class::Invalid);
    fixture.act(&deletion).await;
    let seen = fixture.inspect(&object).await.expect("the object");
    let ObjectState::DeletionScheduled(Some(at)) = seen.state else { unreachable!("{seen:?}") };
    let created = seen.created.expect("a date of creation");
    let (early, late) = (created + Span::days(days), created + Span::days(days + 1));
    assert!(early <= at && at <= late, "{created} and {days} days are not {at}");
    assert!(!seen.is_empty(), "an object that is leaving can no longer be given material");
    subject.advance(Span::days(days + 1)).await;
    assert_eq!(fixture.inspect(&object).await, None);
}

/// A deletion, or the destruction of the only material where objects cannot be deleted, can be cancelled without loss.
pub async fn what_is_leaving_can_be_restored<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "restored");
    let object = fixture.published().await;
    let ciphertext = subject.encrypt(&fixture.target.name, b"before").await.expect("the cloud encrypts");
    let current = fixture.holder().await.current().and_then(|material| material.id.clone());
    let deletion = fixture.deletion(&object).await;
    // At AWS every deletion has its own delay.
    if fixture.creation_kind() != Creation::Claimed {
        let mut other = deletion.clone();
        let Mutation::ScheduleDeletion { days, .. } = &mut other else { unreachable!("a deletion is a deletion") };
        *days += 1;
        assert_eq!(fixture.refused(&other).await.class, Class::Invalid, "it would not wait for as long as was said");
    }

    fixture.act(&deletion).await;
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await, None, "what is leaving decrypts");
    let leaving = fixture.inspect(&object).await.expect("the object");
    if fixture.stays() {
        let presence = leaving.materials.first().map(|material| material.presence.clone());
        assert_eq!(presence, Some(Presence::Leaving));
    } else {
        assert!(matches!(leaving.state, ObjectState::DeletionScheduled(Some(_))), "{leaving:?}");
    }
    let restoration = fixture.restoration(&object).await;
    fixture.act(&restoration).await;
    let restored = fixture.holder().await;
    assert!(matches!(restored.state, ObjectState::Disabled | ObjectState::Usable), "{restored:?}");
    if restored.state == ObjectState::Disabled {
        fixture.act(&fixture.enabling(&object).await).await;
    }
    assert_eq!(fixture.holder().await.current().and_then(|material| material.id.clone()), current);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"before"[..]));
    let again = fixture.refused(&restoration).await.class;
    assert!(matches!(again, Class::Stale | Class::NotFound), "what is not leaving cannot be restored: {again}");
}

/// Other clouds have nothing to purge, and no request is sent.
pub async fn what_was_deleted_is_purged_where_it_keeps_its_name<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "purged");
    let object = fixture.published().await;
    let purge = Mutation::Purge { object: object.clone() };
    if fixture.creation_kind() != Creation::Imported {
        let before = subject.mutations().await;
        assert_eq!(fixture.refused(&purge).await.class, Class::Unsupported);
        assert_eq!(subject.mutations().await, before);
        return;
    }
    assert_eq!(fixture.refused(&purge).await.class, Class::NotFound, "only what was deleted is purged");
    let days = fixture.cloud.destination().capabilities.deletion_days;
    fixture.act(&Mutation::ScheduleDeletion { object: object.clone(), material: None, days }).await;
    fixture.act(&purge).await;
    assert_eq!(fixture.look().await.claimed, None);
    let (_, making) = fixture.making().await;
    fixture.act(&making).await;
}

/// Where a deleted object keeps its name, a look shows that, and the name cannot be had before its time.
pub async fn a_deleted_name_is_not_had_again_before_its_time<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "kept");
    if fixture.creation_kind() != Creation::Imported {
        return;
    }
    let object = fixture.created().await;
    let (_, making) = fixture.making().await;
    let days = fixture.cloud.destination().capabilities.deletion_days;
    fixture.act(&Mutation::ScheduleDeletion { object, material: None, days }).await;
    let seen = fixture.look().await;
    assert_eq!(seen.published, None);
    let deleted = seen.claimed.expect("what keeps the name");
    assert!(deleted.fits(&fixture.target) && matches!(deleted.state, ObjectState::DeletionScheduled(_)), "{deleted:?}");
    assert_eq!(fixture.refused(&making).await.class, Class::AlreadyExists);
    assert_eq!(fixture.look().await.claimed, Some(deleted));

    subject.advance(Span::days(days + 1)).await;
    assert_eq!(fixture.look().await.claimed, None);
    fixture.act(&making).await;
    assert_eq!(fixture.ours().await.len(), 1);
}

/// Where an object takes one material, every ambiguous import is resolved by importing the same bytes under a new wrapping key.
pub async fn importing_the_same_bytes_again_changes_nothing<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "again");
    if fixture.generations() {
        return;
    }
    let object = fixture.published().await;
    let (before, ciphertext) = (fixture.holder().await, subject.encrypt(&fixture.target.name, b"x").await.expect("the cloud encrypts"));
    let again = fixture.import(&object, &fixture.material.bytes).await;
    fixture.act(&again).await;
    assert_eq!(fixture.holder().await, before);
    assert!(fixture.holds_its_own(&object).await);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"x"[..]));
}

/// A version's bytes never change. Damaged bytes are not reported as other bytes.
pub async fn other_bytes_are_refused_and_change_nothing<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "other");
    if fixture.generations() {
        return;
    }
    let object = fixture.published().await;
    let before = fixture.holder().await;
    let error = fixture.refused(&fixture.import(&object, &[9; 32]).await).await;
    assert_eq!((error.class, error.cause), (Class::Invalid, Cause::OtherMaterial));

    let error = fixture.refused(&garbled(&fixture, &object, None).await).await;
    assert_eq!((error.class, error.cause), (Class::Invalid, Cause::Plain));

    assert_eq!(fixture.holder().await, before);
    assert!(fixture.holds_its_own(&object).await);
}

/// An import whose wrapped bytes were damaged.
async fn garbled(fixture: &Fixture<'_>, object: &keyplane_model::ObjectId, again: Option<String>) -> Mutation {
    let mut garbled = fixture.import_again(object, &fixture.material.bytes, again).await;
    let Mutation::Import { wrapped, .. } = &mut garbled else { unreachable!("an import is an import") };
    wrapped[0] ^= 1;
    garbled
}

/// If the cloud reports only after its reply that it could not use the bytes, the same material takes the right ones later. If it refuses
/// them at once, nothing remains.
pub async fn what_could_not_be_unwrapped_is_imported_again_into_the_same_material<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "damaged");
    if !fixture.generations() {
        return;
    }
    let object = fixture.ready().await;
    let again = match fixture.cloud.act(&garbled(&fixture, &object, None).await).await {
        Err(error) => {
            assert_is_printable(&error);
            assert_eq!((error.class, error.cause), (Class::Invalid, Cause::Plain));
            assert!(fixture.is_bare().await);
            None
        }
        Ok(_) => {
            fixture.settled().await;
            assert!(!fixture.holder().await.is_empty(), "what was tried is not seen");
            Some(assert_failed(&fixture).await)
        }
    };
    // Once more into the same material.
    if again.is_some() {
        fixture.act(&garbled(&fixture, &object, again.clone()).await).await;
        fixture.settled().await;
        assert_eq!(Some(assert_failed(&fixture).await), again);
    }
    fixture.act(&fixture.import_again(&object, &fixture.material.bytes, again.clone()).await).await;
    fixture.settled().await;
    let [material] = fixture.ours().await.try_into().expect("one material");
    assert!(material.is_present(), "{material:?}");
    assert!(again.is_none() || material.id == again, "another material than the one that failed");
    fixture.publish(&object).await;
    assert!(fixture.holds_its_own(&object).await);
}

/// Checks that the only material failed and shows a reason; returns its id.
async fn assert_failed(fixture: &Fixture<'_>) -> String {
    let holder = fixture.holder().await;
    assert!(holder.fits(&fixture.target) && holder.state == ObjectState::AwaitingMaterial, "{holder:?}");
    let [material] = fixture.ours().await.try_into().expect("one material");
    let Presence::Failed(reason) = &material.presence else { unreachable!("{material:?}") };
    assert!(!reason.is_empty());
    material.id.expect("a material that is switched by itself has an id")
}

/// Deleted bytes can be replaced only by the same bytes.
pub async fn lost_material_comes_back_by_the_same_bytes_alone<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost");
    if fixture.creation_kind() == Creation::Imported || !subject.tamperings().contains(&Tampering::NoMaterial) {
        return;
    }
    let object = fixture.published().await;
    let ciphertext = subject.encrypt(&fixture.target.name, b"before").await.expect("the cloud encrypts");
    subject.tamper(&object, Tampering::NoMaterial).await;
    // Materials whose destruction takes days are gone by then.
    subject.advance(Span::days(fixture.cloud.destination().capabilities.deletion_days + 1)).await;
    let holder = fixture.holder().await;
    assert!(holder.fits(&fixture.target) && holder.state == ObjectState::AwaitingMaterial && !holder.is_empty(), "{holder:?}");
    let [lost] = fixture.ours().await.try_into().expect("one material");
    assert_eq!(lost.presence, Presence::Missing);
    let into = lost.id.clone().filter(|_| fixture.generations());

    match fixture.cloud.act(&fixture.import_again(&object, &[9; 32], into.clone()).await).await {
        Err(error) => {
            assert_is_printable(&error);
            assert_eq!(error.class, Class::Invalid, "{error}");
        }
        Ok(_) => {
            fixture.settled().await;
            assert_eq!(Some(assert_failed(&fixture).await), into);
        }
    }
    assert!(!subject.holds(&object, &[9; 32]).await, "other bytes took the place");

    fixture.act(&fixture.import_again(&object, &fixture.material.bytes, into).await).await;
    fixture.settled().await;
    let [found] = fixture.ours().await.try_into().expect("one material");
    assert_eq!((found.is_present(), found.id), (true, lost.id));
    assert!(fixture.holds_its_own(&object).await);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"before"[..]));
}

/// A late request makes a second material of one version. Both are shown, and the one to keep comes first: the older one where users get
/// only what was activated, and the newer one where they get the newest.
pub async fn two_imports_of_one_version_are_both_seen_and_one_is_switched_off<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "twice");
    if !fixture.generations() {
        return;
    }
    let object = fixture.published().await;
    let [first] = fixture.ours().await.try_into().expect("one material");
    fixture.act(&fixture.import(&object, &fixture.material.bytes).await).await;
    fixture.settled().await;
    let [kept, surplus] = fixture.ours().await.try_into().expect("two materials");
    let first_is_kept = fixture.creation_kind() != Creation::Imported;
    assert_eq!(if first_is_kept { &kept.id } else { &surplus.id }, &first.id, "another one is used");
    assert_eq!((kept.state, kept.is_present()), (MaterialState::Current, true), "{kept:?}");
    assert!(surplus.is_present() && surplus.state != MaterialState::Current && surplus.id != kept.id, "{surplus:?}");

    fixture.act(&Mutation::Disable { object: object.clone(), material: surplus.id.clone() }).await;
    let [still, surplus] = fixture.ours().await.try_into().expect("two materials");
    assert_eq!((still, surplus.presence), (kept, Presence::Disabled));
    assert_eq!(fixture.holder().await.state, ObjectState::Usable);
    assert!(subject.encrypt(&fixture.target.name, b"after").await.is_some());
}

/// A week may pass between wrapping and importing.
pub async fn an_expired_token_is_named_and_a_new_one_works<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "late");
    if fixture.creation_kind() == Creation::Imported {
        // Its wrapping keys do not expire by themselves; they become unusable when somebody disables them.
        return;
    }
    let object = fixture.claimed().await;
    let from = fixture.wrap_for(&object).await;
    fixture.settle().await;
    let wrapping_key = fixture.cloud.wrapping_key(&from, fixture.scheme()).await.expect("a wrapping key");
    assert!(wrapping_key.valid_until.is_some(), "the cloud says how long");
    let wrapped = wrap(&wrapping_key, &fixture.material.bytes);
    let late = fixture.import_of(&object, wrapping_key, wrapped);
    subject.advance(Span::days(7)).await;
    let again = match fixture.cloud.act(&late).await {
        Err(error) => {
            assert_is_printable(&error);
            assert_eq!((error.class, error.cause), (Class::Stale, Cause::ImportTokenExpired), "{error}");
            assert!(fixture.holder().await.is_empty());
            None
        }
        // If the cloud reports the failure only after its reply, it shows where a new key is asked for.
        Ok(_) => {
            fixture.settled().await;
            Some(assert_failed(&fixture).await)
        }
    };
    if let WrapFor::Prepared(old) = &from {
        let error = fixture.cloud.wrapping_key(&from, fixture.scheme()).await.expect_err("it ran out");
        assert_eq!((error.class, error.cause), (Class::Stale, Cause::ImportTokenExpired), "{error}");
        assert_eq!(fixture.prepared(None).await, None, "what ran out is passed over");
        let WrapFor::Prepared(new) = fixture.wrap_for(&object).await else { unreachable!("wrapping keys are made") };
        assert_ne!(*old, new);
    }
    fixture.act(&fixture.import_again(&object, &fixture.material.bytes, again).await).await;
    fixture.settled().await;
    assert!(fixture.holds_its_own(&object).await);
}
