//! Proposed charters: which proposals there are, and that the charter of the token and the ledger's are the same in the end.

use keyplane_model::{Digest, ProblemCode, Span};
use keyplane_port::{Custodian as _, Ledger as _};

use crate::world::{World, actor, policy};

#[tokio::test]
async fn whoever_asks_for_the_same_charter_finds_the_first_proposal() {
    // Needs no approvals.
    let world = World::new(&policy(1, 0)).await;
    let proposed = world.change_charter(&policy(2, 0), "alice").await.unwrap();
    let digest = proposed.proposal.unwrap();
    assert!(!proposed.adopted, "nobody has seen it yet");
    let kept = world.proposal(&digest).await;
    assert_eq!((kept.change.proposer, kept.change.before), (actor("alice"), proposed.id));
    let adopted = world.change_charter(&policy(2, 0), "bob").await.unwrap();
    assert_eq!((adopted.adopted, adopted.id.serial), (true, 2));
    assert_eq!(adopted.id.digest, kept.change.next.digest().unwrap());
    assert_eq!(world.ledger.charter_proposals(&proposed.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_loses_a_race_for_a_charter_is_told_so() {
    let world = World::new(&policy(1, 0)).await;
    let mut other = world.in_force().await.charter;
    other.profiles.insert("other".parse().unwrap(), other.profiles.values().next().unwrap().clone());
    *world.custodian.rival.lock().unwrap() = Some(other);
    let digest = world.change_charter(&policy(2, 0), "alice").await.unwrap().proposal.unwrap();
    let problems = world.change_charter(&policy(2, 0), "alice").await.unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::CharterChanged, "{problems:?}");
    assert!(problems[0].detail.contains(&format!("another charter was adopted at the same moment as {digest}")), "{problems:?}");
    let winner = world.in_force().await.charter.digest().unwrap();
    assert!(problems[0].detail.contains(&format!("the token's is charter 2 {winner}")), "{problems:?}");
}

/// The policy that asks for the charter of `people` approvers, two of whom have to approve everything.
fn of(people: usize) -> String {
    policy(people, 2)
}

/// Alice and bob have to approve, and neither can approve an own proposal.
#[tokio::test]
async fn a_proposer_who_is_needed_does_not_block_the_charter() {
    let world = World::new(&of(2)).await;
    let first = world.change_charter(&of(3), "alice").await.unwrap().proposal.unwrap();
    let by_self = world.approve(&first, "alice").await.unwrap_err();
    assert!(by_self.code == ProblemCode::ApprovalBySelf && by_self.next.contains("keyplane hsm charter --own"), "{by_self:?}");
    assert_eq!(world.change_charter(&of(3), "pipeline").await.unwrap().proposal, Some(first));
    let second = world.propose_own(&of(3), "pipeline").await;
    assert_ne!(second, first);
    assert_eq!(world.proposal(&second).await.change.next, world.proposal(&first).await.change.next);
    // Each proposer finds the own one again, and everybody else the first.
    assert_eq!(world.propose_own(&of(3), "pipeline").await, second);
    for (by, finds) in [("alice", first), ("pipeline", second), ("carol", first)] {
        assert_eq!(world.change_charter(&of(3), by).await.unwrap().proposal, Some(finds), "{by}");
    }

    // Approvals of one do not count for the other.
    world.approve(&first, "bob").await.unwrap();
    world.approve(&second, "bob").await.unwrap();
    for by in ["alice", "pipeline"] {
        let problems = world.change_charter(&of(3), by).await.unwrap_err();
        assert_eq!(problems[0].code, ProblemCode::ApprovalsMissing, "{problems:?}");
    }
    world.approve(&second, "alice").await.unwrap();
    let adopted = world.change_charter(&of(3), "alice").await.unwrap();
    assert_eq!((adopted.adopted, adopted.id.serial), (true, 2), "the first proposal hides the approved one");
}

/// Otherwise a crash between the token and the ledger would be the end: the custodian refuses whatever the ledger's charter carries.
#[tokio::test]
async fn an_adoption_that_a_crash_cut_off_is_completed_whatever_the_policy_asks_for_by_then() {
    // By then the policy asks for the same, for what was before, or for something else.
    for (by_then, is_another) in [(of(3), false), (of(2), true), (policy(3, 1), true)] {
        let world = World::new(&of(2)).await;
        let digest = world.change_charter(&of(3), "pipeline").await.unwrap().proposal.unwrap();
        for name in ["alice", "bob"] {
            world.approve(&digest, name).await.unwrap();
        }
        let proposal = world.proposal(&digest).await;
        world.custodian.adopt(&world.in_force().await, &proposal.change, &proposal.approvals).await.unwrap();
        assert_eq!(world.in_force().await.serial, 1, "the crash came before the ledger was told");
        world.clock.pass(Span::days(40));

        let state = world.change_charter(&by_then, "operator").await.unwrap();
        assert_eq!((state.adopted, state.id.serial), (true, 2), "{by_then}");
        assert_eq!(world.in_force().await.charter, proposal.change.next);
        assert_eq!(state.proposal.is_some(), is_another, "{by_then}");
        if let Some(next) = state.proposal {
            assert_eq!(world.proposal(&next).await.change.before, state.id);
        }
    }
}

#[tokio::test]
async fn nothing_is_proposed_in_a_database_that_cannot_know_how_the_tokens_charter_came() {
    let world = World::new(&of(2)).await;
    let before = world.in_force().await.id().unwrap();
    for (serial, digest) in [(2, Digest::of(b"unknown")), (3, before.digest), (1, Digest::of(b"unknown"))] {
        *world.custodian.adopted.lock().unwrap() = (serial, digest);
        let problems = world.change_charter(&of(3), "alice").await.unwrap_err();
        assert_eq!(problems[0].code, ProblemCode::CharterChanged, "{problems:?}");
        assert!(problems[0].detail.contains(&format!("the token's charter is {serial} {digest}")), "{problems:?}");
        assert!(world.ledger.charter_proposals(&before).await.unwrap().is_empty(), "approvals of it would be wasted");
    }
}
