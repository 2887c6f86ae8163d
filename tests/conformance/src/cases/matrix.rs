//! Every mutating request with every fault.

use std::collections::BTreeMap;

use keyplane_model::{Class, Creation, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, Presence, Span, Version};
use keyplane_port::{Cause, Mutation};

use crate::fixture::{Fixture, VERSION};
use crate::{Fault, Request, Subject};

/// Later than everything that a case waits for.
const LATE: Span = Span::seconds(36_000);

/// The faults. The late effect comes twice: its client looks, and then either waits or repeats the request.
const FAULTS: [(Fault, Then); 9] = [
    (Fault::Throttled, Then::Look),
    (Fault::Denied, Then::Look),
    (Fault::Fails, Then::Look),
    (Fault::FailsAfterEffect, Then::Look),
    (Fault::LosesReply, Then::Look),
    (Fault::Hangs, Then::Look),
    // To a cloud, a crashed client is one that gives up.
    (Fault::HangsAfterEffect, Then::Look),
    (Fault::Late(LATE), Then::Wait),
    (Fault::Late(LATE), Then::Look),
];

/// What the client does after a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It looks, and repeats what it does not find.
    Look,
    /// It looks, and looks again when the effect has come.
    Wait,
}

/// What a cloud shows of an object, without what differs between objects.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    fits: bool,
    state: ObjectState,
    materials: Vec<(Option<Version>, MaterialState, Presence)>,
}

/// What a look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    /// How many objects are marked for the placement. Only counted where one is being made, since it takes a sweep.
    marked: Option<usize>,
    claimed: Option<Shown>,
    published: Option<Shown>,
    prepared: bool,
    /// Whether the cloud can use exactly the bytes that were wrapped.
    holds: bool,
}

/// What is seen before and after one mutation without faults.
struct Undisturbed {
    before: Sight,
    after: Sight,
}

/// With every fault, a request is sent once, its class is right, and a look shows whether it had its effect. Repeating what is missing
/// leads to the same end as one undisturbed request. A late effect does no harm, or is recognised.
#[expect(clippy::print_stdout, reason = "how much was tried is the result")]
pub async fn every_mutation_under_every_fault_comes_to_the_same_end<S: Subject>(subject: &S) {
    let mut tried: BTreeMap<&str, usize> = BTreeMap::new();
    let mut words = Vec::new();
    for request in Request::mutating() {
        let of = Fixture::new(subject, &format!("{request:?}").to_lowercase());
        if !of.has(request) {
            let mutation = of.mutation(request, &subject.unknown_object()).await;
            let before = subject.mutations().await;
            assert_eq!(of.refused(&mutation).await.class, Class::Unsupported, "{request:?}");
            assert_eq!(subject.mutations().await, before, "{request:?}");
            continue;
        }
        let undisturbed = undisturbed(&of, request).await;
        for (number, (fault, then)) in FAULTS.into_iter().enumerate() {
            let fixture = Fixture::new(subject, &format!("{request:?}-{number}").to_lowercase());
            let word = disturbed(&fixture, request, (fault, then), &undisturbed).await;
            *tried.entry(kind(fault)).or_default() += 1;
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    let cases: usize = tried.values().sum();
    assert_eq!(cases, words.len() * FAULTS.len());
    let home = subject.cloud().destination().home.clone();
    println!("{home}: {} mutating requests under {} faults, {cases} cases: {tried:?}; {}", words.len(), FAULTS.len(), words.join(", "));
}

/// For the counts.
const fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::Throttled => "throttled",
        Fault::Denied => "denied",
        Fault::Fails => "failed without effect",
        Fault::FailsAfterEffect => "failed after effect",
        Fault::LosesReply => "lost replies",
        Fault::Hangs => "given up without effect",
        Fault::HangsAfterEffect => "given up after effect",
        Fault::Late(_) => "late effects",
    }
}

async fn undisturbed(fixture: &Fixture<'_>, request: Request) -> Undisturbed {
    let object = brought_to(fixture, request).await;
    let before = sight(fixture, request).await;
    act(fixture, request, &object).await;
    Undisturbed { before, after: sight(fixture, request).await }
}

/// Runs one case; returns the port's word for the mutation.
async fn disturbed(fixture: &Fixture<'_>, request: Request, (fault, then): (Fault, Then), undisturbed: &Undisturbed) -> &'static str {
    let what = format!("{request:?} {fault:?} {then:?}");
    let subject = fixture.subject;
    let Undisturbed { before, after } = undisturbed;
    let object = brought_to(fixture, request).await;
    assert_eq!(sight(fixture, request).await, *before, "{what}");
    let mutation = mutation(fixture, request, &object).await;
    assert_eq!(Request::of(&mutation), request);

    let sent = subject.mutations().await;
    subject.fault(request, fault).await;
    let class = match fault {
        Fault::Throttled => Some(Class::Throttled),
        Fault::Denied => Some(Class::Denied),
        Fault::Fails | Fault::FailsAfterEffect | Fault::LosesReply => Some(Class::Ambiguous),
        Fault::Hangs | Fault::HangsAfterEffect | Fault::Late(_) => None,
    };
    match class {
        Some(class) => {
            let error = fixture.refused(&mutation).await;
            assert_eq!((error.class, error.cause), (class, Cause::Plain), "{what}: {error}");
        }
        // The engine's time-out drops the call, which makes the outcome ambiguous.
        None => fixture.abandoned(&mutation).await,
    }
    assert_eq!(subject.mutations().await, sent + 1, "{what}");

    let happened = matches!(fault, Fault::FailsAfterEffect | Fault::LosesReply | Fault::HangsAfterEffect);
    let mut seen = sight(fixture, request).await;
    assert_eq!(seen, *if happened { after } else { before }, "{what}: looking does not show whether it happened");
    if then == Then::Wait {
        subject.advance(LATE).await;
        seen = sight(fixture, request).await;
        assert_eq!(seen, *after, "{what}: the late effect is not seen");
    }
    // If no look can tell, the request is always repeated.
    if seen == *before {
        act(fixture, request, &object).await;
        assert_eq!(sight(fixture, request).await, *after, "{what}: done again, it leads elsewhere");
    }
    if (fault, then) == (Fault::Late(LATE), Then::Look) {
        subject.advance(LATE).await;
        assert_eq!(sight(fixture, request).await, after_a_double(fixture, request, after), "{what}: what came late");
    }
    mutation.word()
}

/// What is seen when the effect came twice. Where each request makes something new there are two, and the one to use is the same or has the
/// same bytes. Everything else is refused the second time, or changes nothing.
fn after_a_double(fixture: &Fixture<'_>, request: Request, once: &Sight) -> Sight {
    let mut twice = once.clone();
    match (request, fixture.creation_kind()) {
        (Request::Create, Creation::Claimed) => twice.marked = Some(2),
        (Request::Import, Creation::Named | Creation::Imported) if fixture.generations() => {
            // Where nothing is activated, neither of them is current.
            let surplus = if fixture.creation_kind() == Creation::Imported { MaterialState::Former } else { MaterialState::Pending };
            for shown in twice.claimed.iter_mut().chain(&mut twice.published) {
                shown.materials.push((Some(VERSION), surplus, Presence::Present));
            }
        }
        _ => {}
    }
    twice
}

/// Brings a placement to the point where a mutation of this kind is next.
async fn brought_to(fixture: &Fixture<'_>, request: Request) -> ObjectId {
    match request {
        Request::Create => ObjectId(fixture.target.name.clone()),
        Request::Claim => fixture.created().await,
        Request::Prepare => fixture.ready().await,
        Request::Import => {
            let object = fixture.ready().await;
            fixture.wrap_for(&object).await;
            object
        }
        Request::Publish => fixture.imported().await,
        Request::Disable | Request::ScheduleDeletion => fixture.published().await,
        Request::Enable => {
            let object = fixture.published().await;
            fixture.performed(&fixture.disabling(&object).await).await;
            object
        }
        Request::Restore | Request::Purge => {
            let object = fixture.published().await;
            fixture.performed(&fixture.deletion(&object).await).await;
            object
        }
        Request::WrappingKey | Request::Inspect | Request::List | Request::ListedObject => unreachable!("{request:?} is a read"),
    }
}

async fn mutation(fixture: &Fixture<'_>, request: Request, object: &ObjectId) -> Mutation {
    match request {
        Request::Create => fixture.creation(),
        other => fixture.mutation(other, object).await,
    }
}

/// Performs the mutation without faults.
async fn act(fixture: &Fixture<'_>, request: Request, object: &ObjectId) {
    fixture.performed(&mutation(fixture, request, object).await).await;
}

async fn sight(fixture: &Fixture<'_>, request: Request) -> Sight {
    let seen = fixture.at_rest().await;
    let marked = match request {
        Request::Create => {
            let of_us = |object: &ObjectSeen| object.marks.as_ref().is_some_and(|marks| *marks == fixture.marks);
            Some(fixture.swept().await.iter().filter(|object| of_us(object)).count())
        }
        _ => None,
    };
    let holds = match &seen.claimed {
        Some(object) => fixture.holds_its_own(&object.object).await,
        None => false,
    };
    let shown = |object: ObjectSeen| Shown {
        fits: object.fits(&fixture.target),
        state: match object.state {
            ObjectState::DeletionScheduled(_) => ObjectState::DeletionScheduled(None),
            other => other,
        },
        materials: object.materials.into_iter().map(|MaterialSeen { version, state, presence, .. }| (version, state, presence)).collect(),
    };
    Sight {
        marked,
        claimed: seen.claimed.map(shown),
        published: seen.published.map(shown),
        prepared: fixture.prepares() && fixture.prepared(None).await.is_some(),
        holds,
    }
}
