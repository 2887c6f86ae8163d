//! Failures, and what may be concluded from each.

use keyplane_model::{Class, Creation, ObjectId};
use keyplane_port::{Acted, Cause, CloudError, Mutation, WrapFor};

use crate::fixture::{Fixture, VERSION, assert_is_printable, given_up};
use crate::{Fault, Request, Subject};

/// Nothing below the port repeats a mutation, not even where repeating would be safe.
pub async fn a_mutation_is_one_request_whatever_the_answer<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "once");
    let object = fixture.created().await;
    for request in fixture.life() {
        let mutation = fixture.mutation(request, &object).await;
        for fault in [Fault::Throttled, Fault::Denied, Fault::Fails] {
            let before = subject.mutations().await;
            subject.fault(request, fault).await;
            fixture.refused(&mutation).await;
            assert_eq!(subject.mutations().await, before + 1, "{request:?} {fault:?}");
        }
        let before = subject.mutations().await;
        fixture.performed(&mutation).await;
        assert_eq!(subject.mutations().await, before + 1, "{request:?}");
    }
    // Failures of the connection come last: a request that had its effect cannot be repeated here.
    let fixture = Fixture::new(subject, "once-lost");
    let object = fixture.created().await;
    for request in fixture.life() {
        let mutation = fixture.mutation(request, &object).await;
        let before = subject.mutations().await;
        subject.fault(request, Fault::LosesReply).await;
        fixture.refused(&mutation).await;
        assert_eq!(subject.mutations().await, before + 1, "{request:?}");
        fixture.settled().await;
    }
}

/// Throttled and denied requests certainly had no effect, so nobody has to look before trying again.
pub async fn an_error_without_an_effect_is_never_ambiguous<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "certain");
    let object = fixture.created().await;
    for request in fixture.life() {
        let mutation = fixture.mutation(request, &object).await;
        let before = fixture.inspect(&object).await;
        for (fault, class) in [(Fault::Throttled, Class::Throttled), (Fault::Denied, Class::Denied)] {
            subject.fault(request, fault).await;
            let error = fixture.refused(&mutation).await;
            assert_eq!((error.class, error.cause), (class, Cause::Plain), "{request:?}");
        }
        assert_eq!(fixture.inspect(&object).await, before, "{request:?}");
    }
    if fixture.creation_kind() == Creation::Claimed {
        assert_eq!(fixture.look().await.claimed, None);
    }
}

/// Error and class are the same, whether the request had its effect or not.
pub async fn an_internal_error_of_a_mutation_is_ambiguous<S: Subject>(subject: &S) {
    for fault in [Fault::Fails, Fault::FailsAfterEffect, Fault::LosesReply] {
        let fixture = Fixture::new(
            subject,
            match fault {
                Fault::Fails => "without",
                Fault::FailsAfterEffect => "after",
                Fault::Throttled | Fault::Denied | Fault::LosesReply | Fault::Hangs | Fault::HangsAfterEffect | Fault::Late(_) => "lost",
            },
        );
        let object = fixture.created().await;
        for request in fixture.life() {
            let mutation = fixture.mutation(request, &object).await;
            subject.fault(request, fault).await;
            let error = fixture.refused(&mutation).await;
            assert_eq!(error.class, Class::Ambiguous, "{request:?} {fault:?}: {error}");
            if fault == Fault::Fails {
                fixture.performed(&mutation).await;
            }
            fixture.settled().await;
        }
    }
}

/// A read has no effect, so none is in doubt.
pub async fn a_failed_read_is_never_ambiguous<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "read");
    let object = fixture.claimed().await;
    let from = fixture.wrap_for(&object).await;
    fixture.settle().await;
    for (fault, class) in [
        (Fault::Throttled, Class::Throttled),
        (Fault::Denied, Class::Denied),
        (Fault::Fails, Class::Transient),
        (Fault::LosesReply, Class::Transient),
    ] {
        subject.fault(Request::Inspect, fault).await;
        let inspected = fixture.cloud.inspect(&object).await.expect_err("a fault");
        subject.fault(Request::Inspect, fault).await;
        let looked = fixture.cloud.look(&fixture.target).await.expect_err("a fault");
        subject.fault(Request::WrappingKey, fault).await;
        let asked = fixture.cloud.wrapping_key(&from, fixture.scheme()).await.expect_err("a fault");
        subject.fault(Request::List, fault).await;
        let swept = fixture.cloud.sweep(None).await.expect_err("a fault");
        let mut errors = vec![inspected, looked, asked, swept];
        if let WrapFor::Prepared(made) = &from {
            subject.fault(Request::WrappingKey, fault).await;
            errors.push(fixture.cloud.prepared(&fixture.target, VERSION, Some(made)).await.expect_err("a fault"));
        }
        for error in errors {
            assert_eq!(error.class, class, "{fault:?}: {error}");
            assert_is_printable(&error);
        }
    }
    assert_eq!(fixture.holder().await.object, object);
}

/// Dropping a call does not cancel its request. A look then finds the effect.
pub async fn an_effect_after_the_call_was_given_up_is_found<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "given-up");
    let (request, making) = fixture.making().await;
    subject.fault(request, Fault::HangsAfterEffect).await;
    fixture.abandoned(&making).await;
    let swept = fixture.swept().await;
    let [shell] = swept.as_slice() else { unreachable!("not one object: {swept:?}") };
    assert_eq!(shell.marks.as_ref(), Some(&fixture.marks));
    match fixture.creation_kind() {
        Creation::Claimed => fixture.act(&fixture.claim(&shell.object)).await,
        Creation::Named => {}
        Creation::Imported => {
            assert_eq!(fixture.ours().await.len(), 1);
            assert!(fixture.holds_its_own(&shell.object).await);
            return;
        }
    }

    let import = fixture.import(&shell.object, &fixture.material.bytes).await;
    subject.fault(Request::Import, Fault::HangsAfterEffect).await;
    fixture.abandoned(&import).await;
    fixture.settled().await;
    assert_eq!(fixture.ours().await.len(), 1);
    assert!(fixture.holds_its_own(&shell.object).await);
}

/// The object exists, and its marks name the installation and the attempt that made it.
pub async fn a_lost_create_is_found_by_its_marks<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-create");
    let (request, making) = fixture.making().await;
    subject.fault(request, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&making).await.class, Class::Ambiguous);
    let swept = fixture.swept().await;
    let found: Vec<_> = swept.iter().map(|object| object.marks.as_ref()).collect();
    assert_eq!(found, [Some(&fixture.marks)]);
    assert!(swept[0].fits(&fixture.target));
    assert_eq!(swept[0].is_empty(), fixture.creation_kind() != Creation::Imported);
}

/// A look shows who has the claim. Repeating the request is refused and harmless.
pub async fn a_lost_claim_is_found_by_looking<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-claim");
    if fixture.cloud.destination().capabilities.creation != Creation::Claimed {
        return;
    }
    let object = fixture.created().await;
    subject.fault(Request::Claim, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::Ambiguous);
    assert_eq!(fixture.holder().await.object, object);
    assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::AlreadyExists);
    assert_eq!(fixture.holder().await.object, object);
}

/// The wrapping key is found where we choose its name, and made again elsewhere. In the end one can be used.
pub async fn a_lost_prepare_leaves_one_wrapping_key_to_use<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-prepare");
    if !fixture.prepares() {
        return;
    }
    let object = fixture.ready().await;
    assert_eq!(fixture.prepared(None).await, None);
    subject.fault(Request::Prepare, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&fixture.preparation()).await.class, Class::Ambiguous);
    let found = fixture.prepared(None).await;
    let before = subject.mutations().await;
    let WrapFor::Prepared(used) = fixture.wrap_for(&object).await else { unreachable!("wrapping keys are made") };
    match found {
        Some(found) => assert_eq!((found.wrapping, before), (used, subject.mutations().await), "it was there, and another one was made"),
        None => assert_eq!(subject.mutations().await, before + 1),
    }
    fixture.act(&fixture.import(&object, &fixture.material.bytes).await).await;
    fixture.settled().await;
    assert!(fixture.holds_its_own(&object).await);
}

/// The version is recorded beside the material. Where an object takes one material, repeating the import with the same bytes leaves one;
/// elsewhere nothing has to be repeated.
pub async fn a_lost_import_is_found_by_its_version<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-import");
    let object = fixture.ready().await;
    let import = fixture.import(&object, &fixture.material.bytes).await;
    subject.fault(Request::Import, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&import).await.class, Class::Ambiguous);
    let found = fixture.ours().await;
    assert_eq!(found.len(), 1);
    fixture.settled().await;
    if !fixture.generations() {
        fixture.act(&fixture.import(&object, &fixture.material.bytes).await).await;
    }
    assert_eq!(fixture.holder().await.materials.len(), 1);
    assert!(fixture.holds_its_own(&object).await);
}

/// Such a failure certainly had no effect, for mutations and reads.
pub async fn nobody_at_the_address_is_told_apart<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "nobody");
    fixture.cloud = subject.cloud_at_a_dead_address();
    for error in everything_fails(&fixture, &subject.unknown_object()).await {
        assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
    }
}

/// A person has to act on it; trying again is useless.
pub async fn refused_credentials_are_told_apart<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "stranger");
    fixture.cloud = subject.cloud_with_wrong_credentials();
    let before = subject.mutations().await;
    for error in everything_fails(&fixture, &subject.unknown_object()).await {
        assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    }
    assert_eq!(subject.mutations().await, before);
}

/// The engine's time-out drops the call, and the adapter can still be used.
pub async fn a_call_that_hangs_can_be_dropped<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "hanging");
    for _ in 0..3 {
        let (request, opening) = fixture.opening();
        subject.fault(request, Fault::Hangs).await;
        fixture.abandoned(&opening).await;
        subject.fault(Request::List, Fault::Hangs).await;
        given_up(fixture.cloud.sweep(None), async || subject.requests().await).await;
    }
    fixture.published().await;
    assert_eq!(fixture.swept().await.len(), 1);
}

async fn everything_fails(fixture: &Fixture<'_>, object: &ObjectId) -> Vec<CloudError> {
    let (_, opening) = fixture.opening();
    let acted = fixture.cloud.act(&opening).await;
    let disabling = Mutation::Disable { object: object.clone(), material: fixture.subject.unknown_material() };
    let made = fixture.subject.unknown_wrapping_key();
    let from = if fixture.prepares() { WrapFor::Prepared(made.clone()) } else { WrapFor::Object(object.clone()) };
    let mut errors = vec![
        acted.map(|_: Acted| ()).expect_err("open"),
        fixture.cloud.act(&disabling).await.map(|_| ()).expect_err("disable"),
        fixture.cloud.look(&fixture.target).await.map(|_| ()).expect_err("look"),
        fixture.cloud.inspect(object).await.map(|_| ()).expect_err("inspect"),
        fixture.cloud.sweep(None).await.map(|_| ()).expect_err("sweep"),
        fixture.cloud.wrapping_key(&from, fixture.scheme()).await.map(|_| ()).expect_err("wrapping key"),
    ];
    if fixture.prepares() {
        errors.push(fixture.cloud.act(&fixture.preparation()).await.map(|_| ()).expect_err("prepare"));
        errors.push(fixture.cloud.prepared(&fixture.target, VERSION, Some(&made)).await.map(|_| ()).expect_err("prepared"));
    }
    errors.iter().for_each(assert_is_printable);
    errors
}
