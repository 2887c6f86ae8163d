//! A lane belongs to one server at a time: who waits, who takes over, and what is no longer sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use keyplane_engine::Leases;
use keyplane_model::{Class, Creation, Lease, ProblemCode, Quota, Span};
use keyplane_port::Clock as _;

use crate::world::{Fault, World, asked, destination, server};
use crate::{MOST_CALLS, WAYS};

/// The lane of the test's destination.
fn lane() -> String {
    destination(Creation::Claimed).home
}

async fn lease(world: &World) -> Lease {
    world.engine.ledger.lease(&lane()).await.unwrap()
}

#[tokio::test]
async fn a_run_gives_back_what_it_held() {
    let world = World::new(0).await;
    assert_eq!(world.run().await, Some(Ok(())));
    let lease = lease(&world).await;
    assert_eq!((lease.holder, lease.fence), (None, 1));
}

#[tokio::test]
async fn after_a_crash_at_any_call_another_server_takes_over_when_the_first_can_do_nothing_any_more() {
    for (way, _) in WAYS {
        let mut taken_over = 0;
        for call in 1..MOST_CALLS {
            let mut world = World::at(way).await;
            world.switch.stop_at(call);
            if world.run().await.is_some() {
                break;
            }
            world.switch.stop_at(0);
            let (before, crashed) = (lease(&world).await, world.cloud.clock.now());
            let sent = world.cloud.state.lock().unwrap().mutations;
            world.engine.leases = Leases::new(server(2));
            assert_eq!(world.run().await, Some(Ok(())), "{way:?}: after a crash at call {call}");
            world.check();
            assert_eq!(world.surplus(), 0, "{way:?}: after a crash at call {call}");
            if lease(&world).await.fence == before.fence {
                assert_eq!(
                    world.cloud.state.lock().unwrap().mutations,
                    sent,
                    "{way:?}: sent without the lane, after a crash at call {call}"
                );
            } else if before.holder.is_some() {
                taken_over += 1;
                let waited = world.cloud.clock.now() - crashed;
                assert!(waited >= before.span, "{way:?}: done after {waited}, and the first may be at work for {}", before.span);
            }
        }
        assert!(taken_over >= 15, "{way:?}: {taken_over} crashes of a holder");
    }
}

#[tokio::test]
async fn a_lane_at_which_another_server_works_is_left_alone() {
    let world = World::new(0).await;
    let (ledger, held) = (Arc::clone(&world.engine.ledger), lease(&world).await.taken(server(9), Span::seconds(50)));
    assert_eq!(ledger.put_lease(&lane(), &Lease::default(), &held, asked()).await, Ok(true));
    let mut last = held;
    world.cloud.clock.meanwhile(move || {
        let next = last.renewed();
        assert_eq!(ledger.put_lease(&lane(), &last, &next, asked()).now_or_never(), Some(Ok(true)), "somebody took it");
        last = next;
    });
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [ProblemCode::LaneBusy]);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 0);
}

/// A machine may stand still between the moment when it begins to read a lease and the read itself.
#[tokio::test]
async fn a_lease_that_was_read_late_is_watched_from_then_on() {
    let world = World::new(0).await;
    let held = lease(&world).await.taken(server(9), Span::seconds(50));
    assert_eq!(world.engine.ledger.put_lease(&lane(), &Lease::default(), &held, asked()).await, Ok(true));
    world.slow_lease.store(60, Ordering::SeqCst);
    let began = world.cloud.clock.now();
    assert_eq!(world.run().await, Some(Ok(())));
    let waited = world.cloud.clock.now() - began;
    assert!(waited >= Span::seconds(60 + 50), "done after {waited}: the holder may have taken the lane just before it was read");
}

/// The ledger records the attempt so late that the look is no longer fresh, or that another server may hold the lane.
#[tokio::test]
async fn what_a_machine_was_about_to_send_when_it_stood_still_is_not_sent() {
    for seconds in [4, 1_000] {
        let world = World::new(0).await;
        world.slow.store(seconds, Ordering::SeqCst);
        assert_eq!(world.run().await, Some(Ok(())), "{seconds} s");
        world.check();
        let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
        let refused: Vec<_> = record.attempts.iter().map(|attempt| attempt.refused).collect();
        assert_eq!(refused, [Some(Class::Stale), None, None, None, None], "{seconds} s");
        assert_eq!(world.cloud.state.lock().unwrap().mutations, 4, "{seconds} s: what was not sent is sent once");
    }
}

/// Where call time-outs are short, a lease can expire while the look is still fresh.
#[tokio::test]
async fn a_call_that_could_outlast_its_lease_is_not_started() {
    let mut destination = destination(Creation::Claimed);
    destination.capabilities.call_timeout = Span::millis(500);
    let world = World::of(destination, 0).await;
    // The lease lasts for 2 s.
    world.slow.store(2, Ordering::SeqCst);
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
    let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
    let refused: Vec<_> = record.attempts.iter().map(|attempt| attempt.refused).collect();
    assert_eq!(refused, [Some(Class::Stale), None, None, None, None]);
    assert_eq!(world.cloud.state.lock().unwrap().mutations, 4, "what was not sent is sent once");
}

/// The server that took the lane over draws from the same quotas, and the quota of wrapping keys may be as small as that of mutations.
#[tokio::test]
async fn who_lost_the_lane_while_it_waited_for_a_quota_reads_nothing() {
    for (read, mutations) in [("look", 0), ("wrapping-key", 2)] {
        let mut destination = destination(Creation::Claimed);
        destination.capabilities.quotas = [("rare".to_owned(), Quota { calls: 1, per: Span::seconds(100) })].into();
        destination.capabilities.draws = [(read.to_owned(), vec!["rare".to_owned()])].into();
        let world = World::of(destination, 0).await;
        let (clock, ledger) = (Arc::clone(&world.cloud.clock), Arc::clone(&world.engine.ledger));
        world.cloud.clock.meanwhile(move || {
            let held = ledger.lease(&lane()).now_or_never().unwrap().unwrap();
            if clock.uptime() >= Span::seconds(100) && held.holder == Some(server(1)) {
                let taken = held.taken(server(9), Span::seconds(50));
                assert_eq!(ledger.put_lease(&lane(), &held, &taken, asked()).now_or_never(), Some(Ok(true)));
            }
        });
        let problems = world.run().await.unwrap().unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [ProblemCode::LaneBusy], "{read}");
        let state = world.cloud.state.lock().unwrap();
        let reads = if read == "look" { state.looks } else { state.asked };
        assert_eq!((state.mutations, reads), (mutations, 0), "{read}");
    }
}

/// If such a clock counted, setting it ahead would make an attempt seem settled too early.
#[tokio::test]
async fn no_clock_that_can_be_set_says_when_an_attempt_may_be_repeated() {
    for (way, mutations) in WAYS {
        for late in 1..=mutations {
            let world = World::at(way).await;
            // One second before the attempt is settled.
            world.cloud.state.lock().unwrap().faults.insert(late, Fault::Late(Span::seconds(14)));
            let clock = Arc::clone(&world.cloud.clock);
            world.cloud.clock.meanwhile(move || clock.set_ahead(Span::seconds(3_600)));
            assert_eq!(world.run().await, Some(Ok(())), "{way:?}, request {late}");
            world.check();
            assert_eq!(world.surplus(), 0, "{way:?}, request {late}: made twice");
            // An unused wrapping key does no harm, so no run waits for it.
            let wrapping_keys = u32::from(matches!((way, late), (Creation::Named, 2) | (Creation::Imported, 1)));
            let sent = world.cloud.state.lock().unwrap().mutations;
            assert_eq!(sent, mutations + wrapping_keys, "{way:?}, request {late}: sent twice");
        }
    }
}
