//! Destinations that answer "done" without showing the effect: tags are stripped, a request has no effect, or a wrapping key is altered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyplane_model::{Attempt, ChangeSetState, Class, Creation, Problem, ProblemCode, Span};
use keyplane_port::Cause;

use crate::world::{self, Fault, World};

/// Every kind of mutating request, by the destination's way of creation, with the number of requests before it.
const REQUESTS: [(Creation, &str, u32); 9] = [
    (Creation::Claimed, "create", 0),
    (Creation::Claimed, "claim", 1),
    (Creation::Claimed, "import", 2),
    (Creation::Claimed, "publish", 3),
    (Creation::Named, "prepare", 1),
    (Creation::Named, "import", 2),
    (Creation::Named, "publish", 3),
    (Creation::Imported, "prepare", 0),
    (Creation::Imported, "import", 1),
];

/// A world in which the effects of the first `times` requests of this kind are undone at once.
async fn undone(way: Creation, word: &'static str, times: u32) -> World {
    let world = World::at(way).await;
    world.cloud.state.lock().unwrap().undone.insert(word, times);
    // A step without a limit on attempts ends here, and fails the test.
    world.switch.stop_at(20_000);
    world
}

async fn fails(world: &World) -> Problem {
    world.run().await.unwrap().unwrap_err().remove(0)
}

async fn state(world: &World) -> ChangeSetState {
    world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap().state
}

fn mutations(world: &World) -> u32 {
    world.cloud.state.lock().unwrap().mutations
}

#[tokio::test]
async fn what_is_answered_and_never_shown_is_tried_three_times_then_once_a_run_and_then_never_again() {
    for (way, word, before) in REQUESTS {
        let world = undone(way, word, u32::MAX).await;
        for attempts in 3..8 {
            let problem = fails(&world).await;
            assert_eq!(problem.code, ProblemCode::AttemptsSpent, "{way:?} {word}: {problem:?}");
            assert!(problem.detail.starts_with(&format!("{word}: {attempts} attempts")), "{way:?}: {problem:?}");
            assert!(problem.next.contains("keyplane apply"), "{problem:?}");
            assert_eq!(mutations(&world), before + attempts, "{way:?} {word}");
            assert_eq!(state(&world).await, ChangeSetState::Committed, "{way:?} {word}: nothing is lost yet");
        }
        let problem = fails(&world).await;
        assert_eq!((problem.code, mutations(&world)), (ProblemCode::AttemptsSpent, before + 8), "{way:?} {word}");
        assert!(problem.detail.contains("dropped") && problem.next.contains("keyplane plan"), "{problem:?}");
        assert_eq!(state(&world).await, ChangeSetState::Dropped, "{way:?} {word}: the key could never be changed again");
        let after = world.resume(None).await.unwrap_err();
        assert_eq!((after[0].code, mutations(&world)), (ProblemCode::ChangeSetStale, before + 8), "{way:?} {word}");
    }
}

#[tokio::test]
async fn one_attempt_is_enough_once_the_cause_is_mended() {
    for (way, word, before) in REQUESTS {
        let world = undone(way, word, 3).await;
        assert_eq!(fails(&world).await.code, ProblemCode::AttemptsSpent, "{way:?} {word}");
        assert_eq!(world.run().await, Some(Ok(())), "{way:?} {word}");
        world.check();
        let all = crate::WAYS.into_iter().find(|(other, _)| *other == way).unwrap().1;
        assert_eq!(mutations(&world), all + 3, "{way:?} {word}, after {before} others");
    }
}

/// An object whose marks were stripped is in no plan, so the problem is the only place that names it.
#[tokio::test]
async fn what_was_made_in_vain_is_named_with_what_became_of_it() {
    let world = undone(Creation::Claimed, "create", u32::MAX).await;
    let problem = fails(&world).await;
    assert!(problem.detail.contains("`object-2` is there, without our marks"), "{problem:?}");
    assert!(problem.detail.ends_with("made and not used: `object-0`, `object-1`, `object-2`"), "{problem:?}");
    assert_eq!(problem.destination.map(|name| name.to_string()).as_deref(), Some("prod"));
    let problem = fails(&world).await;
    assert!(problem.detail.contains("4 attempts, 3 of them by earlier runs"), "{problem:?}");
    assert!(problem.detail.ends_with("made and not used: `object-3`"), "{problem:?}");

    let world = undone(Creation::Imported, "prepare", u32::MAX).await;
    let problem = fails(&world).await;
    assert!(problem.detail.contains("`altered-3`, which the destination said that it made"), "{problem:?}");
    assert!(problem.detail.ends_with("made and not used: `altered-1`, `altered-2`, `altered-3`"), "{problem:?}");
}

/// If every reply is lost, the problem says so, with what the last look showed.
#[tokio::test]
async fn a_destination_that_never_answers_is_told_apart() {
    let world = World::new(0).await;
    for request in 1..=3 {
        world.cloud.state.lock().unwrap().faults.insert(request, Fault::Late(Span::days(1_000)));
    }
    let problem = fails(&world).await;
    assert_eq!((problem.code, mutations(&world)), (ProblemCode::AttemptsSpent, 3), "{problem:?}");
    assert!(problem.detail.contains("no object of ours") && problem.detail.contains("the last request got no reply"), "{problem:?}");
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
}

/// A refused request certainly had no effect. A destination that refuses for days costs no approvals.
#[tokio::test]
async fn refusals_bound_a_run_and_never_the_change_set() {
    let world = World::new(0).await;
    for request in 1..=60 {
        world.cloud.state.lock().unwrap().faults.insert(request, Fault::Refused(Class::Throttled));
    }
    for run in 1..=10 {
        let problem = fails(&world).await;
        assert_eq!((problem.code, mutations(&world)), (ProblemCode::DestinationThrottled, 6 * run), "{problem:?}");
        assert_eq!(state(&world).await, ChangeSetState::Committed);
    }
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
}

/// The import's attempts, and under how many keys the custodian wrapped for them.
async fn imports(world: &World) -> (Vec<Attempt>, usize) {
    let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
    let usages = world.engine.custodian.usages().await.unwrap().usages;
    let attempts = record.attempts.iter().filter(|attempt| attempt.wrapped_under.is_some()).cloned().collect();
    (attempts, usages.iter().map(|usage| usage.wraps.len()).sum())
}

/// A world in which the first requests to import, one after the other, meet these faults.
async fn failing(faults: &[Fault], valid_for: Option<Span>) -> World {
    let world = World::new(0).await;
    let mut state = world.cloud.state.lock().unwrap();
    state.faults.extend((3..).zip(faults.iter().copied()));
    state.valid_for = valid_for;
    drop(state);
    world
}

const A_DAY: Option<Span> = Some(Span::days(1));

/// Each attempt under another key would use up the keys that the custodian wraps a step under.
#[tokio::test]
async fn an_import_that_was_not_looked_at_is_sent_again_as_it_was() {
    for fault in [
        Fault::Refused(Class::Throttled),
        Fault::Failed(Class::Transient, Cause::Unreachable),
        Fault::Failed(Class::Transient, Cause::Credentials),
    ] {
        let world = failing(&[fault; 5], A_DAY).await;
        assert_eq!(world.run().await, Some(Ok(())), "{fault:?}");
        world.check();
        let (attempts, keys) = imports(&world).await;
        assert_eq!((attempts.len(), keys, world.cloud.state.lock().unwrap().asked), (6, 1, 1), "{fault:?}");
        assert!(attempts.iter().all(|attempt| attempt.wrapped_under == attempts[0].wrapped_under), "{fault:?}: {attempts:?}");
    }
}

/// After the first refusal, the second request is not sent, since the ledger was slow.
#[tokio::test]
async fn an_import_that_was_not_sent_is_sent_as_it_was() {
    let world = failing(&[Fault::Refused(Class::Throttled)], A_DAY).await;
    let (cloud, slow) = (Arc::clone(&world.cloud), Arc::clone(&world.slow));
    let mut is_first = true;
    world.cloud.clock.meanwhile(move || {
        if std::mem::take(&mut is_first) {
            assert_eq!(cloud.state.lock().unwrap().mutations, 3);
            slow.store(4, Ordering::SeqCst);
        }
    });
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
    let (attempts, keys) = imports(&world).await;
    let refused: Vec<_> = attempts.iter().map(|attempt| attempt.refused).collect();
    assert_eq!((refused, keys), (vec![Some(Class::Throttled), Some(Class::Stale), None], 1));
}

/// Otherwise it would be refused for its key again, or was taken.
#[tokio::test]
async fn what_may_have_been_looked_at_or_may_run_out_is_wrapped_anew() {
    let throttled = Fault::Refused(Class::Throttled);
    for (fault, valid_for) in [
        (Fault::Failed(Class::Stale, Cause::ImportTokenExpired), A_DAY),
        (Fault::Refused(Class::Stale), A_DAY),
        (Fault::Refused(Class::Transient), A_DAY),
        (Fault::Refused(Class::AlreadyExists), A_DAY),
        (Fault::Late(Span::days(1_000)), A_DAY),
        (throttled, None),
        (throttled, Some(Span::seconds(300))),
        (throttled, Some(Span::ZERO)),
    ] {
        let world = failing(&[fault], valid_for).await;
        assert_eq!(world.run().await, Some(Ok(())), "{fault:?}, {valid_for:?}");
        world.check();
        let (attempts, keys) = imports(&world).await;
        assert_eq!((attempts.len(), keys), (2, 2), "{fault:?}, {valid_for:?}");
    }
}

/// Twenty runs of six throttled imports would need more keys than the custodian wraps a step under.
#[tokio::test]
async fn a_destination_that_throttles_imports_for_days_costs_no_approvals() {
    let world = failing(&[Fault::Refused(Class::Throttled); 120], A_DAY).await;
    for run in 1..=20 {
        assert_eq!(fails(&world).await.code, ProblemCode::DestinationThrottled, "run {run}");
        assert_eq!(state(&world).await, ChangeSetState::Committed, "run {run}");
    }
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
    assert_eq!(imports(&world).await.1, 21);
}

/// A run that crashed around a request may have sent it.
#[tokio::test]
async fn the_attempts_of_runs_that_crashed_count() {
    let world = undone(Creation::Claimed, "create", u32::MAX).await;
    for call in (1..200).cycle().take(4_000) {
        world.switch.stop_at(call);
        let _ = futures::FutureExt::now_or_never(world.run());
    }
    world.switch.stop_at(20_000);
    let _ = world.run().await;
    let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts.len()), (ChangeSetState::Dropped, 8));
    assert!(mutations(&world) <= 8);
}

#[tokio::test]
async fn where_a_look_is_conclusive_late_the_attempts_end_by_the_clock() {
    let mut destination = world::destination(Creation::Claimed);
    destination.capabilities.consistency = Span::seconds(40 * 60);
    let world = World::of(destination, 0).await;
    world.cloud.state.lock().unwrap().undone.insert("claim", u32::MAX);
    world.switch.stop_at(20_000);
    assert_eq!(fails(&world).await.code, ProblemCode::AttemptsSpent);
    assert_eq!(mutations(&world), 1 + 2, "the third would begin more than an hour after the first");
}

/// A request may be sent only on a fresh look. If every look takes longer than it stays fresh, no request is sent.
#[tokio::test]
async fn looks_that_are_old_before_they_end_are_not_made_for_ever() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().look_takes = Span::seconds(4);
    world.switch.stop_at(10_000);
    let problem = fails(&world).await;
    assert_eq!((problem.code, mutations(&world)), (ProblemCode::DestinationUnreachable, 0), "{problem:?}");
}
