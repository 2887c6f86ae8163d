//! Clocks that differ: a server whose clock is ahead or behind drops nothing that another one, or the custodian, still works on.

use keyplane_model::{CLOCKS, ChangeSetState, Class, Creation, Intent, Problem, ProblemCode, Quota, SealedCharter, Span};

use crate::world::{self, Fault, World};

const MONTH: Span = Span::days(30);

/// The longest that a run of these worlds takes.
const A_RUN: Span = Span::seconds(60);

async fn state(world: &World) -> ChangeSetState {
    world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap().state
}

fn mutations(world: &World) -> u32 {
    world.cloud.state.lock().unwrap().mutations
}

/// A world in which the first run ends after two of four requests: the import was refused.
async fn begun() -> World {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(3, Fault::Refused(Class::Denied));
    assert_eq!(world.run().await.unwrap().unwrap_err()[0].code, ProblemCode::DestinationDenied);
    world
}

/// What a run says, and what became of the change set.
async fn told(world: &World) -> (Problem, ChangeSetState) {
    let problem = world.resume(None).await.unwrap_err().remove(0);
    assert_eq!(mutations(world), 3, "it goes on: {problem:?}");
    (problem, state(world).await)
}

/// Another server, or the custodian, may see an hour less: there the approvals still count.
#[tokio::test]
async fn what_is_committed_is_given_up_only_when_its_approvals_have_ended_by_every_clock() {
    for ahead in [MONTH, MONTH + CLOCKS - A_RUN] {
        let world = begun().await;
        world.cloud.clock.set_ahead(ahead);
        let (problem, state) = told(&world).await;
        assert_eq!((problem.code, state), (ProblemCode::ApprovalsMissing, ChangeSetState::Committed), "{problem:?}");
        assert!(problem.detail.contains("its approvals ended at") && problem.next.contains("`keyplane apply` after"), "{problem:?}");
        world.cloud.clock.set_ahead(Span::ZERO);
        assert_eq!(world.resume(None).await, Ok(()), "a server whose clock is right goes on");
        world.check();
    }

    let world = begun().await;
    world.cloud.clock.set_ahead(MONTH + CLOCKS);
    let (problem, state) = told(&world).await;
    assert_eq!((problem.code, state), (ProblemCode::CharterChanged, ChangeSetState::Dropped), "{problem:?}");
    assert!(problem.detail.contains("its approvals ended at"), "{problem:?}");
}

#[tokio::test]
async fn what_is_not_wanted_is_dropped_even_if_its_approvals_have_just_ended() {
    let world = begun().await;
    world.engine.ledger.put_intent(&Intent::default(), "files", world::asked()).await.unwrap();
    world.cloud.clock.set_ahead(MONTH);
    let (problem, state) = told(&world).await;
    assert_eq!((problem.code, state), (ProblemCode::ChangeSetStale, ChangeSetState::Dropped), "{problem:?}");
}

/// Its proposal and the end of its approvals lie in this server's future, further than any rule allows.
#[tokio::test]
async fn a_server_whose_clock_is_behind_drops_nothing() {
    let world = begun().await;
    world.cloud.clock.set_behind(CLOCKS + CLOCKS);
    let (problem, state) = told(&world).await;
    assert_eq!((problem.code, state), (ProblemCode::ApprovalsMissing, ChangeSetState::Committed), "{problem:?}");
    assert!(problem.detail.contains("this server's clock") && problem.next.contains("set the clock"), "{problem:?}");

    let world = World::new(0).await;
    world.cloud.clock.set_behind(CLOCKS + CLOCKS);
    let problem = world.commit().await.unwrap_err();
    assert_eq!((problem.code, self::state(&world).await), (ProblemCode::ApprovalsMissing, ChangeSetState::Proposed), "{problem:?}");
    assert!(problem.detail.contains("this server's clock"), "{problem:?}");
}

/// The same violation as by a clock that is behind.
#[tokio::test]
async fn approvals_that_count_for_longer_than_the_rules_have_come_to_allow_drop_what_is_committed() {
    let world = begun().await;
    let ledger = &world.engine.ledger;
    let mut sealed: SealedCharter = ledger.charter().await.unwrap().unwrap();
    sealed.charter.profiles.values_mut().for_each(|rules| rules.valid = Span::days(1));
    sealed.serial += 1;
    ledger.put_charter(&sealed, &[], world::asked()).await.unwrap();
    let (problem, state) = told(&world).await;
    assert_eq!((problem.code, state), (ProblemCode::CharterChanged, ChangeSetState::Dropped), "{problem:?}");
}

/// The import waits twenty minutes for its quota, and the destination then works on it for two seconds. What a destination may take begins
/// when it was asked.
#[tokio::test]
async fn a_wait_for_a_quota_does_not_use_up_the_patience_with_the_destination() {
    let mut destination = world::destination(Creation::Named);
    destination.capabilities.quotas = [("imports".to_owned(), Quota { calls: 1, per: Span::seconds(1_200) })].into();
    destination.capabilities.draws = [("import".to_owned(), vec!["imports".to_owned()])].into();
    let world = World::of(destination, 0).await;
    assert_eq!(world.run().await, Some(Ok(())));
    world.check();
}
