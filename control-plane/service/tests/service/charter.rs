//! Proposed charters: which proposals there are, and that the charter of the token and the ledger's are the same in the end.

use keyplane_api::{EnrollRequest, PlanRequest, ValidateRequest};
use keyplane_model::{Charter, Digest, ProblemCode, Span};
use keyplane_port::{Custodian as _, Ledger as _};
use ssh_key::PublicKey;
use ssh_key::public::Ed25519PublicKey;

use crate::world::{World, actor, policy, sources};

#[tokio::test]
async fn whoever_asks_for_the_same_charter_finds_the_first_proposal() {
    // Needs no approvals.
    let policy = |people| policy(people, 0).replace("retire: { need: 0 }", "retire: { need: 0 }, valid: 1d");
    let world = World::new(&policy(1)).await;
    let proposed = world.change_charter(&policy(2), "alice").await.unwrap();
    let digest = proposed.proposal.unwrap();
    assert!(!proposed.adopted, "nobody has seen it yet");
    let kept = world.proposal(&digest).await;
    assert_eq!((kept.change.proposer, kept.change.before), (actor("alice"), proposed.id));
    assert_eq!(kept.change.until, kept.proposed + Span::days(1), "the custodian takes no approvals that count for longer");
    let adopted = world.change_charter(&policy(2), "bob").await.unwrap();
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
    world.clock.pass(Span::seconds(1));
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

/// A crash came after the token took the charter of three people, and before the ledger was told. That charter is the second value.
async fn cut_off() -> (World, Charter) {
    let world = World::new(&of(2)).await;
    let digest = world.change_charter(&of(3), "pipeline").await.unwrap().proposal.unwrap();
    for name in ["alice", "bob"] {
        world.approve(&digest, name).await.unwrap();
    }
    let proposal = world.proposal(&digest).await;
    world.custodian.adopt(&world.in_force().await, &proposal.change, &proposal.approvals).await.unwrap();
    assert_eq!(world.in_force().await.serial, 1);
    (world, proposal.change.next)
}

/// Otherwise a crash between the token and the ledger would be the end: the custodian refuses whatever the ledger's charter carries.
#[tokio::test]
async fn an_adoption_that_a_crash_cut_off_is_completed_whatever_the_policy_asks_for_by_then() {
    // By then the policy asks for the same, for what was before, or for something else.
    for (by_then, is_another) in [(of(3), false), (of(2), true), (policy(3, 1), true)] {
        let (world, next) = cut_off().await;
        world.clock.pass(Span::days(40));

        let state = world.change_charter(&by_then, "operator").await.unwrap();
        assert_eq!((state.adopted, state.id.serial), (true, 2), "{by_then}");
        assert_eq!(world.in_force().await.charter, next);
        assert_eq!(state.proposal.is_some(), is_another, "{by_then}");
        if let Some(proposed) = state.proposal {
            assert_eq!(world.proposal(&proposed).await.change.before, state.id);
        }
    }
}

#[tokio::test]
async fn no_mistake_in_the_policy_is_in_the_way_of_completing_an_adoption() {
    let (world, _) = cut_off().await;
    let problems = world.change_charter("profile: {}", "operator").await.unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::PolicyInvalid, "{problems:?}");
    assert_eq!(world.in_force().await.serial, 2);
}

/// People would approve in vain: the custodian refuses whatever the database's charter carries.
#[tokio::test]
async fn no_key_is_planned_under_a_charter_that_is_not_the_tokens() {
    let world = World::new(&of(2)).await;
    let before = world.in_force().await.id().unwrap();
    let other = Digest::of(b"unknown");
    for (token, next) in [((2, other), "keyplane hsm charter"), ((1, other), "keyplane hsm charter"), ((0, other), "keyplane config check")]
    {
        *world.custodian.adopted.lock().unwrap() = token;
        let problems = world.service.plan(&PlanRequest { sources: sources(&of(2)) }, &actor("pipeline")).await.unwrap_err();
        assert_eq!(problems[0].code, ProblemCode::CharterChanged, "{problems:?}");
        assert!(problems[0].next.contains(next), "{problems:?}");
    }
    *world.custodian.adopted.lock().unwrap() = (before.serial, before.digest);
    world.service.plan(&PlanRequest { sources: sources(&of(2)) }, &actor("pipeline")).await.unwrap();
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

#[tokio::test]
async fn proposed_charters_are_listed_with_what_they_lack_as_long_as_they_can_be_approved() {
    let world = World::new(&of(2)).await;
    let first = world.change_charter(&of(3), "alice").await.unwrap().proposal.unwrap();
    world.clock.pass(Span::days(1));
    let second = world.propose_own(&of(3), "pipeline").await;
    world.approve(&second, "bob").await.unwrap();
    let charters = world.service.status().await.unwrap().charters;
    let told: Vec<_> = charters.iter().map(|there| (there.digest, there.serial, there.missing.as_deref())).collect();
    assert_eq!(told, [(first, 2, Some("0 of 2 approvals of security")), (second, 2, Some("1 of 2 approvals of security"))]);
    assert_eq!(charters[1].until, world.proposal(&second).await.change.until);

    world.approve(&second, "alice").await.unwrap();
    world.clock.pass(Span::days(29));
    let charters = world.service.status().await.unwrap().charters;
    let told: Vec<_> = charters.iter().map(|there| (there.digest, there.missing.as_deref())).collect();
    assert_eq!(told, [(second, None)], "the first one has ended");
    assert!(world.change_charter(&of(3), "carol").await.unwrap().adopted);
    assert!(world.service.status().await.unwrap().charters.is_empty(), "it follows a charter that is in force no more");
}

/// The policy reads the form of a key. Anybody can sign for this one, since its point is of small order.
#[tokio::test]
async fn what_no_custodian_would_adopt_is_told_before_anybody_approves_it() {
    let mut point = [0; 32];
    point[0] = 1;
    let key = PublicKey::from(Ed25519PublicKey(point)).to_openssh().unwrap();
    let weak = format!("{}---\napprover: mallory\ngroups: [security]\nkeys: [\"{key}\"]\n", of(2));
    let world = World::new(&of(2)).await;
    let alice = actor("alice");
    let told = [
        world.service.validate(&ValidateRequest { sources: sources(&weak) }).unwrap_err(),
        world.service.plan(&PlanRequest { sources: sources(&weak) }, &alice).await.unwrap_err(),
        world.service.enroll(&EnrollRequest { sources: sources(&weak) }, &alice).await.unwrap_err(),
        world.change_charter(&weak, "alice").await.unwrap_err(),
    ];
    for problems in told {
        assert_eq!((problems.len(), problems[0].code), (1, ProblemCode::PolicyInvalid), "{problems:?}");
        assert!(problems[0].detail.contains("a key of `mallory` does not count: its point is of small order"), "{problems:?}");
    }
    assert!(world.service.status().await.unwrap().charters.is_empty());
}
