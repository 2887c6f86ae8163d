//! The suite that every ledger has to pass. Each case runs against each ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyplane_model::{
    AttemptId, ChangeSetState, CharterProposal, Class, Digest, Fence, Generation, Inventory, Lease, ObjectId, Outcome, Receipt, Revision,
    SettleError, StepNo, Version, VersionState,
};
use keyplane_port::{Commitment, MemoryLedger, Refusal};
use tokio::task::JoinSet;

use crate::world::*;

macro_rules! cases {
    ($($name:ident)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(Arc::new(MemoryLedger::new(installation()))).await; })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
                let database = Database::new();
                let ledger = Arc::new(database.init().await);
                super::$name(ledger.clone()).await;
                // Another process reads the same contents.
                assert_eq!(snapshot(&*ledger).await, snapshot(&database.open().await).await);
            })*
        }
    };
}

cases! {
    an_empty_ledger_knows_nothing
    the_same_intent_twice_is_one_revision
    an_intent_comes_back_as_it_was_put
    a_proposed_change_set_is_open_and_changes_no_key
    proposing_the_same_again_changes_nothing
    another_change_set_supersedes_a_proposed_one
    a_dropped_proposal_that_is_planned_again_opens_again_with_its_approvals
    a_committed_change_set_keeps_its_key_busy
    keys_do_not_stand_in_each_others_way
    a_change_set_planned_at_another_generation_is_refused
    a_change_set_of_another_installation_is_refused
    a_name_belongs_to_one_key
    approvals_are_one_an_approver_and_only_for_proposals
    committing_makes_the_key_and_again_changes_nothing
    what_was_dropped_cannot_be_committed
    attempts_are_numbered_and_again_change_nothing
    attempts_that_do_not_fit_are_refused
    a_refused_attempt_stays_refused_for_the_same_reason
    a_receipt_changes_the_key_at_once_and_again_changes_nothing
    another_receipt_for_a_step_is_refused
    receipts_that_do_not_fit_are_refused
    a_receipt_names_an_attempt_that_may_have_done_it
    bytes_never_change
    completing_asks_for_every_receipt_and_activates
    an_ended_change_set_takes_nothing_new
    abandoning_frees_the_key_and_keeps_what_receipts_say
    what_was_committed_cannot_be_withdrawn
    inventories_replace_the_one_before
    charters_go_by_serial
    a_proposed_charter_is_kept_with_its_approvals
    a_lane_has_one_holder_and_leases_follow_each_other
    whoever_lost_the_lane_writes_nothing_more
    of_many_servers_that_want_a_lane_exactly_one_gets_it
    an_unknown_digest_is_refused_everywhere
    of_many_competing_change_sets_exactly_one_is_committed
    of_many_commits_of_one_change_set_exactly_one_commits
    a_snapshot_shows_one_moment
}

async fn an_empty_ledger_knows_nothing(ledger: SharedLedger) {
    assert_eq!(ledger.installation().await, Ok(installation()));
    assert_eq!(ledger.intent().await, Ok(None));
    assert_eq!(ledger.charter().await, Ok(None));
    assert_eq!(ledger.inventories().await, Ok(BTreeMap::new()));
    assert_eq!(ledger.change_set(&Digest::of(b"")).await, Ok(None));
    let snapshot = snapshot(&*ledger).await;
    assert_eq!((snapshot.installation, snapshot.keys.len(), snapshot.open.len()), (installation(), 0, 0));
}

async fn the_same_intent_twice_is_one_revision(ledger: SharedLedger) {
    let first = ledger.put_intent(&intent("a"), &actor(), "files", AT).await.unwrap();
    assert_eq!((first.revision, first.digest), (Revision(1), intent("a").digest().unwrap()));
    let again = ledger.put_intent(&intent("a"), &keyplane_model::Actor("bob".to_owned()), "api", later(9)).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(ledger.put_intent(&intent("b"), &actor(), "files", AT).await.unwrap().revision, Revision(2));
    // An intent that was replaced and is wanted again is a new revision, since only the newest digest is compared.
    assert_eq!(ledger.put_intent(&intent("a"), &actor(), "files", AT).await.unwrap().revision, Revision(3));
}

async fn an_intent_comes_back_as_it_was_put(ledger: SharedLedger) {
    ledger.put_intent(&intent("a"), &actor(), "files", AT).await.unwrap();
    let revision = ledger.put_intent(&intent("b"), &actor(), "terraform", later(1)).await.unwrap();
    assert_eq!((revision.source.as_str(), revision.at), ("terraform", later(1)));
    assert_eq!(ledger.intent().await, Ok(Some((revision, intent("b")))));
}

async fn a_proposed_change_set_is_open_and_changes_no_key(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, AT).await.unwrap();
    assert_eq!(digest, planned.digest().unwrap());
    let snapshot = snapshot(&*ledger).await;
    assert!(snapshot.keys.is_empty());
    let record = &snapshot.open[&key_id(1)];
    assert_eq!((record.digest, &record.change_set, record.state, record.proposed), (digest, &planned, ChangeSetState::Proposed, AT));
    assert_eq!(ledger.change_set(&digest).await.unwrap().as_ref(), Some(record));
}

async fn proposing_the_same_again_changes_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, AT).await.unwrap();
    ledger.approve(&digest, &approval("bob", "x")).await.unwrap();
    let before = snapshot(&*ledger).await;
    assert_eq!(ledger.propose(&planned, later(1)).await, Ok(digest));
    assert_eq!(snapshot(&*ledger).await, before);
    ledger.commit(&digest, AT).await.unwrap();
    let before = snapshot(&*ledger).await;
    assert_eq!(ledger.propose(&planned, later(1)).await, Ok(digest));
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn another_change_set_supersedes_a_proposed_one(ledger: SharedLedger) {
    let first = ledger.propose(&change_set(1, 0, 1), AT).await.unwrap();
    let second = ledger.propose(&change_set(1, 0, 2), later(1)).await.unwrap();
    assert_eq!(ledger.change_set(&first).await.unwrap().unwrap().state, ChangeSetState::Dropped);
    let open = snapshot(&*ledger).await.open;
    assert_eq!(open.values().map(|record| record.digest).collect::<Vec<_>>(), [second]);
}

async fn a_dropped_proposal_that_is_planned_again_opens_again_with_its_approvals(ledger: SharedLedger) {
    let first = ledger.propose(&change_set(1, 0, 1), AT).await.unwrap();
    ledger.approve(&first, &approval("bob", "x")).await.unwrap();
    ledger.propose(&change_set(1, 0, 2), AT).await.unwrap();
    assert_eq!(ledger.propose(&change_set(1, 0, 1), later(1)).await, Ok(first));
    let record = ledger.change_set(&first).await.unwrap().unwrap();
    assert_eq!((record.state, record.proposed, record.approvals), (ChangeSetState::Proposed, later(1), vec![approval("bob", "x")]));
    // A change set that was dropped after its commit no longer fits its key.
    ledger.commit(&first, AT).await.unwrap();
    ledger.abandon(&first, "a test", AT).await.unwrap();
    let stale = SettleError::Generation { planned: Generation(0), found: Generation(1) };
    assert_refused(ledger.propose(&change_set(1, 0, 1), AT).await, Refusal::Settle(stale));
}

async fn a_committed_change_set_keeps_its_key_busy(ledger: SharedLedger) {
    let open = commit(&*ledger, &change_set(1, 0, 1)).await;
    let before = snapshot(&*ledger).await;
    let busy = || Refusal::KeyBusy { key: parse("key-1"), open };
    assert_refused(ledger.propose(&change_set(1, 0, 2), AT).await, busy());
    assert_refused(ledger.propose(&change_set(1, 1, 2), AT).await, busy());
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn keys_do_not_stand_in_each_others_way(ledger: SharedLedger) {
    let second = ledger.propose(&change_set(2, 0, 0), AT).await.unwrap();
    for key in 3..6 {
        carry_out(&*ledger, &change_set(key, 0, 0)).await;
    }
    commit(&*ledger, &change_set(1, 0, 0)).await;
    assert_eq!(ledger.commit(&second, AT).await, Ok(Commitment::Committed(Generation(1))));
    let snapshot = snapshot(&*ledger).await;
    assert_eq!((snapshot.keys.len(), snapshot.open.len()), (5, 2));
}

async fn a_change_set_planned_at_another_generation_is_refused(ledger: SharedLedger) {
    let stale = |planned, found| Refusal::Settle(SettleError::Generation { planned: Generation(planned), found: Generation(found) });
    assert_refused(ledger.propose(&change_set(1, 1, 0), AT).await, stale(1, 0));
    let done = carry_out(&*ledger, &change_set(1, 0, 0)).await;
    let found = snapshot(&*ledger).await.keys[&parse("key-1")].generation;
    // One for the commit, one for each of ten receipts, one for the completion.
    assert_eq!(found, Generation(12));
    assert_refused(ledger.propose(&change_set(1, 0, 1), AT).await, stale(0, 12));
    assert_refused(ledger.propose(&change_set(1, 0, 0), AT).await, stale(0, 12));
    assert_eq!(ledger.change_set(&done).await.unwrap().unwrap().state, ChangeSetState::Done);
    assert!(ledger.propose(&change_set(1, 12, 1), AT).await.is_ok());
}

async fn a_change_set_of_another_installation_is_refused(ledger: SharedLedger) {
    let mut planned = change_set(1, 0, 0);
    planned.installation = parse("ffffffff-0000-8000-8000-000000000000");
    assert_refused(ledger.propose(&planned, AT).await, Refusal::State("for another installation"));
    assert!(snapshot(&*ledger).await.open.is_empty());
}

async fn a_name_belongs_to_one_key(ledger: SharedLedger) {
    let first = ledger.propose(&named_change_set("same", 1, 0, 0), AT).await.unwrap();
    let second = ledger.propose(&named_change_set("same", 2, 0, 0), AT).await.unwrap();
    ledger.commit(&first, AT).await.unwrap();
    assert_refused(ledger.commit(&second, AT).await, Refusal::Contradiction);
    assert_refused(ledger.propose(&named_change_set("same", 3, 0, 0), AT).await, Refusal::Contradiction);
    assert_eq!(snapshot(&*ledger).await.keys[&parse("same")].id, key_id(1));
}

async fn approvals_are_one_an_approver_and_only_for_proposals(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 0), AT).await.unwrap();
    for (approver, signature) in [("carol", "c"), ("bob", "b"), ("dave", "d"), ("bob", "another")] {
        ledger.approve(&digest, &approval(approver, signature)).await.unwrap();
    }
    let approvals = vec![approval("bob", "another"), approval("carol", "c"), approval("dave", "d")];
    assert_refused(ledger.approve(&digest, &approval("bob", "another")).await, Refusal::AlreadyApproved(parse("bob")));
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().approvals, approvals);
    ledger.commit(&digest, AT).await.unwrap();
    assert_refused(ledger.approve(&digest, &approval("erin", "e")).await, Refusal::State("committed"));
    ledger.abandon(&digest, "a test", AT).await.unwrap();
    assert_refused(ledger.approve(&digest, &approval("erin", "e")).await, Refusal::State("dropped"));
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().approvals, approvals);
    let done = carry_out(&*ledger, &change_set(2, 0, 0)).await;
    assert_refused(ledger.approve(&done, &approval("erin", "e")).await, Refusal::State("done"));
}

async fn committing_makes_the_key_and_again_changes_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let before = snapshot(&*ledger).await;
    assert_eq!(before.keys[&planned.key], keyplane_model::KeyRecord::committed(None, &planned).unwrap());
    assert_eq!(before.open[&planned.key_id].state, ChangeSetState::Committed);
    assert_eq!(ledger.commit(&digest, later(1)).await, Ok(Commitment::Already));
    assert_eq!(snapshot(&*ledger).await, before);
    receive_from(&*ledger, &planned, &digest, 0).await;
    ledger.complete(&digest, AT).await.unwrap();
    assert_eq!(ledger.commit(&digest, later(1)).await, Ok(Commitment::Already));
}

async fn what_was_dropped_cannot_be_committed(ledger: SharedLedger) {
    let dropped = ledger.propose(&change_set(1, 0, 1), AT).await.unwrap();
    ledger.propose(&change_set(1, 0, 2), AT).await.unwrap();
    assert_refused(ledger.commit(&dropped, AT).await, Refusal::State("dropped"));
    assert!(snapshot(&*ledger).await.keys.is_empty());
}

async fn attempts_are_numbered_and_again_change_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let tries = [attempt(&digest, 1, 1), attempt(&digest, 6, 1), attempt(&digest, 1, 2), attempt(&digest, 3, 1)];
    for attempt in &tries {
        ledger.attempt(&digest, attempt, None).await.unwrap();
        ledger.attempt(&digest, attempt, None).await.unwrap();
    }
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().attempts, tries);
    assert_eq!(snapshot(&*ledger).await.keys[&planned.key].generation, Generation(1));
    // Also after its outcome is recorded.
    ledger.refused(&digest, tries[0].id, Class::Throttled).await.unwrap();
    ledger.attempt(&digest, &tries[0], None).await.unwrap();
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().attempts[0].refused, Some(Class::Throttled));
}

async fn attempts_that_do_not_fit_are_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, AT).await.unwrap();
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 0, 1), None).await, Refusal::State("proposed"));
    ledger.commit(&digest, AT).await.unwrap();
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 10, 1), None).await, Refusal::Settle(SettleError::NoStep(StepNo(10))));
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 0, 2), None).await, Refusal::Contradiction);
    let other = AttemptId::of(&Digest::of(b"another"), 0, 1);
    assert_refused(
        ledger.attempt(&digest, &keyplane_model::Attempt { id: other, ..attempt(&digest, 0, 1) }, None).await,
        Refusal::Contradiction,
    );
    ledger.attempt(&digest, &attempt(&digest, 0, 1), None).await.unwrap();
    let at_another_time = keyplane_model::Attempt { at: later(77), ..attempt(&digest, 0, 1) };
    assert_refused(ledger.attempt(&digest, &at_another_time, None).await, Refusal::Contradiction);
    ledger.receive(&digest, &receipt(&planned, 0, None), None).await.unwrap();
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 0, 2), None).await, Refusal::Contradiction);
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().attempts, [attempt(&digest, 0, 1)]);
}

async fn a_refused_attempt_stays_refused_for_the_same_reason(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let first = attempt(&digest, 0, 1);
    assert_refused(ledger.refused(&digest, first.id, Class::Denied).await, Refusal::Contradiction);
    ledger.attempt(&digest, &first, None).await.unwrap();
    ledger.refused(&digest, first.id, Class::Denied).await.unwrap();
    let before = snapshot(&*ledger).await;
    ledger.refused(&digest, first.id, Class::Denied).await.unwrap();
    assert_refused(ledger.refused(&digest, first.id, Class::Throttled).await, Refusal::Contradiction);
    assert_eq!(snapshot(&*ledger).await, before);
    assert_eq!(before.open[&planned.key_id].attempts[0].refused, Some(Class::Denied));
    // Neither an attempt with a receipt nor an attempt of a change set that has ended can be refused.
    let second = attempt(&digest, 0, 2);
    ledger.attempt(&digest, &second, None).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, Some(second.id)), None).await.unwrap();
    assert_refused(ledger.refused(&digest, second.id, Class::Denied).await, Refusal::Contradiction);
    ledger.attempt(&digest, &attempt(&digest, 1, 1), None).await.unwrap();
    ledger.abandon(&digest, "a test", AT).await.unwrap();
    assert_refused(ledger.refused(&digest, AttemptId::of(&digest, 1, 1), Class::Denied).await, Refusal::State("dropped"));
    ledger.refused(&digest, first.id, Class::Denied).await.unwrap();
}

async fn a_receipt_changes_the_key_at_once_and_again_changes_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let mut key = keyplane_model::KeyRecord::committed(None, &planned).unwrap();
    for step in 0..10 {
        let receipt = receipt(&planned, step, None);
        key.settle(&planned, &receipt).unwrap();
        ledger.receive(&digest, &receipt, None).await.unwrap();
        ledger.receive(&digest, &receipt, None).await.unwrap();
        let snapshot = snapshot(&*ledger).await;
        assert_eq!(snapshot.keys[&planned.key], key);
        assert_eq!(snapshot.open[&planned.key_id].receipts[&StepNo(step)], receipt);
    }
}

async fn another_receipt_for_a_step_is_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let first = receipt(&planned, 1, None);
    ledger.receive(&digest, &first, None).await.unwrap();
    let before = snapshot(&*ledger).await;
    let elsewhere = Receipt { outcome: Outcome::Created { object: ObjectId("another".to_owned()) }, ..first.clone() };
    assert_refused(ledger.receive(&digest, &elsewhere, None).await, Refusal::Contradiction);
    assert_refused(ledger.receive(&digest, &Receipt { at: later(99), ..first }, None).await, Refusal::Contradiction);
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn receipts_that_do_not_fit_are_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, AT).await.unwrap();
    assert_refused(ledger.receive(&digest, &receipt(&planned, 0, None), None).await, Refusal::State("proposed"));
    ledger.commit(&digest, AT).await.unwrap();
    let before = snapshot(&*ledger).await;
    let nowhere = Receipt { step: StepNo(10), ..receipt(&planned, 0, None) };
    assert_refused(ledger.receive(&digest, &nowhere, None).await, Refusal::Settle(SettleError::NoStep(StepNo(10))));
    let wrong = Receipt { step: StepNo(1), ..receipt(&planned, 0, None) };
    let refusal = SettleError::WrongOutcome { step: StepNo(1), act: "create" };
    assert_refused(ledger.receive(&digest, &wrong, None).await, Refusal::Settle(refusal));
    // There is no copy to import yet.
    let unknown = SettleError::NoPlacement(placement_id(1, 1));
    assert_refused(ledger.receive(&digest, &receipt(&planned, 3, None), None).await, Refusal::Settle(unknown));
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn a_receipt_names_an_attempt_that_may_have_done_it(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let [first, second, other] = [attempt(&digest, 1, 1), attempt(&digest, 1, 2), attempt(&digest, 2, 1)];
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, Some(first.id)), None).await, Refusal::Contradiction);
    for attempt in [&first, &second, &other] {
        ledger.attempt(&digest, attempt, None).await.unwrap();
    }
    ledger.refused(&digest, second.id, Class::Throttled).await.unwrap();
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, Some(other.id)), None).await, Refusal::Contradiction);
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, Some(second.id)), None).await, Refusal::Contradiction);
    ledger.receive(&digest, &receipt(&planned, 1, Some(first.id)), None).await.unwrap();
    assert_eq!(snapshot(&*ledger).await.open[&planned.key_id].receipts[&StepNo(1)].attempt, Some(first.id));
}

async fn bytes_never_change(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    ledger.receive(&digest, &receipt(&planned, 0, None), None).await.unwrap();
    ledger.abandon(&digest, "a test", AT).await.unwrap();
    let planned = change_set(1, 2, 0);
    let digest = commit(&*ledger, &planned).await;
    let before = snapshot(&*ledger).await;
    assert_refused(ledger.receive(&digest, &receipt(&planned, 0, None), None).await, Refusal::Settle(SettleError::HasBytes(Version(1))));
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn completing_asks_for_every_receipt_and_activates(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, AT).await.unwrap();
    assert_refused(ledger.complete(&digest, AT).await, Refusal::State("proposed"));
    ledger.commit(&digest, AT).await.unwrap();
    for step in 0..10 {
        assert_refused(ledger.complete(&digest, AT).await, Refusal::State("not finished: a step has no receipt"));
        ledger.receive(&digest, &receipt(&planned, step, None), None).await.unwrap();
    }
    assert_eq!(snapshot(&*ledger).await.keys[&planned.key].versions[&Version(1)].state, VersionState::PreActivation);
    ledger.complete(&digest, later(2_000)).await.unwrap();
    let after = snapshot(&*ledger).await;
    let version = &after.keys[&planned.key].versions[&Version(1)];
    assert_eq!((version.state, version.activated), (VersionState::Active, Some(later(2_000))));
    assert!(after.open.is_empty());
    ledger.complete(&digest, later(3_000)).await.unwrap();
    assert_eq!(snapshot(&*ledger).await, after);
}

async fn an_ended_change_set_takes_nothing_new(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    ledger.attempt(&digest, &attempt(&digest, 0, 1), None).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, Some(attempt(&digest, 0, 1).id)), None).await.unwrap();
    ledger.abandon(&digest, "a test", AT).await.unwrap();
    let before = (snapshot(&*ledger).await, ledger.change_set(&digest).await);
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 1, 1), None).await, Refusal::State("dropped"));
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, None), None).await, Refusal::State("dropped"));
    assert_refused(ledger.complete(&digest, AT).await, Refusal::State("dropped"));
    // A call that a crash makes somebody repeat changes nothing.
    ledger.attempt(&digest, &attempt(&digest, 0, 1), None).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, Some(attempt(&digest, 0, 1).id)), None).await.unwrap();
    assert_eq!((snapshot(&*ledger).await, ledger.change_set(&digest).await), before);
}

async fn abandoning_frees_the_key_and_keeps_what_receipts_say(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    ledger.receive(&digest, &receipt(&planned, 1, None), None).await.unwrap();
    ledger.abandon(&digest, "the world moved on", later(1)).await.unwrap();
    ledger.abandon(&digest, "again", later(2)).await.unwrap();
    let record = ledger.change_set(&digest).await.unwrap().unwrap();
    assert_eq!((record.state, record.receipts.len()), (ChangeSetState::Dropped, 1));
    let after = snapshot(&*ledger).await;
    assert!(after.open.is_empty());
    assert!(after.keys[&planned.key].placements[&placement_id(1, 1)].object.is_some());
    ledger.propose(&change_set(1, 2, 0), AT).await.unwrap();

    let proposed = ledger.propose(&change_set(2, 0, 0), AT).await.unwrap();
    ledger.abandon(&proposed, "not wanted", AT).await.unwrap();
    assert_eq!(ledger.change_set(&proposed).await.unwrap().unwrap().state, ChangeSetState::Dropped);
    let done = carry_out(&*ledger, &change_set(3, 0, 0)).await;
    assert_refused(ledger.abandon(&done, "too late", AT).await, Refusal::State("done"));
}

async fn inventories_replace_the_one_before(ledger: SharedLedger) {
    let empty = |at, complete| Inventory { at, complete, ours: BTreeMap::new(), placements: BTreeMap::new() };
    ledger.put_inventory(&parse("here"), &empty(AT, true)).await.unwrap();
    ledger.put_inventory(&parse("there"), &empty(AT, false)).await.unwrap();
    ledger.put_inventory(&parse("here"), &empty(later(1), false)).await.unwrap();
    let expected = BTreeMap::from([(parse("here"), empty(later(1), false)), (parse("there"), empty(AT, false))]);
    assert_eq!(ledger.inventories().await, Ok(expected));
}

async fn charters_go_by_serial(ledger: SharedLedger) {
    for serial in [1, 3, 2] {
        ledger.put_charter(&sealed_charter(serial, 0)).await.unwrap();
    }
    ledger.put_charter(&sealed_charter(3, 0)).await.unwrap();
    assert_refused(ledger.put_charter(&sealed_charter(3, 1)).await, Refusal::Contradiction);
    assert_refused(ledger.put_charter(&sealed_charter(1, 1)).await, Refusal::Contradiction);
    assert_eq!(ledger.charter().await, Ok(Some(sealed_charter(3, 0))));
}

async fn a_proposed_charter_is_kept_with_its_approvals(ledger: SharedLedger) {
    let (first, second) = (charter_change(1, "alice"), charter_change(1, "bob"));
    let digest = ledger.propose_charter(&first, AT).await.unwrap();
    let other = ledger.propose_charter(&second, later(1)).await.unwrap();
    ledger.propose_charter(&charter_change(2, "alice"), AT).await.unwrap();
    ledger.approve_charter(&digest, &approval("bob", "b")).await.unwrap();
    ledger.approve_charter(&digest, &approval("alice", "a")).await.unwrap();
    ledger.approve_charter(&digest, &approval("bob", "b2")).await.unwrap();
    assert_refused(ledger.approve_charter(&digest, &approval("bob", "b2")).await, Refusal::AlreadyApproved(parse("bob")));
    // Proposing it again changes neither the proposal nor its approvals.
    assert_eq!(ledger.propose_charter(&first, later(9)).await, Ok(digest));
    let approvals = vec![approval("alice", "a"), approval("bob", "b2")];
    let kept = CharterProposal { digest, change: first.clone(), proposed: AT, approvals };
    let too = CharterProposal { digest: other, change: second, proposed: later(1), approvals: Vec::new() };
    assert_eq!(ledger.charter_proposal(&digest).await, Ok(Some(kept.clone())));
    assert_eq!(ledger.charter_proposals(&first.before).await, Ok(vec![kept, too]));
    let unknown = Digest::of(b"unknown");
    assert_eq!(ledger.charter_proposal(&unknown).await, Ok(None));
    assert_refused(ledger.approve_charter(&unknown, &approval("bob", "b")).await, Refusal::NoCharterProposal(unknown));
}

async fn an_unknown_digest_is_refused_everywhere(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let unknown = planned.digest().unwrap();
    let refusal = || Refusal::NoChangeSet(unknown);
    assert_refused(ledger.approve(&unknown, &approval("bob", "b")).await, refusal());
    assert_refused(ledger.commit(&unknown, AT).await, refusal());
    assert_refused(ledger.attempt(&unknown, &attempt(&unknown, 0, 1), None).await, refusal());
    assert_refused(ledger.refused(&unknown, AttemptId::of(&unknown, 0, 1), Class::Denied).await, refusal());
    assert_refused(ledger.receive(&unknown, &receipt(&planned, 0, None), None).await, refusal());
    assert_refused(ledger.complete(&unknown, AT).await, refusal());
    assert_refused(ledger.abandon(&unknown, "a test", AT).await, refusal());
}

async fn what_was_committed_cannot_be_withdrawn(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 0), AT).await.unwrap();
    for _ in 0..2 {
        ledger.withdraw(&digest, "not wanted", AT).await.unwrap();
        assert!(snapshot(&*ledger).await.open.is_empty());
    }
    let digest = commit(&*ledger, &change_set(1, 0, 0)).await;
    assert_refused(ledger.withdraw(&digest, "it does not fit", AT).await, Refusal::State("committed"));
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().state, ChangeSetState::Committed);
}

async fn a_lane_has_one_holder_and_leases_follow_each_other(ledger: SharedLedger) {
    let free = ledger.lease("lane").await.unwrap();
    assert_eq!(free, Lease::default());
    let first = take(&*ledger, "lane", server(1)).await;
    assert_eq!(ledger.lease("lane").await, Ok(first));
    assert_eq!(ledger.lease("another").await, Ok(free));
    // The lease that was seen has changed since.
    assert_eq!(ledger.put_lease("lane", &free, &free.taken(server(2), SPAN)).await, Ok(false));
    assert_eq!(ledger.put_lease("lane", &first, &first.renewed()).await, Ok(true));
    assert_eq!(ledger.put_lease("lane", &first, &first.renewed()).await, Ok(false));
    let renewed = first.renewed();
    assert_eq!(ledger.lease("lane").await, Ok(renewed));
    // No other change of a lease is allowed.
    for wrong in [free, first, Lease { holder: Some(server(2)), ..renewed.renewed() }, Lease { fence: 9, ..renewed.taken(server(2), SPAN) }]
    {
        assert_refused(ledger.put_lease("lane", &renewed, &wrong).await, Refusal::Contradiction);
    }
    assert_eq!(ledger.put_lease("lane", &renewed, &renewed.released()).await, Ok(true));
    assert_eq!(ledger.lease("lane").await.unwrap().holder, None);
    let second = take(&*ledger, "lane", server(2)).await;
    assert_eq!((second.fence, second.beat), (first.fence + 1, 0));
}

async fn whoever_lost_the_lane_writes_nothing_more(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let fence = |lease: &Lease| Fence { lane: "lane".to_owned(), number: lease.fence };
    let nobody = Fence { lane: "lane".to_owned(), number: 0 };
    let lost = || Refusal::LeaseLost("lane".to_owned());
    let (tried, received) = (attempt(&digest, 1, 1), receipt(&planned, 0, None));
    assert_refused(ledger.attempt(&digest, &tried, Some(&nobody)).await, lost());
    let first = take(&*ledger, "lane", server(1)).await;
    ledger.attempt(&digest, &tried, Some(&fence(&first))).await.unwrap();
    ledger.receive(&digest, &received, Some(&fence(&first))).await.unwrap();
    let second = take(&*ledger, "lane", server(2)).await;
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 1, 2), Some(&fence(&first))).await, lost());
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, None), Some(&fence(&first))).await, lost());
    // Repeating what is already recorded changes nothing, under any fence.
    ledger.attempt(&digest, &tried, Some(&fence(&first))).await.unwrap();
    ledger.receive(&digest, &received, Some(&fence(&first))).await.unwrap();
    ledger.attempt(&digest, &attempt(&digest, 1, 2), Some(&fence(&second))).await.unwrap();
    ledger.put_lease("lane", &second, &second.released()).await.unwrap();
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, None), Some(&fence(&second))).await, lost());
}

async fn of_many_servers_that_want_a_lane_exactly_one_gets_it(ledger: SharedLedger) {
    let free = ledger.lease("lane").await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let ledger = ledger.clone();
        tasks.spawn(
            async move { ledger.put_lease("lane", &free, &free.taken(server(number), SPAN)).await.unwrap().then_some(server(number)) },
        );
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(won, Vec::from_iter(ledger.lease("lane").await.unwrap().holder));
}

async fn of_many_competing_change_sets_exactly_one_is_committed(ledger: SharedLedger) {
    let mut tasks = JoinSet::new();
    for variant in 0..16 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let digest = ledger.propose(&change_set(1, 0, variant), AT).await.ok()?;
            tokio::task::yield_now().await;
            ledger.commit(&digest, AT).await.ok().map(|commitment| (digest, commitment))
        });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let open = &snapshot(&*ledger).await.open[&key_id(1)];
    assert_eq!(won, [(open.digest, Commitment::Committed(Generation(1)))]);
    assert_eq!(open.state, ChangeSetState::Committed);
}

async fn of_many_commits_of_one_change_set_exactly_one_commits(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 0), AT).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let ledger = ledger.clone();
        tasks.spawn(async move { ledger.commit(&digest, AT).await.unwrap() });
    }
    let commitments = tasks.join_all().await;
    assert_eq!(commitments.iter().filter(|commitment| **commitment == Commitment::Committed(Generation(1))).count(), 1);
    assert_eq!(commitments.iter().filter(|commitment| **commitment == Commitment::Already).count(), 15);
}

async fn a_snapshot_shows_one_moment(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let mut tasks = JoinSet::new();
    let writer = ledger.clone();
    let written = planned.clone();
    tasks.spawn(async move { receive_from(&*writer, &written, &digest, 0).await });
    // Whenever the reads happen, the key matches the commit and the receipts of the same moment.
    loop {
        let finished = tasks.try_join_next();
        let seen = snapshot(&*ledger).await;
        let record = &seen.open[&planned.key_id];
        let mut key = keyplane_model::KeyRecord::committed(None, &planned).unwrap();
        for receipt in record.receipts.values() {
            key.settle(&planned, receipt).unwrap();
        }
        assert_eq!(seen.keys[&planned.key], key);
        if let Some(finished) = finished {
            finished.unwrap();
            assert!(record.is_finished());
            break;
        }
        tokio::task::yield_now().await;
    }
}
