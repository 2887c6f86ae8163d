//! Destinations that answer "done" without showing the effect: tags are stripped, a request has no effect, or a wrapping key is altered.

use keyplane_model::{ChangeSetState, Class, Creation, Problem, ProblemCode, Span};

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
