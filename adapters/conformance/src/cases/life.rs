//! What works, and what is refused for good reasons.

use keyplane_model::{Class, MaterialState, ObjectState, Span, Version, WrapScheme};
use keyplane_port::{Cause, Mutation};

use crate::fixture::Fixture;
use crate::{Subject, wrap};

/// Create, claim, wrap, import, publish: by every scheme that the destination takes, the cloud then holds the very bytes.
pub async fn an_imported_key_is_the_key_that_was_wrapped<S: Subject>(subject: &S) {
    let schemes = subject.cloud().destination().capabilities.algorithms.values().flatten().copied().collect::<Vec<WrapScheme>>();
    assert!(!schemes.is_empty());
    for scheme in schemes {
        let fixture = Fixture::new(subject, &format!("by-{scheme}"));
        let nothing = fixture.look().await;
        assert_eq!((nothing.claimed, nothing.published), (None, None));

        let object = fixture.claimed().await;
        let empty = fixture.holder().await;
        assert_eq!(empty.object, object);
        assert!(empty.fits(&fixture.target) && empty.is_empty(), "{empty:?}");

        let wrapping_key = fixture.cloud.wrapping_key(&object, scheme).await.expect("a wrapping key");
        assert_eq!(wrapping_key.scheme, scheme);
        let wrapped = wrap(&wrapping_key, &fixture.material());
        fixture.act(&Mutation::Import { object: object.clone(), version: Version(1), wrapping_key, wrapped }).await;
        fixture.act(&fixture.publication(&object)).await;

        let seen = fixture.look().await;
        assert_eq!(seen.claimed, seen.published, "the users' name leads to the claimed object");
        let holder = seen.claimed.expect("the claim is held");
        assert!(holder.fits(&fixture.target), "{holder:?}");
        assert_eq!(holder.state, ObjectState::Usable);
        let current = holder.current().expect("current material");
        assert_eq!((current.version, current.present, current.state), (Some(Version(1)), true, MaterialState::Current));
        assert_eq!(fixture.cloud.inspect(&object).await, Ok(Some(holder.clone())));

        assert!(subject.holds(&object, &fixture.material()).await, "other bytes arrived than were wrapped");
        let ciphertext = subject.encrypt(&fixture.target.name, b"attack at dawn").await.expect("the cloud encrypts under the users' name");
        assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"attack at dawn"[..]));
    }
}

/// Nothing has to be read, written or waited for before an object can be told to be ours.
pub async fn an_object_is_recognisable_from_its_first_moment<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "shell");
    let before = subject.mutations().await;
    let object = fixture.created().await;
    assert_eq!(subject.mutations().await, before + 1, "the marks came with a request of their own");
    let seen = fixture.cloud.inspect(&object).await.expect("a read").expect("the object");
    assert_eq!(seen.marks.as_ref(), Some(&fixture.marks));
    assert!(seen.fits(&fixture.target) && seen.is_empty(), "{seen:?}");
    assert!(seen.created.is_some());

    let stranger = Fixture::new(subject, "another");
    assert!(!seen.fits(&stranger.target), "an object fits a placement that it was not made for");
    let page = fixture.cloud.sweep(None).await.expect("a page");
    assert_eq!(page.objects, [seen]);
}

/// Of two objects for one placement, only one gets the claim.
pub async fn a_claim_can_be_had_once<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "contested");
    if !fixture.cloud.destination().capabilities.claims {
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

/// A claim that somebody else took is seen for what it is, and cannot be had.
pub async fn a_squatted_claim_shows_who_has_it<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "squatted");
    if !fixture.cloud.destination().capabilities.claims {
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

/// A users' name that leads to somebody else's object stays where it is.
pub async fn a_taken_name_is_seen_and_not_taken_over<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "taken");
    let foreign = subject.crowd(1).await.remove(0);
    subject.name(&fixture.target.name, &foreign).await;
    let object = fixture.claimed().await;
    let seen = fixture.look().await;
    assert_eq!(seen.claimed.map(|holder| holder.object), Some(object.clone()));
    let published = seen.published.expect("the name is taken");
    assert_eq!((&published.object, published.marks.as_ref()), (&foreign, None));
    assert!(!published.fits(&fixture.target));

    assert_eq!(fixture.refused(&fixture.publication(&object)).await.class, Class::AlreadyExists);
    assert_eq!(fixture.look().await.published.map(|object| object.object), Some(foreign));
}

/// "Not there" is an answer of its own, for reads and for acts.
pub async fn what_does_not_exist_is_a_typed_not_found<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "missing");
    let object = subject.unknown_object();
    assert_eq!(fixture.cloud.inspect(&object).await, Ok(None));
    assert_eq!(fixture.refused(&Mutation::Disable { object: object.clone() }).await.class, Class::NotFound);
    assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::NotFound);
    let error = fixture.cloud.wrapping_key(&object, fixture.scheme()).await.expect_err("no object, no key");
    assert_eq!(error.class, Class::NotFound);
}

/// Names are checked before they are put into a request.
pub async fn a_name_that_the_cloud_cannot_have_is_refused_without_a_request<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "named");
    let object = fixture.created().await;
    let before = subject.mutations().await;
    for name in ["", "a b", "a\nb", "ä", &"a".repeat(1_000)] {
        fixture.target.name = name.to_owned();
        assert_eq!(fixture.refused(&fixture.publication(&object)).await.class, Class::Invalid, "{name:?}");
        assert_eq!(fixture.cloud.look(&fixture.target).await.map_err(|error| error.class), Err(Class::Invalid), "{name:?}");
    }
    assert_eq!(subject.mutations().await, before);
}

/// Disabling acts on the cloud's own users, and is undone by enabling.
pub async fn a_disabled_object_is_unusable_until_it_is_enabled<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "switched");
    let object = fixture.published().await;
    let ciphertext = subject.encrypt(&fixture.target.name, b"before").await.expect("the cloud encrypts");
    fixture.act(&Mutation::Disable { object: object.clone() }).await;
    assert_eq!(fixture.holder().await.state, ObjectState::Disabled);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await, None, "a disabled key decrypts");
    fixture.act(&Mutation::Enable { object }).await;
    assert_eq!(fixture.holder().await.state, ObjectState::Usable);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"before"[..]));
}

/// The date is the cloud's; a delay that it does not offer is refused.
pub async fn a_scheduled_deletion_says_when<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "leaving");
    let object = fixture.created().await;
    let days = fixture.cloud.destination().capabilities.deletion_days;
    let none = Mutation::ScheduleDeletion { object: object.clone(), days: 0 };
    assert_eq!(fixture.refused(&none).await.class, Class::Invalid);
    fixture.act(&Mutation::ScheduleDeletion { object: object.clone(), days }).await;
    let seen = fixture.cloud.inspect(&object).await.expect("a read").expect("the object");
    let ObjectState::DeletionScheduled(Some(at)) = seen.state else { unreachable!("{seen:?}") };
    let created = seen.created.expect("a date of creation");
    let (early, late) = (created + Span::days(days), created + Span::days(days + 1));
    assert!(early <= at && at <= late, "{created} and {days} days are not {at}");
    assert!(!seen.is_empty(), "an object that is leaving can no longer be given material");
    subject.advance(Span::days(days + 1)).await;
    assert_eq!(fixture.cloud.inspect(&object).await, Ok(None));
}

/// The way out of every doubt: the same bytes again, under a new wrapping key.
pub async fn importing_the_same_bytes_again_changes_nothing<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "again");
    let object = fixture.published().await;
    let (before, ciphertext) = (fixture.holder().await, subject.encrypt(&fixture.target.name, b"x").await.expect("the cloud encrypts"));
    let again = fixture.import(&object, &fixture.material()).await;
    fixture.act(&again).await;
    assert_eq!(fixture.holder().await, before);
    assert!(subject.holds(&object, &fixture.material()).await);
    assert_eq!(subject.decrypt(&fixture.target.name, &ciphertext).await.as_deref(), Some(&b"x"[..]));
}

/// A version's bytes never change; garbage is not taken for other bytes.
pub async fn other_bytes_are_refused_and_change_nothing<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "other");
    let object = fixture.published().await;
    let before = fixture.holder().await;
    let error = fixture.refused(&fixture.import(&object, &[9; 32]).await).await;
    assert_eq!((error.class, error.cause), (Class::Invalid, Cause::OtherMaterial));

    let Mutation::Import { object: into, version, wrapping_key, mut wrapped } = fixture.import(&object, &fixture.material()).await else {
        unreachable!("an import is an import")
    };
    wrapped[0] ^= 1;
    let error = fixture.refused(&Mutation::Import { object: into, version, wrapping_key, wrapped }).await;
    assert_eq!((error.class, error.cause), (Class::Invalid, Cause::Plain));

    assert_eq!(fixture.holder().await, before);
    assert!(subject.holds(&object, &fixture.material()).await);
}

/// Between wrapping and importing a night may pass.
pub async fn an_expired_token_is_named_and_a_new_one_works<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "late");
    let object = fixture.claimed().await;
    let late = fixture.import(&object, &fixture.material()).await;
    let Mutation::Import { wrapping_key, .. } = &late else { unreachable!("an import is an import") };
    assert!(wrapping_key.valid_until.is_some(), "the cloud says how long");
    subject.advance(Span::days(7)).await;
    let error = fixture.refused(&late).await;
    assert_eq!((error.class, error.cause), (Class::Stale, Cause::ImportTokenExpired));
    assert!(fixture.holder().await.is_empty());
    fixture.act(&fixture.import(&object, &fixture.material()).await).await;
    assert!(subject.holds(&object, &fixture.material()).await);
}
