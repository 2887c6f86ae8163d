//! A plan for many keys, one of which cannot be planned.

use keyplane_api::{PlanRequest, PlannedKey, Verdict};
use keyplane_model::{
    APPROVALS_LAST, Act, Action, Approval, ApprovalRule, Asked, ChangeSet, Digest, EpochId, Expectation, Generation, IdTree, PlacementId,
    ProblemCode, Source, Step, Version,
};
use keyplane_port::{Clock as _, Ledger as _};

use crate::world::{World, actor, policy, sources};

/// An approved change set that makes bytes for a key, so that the custodian has to be told of its end. The policy does not want the key.
async fn unwanted(world: &World, name: &str) -> Digest {
    let installation = world.ledger.installation().await.unwrap();
    let ids = IdTree::of(installation);
    let (by, at) = (actor("pipeline"), world.clock.now());
    let act = Act::Mint { version: Version(1), source: Source::Derived, epoch: EpochId(1) };
    let change_set = ChangeSet {
        format: ChangeSet::FORMAT,
        installation,
        key: name.parse().unwrap(),
        key_id: ids.key(name),
        profile: "plain".parse().unwrap(),
        action: Action::Import,
        wanted: Some(Digest::of(name.as_bytes())),
        approvals: ApprovalRule { need: 2, from: ["security".parse().unwrap()].into() },
        proposer: by.clone(),
        generation: Generation::default(),
        placements: std::collections::BTreeMap::new(),
        steps: vec![Step { placement: PlacementId(ids.child(name).uuid()), expects: Expectation::NoCopy, act }],
        reasons: Vec::new(),
        until: at + APPROVALS_LAST,
    };
    let digest = world.ledger.propose(&change_set, Asked { by: &by, at }).await.unwrap();
    let approval = Approval { approver: "alice".parse().unwrap(), signature: "for a test".to_owned(), at };
    world.ledger.approve(&digest, &approval, Asked { by: &by, at }).await.unwrap();
    digest
}

#[tokio::test]
async fn a_change_set_whose_end_cannot_be_told_to_the_custodian_holds_up_its_own_key_alone() {
    let world = World::new(&policy(2, 2)).await;
    let [_, stays, _] = [unwanted(&world, "a").await, unwanted(&world, "b").await, unwanted(&world, "c").await];
    *world.custodian.fails_for.lock().unwrap() = Some("b".parse().unwrap());
    let request = PlanRequest { sources: sources(&policy(2, 2)) };
    let planned = world.service.plan(&request, &actor("pipeline")).await.unwrap();
    let told = |key: &PlannedKey| (key.key.to_string(), key.verdict, key.digest, key.problem.as_ref().map(|problem| problem.code));
    let told: Vec<_> = planned.keys.iter().map(told).collect();
    let nothing = |key: &str| (key.to_owned(), Verdict::Nothing, None, None);
    assert_eq!(told, [nothing("a"), ("b".to_owned(), Verdict::Blocked, Some(stays), Some(ProblemCode::TokenFailed)), nothing("c")]);
    let problem = planned.keys[1].problem.clone().unwrap();
    assert!(problem.key.is_some_and(|key| key.as_str() == "b") && problem.detail.contains(&stays.to_string()), "{}", problem.detail);
    let open: Vec<Digest> = world.ledger.open().await.unwrap().into_iter().map(|open| open.digest).collect();
    assert_eq!(open, [stays], "the others are dropped");

    // The next plan tries again.
    *world.custodian.fails_for.lock().unwrap() = None;
    world.service.plan(&request, &actor("pipeline")).await.unwrap();
    assert!(world.ledger.open().await.unwrap().is_empty());
}
