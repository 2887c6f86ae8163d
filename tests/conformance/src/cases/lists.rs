//! Finding our objects among all others, even when the cloud shows them late.

use std::collections::BTreeSet;

use keyplane_model::{Algorithm, Class, Creation, MaterialSeen, ObjectId, ObjectSeen, ObjectState, Purpose, Span};
use keyplane_port::{Cursor, Swept};

use crate::fixture::{Fixture, sweep};
use crate::material::Material;
use crate::{Fault, Request, Subject};

fn names(objects: &[ObjectSeen]) -> BTreeSet<&ObjectId> {
    objects.iter().map(|object| &object.object).collect()
}

/// Whatever else the object is.
pub async fn a_foreign_object_is_never_ours<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "ours");
    for foreign in subject.crowd(3).await {
        let seen = fixture.inspect(&foreign).await.expect("the object");
        assert_eq!(seen.marks, None);
        assert!(!seen.fits(&fixture.target));
    }
    assert_eq!(fixture.swept().await, []);
}

/// It is recognised as Keyplane's, but not as this installation's.
pub async fn what_another_installation_made_is_listed_as_theirs<S: Subject>(subject: &S) {
    let mut fixture = Fixture::new(subject, "theirs");
    fixture.marks.installation = "99999999-9999-8999-8999-999999999999".parse().expect("an id");
    let object = fixture.created().await;
    let objects = fixture.swept().await;
    assert_eq!(names(&objects), BTreeSet::from([&object]));
    assert_eq!(objects[0].marks.as_ref(), Some(&fixture.marks));
    assert!(!objects[0].fits(&fixture.target), "another installation's object fits our placement");
}

/// 1,200 objects, five of them ours: each of the five is found once, and no other.
pub async fn a_handful_of_ours_is_found_among_thousands<S: Subject>(subject: &S) {
    let mut ours = BTreeSet::new();
    for name in ["a", "b", "c", "d", "e"] {
        subject.crowd(239).await;
        ours.insert(Fixture::new(subject, name).created().await);
    }
    let objects = Fixture::new(subject, "any").swept().await;
    assert_eq!(objects.len(), ours.len(), "one was found twice, or not at all");
    assert_eq!(names(&objects), ours.iter().collect());
}

/// Pages are bounded, and no object is lost between two of them.
pub async fn more_of_ours_than_one_page_holds_are_all_found<S: Subject>(subject: &S) {
    let mut ours = BTreeSet::new();
    for number in 0..33 {
        ours.insert(Fixture::new(subject, &format!("key-{number}")).created().await);
    }
    subject.control().settle().await;
    let first = subject.cloud().sweep(None).await.expect("a page");
    assert!(first.objects.len() < 33 && first.next.is_some(), "the page is not bounded");
    let objects = Fixture::new(subject, "any").swept().await;
    assert_eq!(objects.len(), ours.len(), "one was found twice, or not at all");
    assert_eq!(names(&objects), ours.iter().collect());
}

/// A plan reads each object only once: what a look at a placement shows, a sweep has already shown, except where names lead.
pub async fn what_a_sweep_told_is_not_read_again<S: Subject>(subject: &S) {
    let mut fixtures = vec![Fixture::new(subject, "told")];
    if subject.cloud().destination().capabilities.algorithms.contains_key(&Algorithm::EcP256) {
        fixtures.push(Fixture::of(subject, "told-pair", Algorithm::EcP256, Purpose::Sign, Material::of(Algorithm::EcP256)));
    }
    for fixture in &fixtures {
        let object = fixture.imported().await;
        if fixture.look().await.published.is_none() {
            fixture.act(&fixture.publication(&object).await).await;
        }
    }
    let objects = fixtures[0].swept().await;
    assert_eq!(objects.len(), fixtures.len());
    let swept: Swept = objects.into_iter().map(|object| (object.object.clone(), object)).collect();
    for fixture in &fixtures {
        let before = subject.requests().await;
        let looked = fixture.look().await;
        let look = subject.requests().await - before;
        let found = fixture.cloud.find(&fixture.target, &swept).await.expect("a read");
        let find = subject.requests().await - before - look;
        assert_eq!(found, Some(looked));
        assert!(find < look, "{find} requests, and a look takes {look}");
        // Nothing is concluded from an object that is missing in the sweep.
        assert_eq!(fixture.cloud.find(&fixture.target, &Swept::new()).await, Ok(None));
    }
}

/// The others are found, and the sweep is reported as incomplete.
pub async fn one_object_that_cannot_be_read_is_counted_and_spoils_nothing<S: Subject>(subject: &S) {
    let mut ours = BTreeSet::new();
    for name in ["a", "b", "c"] {
        ours.insert(Fixture::new(subject, name).created().await);
    }
    subject.control().settle().await;
    subject.fault(Request::ListedObject, Fault::Denied).await;
    let (objects, broken) = sweep(&*subject.cloud()).await.expect("a list");
    assert_eq!((objects.len(), broken), (2, 1));
    assert!(names(&objects).is_subset(&ours.iter().collect()));
    assert_eq!(Fixture::new(subject, "any").swept().await.len(), 3);
}

/// A failure that concerns all objects is not counted against one of them.
pub async fn a_failing_list_fails_as_a_whole<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "listed");
    fixture.created().await;
    fixture.settle().await;
    for (fault, class) in [(Fault::Throttled, Class::Throttled), (Fault::Fails, Class::Transient)] {
        for request in [Request::List, Request::ListedObject] {
            subject.fault(request, fault).await;
            let error = sweep(&*fixture.cloud).await.expect_err("a fault");
            assert_eq!(error.class, class, "{request:?}: {error}");
        }
    }
}

/// A cursor that the adapter did not make is refused; otherwise an incomplete sweep could look complete.
pub async fn a_foreign_cursor_is_refused<S: Subject>(subject: &S) {
    for cursor in ["", "nonsense", "{\"marker\":3}"] {
        let error = subject.cloud().sweep(Some(&Cursor(cursor.to_owned()))).await.expect_err("a foreign cursor");
        assert_eq!(error.class, Class::Invalid, "{cursor:?}");
    }
}

/// Within the consistency window a read shows some state of that time, or reports that it may be late. After the window it shows the
/// present state.
pub async fn a_lagging_read_shows_the_past_or_the_present_and_nothing_else<S: Subject>(subject: &S) {
    let fixture = Fixture::new(subject, "lagging");
    let object = match fixture.creation_kind() {
        Creation::Claimed | Creation::Named => {
            subject.control().lag(Span::seconds(3_600)).await;
            fixture.published().await
        }
        // A wrapping key that is made first is found only by its reply, which is not about lists.
        Creation::Imported => {
            let (_, making) = fixture.making().await;
            subject.control().lag(Span::seconds(3_600)).await;
            fixture.act(&making).await;
            fixture.ready().await
        }
    };
    let mut seen_nothing = false;
    for _ in 0..60 {
        let seen = match fixture.cloud.look(&fixture.target).await {
            Ok(seen) => seen,
            Err(error) => {
                assert_eq!(error.class, Class::Transient, "{error}");
                continue;
            }
        };
        seen_nothing |= seen.published.is_none();
        for found in seen.claimed.iter().chain(&seen.published) {
            assert_eq!(found.object, object);
            assert!(found.fits(&fixture.target), "{found:?}");
            let whole = found.state == ObjectState::Usable && found.materials.iter().any(MaterialSeen::is_present);
            assert!(whole || found.state == ObjectState::AwaitingMaterial, "{found:?}");
        }
    }
    // An object that is created under its own name is visible at once; only its later changes are late.
    assert!(seen_nothing || fixture.creation_kind() == Creation::Named, "no read was late: the subject does not lag");
    subject.advance(Span::seconds(3_601)).await;
    let seen = fixture.look().await;
    assert_eq!(seen.claimed, seen.published);
    assert!(seen.claimed.is_some_and(|found| found.state == ObjectState::Usable && found.current().is_some()));
}
