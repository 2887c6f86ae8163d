//! The engine over test ports. Crashes at any call of any port, lost replies and late effects neither lose anything nor make it twice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attempts;
mod clocks;
mod lane;
mod lease;
mod wanted;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use keyplane_engine::{Silent, lane::Anybody};
use keyplane_model::{
    Act, Approval, ChangeSetState, Class, Creation, MaterialSeen, ObjectState, Presence, ProblemCode, Quota, SealedCharter, Span, Version,
    WrapScheme,
};
use keyplane_port::{Clock as _, LedgerError, Refusal};
use world::{Fault, World};

/// Far more calls than a run makes. An endless loop shows as this many crash points.
const MOST_CALLS: i64 = 2_000;

/// Every way of creation, with the number of mutating requests that a first key takes there.
const WAYS: [(Creation, u32); 3] = [(Creation::Claimed, 4), (Creation::Named, 4), (Creation::Imported, 2)];

/// Every mutating request, as (way of creation, requests in all, number of the request).
fn requests() -> impl Iterator<Item = (Creation, u32, u32)> {
    WAYS.into_iter().flat_map(|(way, requests)| (1..=requests).map(move |request| (way, requests, request)))
}

#[tokio::test]
async fn a_sweep_that_takes_longer_than_a_look_stays_fresh_is_not_made_for_ever() {
    let world = World::new(0).await;
    {
        let mut state = world.cloud.state.lock().unwrap();
        state.sweep_takes = Span::seconds(60);
        // The effect never comes, and the reply is ambiguous.
        state.faults.insert(1, Fault::Late(Span::days(1_000)));
    }
    world.switch.stop_at(1_000);
    assert_eq!(world.run().await, Some(Ok(())), "it is not created after all");
    world.check();
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 5);
}

/// The effect comes later than the settling time, while the repeat waits for its quota. A sweep by another reader shows it.
#[tokio::test]
async fn what_a_later_sweep_of_the_lane_shows_is_not_made_again() {
    let mut destination = world::destination(Creation::Claimed);
    destination.capabilities.quotas = [("making".to_owned(), Quota { calls: 1, per: Span::seconds(300) })].into();
    destination.capabilities.draws = [("create".to_owned(), vec!["making".to_owned()])].into();
    let world = World::of(destination, 0).await;
    world.cloud.state.lock().unwrap().faults.insert(1, Fault::Late(Span::seconds(150)));
    let (clock, lane) = (Arc::clone(&world.cloud.clock), world.engine.lanes.values().next().unwrap().clone());
    world.cloud.clock.meanwhile(move || {
        if clock.uptime() >= Span::seconds(500) {
            assert!(lane.sweep(&Anybody).now_or_never().is_some_and(|swept| swept.is_ok()));
        }
    });
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 4, "it is created once");
    assert_eq!(world.surplus(), 0);
}

#[tokio::test]
async fn without_faults_a_first_key_takes_no_request_too_many() {
    for (way, requests) in WAYS {
        let world = World::at(way).await;
        assert_eq!(world.run().await, Some(Ok(())), "{way:?}");
        world.check();
        let (mutations, looks) = {
            let state = world.cloud.state.lock().unwrap();
            (state.mutations, state.looks)
        };
        assert_eq!(mutations, requests, "{way:?}");
        // One look before the first request, and one that confirms each request, except that a prepare step has its own read. An import
        // that the cloud still processes is looked at until it is there: two more times here.
        let least = match way {
            Creation::Claimed => 1 + 4,
            Creation::Named => 1 + 3 + 2,
            Creation::Imported => 1 + 1,
        };
        assert_eq!(looks, least, "{way:?}");
        let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
        assert_eq!(record.state, ChangeSetState::Done);
        assert_eq!(record.receipts.values().filter(|receipt| receipt.attempt.is_some()).count(), requests as usize);
    }
}

#[tokio::test]
async fn a_run_reads_the_ledger_by_key_and_digest_alone() {
    // Whatever reads pages of the ledger takes longer with each key that has nothing to do with this one.
    for (way, _) in WAYS {
        let world = World::at(way).await;
        assert_eq!(world.run().await, Some(Ok(())), "{way:?}");
        let calls = world.calls.lock().unwrap().clone();
        assert!(["key", "wanted", "change_set"].into_iter().all(|call| calls.contains(call)), "{calls:?}");
        assert!(!calls.iter().any(|call| call.starts_with("page_of") || *call == "intent"), "{calls:?}");
    }
}

#[tokio::test]
async fn running_what_is_done_does_nothing() {
    let world = World::new(0).await;
    assert_eq!(world.run().await, Some(Ok(())));
    assert_eq!(world.resume(None).await, Ok(()));
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 4);
}

#[tokio::test]
async fn a_crash_at_any_call_of_any_port_neither_loses_nor_doubles_anything() {
    for (way, _) in WAYS {
        let mut points = 0;
        for call in 1..MOST_CALLS {
            let world = World::at(way).await;
            world.switch.stop_at(call);
            let first = world.run().await;
            if first.is_some() {
                break;
            }
            points += 1;
            world.switch.stop_at(0);
            assert_eq!(world.run().await, Some(Ok(())), "{way:?}: after a crash at call {call}");
            world.check();
            assert_eq!(world.surplus(), 0, "{way:?}: after a crash at call {call}");
        }
        // Every port is called several times in a step, and each call is a crash point. Fewer points would mean that the switch does not
        // work.
        assert!(points > 30 && points < MOST_CALLS - 1, "{way:?}: {points} crash points");
    }
}

/// Otherwise `evidence` would call bytes exposed that a server wrapped before it crashed, or before its look went stale.
#[tokio::test]
async fn the_ledger_knows_every_wrap_before_the_custodian_does() {
    for (way, _) in WAYS {
        let mut seen = 0;
        for call in 1..MOST_CALLS {
            let world = World::at(way).await;
            world.switch.stop_at(call);
            let ended = world.run().await.is_some();
            world.switch.stop_at(0);
            let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
            for wrap in world.engine.custodian.usages().await.unwrap().usages.iter().flat_map(|usage| &usage.wraps) {
                assert!(record.wraps.iter().any(|there| there.is_same(wrap)), "{way:?}: after a crash at call {call}");
                seen += 1;
            }
            if ended {
                assert_eq!(record.wraps.len(), 1, "{way:?}: each wrap is on record once");
                break;
            }
        }
        assert!(seen > 5, "{way:?}: the custodian had a wrap on record {seen} times");
    }
}

#[tokio::test]
async fn two_crashes_in_a_row_neither_lose_nor_double_anything() {
    for (way, _) in WAYS {
        for (call, again) in (1..120).step_by(3).flat_map(|call| (1..60).step_by(5).map(move |again| (call, again))) {
            let world = World::at(way).await;
            world.switch.stop_at(call);
            let _ = world.run().await;
            world.switch.stop_at(again);
            let _ = world.run().await;
            world.switch.stop_at(0);
            assert_eq!(world.run().await, Some(Ok(())), "{way:?}: after crashes at calls {call} and {again}");
            world.check();
            assert_eq!(world.surplus(), 0, "{way:?}: after crashes at calls {call} and {again}");
        }
    }
}

#[tokio::test]
async fn a_lost_reply_of_any_request_neither_loses_nor_doubles_anything() {
    for (way, requests, request) in requests() {
        let world = World::at(way).await;
        world.cloud.state.lock().unwrap().faults.insert(request, Fault::LostReply);
        assert_eq!(world.run().await, Some(Ok(())), "{way:?}: request {request}");
        world.check();
        assert_eq!(world.surplus(), 0, "{way:?}: request {request}");
        // Where only the reply names the wrapping key, another one is made.
        let repeated = u32::from(way == Creation::Imported && request == 1);
        let found = world.cloud.state.lock().unwrap().mutations;
        assert_eq!(found, requests + repeated, "{way:?}: request {request} was repeated though it had its effect");
    }
}

#[tokio::test]
async fn an_effect_that_lands_before_it_is_settled_is_waited_for() {
    // The settling time of the test's cloud is 15 s.
    for (way, requests, request) in requests() {
        for millis in [1, 900, 5_000, 14_900] {
            let world = World::at(way).await;
            world.cloud.state.lock().unwrap().faults.insert(request, Fault::Late(Span::millis(millis)));
            assert_eq!(world.run().await, Some(Ok(())), "{way:?}: request {request}, {millis} ms late");
            world.check();
            assert_eq!(world.surplus(), 0, "{way:?}: request {request}, {millis} ms late");
            // An unused wrapping key does no harm, so the repeat does not wait for the settling time.
            let prepares = (way, request) == (Creation::Named, 2) || (way, request) == (Creation::Imported, 1);
            let found = world.cloud.state.lock().unwrap().mutations;
            let most = requests + u32::from(prepares);
            assert!((requests..=most).contains(&found), "{way:?}: request {request}, {millis} ms late, was repeated");
        }
    }
}

#[tokio::test]
async fn an_effect_that_lands_after_it_was_settled_leaves_at_worst_a_surplus_that_is_recognised() {
    for (way, _, request) in requests() {
        for seconds in [30, 60, 3_600] {
            let world = World::at(way).await;
            world.cloud.state.lock().unwrap().faults.insert(request, Fault::Late(Span::seconds(seconds)));
            assert_eq!(world.run().await, Some(Ok(())), "{way:?}: request {request}, {seconds} s late");
            // An empty object where names are not unique; a second import where each import makes a generation.
            let surplus = [(Creation::Claimed, 1), (Creation::Named, 3), (Creation::Imported, 2)].contains(&(way, request));
            assert_eq!(world.surplus(), usize::from(surplus), "{way:?}: request {request}, {seconds} s late");
            world.check();
        }
    }
}

#[tokio::test]
async fn an_import_that_was_no_use_is_made_again_into_the_same_place_and_not_for_ever() {
    let world = World::at(Creation::Named).await;
    world.cloud.state.lock().unwrap().useless = 2;
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
    assert_eq!(world.surplus(), 0);

    let world = World::at(Creation::Named).await;
    world.cloud.state.lock().unwrap().useless = u32::MAX;
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::DestinationRefused);
    assert!(problems[0].detail.contains("no use"), "{problems:?}");
}

#[tokio::test]
async fn what_was_switched_off_meanwhile_is_not_published() {
    let world = World::at(Creation::Named).await;
    world.cloud.state.lock().unwrap().faults.insert(4, Fault::Refused(Class::Throttled));
    let cloud = Arc::clone(&world.cloud);
    world.cloud.clock.meanwhile(move || {
        let mut state = cloud.state.lock().unwrap();
        let published = state.mutations == 4;
        if let Some(object) = state.objects.first_mut().filter(|object| published && object.materials.len() == 1) {
            // A second import keeps the object usable.
            let second = MaterialSeen { id: Some("2".to_owned()), ..object.materials[0].clone() };
            object.materials[0].presence = Presence::Disabled;
            object.materials.push(second);
        }
    });
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [ProblemCode::Drift]);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 4, "it would be refused again and again");
    let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
    assert_eq!(record.state, ChangeSetState::Dropped, "the next plan says what is in the way");
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
    // The change set stays committed. Once the request is allowed, the next run resumes.
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
}

/// Where mutations are eventually consistent too, the claim may not find the object that was just created. After a while it does.
#[tokio::test]
async fn what_is_not_found_right_after_it_was_made_is_tried_again() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(2, Fault::Refused(Class::NotFound));
    assert_eq!(world.run().await, Some(Ok(())));
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 5);
    world.check();
}

#[tokio::test]
async fn what_lacks_approvals_is_neither_committed_nor_run() {
    let world = World::new(1).await;
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::ApprovalsMissing);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 0);
}

/// Otherwise it would block its key for ever: a committed change set gets no more approvals, and a key has only one open change set.
#[tokio::test]
async fn what_the_charter_in_force_no_longer_carries_is_dropped() {
    let world = World::new(0).await;
    let ledger = &world.engine.ledger;
    world.commit().await.unwrap();
    let old = ledger.charter().await.unwrap().unwrap();
    let mut charter = old.charter.clone();
    charter.profiles.values_mut().for_each(|approvals| approvals.import.need = 2);
    ledger.put_charter(&SealedCharter { charter, serial: old.serial + 1, ..old }, &[], world::asked()).await.unwrap();
    let problems = world.resume(None).await.unwrap_err();
    assert_eq!((problems[0].code, problems[0].class), (ProblemCode::CharterChanged, Class::Stale));
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 0);
    assert_eq!(ledger.change_set(&world.digest).await.unwrap().unwrap().state, ChangeSetState::Dropped);
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
            purpose: None,
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

/// Whether the custodian knows that the world's change set ended.
async fn is_finished(world: &World) -> bool {
    let usages = world.engine.custodian.usages().await.unwrap().usages;
    usages.iter().any(|usage| usage.change_set == world.digest && usage.finished)
}

async fn state(world: &World) -> ChangeSetState {
    world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap().state
}

/// A world in which everything but publishing is done.
async fn almost_done() -> World {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(4, Fault::Refused(Class::Denied));
    assert_eq!(world.run().await.unwrap().unwrap_err()[0].code, ProblemCode::DestinationDenied);
    assert!(!is_finished(&world).await);
    world
}

#[tokio::test]
async fn the_custodian_is_told_that_a_change_set_is_done() {
    let world = almost_done().await;
    world.custodian.gone.store(true, Ordering::SeqCst);
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::TokenFailed);
    assert!(problems[0].detail.contains("stays open"), "{problems:?}");
    assert_eq!(state(&world).await, ChangeSetState::Committed);
    world.custodian.gone.store(false, Ordering::SeqCst);
    assert_eq!(world.run().await, Some(Ok(())));
    assert!(is_finished(&world).await);
    assert_eq!(state(&world).await, ChangeSetState::Done);
}

#[tokio::test]
async fn the_custodian_is_told_that_a_change_set_is_dropped() {
    let world = almost_done().await;
    world.cloud.state.lock().unwrap().objects.iter_mut().for_each(|object| object.state = ObjectState::Disabled);
    world.custodian.gone.store(true, Ordering::SeqCst);
    let codes: Vec<_> = world.run().await.unwrap().unwrap_err().iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [ProblemCode::Drift, ProblemCode::TokenFailed]);
    assert_eq!(state(&world).await, ChangeSetState::Committed);
    world.custodian.gone.store(false, Ordering::SeqCst);
    assert_eq!(world.run().await.unwrap().unwrap_err()[0].code, ProblemCode::Drift);
    assert!(is_finished(&world).await);
    assert_eq!(state(&world).await, ChangeSetState::Dropped);
}

#[tokio::test]
async fn what_is_done_is_completed_whatever_became_of_its_approvals() {
    let world = almost_done().await;
    world.custodian.gone.store(true, Ordering::SeqCst);
    world.run().await.unwrap().unwrap_err();
    world.custodian.gone.store(false, Ordering::SeqCst);
    world.engine.clock.sleep(Span::days(60)).await;
    assert_eq!(world.resume(None).await, Ok(()));
    assert_eq!(state(&world).await, ChangeSetState::Done);
}

/// A crash came between the custodian's record and the ledger's.
#[tokio::test]
async fn what_the_custodian_calls_finished_is_completed_if_nothing_is_left_to_wrap_and_dropped_otherwise() {
    let world = almost_done().await;
    let change_set = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap().change_set;
    let charter = world.engine.ledger.charter().await.unwrap().unwrap();
    world.engine.custodian.finish(&charter, &change_set).await.unwrap();
    assert_eq!(world.run().await, Some(Ok(())));
    assert_eq!(state(&world).await, ChangeSetState::Done);

    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(3, Fault::Refused(Class::Denied));
    assert!(world.run().await.unwrap().is_err());
    world.engine.custodian.finish(&charter, &change_set).await.unwrap();
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!((problems[0].code, problems[0].next.as_str()), (ProblemCode::CustodianRefused, "keyplane plan"));
    assert_eq!(state(&world).await, ChangeSetState::Dropped);
}

#[tokio::test]
async fn the_custodian_is_told_of_a_superseded_or_withdrawn_proposal_that_somebody_approved() {
    for (approved, superseded) in [(true, true), (true, false), (false, true), (false, false)] {
        let world = World::new(1).await;
        let (engine, ledger) = (&world.engine, &world.engine.ledger);
        if approved {
            ledger.approve(&world.digest, &approval(), world::asked()).await.unwrap();
        }
        let open = ledger.change_set(&world.digest).await.unwrap().unwrap();
        engine.propose(&open.change_set, Some(&open), world::asked()).await.unwrap();
        assert!(!is_finished(&world).await, "the same proposal again supersedes nothing");
        world.custodian.gone.store(true, Ordering::SeqCst);
        let next = keyplane_model::ChangeSet { until: open.change_set.until + Span::seconds(1), ..open.change_set.clone() };
        let end = async || {
            if superseded {
                engine.propose(&next, Some(&open), world::asked()).await.map(drop)
            } else {
                engine.withdraw(&world.digest, "a test", world::asked()).await
            }
        };
        // Without approvals there is nothing to tell, so the custodian is not needed.
        assert_eq!(end().await.is_ok(), !approved);
        world.custodian.gone.store(false, Ordering::SeqCst);
        end().await.unwrap();
        assert_eq!(is_finished(&world).await, approved);
        assert_eq!(state(&world).await, ChangeSetState::Dropped);
    }
}

/// A world whose proposal somebody approved.
async fn approved() -> World {
    let world = World::new(1).await;
    world.engine.ledger.approve(&world.digest, &approval(), world::asked()).await.unwrap();
    world
}

fn approval() -> Approval {
    Approval { approver: "alice".parse().unwrap(), signature: String::new(), at: world::START }
}

/// Otherwise a process that commits at that moment has it dropped at its first wrap.
#[tokio::test]
async fn what_the_custodian_is_about_to_hear_of_is_not_committed_any_more() {
    let world = approved().await;
    let (ledger, digest) = (Arc::clone(&world.engine.ledger), world.digest);
    let told = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&told);
    *world.custodian.about_to_finish.lock().unwrap() = Some(Box::new(move || {
        let committed = ledger.commit(&digest, world::asked()).now_or_never().unwrap();
        assert_eq!(committed, Err(LedgerError::Refused(Refusal::State("ending"))));
        seen.store(true, Ordering::SeqCst);
    }));
    world.engine.withdraw(&digest, "a test", world::asked()).await.unwrap();
    assert!(told.load(Ordering::SeqCst) && is_finished(&world).await);
    assert_eq!(state(&world).await, ChangeSetState::Dropped);
}

#[tokio::test]
async fn what_was_committed_first_is_not_withdrawn_and_the_custodian_hears_nothing() {
    let world = approved().await;
    world.engine.ledger.commit(&world.digest, world::asked()).await.unwrap();
    let problem = world.engine.withdraw(&world.digest, "a test", world::asked()).await.unwrap_err();
    assert_eq!((problem.code, problem.next.as_str()), (ProblemCode::ChangeSetStale, "keyplane plan"));
    assert_eq!(problem.detail, format!("change set {} is not withdrawn: the change set is committed", world.digest));
    assert_eq!(problem.key.map(|key| key.to_string()).as_deref(), Some("payments-db"));
    assert!(!is_finished(&world).await, "its run would wrap nothing");
    assert_eq!(state(&world).await, ChangeSetState::Committed);
}

/// It would stay open, and collect approvals that are good for nothing.
#[tokio::test]
async fn a_crash_in_a_withdrawal_leaves_nothing_that_takes_approvals_and_the_next_plan_ends_it() {
    let (mut points, mut ending) = (0, 0);
    for call in 1..MOST_CALLS {
        let world = approved().await;
        let (engine, ledger) = (&world.engine, &world.engine.ledger);
        world.switch.stop_at(call);
        let withdrawn = engine.withdraw(&world.digest, "a test", world::asked()).now_or_never();
        world.switch.stop_at(0);
        if withdrawn.is_some() {
            break;
        }
        points += 1;
        let again = Approval { signature: "another".to_owned(), ..approval() };
        if is_finished(&world).await {
            assert!(ledger.approve(&world.digest, &again, world::asked()).await.is_err(), "after a crash at call {call}");
            assert!(ledger.commit(&world.digest, world::asked()).await.is_err(), "after a crash at call {call}");
        }
        let before = state(&world).await;
        assert_eq!(engine.finish_withdrawals(world::asked()).await, Ok(Vec::new()));
        match before {
            ChangeSetState::Ending => {
                ending += 1;
                assert_eq!(state(&world).await, ChangeSetState::Dropped, "after a crash at call {call}");
            }
            ChangeSetState::Proposed | ChangeSetState::Dropped => assert_eq!(state(&world).await, before),
            ChangeSetState::Committed | ChangeSetState::Done => unreachable!("nobody commits it"),
        }
        assert_eq!(is_finished(&world).await, before != ChangeSetState::Proposed, "after a crash at call {call}");
    }
    assert!(points >= 8 && ending >= 4, "{points} crash points, {ending} of them in between");
}

#[tokio::test]
async fn a_withdrawal_that_the_custodian_cannot_hear_of_waits_for_the_next_plan_and_holds_up_no_other() {
    let world = approved().await;
    let (engine, ledger) = (&world.engine, &world.engine.ledger);
    let first = ledger.change_set(&world.digest).await.unwrap().unwrap().change_set;
    let other = keyplane_model::ChangeSet {
        key: "another-key".parse().unwrap(),
        key_id: keyplane_model::IdTree::new([1; 32]).key("another-key"),
        ..first
    };
    let unapproved = engine.propose(&other, None, world::asked()).await.unwrap();
    ledger.end(&unapproved, world::asked()).await.unwrap();
    world.custodian.gone.store(true, Ordering::SeqCst);
    assert_eq!(engine.withdraw(&world.digest, "a test", world::asked()).await.unwrap_err().code, ProblemCode::TokenFailed);
    let problems = engine.finish_withdrawals(world::asked()).await.unwrap();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((problem.code, problem.key.as_ref().unwrap().as_str()), (ProblemCode::TokenFailed, "payments-db"));
    assert_eq!(state(&world).await, ChangeSetState::Ending);
    assert_eq!(ledger.change_set(&unapproved).await.unwrap().unwrap().state, ChangeSetState::Dropped);
    world.custodian.gone.store(false, Ordering::SeqCst);
    assert_eq!(engine.finish_withdrawals(world::asked()).await, Ok(Vec::new()));
    assert_eq!(state(&world).await, ChangeSetState::Dropped);
}

#[tokio::test]
async fn material_that_was_there_before_its_bytes_were_drawn_is_never_taken_for_ours() {
    // A ledger restored from a backup generates new bytes for a placement that holds the old ones.
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
    ledger.abandon(&world.digest, "a test", world::asked()).await.unwrap();

    // The object is created and claimed. Import and publish are left.
    let snapshot = ledger.snapshot().await.unwrap();
    let mut rest = ledger.change_set(&world.digest).await.unwrap().unwrap().change_set;
    let record = snapshot.keys.values().next().unwrap();
    rest.generation = record.generation;
    rest.steps.drain(..3);
    let made = Some(record.copies[0].bound());
    rest.steps[0].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made };
    let digest = ledger.propose(&rest, world::asked()).await.unwrap();
    world.engine.commit(&[digest], None, &world::actor()).await.remove(0).unwrap();
    assert_eq!(world.engine.run(&[digest], None, &world::actor(), &Silent).await.remove(0).result, Ok(()));
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
    let mut other = world::destination(Creation::Claimed);
    other.fingerprint = keyplane_model::Digest::of(b"another account");
    let cloud = world::TestCloud::new(other.clone(), std::sync::Arc::clone(&world.cloud.clock));
    let clock: std::sync::Arc<dyn keyplane_port::Clock> = world.cloud.clock.clone();
    let lane = keyplane_engine::Lane::new(cloud.clone(), keyplane_engine::lane::Quotas::default(), clock);
    world.engine.lanes.insert(other.name, lane);
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::DestinationChanged);
    assert_eq!(cloud.state.lock().unwrap().mutations, 0);
}
