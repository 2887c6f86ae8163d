//! The suite that every ledger has to pass. Each case runs against each ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyplane_model::{
    Actor, Asked, AttemptId, ChangeSet, ChangeSetState, CharterProposal, Class, Digest, EventKind, Fence, Generation, Inventory, Lease,
    LedgerEvent, ObjectId, Outcome, Receipt, Revision, SettleError, StepNo, Subjects, Version, VersionState,
};
use keyplane_port::{Commitment, KeyState, Ledger, LedgerError, MemoryLedger, OpenChangeSet, Refusal};
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
    what_ended_never_opens_again_under_its_digest
    what_is_ending_is_neither_approved_nor_committed
    what_was_approved_is_dropped_only_after_it_was_ending
    a_committed_change_set_keeps_its_key_busy
    keys_do_not_stand_in_each_others_way
    a_change_set_planned_at_another_generation_is_refused
    a_change_set_of_another_installation_is_refused
    a_name_belongs_to_one_key
    approvals_are_one_an_approver_and_only_for_proposals
    committing_makes_the_key_and_again_changes_nothing
    what_was_dropped_cannot_be_committed
    wraps_are_one_a_key_of_a_step_and_again_change_nothing
    wraps_that_do_not_fit_are_refused
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
    every_transition_has_its_states_and_tells_one_event
    events_say_who_did_what_to_what_and_why
    a_key_is_read_alone
    what_is_wanted_of_some_keys_is_read_alone
    pages_leave_out_nothing_and_repeat_nothing
    a_key_in_a_snapshot_shows_one_moment
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
    let first = ledger.put_intent(&intent("a"), "files", asked(AT)).await.unwrap();
    assert_eq!((first.revision, first.digest), (Revision(1), intent("a").digest().unwrap()));
    let again = ledger.put_intent(&intent("a"), "api", Asked { by: &Actor("bob".to_owned()), at: later(9) }).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(ledger.put_intent(&intent("b"), "files", asked(AT)).await.unwrap().revision, Revision(2));
    // An intent that was replaced and is wanted again is a new revision, since only the newest digest is compared.
    assert_eq!(ledger.put_intent(&intent("a"), "files", asked(AT)).await.unwrap().revision, Revision(3));
}

async fn an_intent_comes_back_as_it_was_put(ledger: SharedLedger) {
    ledger.put_intent(&intent("a"), "files", asked(AT)).await.unwrap();
    let revision = ledger.put_intent(&intent("b"), "terraform", asked(later(1))).await.unwrap();
    assert_eq!((revision.source.as_str(), revision.at), ("terraform", later(1)));
    assert_eq!(ledger.intent().await, Ok(Some((revision, intent("b")))));
}

async fn a_proposed_change_set_is_open_and_changes_no_key(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, asked(AT)).await.unwrap();
    assert_eq!(digest, planned.digest().unwrap());
    let snapshot = snapshot(&*ledger).await;
    assert!(snapshot.keys.is_empty());
    let record = &snapshot.open[&key_id(1)];
    assert_eq!((record.digest, &record.change_set, record.state, record.proposed), (digest, &planned, ChangeSetState::Proposed, AT));
    assert_eq!(ledger.change_set(&digest).await.unwrap().as_ref(), Some(record));
}

async fn proposing_the_same_again_changes_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, asked(AT)).await.unwrap();
    ledger.approve(&digest, &approval("bob", "x"), asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    assert_eq!(ledger.propose(&planned, asked(later(1))).await, Ok(digest));
    assert_eq!(snapshot(&*ledger).await, before);
    ledger.commit(&digest, asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    assert_eq!(ledger.propose(&planned, asked(later(1))).await, Ok(digest));
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn another_change_set_supersedes_a_proposed_one(ledger: SharedLedger) {
    let first = ledger.propose(&change_set(1, 0, 1), asked(AT)).await.unwrap();
    let second = ledger.propose(&change_set(1, 0, 2), asked(later(1))).await.unwrap();
    assert_eq!(ledger.change_set(&first).await.unwrap().unwrap().state, ChangeSetState::Dropped);
    let open = snapshot(&*ledger).await.open;
    assert_eq!(open.values().map(|record| record.digest).collect::<Vec<_>>(), [second]);
}

/// The custodian may know that it ended, and then it wraps nothing for that digest.
async fn what_ended_never_opens_again_under_its_digest(ledger: SharedLedger) {
    let superseded = ledger.propose(&change_set(1, 0, 1), asked(AT)).await.unwrap();
    let open = ledger.propose(&change_set(1, 0, 2), asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    assert_refused(ledger.propose(&change_set(1, 0, 1), asked(later(1))).await, Refusal::State("dropped"));
    assert_eq!(snapshot(&*ledger).await, before, "the key keeps its open change set");
    ledger.end(&open, asked(AT)).await.unwrap();
    assert_refused(ledger.propose(&change_set(1, 0, 2), asked(later(1))).await, Refusal::State("ending"));
    ledger.withdraw(&open, "a test", asked(AT)).await.unwrap();
    assert_refused(ledger.propose(&change_set(1, 0, 2), asked(later(1))).await, Refusal::State("dropped"));
    assert!(snapshot(&*ledger).await.open.is_empty());
    assert_eq!(ledger.change_set(&superseded).await.unwrap().unwrap().proposed, AT);
    // A change set that was dropped after its commit no longer fits its key.
    let committed = commit(&*ledger, &change_set(1, 0, 3)).await;
    ledger.abandon(&committed, "a test", asked(AT)).await.unwrap();
    let stale = SettleError::Generation { planned: Generation(0), found: Generation(1) };
    assert_refused(ledger.propose(&change_set(1, 0, 3), asked(AT)).await, Refusal::Settle(stale));
}

async fn what_is_ending_is_neither_approved_nor_committed(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 1), asked(AT)).await.unwrap();
    ledger.approve(&digest, &approval("bob", "b"), asked(AT)).await.unwrap();
    ledger.end(&digest, asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    ledger.end(&digest, asked(later(1))).await.unwrap();
    assert_refused(ledger.approve(&digest, &approval("carol", "c"), asked(AT)).await, Refusal::State("ending"));
    assert_refused(ledger.commit(&digest, asked(AT)).await, Refusal::State("ending"));
    assert_eq!(snapshot(&*ledger).await, before);
    // It is open until it is dropped, so that whoever looks for open change sets finds it.
    let record = &before.open[&key_id(1)];
    assert_eq!((record.state, record.approvals.as_slice()), (ChangeSetState::Ending, &[approval("bob", "b")][..]));
    assert_eq!(ledger.open().await.unwrap(), [OpenChangeSet { key: key_id(1), digest, state: ChangeSetState::Ending }]);
    let committed = commit(&*ledger, &change_set(2, 0, 1)).await;
    assert_refused(ledger.end(&committed, asked(AT)).await, Refusal::State("committed"));
}

/// The custodian is told in between. Otherwise the approvals would stay good.
async fn what_was_approved_is_dropped_only_after_it_was_ending(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 1), asked(AT)).await.unwrap();
    ledger.approve(&digest, &approval("bob", "b"), asked(AT)).await.unwrap();
    let approved = || Refusal::Approved { key: parse("key-1"), open: digest };
    let before = snapshot(&*ledger).await;
    assert_refused(ledger.propose(&change_set(1, 0, 2), asked(AT)).await, approved());
    assert_refused(ledger.withdraw(&digest, "a test", asked(AT)).await, approved());
    assert_refused(ledger.abandon(&digest, "a test", asked(AT)).await, approved());
    assert_eq!(snapshot(&*ledger).await, before);
    ledger.end(&digest, asked(AT)).await.unwrap();
    // Whoever supersedes it knows less than whoever withdraws it.
    assert_refused(ledger.propose(&change_set(1, 0, 2), asked(AT)).await, approved());
    ledger.withdraw(&digest, "a test", asked(AT)).await.unwrap();
    let next = ledger.propose(&change_set(1, 0, 2), asked(AT)).await.unwrap();
    // Nobody approved this one.
    ledger.end(&next, asked(AT)).await.unwrap();
    ledger.propose(&change_set(1, 0, 3), asked(AT)).await.unwrap();
    assert_eq!(ledger.change_set(&next).await.unwrap().unwrap().state, ChangeSetState::Dropped);
}

async fn a_committed_change_set_keeps_its_key_busy(ledger: SharedLedger) {
    let open = commit(&*ledger, &change_set(1, 0, 1)).await;
    let before = snapshot(&*ledger).await;
    let busy = || Refusal::KeyBusy { key: parse("key-1"), open };
    assert_refused(ledger.propose(&change_set(1, 0, 2), asked(AT)).await, busy());
    assert_refused(ledger.propose(&change_set(1, 1, 2), asked(AT)).await, busy());
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn keys_do_not_stand_in_each_others_way(ledger: SharedLedger) {
    let second = ledger.propose(&change_set(2, 0, 0), asked(AT)).await.unwrap();
    for key in 3..6 {
        carry_out(&*ledger, &change_set(key, 0, 0)).await;
    }
    commit(&*ledger, &change_set(1, 0, 0)).await;
    assert_eq!(ledger.commit(&second, asked(AT)).await, Ok(Commitment::Committed(Generation(1))));
    let snapshot = snapshot(&*ledger).await;
    assert_eq!((snapshot.keys.len(), snapshot.open.len()), (5, 2));
}

async fn a_change_set_planned_at_another_generation_is_refused(ledger: SharedLedger) {
    let stale = |planned, found| Refusal::Settle(SettleError::Generation { planned: Generation(planned), found: Generation(found) });
    assert_refused(ledger.propose(&change_set(1, 1, 0), asked(AT)).await, stale(1, 0));
    let done = carry_out(&*ledger, &change_set(1, 0, 0)).await;
    let found = snapshot(&*ledger).await.keys[&parse("key-1")].generation;
    // One for the commit, one for each of ten receipts, one for the completion.
    assert_eq!(found, Generation(12));
    assert_refused(ledger.propose(&change_set(1, 0, 1), asked(AT)).await, stale(0, 12));
    assert_refused(ledger.propose(&change_set(1, 0, 0), asked(AT)).await, stale(0, 12));
    assert_eq!(ledger.change_set(&done).await.unwrap().unwrap().state, ChangeSetState::Done);
    assert!(ledger.propose(&change_set(1, 12, 1), asked(AT)).await.is_ok());
}

async fn a_change_set_of_another_installation_is_refused(ledger: SharedLedger) {
    let mut planned = change_set(1, 0, 0);
    planned.installation = parse("ffffffff-0000-8000-8000-000000000000");
    assert_refused(ledger.propose(&planned, asked(AT)).await, Refusal::State("for another installation"));
    assert!(snapshot(&*ledger).await.open.is_empty());
}

async fn a_name_belongs_to_one_key(ledger: SharedLedger) {
    let first = ledger.propose(&named_change_set("same", 1, 0, 0), asked(AT)).await.unwrap();
    let second = ledger.propose(&named_change_set("same", 2, 0, 0), asked(AT)).await.unwrap();
    ledger.commit(&first, asked(AT)).await.unwrap();
    assert_refused(ledger.commit(&second, asked(AT)).await, Refusal::Contradiction);
    assert_refused(ledger.propose(&named_change_set("same", 3, 0, 0), asked(AT)).await, Refusal::Contradiction);
    assert_eq!(snapshot(&*ledger).await.keys[&parse("same")].id, key_id(1));
}

async fn approvals_are_one_an_approver_and_only_for_proposals(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 0), asked(AT)).await.unwrap();
    for (approver, signature) in [("carol", "c"), ("bob", "b"), ("dave", "d"), ("bob", "another")] {
        ledger.approve(&digest, &approval(approver, signature), asked(AT)).await.unwrap();
    }
    let approvals = vec![approval("bob", "another"), approval("carol", "c"), approval("dave", "d")];
    assert_refused(ledger.approve(&digest, &approval("bob", "another"), asked(AT)).await, Refusal::AlreadyApproved(parse("bob")));
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().approvals, approvals);
    ledger.commit(&digest, asked(AT)).await.unwrap();
    assert_refused(ledger.approve(&digest, &approval("erin", "e"), asked(AT)).await, Refusal::State("committed"));
    ledger.abandon(&digest, "a test", asked(AT)).await.unwrap();
    assert_refused(ledger.approve(&digest, &approval("erin", "e"), asked(AT)).await, Refusal::State("dropped"));
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().approvals, approvals);
    let done = carry_out(&*ledger, &change_set(2, 0, 0)).await;
    assert_refused(ledger.approve(&done, &approval("erin", "e"), asked(AT)).await, Refusal::State("done"));
}

async fn committing_makes_the_key_and_again_changes_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let before = snapshot(&*ledger).await;
    assert_eq!(before.keys[&planned.key], keyplane_model::KeyRecord::committed(None, &planned).unwrap());
    assert_eq!(before.open[&planned.key_id].state, ChangeSetState::Committed);
    assert_eq!(ledger.commit(&digest, asked(later(1))).await, Ok(Commitment::Already));
    assert_eq!(snapshot(&*ledger).await, before);
    receive_from(&*ledger, &planned, &digest, 0).await;
    ledger.complete(&digest, asked(AT)).await.unwrap();
    assert_eq!(ledger.commit(&digest, asked(later(1))).await, Ok(Commitment::Already));
}

async fn what_was_dropped_cannot_be_committed(ledger: SharedLedger) {
    let dropped = ledger.propose(&change_set(1, 0, 1), asked(AT)).await.unwrap();
    ledger.propose(&change_set(1, 0, 2), asked(AT)).await.unwrap();
    assert_refused(ledger.commit(&dropped, asked(AT)).await, Refusal::State("dropped"));
    assert!(snapshot(&*ledger).await.keys.is_empty());
}

async fn wraps_are_one_a_key_of_a_step_and_again_change_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let wraps = [wrap(3, 2), wrap(8, 2), wrap(3, 1)];
    for wrap in &wraps {
        ledger.wrap(&digest, wrap, None, asked(AT)).await.unwrap();
        let again = keyplane_model::Wrap { at: later(9_999), ..*wrap };
        ledger.wrap(&digest, &again, None, asked(AT)).await.unwrap();
    }
    let record = ledger.change_set(&digest).await.unwrap().unwrap();
    assert_eq!(record.wraps, wraps, "in their order, each as it was recorded first");
    let after = snapshot(&*ledger).await;
    assert_eq!((&after.open[&planned.key_id], after.keys[&planned.key].generation), (&record, Generation(1)));
    // What the record says stays, whatever becomes of step and change set.
    receive_from(&*ledger, &planned, &digest, 0).await;
    ledger.complete(&digest, asked(AT)).await.unwrap();
    ledger.wrap(&digest, &wraps[0], None, asked(AT)).await.unwrap();
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().wraps, wraps);
}

async fn wraps_that_do_not_fit_are_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let nowhere = Refusal::Settle(SettleError::NoStep(StepNo(10)));
    assert_refused(ledger.wrap(&digest, &wrap(10, 1), None, asked(AT)).await, nowhere);
    ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(AT)).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 3, None), None, asked(AT)).await.unwrap();
    assert_refused(ledger.wrap(&digest, &wrap(3, 1), None, asked(AT)).await, Refusal::Contradiction);
    assert!(ledger.change_set(&digest).await.unwrap().unwrap().wraps.is_empty());
}

async fn attempts_are_numbered_and_again_change_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let tries = [attempt(&digest, 1, 1), attempt(&digest, 6, 1), attempt(&digest, 1, 2), attempt(&digest, 3, 1)];
    for attempt in &tries {
        ledger.attempt(&digest, attempt, None, asked(AT)).await.unwrap();
        ledger.attempt(&digest, attempt, None, asked(AT)).await.unwrap();
    }
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().attempts, tries);
    assert_eq!(snapshot(&*ledger).await.keys[&planned.key].generation, Generation(1));
    // Also after its outcome is recorded.
    ledger.refused(&digest, tries[0].id, Class::Throttled, asked(AT)).await.unwrap();
    ledger.attempt(&digest, &tries[0], None, asked(AT)).await.unwrap();
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().attempts[0].refused, Some(Class::Throttled));
}

async fn attempts_that_do_not_fit_are_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, asked(AT)).await.unwrap();
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 0, 1), None, asked(AT)).await, Refusal::State("proposed"));
    ledger.commit(&digest, asked(AT)).await.unwrap();
    assert_refused(
        ledger.attempt(&digest, &attempt(&digest, 10, 1), None, asked(AT)).await,
        Refusal::Settle(SettleError::NoStep(StepNo(10))),
    );
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 0, 2), None, asked(AT)).await, Refusal::Contradiction);
    let other = AttemptId::of(&Digest::of(b"another"), 0, 1);
    assert_refused(
        ledger.attempt(&digest, &keyplane_model::Attempt { id: other, ..attempt(&digest, 0, 1) }, None, asked(AT)).await,
        Refusal::Contradiction,
    );
    ledger.attempt(&digest, &attempt(&digest, 0, 1), None, asked(AT)).await.unwrap();
    let at_another_time = keyplane_model::Attempt { at: later(77), ..attempt(&digest, 0, 1) };
    assert_refused(ledger.attempt(&digest, &at_another_time, None, asked(AT)).await, Refusal::Contradiction);
    ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(AT)).await.unwrap();
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 0, 2), None, asked(AT)).await, Refusal::Contradiction);
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().attempts, [attempt(&digest, 0, 1)]);
}

async fn a_refused_attempt_stays_refused_for_the_same_reason(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let first = attempt(&digest, 0, 1);
    assert_refused(ledger.refused(&digest, first.id, Class::Denied, asked(AT)).await, Refusal::Contradiction);
    ledger.attempt(&digest, &first, None, asked(AT)).await.unwrap();
    ledger.refused(&digest, first.id, Class::Denied, asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    ledger.refused(&digest, first.id, Class::Denied, asked(AT)).await.unwrap();
    assert_refused(ledger.refused(&digest, first.id, Class::Throttled, asked(AT)).await, Refusal::Contradiction);
    assert_eq!(snapshot(&*ledger).await, before);
    assert_eq!(before.open[&planned.key_id].attempts[0].refused, Some(Class::Denied));
    // Neither an attempt with a receipt nor an attempt of a change set that has ended can be refused.
    let second = attempt(&digest, 0, 2);
    ledger.attempt(&digest, &second, None, asked(AT)).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, Some(second.id)), None, asked(AT)).await.unwrap();
    assert_refused(ledger.refused(&digest, second.id, Class::Denied, asked(AT)).await, Refusal::Contradiction);
    ledger.attempt(&digest, &attempt(&digest, 1, 1), None, asked(AT)).await.unwrap();
    ledger.abandon(&digest, "a test", asked(AT)).await.unwrap();
    assert_refused(ledger.refused(&digest, AttemptId::of(&digest, 1, 1), Class::Denied, asked(AT)).await, Refusal::State("dropped"));
    ledger.refused(&digest, first.id, Class::Denied, asked(AT)).await.unwrap();
}

async fn a_receipt_changes_the_key_at_once_and_again_changes_nothing(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let mut key = keyplane_model::KeyRecord::committed(None, &planned).unwrap();
    for step in 0..10 {
        let receipt = receipt(&planned, step, None);
        key.settle(&planned, &receipt).unwrap();
        ledger.receive(&digest, &receipt, None, asked(AT)).await.unwrap();
        ledger.receive(&digest, &receipt, None, asked(AT)).await.unwrap();
        let snapshot = snapshot(&*ledger).await;
        assert_eq!(snapshot.keys[&planned.key], key);
        assert_eq!(snapshot.open[&planned.key_id].receipts[&StepNo(step)], receipt);
    }
}

async fn another_receipt_for_a_step_is_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let first = receipt(&planned, 1, None);
    ledger.receive(&digest, &first, None, asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    let elsewhere = Receipt { outcome: Outcome::Created { object: ObjectId("another".to_owned()) }, ..first.clone() };
    assert_refused(ledger.receive(&digest, &elsewhere, None, asked(AT)).await, Refusal::Contradiction);
    assert_refused(ledger.receive(&digest, &Receipt { at: later(99), ..first }, None, asked(AT)).await, Refusal::Contradiction);
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn receipts_that_do_not_fit_are_refused(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, asked(AT)).await.unwrap();
    assert_refused(ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(AT)).await, Refusal::State("proposed"));
    ledger.commit(&digest, asked(AT)).await.unwrap();
    let before = snapshot(&*ledger).await;
    let nowhere = Receipt { step: StepNo(10), ..receipt(&planned, 0, None) };
    assert_refused(ledger.receive(&digest, &nowhere, None, asked(AT)).await, Refusal::Settle(SettleError::NoStep(StepNo(10))));
    let wrong = Receipt { step: StepNo(1), ..receipt(&planned, 0, None) };
    let refusal = SettleError::WrongOutcome { step: StepNo(1), act: "create" };
    assert_refused(ledger.receive(&digest, &wrong, None, asked(AT)).await, Refusal::Settle(refusal));
    // There is no copy to import yet.
    let unknown = SettleError::NoPlacement(placement_id(1, 1));
    assert_refused(ledger.receive(&digest, &receipt(&planned, 3, None), None, asked(AT)).await, Refusal::Settle(unknown));
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn a_receipt_names_an_attempt_that_may_have_done_it(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    let [first, second, other] = [attempt(&digest, 1, 1), attempt(&digest, 1, 2), attempt(&digest, 2, 1)];
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, Some(first.id)), None, asked(AT)).await, Refusal::Contradiction);
    for attempt in [&first, &second, &other] {
        ledger.attempt(&digest, attempt, None, asked(AT)).await.unwrap();
    }
    ledger.refused(&digest, second.id, Class::Throttled, asked(AT)).await.unwrap();
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, Some(other.id)), None, asked(AT)).await, Refusal::Contradiction);
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, Some(second.id)), None, asked(AT)).await, Refusal::Contradiction);
    ledger.receive(&digest, &receipt(&planned, 1, Some(first.id)), None, asked(AT)).await.unwrap();
    assert_eq!(snapshot(&*ledger).await.open[&planned.key_id].receipts[&StepNo(1)].attempt, Some(first.id));
}

async fn bytes_never_change(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(AT)).await.unwrap();
    ledger.abandon(&digest, "a test", asked(AT)).await.unwrap();
    let planned = change_set(1, 2, 0);
    let digest = commit(&*ledger, &planned).await;
    let before = snapshot(&*ledger).await;
    assert_refused(
        ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(AT)).await,
        Refusal::Settle(SettleError::HasBytes(Version(1))),
    );
    assert_eq!(snapshot(&*ledger).await, before);
}

async fn completing_asks_for_every_receipt_and_activates(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, asked(AT)).await.unwrap();
    assert_refused(ledger.complete(&digest, asked(AT)).await, Refusal::State("proposed"));
    ledger.commit(&digest, asked(AT)).await.unwrap();
    for step in 0..10 {
        assert_refused(ledger.complete(&digest, asked(AT)).await, Refusal::State("not finished: a step has no receipt"));
        ledger.receive(&digest, &receipt(&planned, step, None), None, asked(AT)).await.unwrap();
    }
    assert_eq!(snapshot(&*ledger).await.keys[&planned.key].versions[&Version(1)].state, VersionState::PreActivation);
    ledger.complete(&digest, asked(later(2_000))).await.unwrap();
    let after = snapshot(&*ledger).await;
    let version = &after.keys[&planned.key].versions[&Version(1)];
    assert_eq!((version.state, version.activated), (VersionState::Active, Some(later(2_000))));
    assert!(after.open.is_empty());
    ledger.complete(&digest, asked(later(3_000))).await.unwrap();
    assert_eq!(snapshot(&*ledger).await, after);
}

async fn an_ended_change_set_takes_nothing_new(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    ledger.attempt(&digest, &attempt(&digest, 0, 1), None, asked(AT)).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, Some(attempt(&digest, 0, 1).id)), None, asked(AT)).await.unwrap();
    ledger.abandon(&digest, "a test", asked(AT)).await.unwrap();
    let before = (snapshot(&*ledger).await, ledger.change_set(&digest).await);
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 1, 1), None, asked(AT)).await, Refusal::State("dropped"));
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, None), None, asked(AT)).await, Refusal::State("dropped"));
    assert_refused(ledger.complete(&digest, asked(AT)).await, Refusal::State("dropped"));
    // A call that a crash makes somebody repeat changes nothing.
    ledger.attempt(&digest, &attempt(&digest, 0, 1), None, asked(AT)).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, Some(attempt(&digest, 0, 1).id)), None, asked(AT)).await.unwrap();
    assert_eq!((snapshot(&*ledger).await, ledger.change_set(&digest).await), before);
}

async fn abandoning_frees_the_key_and_keeps_what_receipts_say(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let digest = commit(&*ledger, &planned).await;
    ledger.receive(&digest, &receipt(&planned, 1, None), None, asked(AT)).await.unwrap();
    ledger.abandon(&digest, "the world moved on", asked(later(1))).await.unwrap();
    ledger.abandon(&digest, "again", asked(later(2))).await.unwrap();
    let record = ledger.change_set(&digest).await.unwrap().unwrap();
    assert_eq!((record.state, record.receipts.len()), (ChangeSetState::Dropped, 1));
    let after = snapshot(&*ledger).await;
    assert!(after.open.is_empty());
    assert!(after.keys[&planned.key].placements[&placement_id(1, 1)].object.is_some());
    ledger.propose(&change_set(1, 2, 0), asked(AT)).await.unwrap();

    let proposed = ledger.propose(&change_set(2, 0, 0), asked(AT)).await.unwrap();
    ledger.abandon(&proposed, "not wanted", asked(AT)).await.unwrap();
    assert_eq!(ledger.change_set(&proposed).await.unwrap().unwrap().state, ChangeSetState::Dropped);
    let done = carry_out(&*ledger, &change_set(3, 0, 0)).await;
    assert_refused(ledger.abandon(&done, "too late", asked(AT)).await, Refusal::State("done"));
}

async fn inventories_replace_the_one_before(ledger: SharedLedger) {
    let empty = |at, complete| Inventory { at, complete, ours: BTreeMap::new(), placements: BTreeMap::new() };
    ledger.put_inventory(&parse("here"), &empty(AT, true), asked(AT)).await.unwrap();
    ledger.put_inventory(&parse("there"), &empty(AT, false), asked(AT)).await.unwrap();
    ledger.put_inventory(&parse("here"), &empty(later(1), false), asked(AT)).await.unwrap();
    let expected = BTreeMap::from([(parse("here"), empty(later(1), false)), (parse("there"), empty(AT, false))]);
    assert_eq!(ledger.inventories().await, Ok(expected));
}

async fn charters_go_by_serial(ledger: SharedLedger) {
    for serial in [1, 3, 2] {
        ledger.put_charter(&sealed_charter(serial, 0), &[], asked(AT)).await.unwrap();
    }
    ledger.put_charter(&sealed_charter(3, 0), &[], asked(AT)).await.unwrap();
    assert_refused(ledger.put_charter(&sealed_charter(3, 1), &[], asked(AT)).await, Refusal::Contradiction);
    assert_refused(ledger.put_charter(&sealed_charter(1, 1), &[], asked(AT)).await, Refusal::Contradiction);
    assert_eq!(ledger.charter().await, Ok(Some(sealed_charter(3, 0))));
}

async fn a_proposed_charter_is_kept_with_its_approvals(ledger: SharedLedger) {
    let (first, second) = (charter_change(1, "alice"), charter_change(1, "bob"));
    let digest = ledger.propose_charter(&first, asked(AT)).await.unwrap();
    let other = ledger.propose_charter(&second, asked(later(1))).await.unwrap();
    ledger.propose_charter(&charter_change(2, "alice"), asked(AT)).await.unwrap();
    ledger.approve_charter(&digest, &approval("bob", "b"), asked(AT)).await.unwrap();
    ledger.approve_charter(&digest, &approval("alice", "a"), asked(AT)).await.unwrap();
    ledger.approve_charter(&digest, &approval("bob", "b2"), asked(AT)).await.unwrap();
    assert_refused(ledger.approve_charter(&digest, &approval("bob", "b2"), asked(AT)).await, Refusal::AlreadyApproved(parse("bob")));
    // Proposing it again changes neither the proposal nor its approvals.
    assert_eq!(ledger.propose_charter(&first, asked(later(9))).await, Ok(digest));
    let approvals = vec![approval("alice", "a"), approval("bob", "b2")];
    let kept = CharterProposal { digest, change: first.clone(), proposed: AT, approvals };
    let too = CharterProposal { digest: other, change: second, proposed: later(1), approvals: Vec::new() };
    assert_eq!(ledger.charter_proposal(&digest).await, Ok(Some(kept.clone())));
    assert_eq!(ledger.charter_proposals(&first.before).await, Ok(vec![kept, too]));
    let unknown = Digest::of(b"unknown");
    assert_eq!(ledger.charter_proposal(&unknown).await, Ok(None));
    assert_refused(ledger.approve_charter(&unknown, &approval("bob", "b"), asked(AT)).await, Refusal::NoCharterProposal(unknown));
    // What changed nothing tells nothing.
    let events = ledger.page_of_events(0, 100).await.unwrap();
    let words: Vec<_> = events.iter().map(|event| event.what.word()).collect();
    assert_eq!(words, [&["charter-proposed"; 3][..], &["charter-approved"; 3][..]].concat());
    let last = EventKind::CharterApproved { digest, approver: parse("bob"), signature: "b2".to_owned() };
    assert_eq!(events.last().map(|event| &event.what), Some(&last));
}

async fn an_unknown_digest_is_refused_everywhere(ledger: SharedLedger) {
    let planned = change_set(1, 0, 0);
    let unknown = planned.digest().unwrap();
    let refusal = || Refusal::NoChangeSet(unknown);
    assert_refused(ledger.approve(&unknown, &approval("bob", "b"), asked(AT)).await, refusal());
    assert_refused(ledger.commit(&unknown, asked(AT)).await, refusal());
    assert_refused(ledger.wrap(&unknown, &wrap(3, 1), None, asked(AT)).await, refusal());
    assert_refused(ledger.attempt(&unknown, &attempt(&unknown, 0, 1), None, asked(AT)).await, refusal());
    assert_refused(ledger.refused(&unknown, AttemptId::of(&unknown, 0, 1), Class::Denied, asked(AT)).await, refusal());
    assert_refused(ledger.receive(&unknown, &receipt(&planned, 0, None), None, asked(AT)).await, refusal());
    assert_refused(ledger.complete(&unknown, asked(AT)).await, refusal());
    assert_refused(ledger.end(&unknown, asked(AT)).await, refusal());
    assert_refused(ledger.withdraw(&unknown, "a test", asked(AT)).await, refusal());
    assert_refused(ledger.abandon(&unknown, "a test", asked(AT)).await, refusal());
}

async fn what_was_committed_cannot_be_withdrawn(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 0), asked(AT)).await.unwrap();
    for _ in 0..2 {
        ledger.withdraw(&digest, "not wanted", asked(AT)).await.unwrap();
        assert!(snapshot(&*ledger).await.open.is_empty());
    }
    let digest = commit(&*ledger, &change_set(1, 0, 1)).await;
    assert_refused(ledger.withdraw(&digest, "it does not fit", asked(AT)).await, Refusal::State("committed"));
    assert_eq!(ledger.change_set(&digest).await.unwrap().unwrap().state, ChangeSetState::Committed);
}

async fn a_lane_has_one_holder_and_leases_follow_each_other(ledger: SharedLedger) {
    let free = ledger.lease("lane").await.unwrap();
    assert_eq!(free, Lease::default());
    let first = take(&*ledger, "lane", server(1)).await;
    assert_eq!(ledger.lease("lane").await, Ok(first));
    assert_eq!(ledger.lease("another").await, Ok(free));
    // The lease that was seen has changed since.
    assert_eq!(ledger.put_lease("lane", &free, &free.taken(server(2), SPAN), asked(AT)).await, Ok(false));
    assert_eq!(ledger.put_lease("lane", &first, &first.renewed(), asked(AT)).await, Ok(true));
    assert_eq!(ledger.put_lease("lane", &first, &first.renewed(), asked(AT)).await, Ok(false));
    let renewed = first.renewed();
    assert_eq!(ledger.lease("lane").await, Ok(renewed));
    // No other change of a lease is allowed.
    for wrong in [free, first, Lease { holder: Some(server(2)), ..renewed.renewed() }, Lease { fence: 9, ..renewed.taken(server(2), SPAN) }]
    {
        assert_refused(ledger.put_lease("lane", &renewed, &wrong, asked(AT)).await, Refusal::Contradiction);
    }
    assert_eq!(ledger.put_lease("lane", &renewed, &renewed.released(), asked(AT)).await, Ok(true));
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
    assert_refused(ledger.attempt(&digest, &tried, Some(&nobody), asked(AT)).await, lost());
    assert_refused(ledger.wrap(&digest, &wrap(3, 1), Some(&nobody), asked(AT)).await, lost());
    let first = take(&*ledger, "lane", server(1)).await;
    ledger.attempt(&digest, &tried, Some(&fence(&first)), asked(AT)).await.unwrap();
    ledger.receive(&digest, &received, Some(&fence(&first)), asked(AT)).await.unwrap();
    ledger.wrap(&digest, &wrap(3, 1), Some(&fence(&first)), asked(AT)).await.unwrap();
    let second = take(&*ledger, "lane", server(2)).await;
    assert_refused(ledger.attempt(&digest, &attempt(&digest, 1, 2), Some(&fence(&first)), asked(AT)).await, lost());
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, None), Some(&fence(&first)), asked(AT)).await, lost());
    assert_refused(ledger.wrap(&digest, &wrap(3, 2), Some(&fence(&first)), asked(AT)).await, lost());
    // Repeating what is already recorded changes nothing, under any fence.
    ledger.attempt(&digest, &tried, Some(&fence(&first)), asked(AT)).await.unwrap();
    ledger.receive(&digest, &received, Some(&fence(&first)), asked(AT)).await.unwrap();
    ledger.wrap(&digest, &wrap(3, 1), Some(&fence(&first)), asked(AT)).await.unwrap();
    ledger.attempt(&digest, &attempt(&digest, 1, 2), Some(&fence(&second)), asked(AT)).await.unwrap();
    ledger.put_lease("lane", &second, &second.released(), asked(AT)).await.unwrap();
    assert_refused(ledger.receive(&digest, &receipt(&planned, 1, None), Some(&fence(&second)), asked(AT)).await, lost());
}

async fn of_many_servers_that_want_a_lane_exactly_one_gets_it(ledger: SharedLedger) {
    let free = ledger.lease("lane").await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            ledger.put_lease("lane", &free, &free.taken(server(number), SPAN), asked(AT)).await.unwrap().then_some(server(number))
        });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(won, Vec::from_iter(ledger.lease("lane").await.unwrap().holder));
}

async fn of_many_competing_change_sets_exactly_one_is_committed(ledger: SharedLedger) {
    let mut tasks = JoinSet::new();
    for variant in 0..16 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let digest = ledger.propose(&change_set(1, 0, variant), asked(AT)).await.ok()?;
            tokio::task::yield_now().await;
            ledger.commit(&digest, asked(AT)).await.ok().map(|commitment| (digest, commitment))
        });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let open = &snapshot(&*ledger).await.open[&key_id(1)];
    assert_eq!(won, [(open.digest, Commitment::Committed(Generation(1)))]);
    assert_eq!(open.state, ChangeSetState::Committed);
}

async fn of_many_commits_of_one_change_set_exactly_one_commits(ledger: SharedLedger) {
    let digest = ledger.propose(&change_set(1, 0, 0), asked(AT)).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let ledger = ledger.clone();
        tasks.spawn(async move { ledger.commit(&digest, asked(AT)).await.unwrap() });
    }
    let commitments = tasks.join_all().await;
    assert_eq!(commitments.iter().filter(|commitment| **commitment == Commitment::Committed(Generation(1))).count(), 1);
    assert_eq!(commitments.iter().filter(|commitment| **commitment == Commitment::Already).count(), 15);
}

/// What a transition does in a state.
#[derive(Clone, Debug)]
enum Then {
    Changes,
    Nothing,
    Refuses(Refusal),
}

/// The states that a change set passes through.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Proposed,
    Approved,
    /// After it was approved.
    Ending,
    Committed,
    Attempted,
    Finished,
    Done,
    Withdrawn,
    /// Dropped after its commit.
    Abandoned,
}

const STAGES: [Stage; 9] = [
    Stage::Proposed,
    Stage::Approved,
    Stage::Ending,
    Stage::Committed,
    Stage::Attempted,
    Stage::Finished,
    Stage::Done,
    Stage::Withdrawn,
    Stage::Abandoned,
];

/// Every transition, by the word of its event.
const TRANSITIONS: [&str; 11] =
    ["proposed", "approved", "committed", "wrapping", "attempted", "refused", "received", "completed", "ending", "withdrawn", "abandoned"];

/// The specification: what each transition does in each stage of this change set, in the order of [`TRANSITIONS`].
fn specified(stage: Stage, planned: &ChangeSet, digest: Digest) -> [Then; 11] {
    use Then::{Changes, Nothing, Refuses};
    let is = |state| Refuses(Refusal::State(state));
    let approved = || Refuses(Refusal::Approved { key: planned.key.clone(), open: digest });
    let contradicts = || Refuses(Refusal::Contradiction);
    let stale = |found| Refuses(Refusal::Settle(SettleError::Generation { planned: Generation(0), found: Generation(found) }));
    let unfinished = || is("not finished: a step has no receipt");
    match stage {
        Stage::Proposed => {
            let early = || is("proposed");
            [Nothing, Changes, Changes, early(), early(), early(), early(), early(), Changes, Changes, Changes]
        }
        Stage::Approved => {
            let early = || is("proposed");
            [Nothing, Changes, Changes, early(), early(), early(), early(), early(), Changes, approved(), approved()]
        }
        Stage::Ending => {
            let late = || is("ending");
            [late(), late(), late(), late(), late(), late(), late(), late(), Nothing, Changes, Changes]
        }
        Stage::Committed => {
            let late = || is("committed");
            [Nothing, late(), Nothing, Changes, Changes, contradicts(), Changes, unfinished(), late(), late(), Changes]
        }
        Stage::Attempted => {
            let late = || is("committed");
            [Nothing, late(), Nothing, Changes, Nothing, Changes, Changes, unfinished(), late(), late(), Changes]
        }
        Stage::Finished => {
            let late = || is("committed");
            [Nothing, late(), Nothing, contradicts(), contradicts(), contradicts(), Nothing, Changes, late(), late(), Changes]
        }
        Stage::Done => {
            let late = || is("done");
            [stale(12), late(), Nothing, late(), late(), late(), Nothing, Nothing, late(), late(), late()]
        }
        Stage::Withdrawn => {
            let late = || is("dropped");
            [late(), late(), late(), late(), late(), late(), late(), late(), Nothing, Nothing, Nothing]
        }
        Stage::Abandoned => {
            let late = || is("dropped");
            [stale(1), late(), late(), late(), late(), late(), late(), late(), Nothing, Nothing, Nothing]
        }
    }
}

async fn bring(ledger: &dyn Ledger, planned: &ChangeSet, to: Stage) -> Digest {
    let digest = ledger.propose(planned, asked(AT)).await.unwrap();
    match to {
        Stage::Proposed => {}
        Stage::Approved | Stage::Ending => ledger.approve(&digest, &approval("bob", "a"), asked(AT)).await.unwrap(),
        Stage::Withdrawn => ledger.withdraw(&digest, "a test", asked(AT)).await.unwrap(),
        Stage::Committed | Stage::Attempted | Stage::Finished | Stage::Done | Stage::Abandoned => {
            ledger.commit(&digest, asked(AT)).await.unwrap();
        }
    }
    match to {
        Stage::Ending => ledger.end(&digest, asked(AT)).await.unwrap(),
        Stage::Attempted => ledger.attempt(&digest, &attempt(&digest, 1, 1), None, asked(AT)).await.unwrap(),
        Stage::Finished => receive_from(ledger, planned, &digest, 0).await,
        Stage::Done => {
            receive_from(ledger, planned, &digest, 0).await;
            ledger.complete(&digest, asked(AT)).await.unwrap();
        }
        Stage::Abandoned => ledger.abandon(&digest, "a test", asked(AT)).await.unwrap(),
        Stage::Proposed | Stage::Approved | Stage::Withdrawn | Stage::Committed => {}
    }
    digest
}

async fn every_transition_has_its_states_and_tells_one_event(ledger: SharedLedger) {
    for (row, stage) in (0..).zip(STAGES) {
        for (column, word) in TRANSITIONS.into_iter().enumerate() {
            let key = 100 + 20 * row + u32::try_from(column).unwrap();
            let planned = change_set(key, 0, 0);
            let digest = bring(&*ledger, &planned, stage).await;
            let then = specified(stage, &planned, digest)[column].clone();
            let last = events(&*ledger).await.len();
            let before = (ledger.change_set(&digest).await.unwrap(), ledger.key(key_id(key)).await.unwrap());
            let by = asked(later(5_000));
            let result = match word {
                "proposed" => ledger.propose(&planned, by).await.map(drop),
                "approved" => ledger.approve(&digest, &approval("bob", "b"), by).await,
                "committed" => ledger.commit(&digest, by).await.map(drop),
                "wrapping" => ledger.wrap(&digest, &wrap(3, 1), None, by).await,
                "attempted" => ledger.attempt(&digest, &attempt(&digest, 1, 1), None, by).await,
                "refused" => ledger.refused(&digest, attempt(&digest, 1, 1).id, Class::Throttled, by).await,
                "received" => ledger.receive(&digest, &receipt(&planned, 0, None), None, by).await,
                "completed" => ledger.complete(&digest, by).await,
                "ending" => ledger.end(&digest, by).await,
                "withdrawn" => ledger.withdraw(&digest, "a test", by).await,
                "abandoned" => ledger.abandon(&digest, "a test", by).await,
                _ => unreachable!("{word}"),
            };
            let after = (ledger.change_set(&digest).await.unwrap(), ledger.key(key_id(key)).await.unwrap());
            let told: Vec<_> = events(&*ledger).await.split_off(last);
            let case = format!("{word} when {stage:?}");
            match then {
                Then::Changes => {
                    assert_eq!(result, Ok(()), "{case}");
                    assert_ne!(after, before, "{case}");
                    let [event] = told.as_slice() else { unreachable!("{case}: {told:?}") };
                    assert_eq!((event.what.word(), event.at), (word, later(5_000)), "{case}");
                    assert_eq!((event.about.key, event.about.change_set), (Some(key_id(key)), Some(digest)), "{case}");
                }
                Then::Nothing => {
                    assert_eq!((result, told.len()), (Ok(()), 0), "{case}");
                    assert_eq!(after, before, "{case}");
                }
                Then::Refuses(refusal) => {
                    assert_eq!((result, told.len()), (Err(LedgerError::Refused(refusal)), 0), "{case}");
                    assert_eq!(after, before, "{case}");
                }
            }
        }
    }
}

async fn events_say_who_did_what_to_what_and_why(ledger: SharedLedger) {
    let bob = Actor("bob".to_owned());
    let by_bob = |at| Asked { by: &bob, at };
    let revision = ledger.put_intent(&intent("a"), "files", by_bob(later(1))).await.unwrap();
    let charter = sealed_charter(2, 0);
    ledger.put_charter(&charter, &[approval("carol", "signed")], asked(later(2))).await.unwrap();
    ledger.put_charter(&charter, &[], asked(later(3))).await.unwrap();
    let inventory = Inventory { at: AT, complete: true, ours: BTreeMap::new(), placements: BTreeMap::new() };
    ledger.put_inventory(&parse("destination-1"), &inventory, asked(later(4))).await.unwrap();
    let free = ledger.lease("lane").await.unwrap();
    let held = free.taken(server(1), SPAN);
    for (seen, next) in [(free, held), (held, held.renewed()), (held.renewed(), held.renewed().released())] {
        ledger.put_lease("lane", &seen, &next, asked(later(5))).await.unwrap();
    }
    let first = ledger.propose(&change_set(1, 0, 1), asked(later(6))).await.unwrap();
    let planned = change_set(1, 0, 2);
    let digest = ledger.propose(&planned, by_bob(later(7))).await.unwrap();
    ledger.approve(&digest, &approval("dave", "his signature"), by_bob(later(8))).await.unwrap();
    ledger.commit(&digest, by_bob(later(9))).await.unwrap();
    ledger.wrap(&digest, &wrap(8, 1), None, by_bob(later(10))).await.unwrap();
    ledger.attempt(&digest, &attempt(&digest, 6, 1), None, asked(later(10))).await.unwrap();
    ledger.refused(&digest, attempt(&digest, 6, 1).id, Class::Denied, asked(later(11))).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(later(12))).await.unwrap();
    ledger.abandon(&digest, &"x".repeat(5_000), by_bob(later(13))).await.unwrap();

    let nothing = Subjects::default();
    let of = |change_set, placement: Option<u32>| Subjects {
        key: Some(key_id(1)),
        change_set: Some(change_set),
        placement: placement.map(|place| placement_id(1, place)),
    };
    let tried = attempt(&digest, 6, 1).id;
    let lane = || "lane".to_owned();
    let expected = [
        ("bob", 1, EventKind::IntentTaken { revision: Revision(1), digest: revision.digest, source: "files".to_owned() }, nothing),
        (
            "alice",
            2,
            EventKind::CharterAdopted {
                serial: 2,
                digest: charter.charter.digest().unwrap(),
                approvals: vec![approval("carol", "signed")],
            },
            nothing,
        ),
        ("alice", 4, EventKind::Surveyed { destination: parse("destination-1"), complete: true }, nothing),
        ("alice", 5, EventKind::LaneTaken { lane: lane(), server: server(1), fence: 1 }, nothing),
        ("alice", 5, EventKind::LaneReleased { lane: lane(), fence: 1 }, nothing),
        ("alice", 6, EventKind::Proposed, of(first, None)),
        ("bob", 7, EventKind::Superseded { by: digest }, of(first, None)),
        ("bob", 7, EventKind::Proposed, of(digest, None)),
        ("bob", 8, EventKind::Approved { approver: parse("dave"), signature: "his signature".to_owned() }, of(digest, None)),
        ("bob", 9, EventKind::Committed { generation: Generation(1) }, of(digest, None)),
        ("bob", 10, EventKind::Wrapping { step: StepNo(8), wrapped_under: wrap(8, 1).wrapped_under }, of(digest, Some(2))),
        ("alice", 10, EventKind::Attempted { attempt: tried, step: StepNo(6), act: "create".to_owned() }, of(digest, Some(2))),
        ("alice", 11, EventKind::Refused { attempt: tried, class: Class::Denied }, of(digest, Some(2))),
        ("alice", 12, EventKind::Received { attempt: None, step: StepNo(0), act: "mint".to_owned() }, of(digest, Some(1))),
        ("bob", 13, EventKind::Abandoned, of(digest, None)),
    ];
    let expected: Vec<LedgerEvent> = (1..)
        .zip(expected)
        .map(|(sequence, (actor, at, what, about))| {
            let reason = (what == EventKind::Abandoned).then(|| "x".repeat(1_000));
            LedgerEvent { sequence, at: later(at), actor: Actor(actor.to_owned()), what, about, reason }
        })
        .collect();
    assert_eq!(events(&*ledger).await, expected);
    assert_eq!(ledger.page_of_events(0, 3).await.unwrap(), expected[..3]);
    assert_eq!(ledger.page_of_events(3, 3).await.unwrap(), expected[3..6]);
    assert_eq!(ledger.page_of_events(12, 3).await.unwrap(), expected[12..]);
    assert_eq!(ledger.page_of_events(15, 3).await, Ok(Vec::new()));
}

async fn a_key_is_read_alone(ledger: SharedLedger) {
    ledger.propose(&change_set(1, 0, 0), asked(AT)).await.unwrap();
    assert_eq!(ledger.key(key_id(1)).await, Ok(None), "a proposal makes no key");
    for key in [1, 2] {
        carry_out(&*ledger, &change_set(key, 0, 0)).await;
    }
    let all = snapshot(&*ledger).await;
    for key in [1, 2] {
        assert_eq!(ledger.key(key_id(key)).await.unwrap().as_ref(), all.keys.get(&parse(&format!("key-{key}"))));
    }
    assert_eq!(ledger.key(key_id(3)).await, Ok(None));
}

async fn what_is_wanted_of_some_keys_is_read_alone(ledger: SharedLedger) {
    let (one, seven, unknown) = (parse("key-1"), parse("7"), parse("key-9"));
    let asked_for = BTreeSet::from([one, seven, unknown]);
    assert_eq!(ledger.wanted(&asked_for).await, Ok(None));
    assert_eq!(ledger.intent_revision().await, Ok(None));
    for (name, shared) in [("a", false), ("b", true)] {
        let mut intent = intent(name);
        intent.keys = ["key-1", "key-2", "7"].into_iter().map(|key| (parse(key), wanted_key(shared))).collect();
        let revision = ledger.put_intent(&intent, "files", asked(AT)).await.unwrap();
        intent.keys.remove(&parse("key-2"));
        assert_eq!(ledger.intent_revision().await, Ok(Some(revision.clone())));
        assert_eq!(ledger.wanted(&asked_for).await, Ok(Some((revision.clone(), intent.keys))));
        assert_eq!(ledger.wanted(&BTreeSet::new()).await, Ok(Some((revision, BTreeMap::new()))));
    }
    // What was dropped is not found in an earlier revision.
    let revision = ledger.put_intent(&intent("c"), "files", asked(AT)).await.unwrap();
    assert_eq!(ledger.wanted(&asked_for).await, Ok(Some((revision, BTreeMap::new()))));
}

/// Keys with a record alone, with an open change set alone, and with both, in more than one page of every size.
async fn pages_leave_out_nothing_and_repeat_nothing(ledger: SharedLedger) {
    assert_eq!(ledger.page_of_keys(None, 3).await, Ok(Vec::new()));
    assert_eq!(ledger.page_of_open(None, 3).await, Ok(Vec::new()));
    let (mut keys, mut open) = (Vec::new(), Vec::new());
    for key in 0..7 {
        let id = key_id(key);
        keys.push(id);
        match key % 3 {
            0 => {
                carry_out(&*ledger, &change_set(key, 0, 0)).await;
            }
            1 => open.push((id, ledger.propose(&change_set(key, 0, 0), asked(AT)).await.unwrap(), ChangeSetState::Proposed)),
            _ => open.push((id, commit(&*ledger, &change_set(key, 0, 0)).await, ChangeSetState::Committed)),
        }
    }
    for limit in 1..9 {
        let (mut read, mut listed) = (Vec::new(), Vec::new());
        loop {
            let page = ledger.page_of_keys(read.last().map(|state: &KeyState| state.id), limit).await.unwrap();
            let is_last = page.len() < limit as usize;
            read.extend(page);
            if is_last {
                break;
            }
        }
        loop {
            let page = ledger.page_of_open(listed.last().map(|open: &OpenChangeSet| open.key), limit).await.unwrap();
            let is_last = page.len() < limit as usize;
            listed.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(read.iter().map(|state| state.id).collect::<Vec<_>>(), keys, "pages of {limit}");
        assert_eq!(listed.iter().map(|open| (open.key, open.digest, open.state)).collect::<Vec<_>>(), open, "pages of {limit}");
        for state in &read {
            assert_eq!(state.record, ledger.key(state.id).await.unwrap());
            let there = open.iter().find(|(key, _, _)| *key == state.id).map(|(_, digest, _)| *digest);
            assert_eq!(state.open.as_ref().map(|record| record.digest), there);
        }
    }
    // More than a page of what `snapshot` and `open` read.
    for key in 10..230 {
        ledger.propose(&change_set(key, 0, 0), asked(AT)).await.unwrap();
    }
    assert_eq!(ledger.open().await.unwrap().len(), open.len() + 220);
    let all = snapshot(&*ledger).await;
    assert_eq!((all.keys.len(), all.open.len()), (5, open.len() + 220));
}

async fn a_key_in_a_snapshot_shows_one_moment(ledger: SharedLedger) {
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
