//! What goes wrong, and what may be concluded from it.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use keyplane_model::{Class, ObjectId, Version};
use keyplane_port::{Acted, Cause, CloudError, Mutation};

use crate::fixture::{Fixture, assert_is_printable};
use crate::{Fault, Request, Subject};

/// Every mutation with its request, each on objects that allow it.
async fn mutations(fixture: &Fixture) -> Vec<(Request, Mutation)> {
    let object = fixture.created().await;
    let import = fixture.import(&object, &fixture.material()).await;
    let mut mutations = vec![
        (Request::Create, fixture.creation()),
        (Request::Import, import),
        (Request::Publish, fixture.publication(&object)),
        (Request::Disable, Mutation::Disable { object: object.clone() }),
        (Request::Enable, Mutation::Enable { object: object.clone() }),
    ];
    if fixture.cloud.destination().capabilities.claims {
        mutations.insert(1, (Request::Claim, fixture.claim(&object)));
    }
    let days = fixture.cloud.destination().capabilities.deletion_days;
    mutations.push((Request::ScheduleDeletion, Mutation::ScheduleDeletion { object, days }));
    mutations
}

/// Nothing below the port repeats, not even where repeating would be safe.
pub async fn a_mutation_is_one_request_whatever_the_answer<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "once");
    for (request, mutation) in mutations(&fixture).await {
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
    // What the connection does, last: a request whose effect happened cannot be repeated here.
    let fixture = Fixture::new(subject, "once-lost");
    for (request, mutation) in mutations(&fixture).await {
        let before = subject.mutations().await;
        subject.fault(request, Fault::LosesReply).await;
        fixture.refused(&mutation).await;
        assert_eq!(subject.mutations().await, before + 1, "{request:?}");
    }
}

/// Throttled and denied are certain: nobody has to look before trying again.
pub async fn an_error_without_an_effect_is_never_ambiguous<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "certain");
    for (request, mutation) in mutations(&fixture).await {
        for (fault, class) in [(Fault::Throttled, Class::Throttled), (Fault::Denied, Class::Denied)] {
            subject.fault(request, fault).await;
            let error = fixture.refused(&mutation).await;
            assert_eq!((error.class, error.cause), (class, Cause::Plain), "{request:?}");
        }
    }
    assert_eq!(fixture.look().await.claimed, None);
}

/// Whether it had its effect or not: the error is the same, and so is its class.
pub async fn an_internal_error_of_a_mutation_is_ambiguous<S: Subject>(subject: &S) {
    for fault in [Fault::Fails, Fault::FailsAfterEffect, Fault::LosesReply] {
        let fixture = Fixture::new(
            subject,
            match fault {
                Fault::Fails => "without",
                Fault::FailsAfterEffect => "after",
                Fault::Throttled | Fault::Denied | Fault::LosesReply | Fault::Hangs | Fault::HangsAfterEffect => "lost",
            },
        );
        for (request, mutation) in mutations(&fixture).await {
            subject.fault(request, fault).await;
            let error = fixture.refused(&mutation).await;
            assert_eq!(error.class, Class::Ambiguous, "{request:?} {fault:?}: {error}");
            if fault == Fault::Fails {
                fixture.performed(&mutation).await;
            }
        }
    }
}

/// A read has no effect that could be doubted.
pub async fn a_failed_read_is_never_ambiguous<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "read");
    let object = fixture.claimed().await;
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
        let asked = fixture.cloud.wrapping_key(&object, fixture.scheme()).await.expect_err("a fault");
        subject.fault(Request::List, fault).await;
        let swept = fixture.cloud.sweep(None).await.expect_err("a fault");
        for error in [inspected, looked, asked, swept] {
            assert_eq!(error.class, class, "{fault:?}: {error}");
            assert_is_printable(&error);
        }
    }
    assert_eq!(fixture.holder().await.object, object);
}

/// Dropping a call takes nothing back: whoever gave it up has to look, and finds what it did.
pub async fn an_effect_after_the_call_was_given_up_is_found<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "given-up");
    subject.fault(Request::Create, Fault::HangsAfterEffect).await;
    given_up(subject, fixture.cloud.act(&fixture.creation())).await;
    let page = fixture.cloud.sweep(None).await.expect("a page");
    let [shell] = page.objects.as_slice() else { unreachable!("not one object: {:?}", page.objects) };
    assert_eq!(shell.marks.as_ref(), Some(&fixture.marks));
    if fixture.cloud.destination().capabilities.claims {
        fixture.act(&fixture.claim(&shell.object)).await;
    }

    let import = fixture.import(&shell.object, &fixture.material()).await;
    subject.fault(Request::Import, Fault::HangsAfterEffect).await;
    given_up(subject, fixture.cloud.act(&import)).await;
    assert_eq!(fixture.holder().await.current().and_then(|material| material.version), Some(Version(1)));
    assert!(subject.holds(&shell.object, &fixture.material()).await);
}

/// The object exists, and its marks say whose it is and which attempt made it.
pub async fn a_lost_create_is_found_by_its_marks<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-create");
    subject.fault(Request::Create, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&fixture.creation()).await.class, Class::Ambiguous);
    let page = fixture.cloud.sweep(None).await.expect("a page");
    let found: Vec<_> = page.objects.iter().map(|object| object.marks.as_ref()).collect();
    assert_eq!(found, [Some(&fixture.marks)]);
    assert!(page.objects[0].fits(&fixture.target) && page.objects[0].is_empty());
}

/// Looking shows who has the claim; repeating it is refused, and does no harm.
pub async fn a_lost_claim_is_found_by_looking<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-claim");
    if !fixture.cloud.destination().capabilities.claims {
        return;
    }
    let object = fixture.created().await;
    subject.fault(Request::Claim, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::Ambiguous);
    assert_eq!(fixture.holder().await.object, object);
    assert_eq!(fixture.refused(&fixture.claim(&object)).await.class, Class::AlreadyExists);
    assert_eq!(fixture.holder().await.object, object);
}

/// The version stands beside the material; repeating with the same bytes leaves one material.
pub async fn a_lost_import_is_found_by_its_version<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lost-import");
    let object = fixture.claimed().await;
    let import = fixture.import(&object, &fixture.material()).await;
    subject.fault(Request::Import, Fault::LosesReply).await;
    assert_eq!(fixture.refused(&import).await.class, Class::Ambiguous);
    let found = fixture.holder().await;
    assert_eq!(found.current().and_then(|material| material.version), Some(Version(1)));
    fixture.act(&fixture.import(&object, &fixture.material()).await).await;
    assert_eq!(fixture.holder().await.materials.len(), 1);
    assert!(subject.holds(&object, &fixture.material()).await);
}

/// Certain to have had no effect, mutation or not.
pub async fn nobody_at_the_address_is_told_apart<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "nobody");
    fixture.cloud = subject.cloud_at_a_dead_address();
    for error in everything_fails(&fixture, &subject.unknown_object()).await {
        assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
    }
}

/// Somebody has to do something about it; trying again is of no use.
pub async fn refused_credentials_are_told_apart<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "stranger");
    fixture.cloud = subject.cloud_with_wrong_credentials();
    for error in everything_fails(&fixture, &subject.unknown_object()).await {
        assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    }
    assert_eq!(subject.mutations().await, 0);
}

/// The engine's time-out drops the call: the adapter goes on working.
pub async fn a_call_that_hangs_can_be_dropped<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "hanging");
    for _ in 0..3 {
        subject.fault(Request::Create, Fault::Hangs).await;
        given_up(subject, fixture.cloud.act(&fixture.creation())).await;
        subject.fault(Request::List, Fault::Hangs).await;
        given_up(subject, fixture.cloud.sweep(None)).await;
    }
    fixture.published().await;
    assert_eq!(fixture.cloud.sweep(None).await.expect("a page").objects.len(), 1);
}

/// Drops a call that nobody answers as soon as the cloud has received its request: no time-out has to be guessed.
async fn given_up<S: Subject, T>(subject: &S, call: impl Future<Output = T>) {
    let before = subject.requests().await;
    let received = async {
        while subject.requests().await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match select(pin!(call), pin!(received)).await {
        Either::Left(_) => unreachable!("something answered"),
        Either::Right(_) => {}
    }
}

async fn everything_fails(fixture: &Fixture, object: &ObjectId) -> Vec<CloudError> {
    let acted = fixture.cloud.act(&fixture.creation()).await;
    let errors = vec![
        acted.map(|_: Acted| ()).expect_err("create"),
        fixture.cloud.act(&Mutation::Disable { object: object.clone() }).await.map(|_| ()).expect_err("disable"),
        fixture.cloud.look(&fixture.target).await.map(|_| ()).expect_err("look"),
        fixture.cloud.inspect(object).await.map(|_| ()).expect_err("inspect"),
        fixture.cloud.sweep(None).await.map(|_| ()).expect_err("sweep"),
        fixture.cloud.wrapping_key(object, fixture.scheme()).await.map(|_| ()).expect_err("wrapping key"),
    ];
    errors.iter().for_each(assert_is_printable);
    errors
}
