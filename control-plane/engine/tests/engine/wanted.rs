//! What is committed and run has to be wanted at that moment: by the newest intent of the ledger, by the policy of the command, and by the
//! destinations as they are configured.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use keyplane_engine::{Event, Lane, Progress, Silent, lane::Quotas};
use keyplane_model::{
    Act, ApprovalRule, ChangeSet, ChangeSetState, Class, Creation, Destination, Digest, Generation, IdTree, Intent, Key, PlacementIntent,
    PlacementPlan, Problem, ProblemCode, Protection, Purpose, Quota, Source, Span, Step, Version, WrapScheme,
};
use keyplane_port::{Clock, Cloud, Commitment, Ledger};

use crate::world::{self, Fault, TestCloud, World};

type Change = fn(&mut Intent);

fn key(intent: &mut Intent) -> &mut Key {
    intent.keys.values_mut().next().unwrap()
}

/// Changes of the policy after which the first key's change set does something that is not wanted, with the words that tell so.
const UNWANTED: [(Change, &str); 7] = [
    (|intent| intent.keys.clear(), "the key is not wanted any more"),
    (|intent| key(intent).placements.clear(), "at `prod` is not wanted so"),
    (|intent| key(intent).rules.locations = Some(["elsewhere".parse().unwrap()].into()), "must not be at `prod`"),
    (|intent| key(intent).rules.algorithms.clear(), "must not be `aes-256`"),
    (|intent| key(intent).rules.source = Some(Source::Derived), "in another way than the rules say"),
    (|intent| key(intent).profile = "other".parse().unwrap(), "not under profile `payments`"),
    (|intent| key(intent).purpose = Purpose::Sign, "which the key is not for"),
];

/// Changes that have nothing to do with what the change set does.
const HARMLESS: [Change; 3] = [
    |intent| key(intent).rules.rotation.overlap = Span::days(31),
    |intent| key(intent).rules.approvals.import.need = 9,
    |intent| {
        let there = key(intent).placements.first().unwrap().clone();
        key(intent).placements.insert(PlacementIntent { name: "another".to_owned(), ..there });
    },
];

fn changed(change: Change) -> Intent {
    let mut intent = world::intent(ApprovalRule { need: 0, from: BTreeSet::new() });
    change(&mut intent);
    intent
}

/// Records an intent as the newest one, as a plan does.
async fn plans(world: &World, intent: &Intent) {
    world.engine.ledger.put_intent(intent, "files", world::asked()).await.unwrap();
}

async fn state(world: &World) -> ChangeSetState {
    world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap().state
}

async fn is_finished(world: &World) -> bool {
    let usages = world.engine.custodian.usages().await.unwrap().usages;
    usages.iter().any(|usage| usage.change_set == world.digest && usage.finished)
}

fn mutations(world: &World) -> u32 {
    world.cloud.state.lock().unwrap().mutations
}

/// A world whose change set is committed; its object is made and claimed, and the import was refused.
async fn begun() -> World {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(3, Fault::Refused(Class::Denied));
    assert_eq!(world.run().await.unwrap().unwrap_err()[0].code, ProblemCode::DestinationDenied);
    assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Committed, 3));
    world
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_not_committed() {
    for (change, words) in UNWANTED {
        let intent = changed(change);
        for by_policy in [false, true] {
            let world = World::new(0).await;
            if !by_policy {
                plans(&world, &intent).await;
            }
            let policy = by_policy.then_some(&intent);
            let problem = world.engine.commit(&[world.digest], policy, &world::actor()).await.remove(0).unwrap_err();
            assert_eq!((problem.code, problem.next.as_str()), (ProblemCode::ChangeSetStale, "keyplane plan"), "{words}: {problem:?}");
            // A key that the newest intent does not have is told by the rule that every change of a key breaks.
            assert!(problem.detail.contains(words) || problem.detail.contains("what is wanted of the key now"), "{words}: {problem:?}");
            assert_eq!(problem.detail.contains("the policy of this command"), by_policy, "{problem:?}");
            assert_eq!(state(&world).await, ChangeSetState::Proposed, "{words}: the next plan decides what becomes of it");
            assert!(!is_finished(&world).await, "{words}: its approvals may still be good");
        }
    }
}

#[tokio::test]
async fn a_proposal_fits_the_newest_intent_exactly_and_a_policy_that_was_not_planned_as_far_as_it_goes() {
    for change in HARMLESS {
        let intent = changed(change);
        let world = World::new(0).await;
        plans(&world, &intent).await;
        assert_eq!(world.commit().await.unwrap_err().code, ProblemCode::ChangeSetStale, "the next plan makes another one of it");

        let world = World::new(0).await;
        let committed = world.engine.commit(&[world.digest], Some(&intent), &world::actor()).await.remove(0);
        assert_eq!(committed, Ok(Commitment::Committed(Generation(1))));
        assert_eq!(world.resume(Some(&intent)).await, Ok(()));
    }
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_dropped_before_anything_is_run() {
    for (change, words) in UNWANTED {
        let intent = changed(change);
        let world = begun().await;
        let told = async |policy: Option<&Intent>, by: &str| {
            let problems = world.resume(policy).await.unwrap_err();
            assert_eq!(problems.len(), 1, "{words}: {problems:?}");
            let problem = &problems[0];
            assert_eq!((problem.code, problem.next.as_str()), (ProblemCode::ChangeSetStale, "keyplane plan"), "{words}: {problem:?}");
            assert!(problem.detail.contains(words) && problem.detail.contains(by), "{words}: {problem:?}");
        };
        // A policy that no plan has recorded may be anybody's: this command does nothing, and another one may.
        told(Some(&intent), "the policy of this command").await;
        assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Committed, 3), "{words}");
        assert!(!is_finished(&world).await, "{words}");

        plans(&world, &intent).await;
        told(None, "revision 2 of the intent").await;
        assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Dropped, 3), "{words}");
        assert!(is_finished(&world).await, "{words}: its approvals are still good");
        // What happened already stays for the next plan.
        let record = world.engine.ledger.snapshot().await.unwrap().keys.into_values().next().unwrap();
        assert!(record.placements.values().all(|placement| placement.claimed) && record.copies.len() == 1, "{words}: {record:?}");
    }
}

#[tokio::test]
async fn what_is_committed_goes_on_if_only_other_things_are_wanted_of_its_key() {
    for change in HARMLESS {
        let intent = changed(change);
        let world = begun().await;
        plans(&world, &intent).await;
        assert_eq!(world.resume(Some(&intent)).await, Ok(()));
        world.check();
    }
}

#[tokio::test]
async fn what_is_done_is_completed_even_if_it_is_not_wanted_any_more() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(4, Fault::Refused(Class::Denied));
    assert!(world.run().await.unwrap().is_err());
    world.custodian.gone.store(true, Ordering::SeqCst);
    assert_eq!(world.resume(None).await.unwrap_err()[0].code, ProblemCode::TokenFailed);
    world.custodian.gone.store(false, Ordering::SeqCst);
    plans(&world, &Intent::default()).await;
    assert_eq!(world.resume(Some(&Intent::default())).await, Ok(()));
    assert_eq!(state(&world).await, ChangeSetState::Done);
}

#[tokio::test]
async fn a_crash_while_something_unwanted_is_dropped_leaves_it_to_the_next_run() {
    let mut points = 0;
    for call in 1..100 {
        let world = begun().await;
        plans(&world, &Intent::default()).await;
        world.switch.stop_at(call);
        let ended = world.resume(None).now_or_never();
        world.switch.stop_at(0);
        if ended.is_some() {
            break;
        }
        points += 1;
        assert!(world.resume(None).await.is_err(), "after a crash at call {call}");
        assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Dropped, 3), "after a crash at call {call}");
    }
    assert!(points > 5 && points < 99, "{points} crash points");
}

#[tokio::test]
async fn what_cannot_be_dropped_for_now_is_not_run_either() {
    let world = begun().await;
    plans(&world, &Intent::default()).await;
    world.custodian.gone.store(true, Ordering::SeqCst);
    let codes: Vec<_> = world.resume(None).await.unwrap_err().iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [ProblemCode::ChangeSetStale, ProblemCode::TokenFailed]);
    assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Committed, 3));
    world.custodian.gone.store(false, Ordering::SeqCst);
    assert!(world.resume(None).await.is_err());
    assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Dropped, 3));
}

/// One read of the database fails just before what is wanted is read, or while it is read.
#[tokio::test]
async fn a_key_of_which_nothing_was_read_is_not_taken_for_unwanted() {
    for read in ["change_set", "intent_revision", "wanted"] {
        let world = begun().await;
        *world.fails.lock().unwrap() = Some(read);
        let run = async || world.engine.run(&[world.digest], None, &world::actor(), &Silent).await.remove(0).result;
        assert_eq!(run().await.unwrap_err()[0].code, ProblemCode::DatabaseFailed, "{read}");
        assert_eq!((state(&world).await, is_finished(&world).await), (ChangeSetState::Committed, false), "{read}");
        assert_eq!(run().await, Ok(()), "{read}: its approvals are as good as before");
    }
}

/// Somebody plans without the key while a run goes on.
fn drops_the_key(ledger: &Arc<dyn Ledger>) {
    ledger.put_intent(&Intent::default(), "files", world::asked()).now_or_never().unwrap().unwrap();
}

/// Drops the key when the run has sent so many requests and begins another one.
struct Planner {
    ledger: Arc<dyn Ledger>,
    before: u32,
    cloud: Arc<TestCloud>,
}

impl Progress for Planner {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Acting { .. }) && self.cloud.state.lock().unwrap().mutations == self.before {
            drops_the_key(&self.ledger);
        }
    }
}

async fn run_with_planner(world: &World, before: u32) -> Result<(), Vec<Problem>> {
    world.commit().await.unwrap();
    let planner = Planner { ledger: Arc::clone(&world.engine.ledger), before, cloud: Arc::clone(&world.cloud) };
    world.engine.run(&[world.digest], None, &world::actor(), &planner).await.remove(0).result
}

/// Otherwise a run of hours would go on importing a key that nobody wants any more.
#[tokio::test]
async fn what_is_not_wanted_any_more_while_it_runs_begins_no_further_step() {
    for (way, requests) in crate::WAYS {
        for request in 1..requests {
            let world = World::at(way).await;
            let problems = run_with_planner(&world, request - 1).await.unwrap_err();
            assert_eq!((problems.len(), problems[0].code), (1, ProblemCode::ChangeSetStale), "{way:?}, {request}: {problems:?}");
            assert!(problems[0].detail.contains("revision 2 of the intent"), "{way:?}, {request}: {problems:?}");
            assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Dropped, request), "{way:?}, {request}");
            assert!(is_finished(&world).await, "{way:?}, {request}: its approvals are still good");
            let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
            let made = record.receipts.values().filter(|receipt| receipt.attempt.is_some()).count();
            assert_eq!(made, request as usize, "{way:?}, {request}: the step that had acted is finished");
        }
        let world = World::at(way).await;
        assert_eq!(run_with_planner(&world, requests - 1).await, Ok(()), "{way:?}: nothing was left to do");
        assert_eq!(state(&world).await, ChangeSetState::Done, "{way:?}");
    }
}

/// Drops the key at the first event of this act.
struct Watcher {
    ledger: Arc<dyn Ledger>,
    act: &'static str,
}

impl Progress for Watcher {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Received { act, .. } | Event::Acting { act, .. } if *act == self.act) {
            drops_the_key(&self.ledger);
        }
    }
}

/// Proposes the change set of the world for two placements.
async fn twice(world: &World) -> Digest {
    let intent = changed(|intent| {
        let there = key(intent).placements.first().unwrap().clone();
        key(intent).placements.insert(PlacementIntent { name: "second".to_owned(), ..there });
    });
    plans(world, &intent).await;
    let ids = IdTree::new([1; 32]);
    let second = ids.placement(ids.key("payments-db"), "prod", "second");
    let mut both = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap().change_set;
    let plan = both.placements.values().next().unwrap().clone();
    both.placements.insert(second, PlacementPlan { name: "second".to_owned(), ..plan });
    both.steps.extend(both.steps.clone().into_iter().map(|step| Step { placement: second, ..step }));
    both.wanted = intent.keys.values().next().map(|key| key.digest().unwrap());
    world.engine.ledger.propose(&both, world::asked()).await.unwrap()
}

/// The bytes of one placement are made, or it has acted once, when the key is dropped. Nothing begins at the other one, and the operator is
/// told once.
#[tokio::test]
async fn what_is_not_wanted_any_more_begins_at_no_other_placement() {
    for (act, sent, received) in [("mint", 0, 1), ("create", 1, 3)] {
        let world = World::new(0).await;
        let digest = twice(&world).await;
        world.engine.commit(&[digest], None, &world::actor()).await.remove(0).unwrap();
        let watcher = Watcher { ledger: Arc::clone(&world.engine.ledger), act };
        let problems = world.engine.run(&[digest], None, &world::actor(), &watcher).await.remove(0).result.unwrap_err();
        assert_eq!((problems.len(), problems[0].code), (1, ProblemCode::ChangeSetStale), "{act}: {problems:?}");
        let record = world.engine.ledger.change_set(&digest).await.unwrap().unwrap();
        assert_eq!((record.state, mutations(&world), record.receipts.len()), (ChangeSetState::Dropped, sent, received), "{act}");
    }
}

/// Whether the lost request had its effect is found out, and the step finished: repeated if it had none.
#[tokio::test]
async fn a_step_that_may_have_acted_is_finished_even_if_its_key_is_not_wanted_any_more() {
    for (fault, sent) in [(Fault::LostReply, 1), (Fault::Late(Span::days(1_000)), 2)] {
        let world = World::new(0).await;
        world.cloud.state.lock().unwrap().faults.insert(1, fault);
        assert!(run_with_planner(&world, 0).await.is_err());
        let record = world.engine.ledger.change_set(&world.digest).await.unwrap().unwrap();
        assert_eq!((record.state, mutations(&world)), (ChangeSetState::Dropped, sent), "{fault:?}");
        assert_eq!(record.receipts.values().filter(|receipt| receipt.attempt.is_some()).count(), 1, "{fault:?}");
    }
}

/// A request that was refused had no effect: it is not repeated.
#[tokio::test]
async fn a_step_that_was_refused_is_not_tried_again_once_its_key_is_not_wanted() {
    let world = World::new(0).await;
    world.cloud.state.lock().unwrap().faults.insert(1, Fault::Refused(Class::Throttled));
    let problems = run_with_planner(&world, 0).await.unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::ChangeSetStale, "{problems:?}");
    assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Dropped, 1));
}

/// The wait may last for hours, and what was judged before it is out of date.
#[tokio::test]
async fn what_is_not_wanted_any_more_when_its_quota_is_there_is_not_sent() {
    let mut destination = world::destination(Creation::Claimed);
    destination.capabilities.quotas = [("making".to_owned(), Quota { calls: 1, per: Span::seconds(300) })].into();
    destination.capabilities.draws = [("create".to_owned(), vec!["making".to_owned()])].into();
    let world = World::of(destination, 0).await;
    let ledger = Arc::clone(&world.engine.ledger);
    world.cloud.clock.meanwhile(move || drops_the_key(&ledger));
    let problems = world.run().await.unwrap().unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::ChangeSetStale, "{problems:?}");
    assert_eq!((state(&world).await, mutations(&world)), (ChangeSetState::Dropped, 0));
}

type Reconfiguration = fn(&mut Destination);

/// Configures the destination anew. Returns what is there now.
fn configure(world: &mut World, change: impl FnOnce(&mut Destination)) -> Arc<TestCloud> {
    let mut destination = world::destination(Creation::Claimed);
    change(&mut destination);
    let cloud = TestCloud::new(destination.clone(), Arc::clone(&world.cloud.clock));
    let clock: Arc<dyn Clock> = world.cloud.clock.clone();
    world.engine.lanes.insert(destination.name, Lane::new(Arc::clone(&cloud) as Arc<dyn Cloud>, Quotas::default(), clock));
    cloud
}

#[tokio::test]
async fn nothing_is_committed_or_run_at_a_destination_that_was_configured_otherwise() {
    let changes: [(Reconfiguration, &str); 3] = [
        (|there| there.fingerprint = Digest::of(b"another account"), "is not the one that it was planned for"),
        (|there| there.capabilities.protection = Protection::Software, "protects less than the rules ask for"),
        (|there| there.capabilities.algorithms.values_mut().for_each(Vec::clear), "does not take"),
    ];
    for (change, words) in changes {
        let told = |problem: &Problem| {
            assert_eq!((problem.code, problem.class), (ProblemCode::DestinationChanged, Class::Stale), "{problem:?}");
            assert_eq!(problem.destination.as_ref().map(ToString::to_string).as_deref(), Some("prod"), "{problem:?}");
            assert!(problem.detail.contains(words), "{problem:?}");
        };
        let mut world = World::new(0).await;
        let cloud = configure(&mut world, change);
        told(&world.commit().await.unwrap_err());
        assert_eq!((state(&world).await, cloud.state.lock().unwrap().looks), (ChangeSetState::Proposed, 0), "{words}");

        let mut world = begun().await;
        let cloud = configure(&mut world, change);
        told(&world.resume(None).await.unwrap_err()[0]);
        assert_eq!((state(&world).await, cloud.state.lock().unwrap().looks), (ChangeSetState::Dropped, 0), "{words}");
    }
}

/// A command with another configuration costs no approvals: its policy leaves out what is at destinations that it does not know.
#[tokio::test]
async fn what_is_committed_waits_for_a_destination_that_is_not_configured_unless_a_plan_was_made_without_it() {
    let mut world = World::new(0).await;
    world.engine.lanes.clear();
    assert_eq!(world.commit().await.unwrap_err().code, ProblemCode::NameUnknown, "nobody can tell what it would do there");
    assert_eq!(state(&world).await, ChangeSetState::Proposed);

    for left_out in [changed(|intent| intent.keys.clear()), changed(|intent| key(intent).placements.clear())] {
        let mut world = begun().await;
        let lanes = std::mem::take(&mut world.engine.lanes);
        let problems = world.resume(Some(&left_out)).await.unwrap_err();
        assert_eq!((problems[0].code, state(&world).await), (ProblemCode::NameUnknown, ChangeSetState::Committed));
        world.engine.lanes = lanes;
        assert_eq!(world.resume(None).await, Ok(()));

        let mut world = begun().await;
        world.engine.lanes.clear();
        plans(&world, &left_out).await;
        assert_eq!(world.resume(None).await.unwrap_err()[0].code, ProblemCode::ChangeSetStale);
        assert_eq!(state(&world).await, ChangeSetState::Dropped);
    }
}

/// The ledger alone would take it: the generation fits.
#[tokio::test]
async fn a_change_set_that_does_not_fit_the_keys_record_is_not_committed() {
    let world = begun().await;
    let ledger = &world.engine.ledger;
    ledger.abandon(&world.digest, "a test", world::asked()).await.unwrap();
    let record = ledger.snapshot().await.unwrap().keys.into_values().next().unwrap();
    let mut again = ledger.change_set(&world.digest).await.unwrap().unwrap().change_set;
    again.generation = record.generation;
    let commit = async |change_set: &ChangeSet| {
        let digest = ledger.propose(change_set, world::asked()).await.unwrap();
        world.engine.commit(&[digest], None, &world::actor()).await.remove(0)
    };
    let problem = commit(&again).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::ChangeSetRefused);
    assert!(problem.detail.contains("makes the bytes of version 1 again"), "{problem:?}");

    // An import that does not say how the older copy was made.
    again.steps.drain(..3);
    assert_eq!(commit(&again).await.unwrap_err().code, ProblemCode::ChangeSetRefused);
    let made = Some(record.copies[0].bound());
    again.steps[0].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made };
    assert!(commit(&again).await.is_ok());
}

#[tokio::test]
async fn a_change_set_that_was_committed_a_moment_ago_is_committed_already() {
    let world = World::new(0).await;
    let unknown = Digest::of(b"unknown");
    let results = world.engine.commit(&[world.digest, unknown, world.digest], None, &world::actor()).await;
    let codes: Vec<_> = results.into_iter().map(|result| result.map_err(|problem| problem.code)).collect();
    let committed = Commitment::Committed(Generation(1));
    assert_eq!(codes, [Ok(committed), Err(ProblemCode::ApprovalUnknownDigest), Ok(Commitment::Already)]);
}
