//! The engine over ports made for tests. A crash at any call of any port, a lost reply, a late effect: neither loses nor doubles anything.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lane;
mod world;

use keyplane_model::{ChangeSetState, Class, ProblemCode, Span};
use world::{Fault, World};

/// Far more calls than a run makes: a loop without end shows as this many crash points.
const MOST_CALLS: i64 = 2_000;

#[tokio::test]
async fn without_faults_a_first_key_takes_four_mutating_requests() {
    let world = World::new(0).await;
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 4);
    let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
    assert_eq!(record.state, ChangeSetState::Done);
    assert!(record.receipts.values().filter(|receipt| receipt.attempt.is_some()).count() == 4);
}

#[tokio::test]
async fn running_what_is_done_does_nothing() {
    let world = World::new(0).await;
    assert_eq!(world.run().await, Some(Ok(())));
    assert_eq!(world.engine.run(&[world.digest], &keyplane_engine::Silent).await.remove(0).result, Ok(()));
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 4);
}

#[tokio::test]
async fn a_crash_at_any_call_of_any_port_neither_loses_nor_doubles_anything() {
    let mut points = 0;
    for call in 1..MOST_CALLS {
        let world = World::new(0).await;
        world.switch.stop_at(call);
        let first = world.run().await;
        if first.is_some() {
            break;
        }
        points += 1;
        world.switch.stop_at(0);
        assert_eq!(world.run().await, Some(Ok(())), "after a crash at call {call}");
        world.check();
        assert_eq!(world.surplus(), 0, "after a crash at call {call}");
    }
    // Every port is called several times a step, and each call is a crash point: fewer would mean that the switch is off.
    assert!(points > 60 && points < MOST_CALLS - 1, "{points} crash points");
}

#[tokio::test]
async fn two_crashes_in_a_row_neither_lose_nor_double_anything() {
    for call in (1..120).step_by(3) {
        for again in (1..60).step_by(5) {
            let world = World::new(0).await;
            world.switch.stop_at(call);
            let _ = world.run().await;
            world.switch.stop_at(again);
            let _ = world.run().await;
            world.switch.stop_at(0);
            assert_eq!(world.run().await, Some(Ok(())), "after crashes at calls {call} and {again}");
            world.check();
            assert_eq!(world.surplus(), 0, "after crashes at calls {call} and {again}");
        }
    }
}

#[tokio::test]
async fn a_lost_reply_of_any_request_neither_loses_nor_doubles_anything() {
    for request in 1..=4 {
        let world = World::new(0).await;
        world.cloud.state.lock().unwrap().faults.insert(request, Fault::LostReply);
        assert_eq!(world.run().await, Some(Ok(())), "request {request}");
        world.check();
        assert_eq!(world.surplus(), 0, "request {request}");
        assert_eq!(world.cloud.state.lock().unwrap().mutations, 4, "request {request} was repeated though it had its effect");
    }
}

#[tokio::test]
async fn an_effect_that_lands_before_it_is_settled_is_waited_for() {
    // The settling time of the test's cloud is 15 s.
    for (request, millis) in (1..=4).flat_map(|request| [1, 900, 5_000, 14_900].map(|millis| (request, millis))) {
        let world = World::new(0).await;
        world.cloud.state.lock().unwrap().faults.insert(request, Fault::Late(Span::millis(millis)));
        assert_eq!(world.run().await, Some(Ok(())), "request {request}, {millis} ms late");
        world.check();
        assert_eq!(world.surplus(), 0, "request {request}, {millis} ms late");
        assert_eq!(world.cloud.state.lock().unwrap().mutations, 4, "request {request}, {millis} ms late, was repeated");
    }
}

#[tokio::test]
async fn an_effect_that_lands_after_it_was_settled_leaves_at_worst_an_empty_surplus_object() {
    for (request, seconds) in (1..=4).flat_map(|request| [30, 60, 3_600].map(|seconds| (request, seconds))) {
        let world = World::new(0).await;
        world.cloud.state.lock().unwrap().faults.insert(request, Fault::Late(Span::seconds(seconds)));
        assert_eq!(world.run().await, Some(Ok(())), "request {request}, {seconds} s late");
        assert_eq!(world.surplus(), usize::from(request == 1), "request {request}, {seconds} s late");
        world.check();
    }
}

#[tokio::test]
async fn a_throttled_request_is_sent_again_and_a_denied_one_is_not() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(1, Fault::Refused(Class::Throttled));
    assert_eq!(world.run().await, Some(Ok(())));
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 5);

    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(1, Fault::Refused(Class::Denied));
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::DestinationDenied);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 1);
    // It stays committed: once it is allowed, the next run goes on.
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
}

#[tokio::test]
async fn what_lacks_approvals_is_neither_committed_nor_run() {
    let world = World::new(1).await;
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::ApprovalsMissing);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 0);
}

#[tokio::test]
async fn a_name_that_belongs_to_somebody_else_drops_the_change_set() {
    let world = World::new(0).await;
    {
        let mut state = world.cloud.state.lock().unwrap();
        let foreign = keyplane_model::ObjectSeen {
            object: keyplane_model::ObjectId("foreign".to_owned()),
            marks: None,
            external: false,
            algorithm: None,
            policy_fits: false,
            state: keyplane_model::ObjectState::Usable,
            created: None,
            materials: Vec::new(),
        };
        state.names.insert("payments-db".to_owned(), foreign.object.clone());
        state.objects.push(foreign);
    }
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::ForeignObject);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 0);
    let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
    assert_eq!(record.state, ChangeSetState::Dropped);
}

#[tokio::test]
async fn material_that_was_there_before_its_bytes_were_drawn_is_never_taken_for_ours() {
    // A ledger that was brought back from a backup draws new bytes for a placement that holds the old ones.
    let before = World::new(0).await;
    assert_eq!(before.run().await, Some(Ok(())));
    let world = World::new(0).await;
    {
        let (mut there, mut state) = (before.cloud.state.lock().unwrap(), world.cloud.state.lock().unwrap());
        state.objects = std::mem::take(&mut there.objects);
        state.claims = std::mem::take(&mut there.claims);
    }
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::Drift);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 0);
}

#[tokio::test]
async fn what_a_dropped_change_set_made_is_known_to_the_next() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(3, Fault::Refused(Class::Denied));
    assert_eq!(world.run().await.unwrap().unwrap_err()[0].code, ProblemCode::DestinationDenied);
    let ledger = &world.engine.ledger;
    ledger.abandon(&world.digest, "a test", world::START).await.unwrap();

    // The object is made and claimed: what is left is to import and to publish.
    let snapshot = ledger.snapshot().await.unwrap();
    let mut rest = ledger.change_set(&world.digest).await.unwrap().unwrap().change_set;
    rest.generation = snapshot.keys.values().next().unwrap().generation;
    rest.steps.drain(..3);
    let digest = ledger.propose(&rest, world::START).await.unwrap();
    world.engine.commit(&digest).await.unwrap();
    assert_eq!(world.engine.run(&[digest], &keyplane_engine::Silent).await.remove(0).result, Ok(()));
    world.check();
    assert_eq!(world.surplus(), 0);
}

#[tokio::test]
async fn a_look_that_went_stale_while_a_request_was_prepared_is_made_anew() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().meddled = true;
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::Drift);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 2, "the import was sent on the strength of an old look");
}

#[tokio::test]
async fn what_was_approved_for_one_destination_is_not_done_at_another_of_its_name() {
    let mut world = World::new(0).await;
    let mut other = world::destination();
    other.fingerprint = keyplane_model::Digest::of(b"another account");
    let cloud = world::TestCloud::new(other.clone(), std::sync::Arc::clone(&world.cloud.clock));
    let clock: std::sync::Arc<dyn keyplane_port::Clock> = world.cloud.clock.clone();
    let lane = keyplane_engine::Lane::new(cloud.clone(), keyplane_engine::lane::Quotas::default(), clock);
    world.engine.lanes.insert(other.name, lane);
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::DestinationChanged);
    assert_eq!(cloud.state.lock().unwrap().mutations, 0);
}
