//! The lane: it keeps quotas, repeats reads and times calls out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use keyplane_engine::Lane;
use keyplane_engine::lane::{Anybody, Failure, Guard, Quotas};
use keyplane_model::{Class, ObjectId, Problem, ProblemCode, Quota, Span};
use keyplane_port::{Clock, Cloud, Mutation};

use crate::world::{START, TestClock, TestCloud, World, destination, target};

#[tokio::test]
async fn a_machine_that_woke_up_late_lets_one_call_go_at_a_time() {
    let world = World::new(0).await;
    let (clock, quotas) = (&world.cloud.clock, Quotas::default());
    let mut limited = destination(keyplane_model::Creation::Claimed);
    limited.capabilities.quotas = [("GetParametersForImport".to_owned(), Quota { calls: 1, per: Span::seconds(1) })].into();
    limited.capabilities.draws = [("wrapping-key".to_owned(), vec!["GetParametersForImport".to_owned()])].into();
    let lane = lane(&TestCloud::new(limited, Arc::clone(clock)), clock, &quotas);
    lane.admit("wrapping-key").await;
    clock.sleep(Span::seconds(60)).await;
    let begin = clock.now();
    lane.admit("wrapping-key").await;
    assert_eq!(clock.now(), begin, "nothing was drawn for a minute");
    lane.admit("wrapping-key").await;
    assert_eq!(clock.now() - begin, Span::millis(1_100), "what was not drawn in that minute is not saved up");
}

fn lane(cloud: &Arc<TestCloud>, clock: &Arc<TestClock>, quotas: &Quotas) -> Lane {
    Lane::new(Arc::clone(cloud) as Arc<dyn Cloud>, quotas.clone(), Arc::clone(clock) as Arc<dyn Clock>)
}

#[tokio::test]
async fn a_read_that_fails_for_a_moment_is_repeated_and_one_that_is_denied_is_not() {
    for (class, failures, looks, works) in [
        (Class::Transient, 4, 5, true),
        (Class::Throttled, 4, 5, true),
        (Class::Transient, 5, 5, false),
        (Class::Denied, 1, 1, false),
        (Class::Broken, 1, 1, false),
    ] {
        let world = World::new(0).await;
        world.cloud.state.lock().unwrap().blind = (failures, Some(class));
        let lane = lane(&world.cloud, &world.cloud.clock, &Quotas::default());
        assert_eq!(lane.look(&target(), &Anybody).await.is_ok(), works, "{class}, {failures} times");
        assert_eq!(world.cloud.state.lock().unwrap().looks, looks, "{class}, {failures} times");
    }
}

/// Admits this many reads.
struct Lets(AtomicU32);

#[async_trait]
impl Guard for Lets {
    async fn admits(&self, operation: &'static str) -> Result<(), Problem> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| Problem::new(ProblemCode::LaneBusy, operation, "a test"))
    }
}

/// The pause between two tries can be as long as a wait for a quota.
#[tokio::test]
async fn a_guard_is_asked_before_each_try_and_what_it_refuses_is_not_sent() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().blind = (4, Some(Class::Transient));
    let lane = lane(&world.cloud, &world.cloud.clock, &Quotas::default());
    let Err(Failure::Guard(problem)) = lane.look(&target(), &Lets(AtomicU32::new(2))).await else { panic!("it was sent") };
    assert_eq!((problem.code, problem.detail.as_str()), (ProblemCode::LaneBusy, "look"));
    assert_eq!(world.cloud.state.lock().unwrap().looks, 2);
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_time_out_and_a_mutation_is_ambiguous_then() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().silent = true;
    let lane = lane(&world.cloud, &world.cloud.clock, &Quotas::default());
    let error = lane.act(&Mutation::Disable { object: ObjectId("object-0".to_owned()), material: None }).await.unwrap_err();
    assert_eq!(error.class, Class::Ambiguous);
    assert_eq!(world.cloud.clock.now(), START + Span::seconds(10));
    let Err(Failure::Call(error)) = lane.look(&target(), &Anybody).await else { panic!("it was answered, or guarded") };
    assert_eq!(error.class, Class::Transient);
}

#[tokio::test]
async fn calls_of_one_quota_are_spaced_for_all_destinations_of_one_home() {
    let world = World::new(0).await;
    let (clock, quotas) = (&world.cloud.clock, Quotas::default());
    let mut limited = destination(keyplane_model::Creation::Claimed);
    limited.capabilities.quotas = [("CreateAlias".to_owned(), Quota { calls: 5, per: Span::seconds(1) })].into();
    limited.capabilities.draws =
        [("claim".to_owned(), vec!["CreateAlias".to_owned()]), ("publish".to_owned(), vec!["CreateAlias".to_owned()])].into();
    let one = TestCloud::new(limited.clone(), Arc::clone(clock));
    let mut elsewhere = limited.clone();
    elsewhere.home = "aws:444455556666:us-east-1".to_owned();
    let (first, second) = (lane(&one, clock, &quotas), lane(&one, clock, &quotas));
    let other = lane(&TestCloud::new(elsewhere, Arc::clone(clock)), clock, &quotas);
    for _ in 0..5 {
        first.admit("claim").await;
        second.admit("publish").await;
        first.admit("look").await;
    }
    // Ten calls at five a second, from an empty bucket, each with a tenth of the spacing added.
    assert_eq!(clock.now() - START, Span::millis(2_200));
    other.admit("claim").await;
    assert_eq!(clock.now() - START, Span::millis(2_420), "another home has a bucket of its own");
}

#[tokio::test]
async fn mutations_that_were_admitted_and_held_up_are_not_sent_together() {
    let world = World::new(0).await;
    let clock = &world.cloud.clock;
    let mut limited = destination(keyplane_model::Creation::Imported);
    limited.capabilities.quotas = [("CreateHsm".to_owned(), Quota { calls: 1, per: Span::seconds(1) })].into();
    limited.capabilities.draws =
        [("prepare".to_owned(), vec!["CreateHsm".to_owned()]), ("import".to_owned(), vec!["CreateHsm".to_owned()])].into();
    let lane = lane(&TestCloud::new(limited, Arc::clone(clock)), clock, &Quotas::default());
    lane.admit("prepare").await;
    lane.admit("import").await;
    // Both had to look again, and that took time.
    clock.sleep(Span::seconds(9)).await;
    assert_eq!(lane.gap("prepare"), Span::ZERO);
    assert_eq!(lane.gap("import"), Span::millis(1_100));
    clock.sleep(Span::millis(1_100)).await;
    assert_eq!(lane.gap("import"), Span::ZERO);
    assert_eq!(lane.gap("publish"), Span::ZERO, "which draws nothing");
}

/// A lane whose looks draw four times from a quota of ten a second, and the time between two requests.
fn looking(world: &World, clock: &Arc<TestClock>) -> (Arc<TestCloud>, Lane, Span) {
    let mut limited = destination(keyplane_model::Creation::Claimed);
    limited.capabilities.quotas = [("Read".to_owned(), Quota { calls: 10, per: Span::seconds(1) })].into();
    limited.capabilities.draws = [("look".to_owned(), vec!["Read".to_owned(); 4])].into();
    let cloud = TestCloud::new(limited, Arc::clone(clock));
    let lane = lane(&cloud, &world.cloud.clock, &Quotas::default());
    (cloud, lane, Span::millis(110))
}

#[tokio::test]
async fn what_a_call_drew_and_did_not_send_is_given_back() {
    // The first call waits as if another one had come before it, which sent as much as it could.
    for (sends, counted, between) in [(1, true, 1), (4, true, 4), (0, true, 0), (1, false, 4)] {
        let world = World::new(0).await;
        let clock = &world.cloud.clock;
        let (cloud, lane, spacing) = looking(&world, clock);
        {
            let mut state = cloud.state.lock().unwrap();
            (state.sent, state.look_sends) = (counted.then_some(0), sends);
        }
        for _ in 0..5 {
            lane.look(&target(), &Anybody).await.unwrap();
        }
        assert_eq!(clock.now() - START, spacing.times(4 + 4 * between), "{sends} of 4 requests sent, counted: {counted}");
    }
}

#[tokio::test]
async fn what_another_call_may_have_sent_is_not_given_back() {
    let world = World::new(0).await;
    let clock = &world.cloud.clock;
    let (cloud, lane, spacing) = looking(&world, clock);
    cloud.state.lock().unwrap().sent = Some(0);
    let under_way = lane.admit("look").await;
    let look = lane.admit("look").await;
    // Nobody knows which of the two sent them.
    cloud.state.lock().unwrap().sent = Some(3);
    drop(look);
    let begin = clock.now();
    assert_eq!(begin - START, spacing.times(8));
    drop(lane.admit("look").await);
    assert_eq!(clock.now() - begin, spacing.times(3), "one of the four was certainly not sent");
    drop(under_way);
    let begin = clock.now();
    drop(lane.admit("look").await);
    assert_eq!(clock.now(), begin, "the last one sent nothing");
}

/// Its requests have gone through a quota's time one after the other; what was not sent in that time is not saved up.
#[tokio::test]
async fn time_that_has_passed_is_not_given_back() {
    let world = World::new(0).await;
    let clock = &world.cloud.clock;
    let (cloud, lane, spacing) = looking(&world, clock);
    cloud.state.lock().unwrap().sent = Some(0);
    let first = lane.admit("look").await;
    let second = lane.admit("look").await;
    cloud.state.lock().unwrap().sent = Some(5);
    clock.sleep(spacing).await;
    drop((first, second));
    let begin = clock.now();
    drop(lane.admit("look").await);
    assert_eq!(clock.now() - begin, spacing.times(3), "the second call's four requests were sent at once");
}
