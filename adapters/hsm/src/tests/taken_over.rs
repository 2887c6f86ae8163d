//! Requests of a server that was taken over, which the custodian refuses.

use std::collections::BTreeSet;

use aws_lc_rs::rsa::KeySize;
use keyplane_model::{
    APPROVALS_LAST, Actor, ApprovalRule, Approvals, Approver, Charter, CopyCoordinates, Source, Span, Standing, Statement, WrapScheme,
};
use keyplane_port::{Custodian as _, CustodianError, MintRequest, Warrant};

use super::fixture::*;
use crate::software::SoftwareKey;

fn of(need: u32, group: &str) -> Approvals {
    let import = ApprovalRule { need, from: BTreeSet::from([group.parse().unwrap()]) };
    Approvals { retire: import.clone(), import, valid: APPROVALS_LAST, standing: Standing { rotation: None } }
}

fn person(group: &str, seed: u8) -> Approver {
    Approver {
        groups: BTreeSet::from([group.parse().unwrap()]),
        logins: BTreeSet::new(),
        keys: BTreeSet::from([signer(seed).public_key().to_openssh().unwrap().trim().to_owned()]),
    }
}

/// The profile `payments` needs two of `security` (alice, bob). A second profile is approved by `developers` (`dan` and `dora`).
fn two_profiles(name: &str, need: u32) -> Charter {
    let mut charter = charter(2);
    charter.profiles.insert(name.parse().unwrap(), of(need, "developers"));
    charter.approvers.insert("dan".parse().unwrap(), person("developers", 8));
    charter.approvers.insert("dora".parse().unwrap(), person("developers", 9));
    charter
}

fn coordinates_of_two() -> CopyCoordinates {
    CopyCoordinates { approvals: rule(2), ..coordinates(Source::Derived) }
}

/// A custodian, and the warrant for a copy under `payments`, approved by alice and bob.
async fn approved(lab: &Lab, charter: &Charter) -> Desk {
    let custodian = lab.custodian();
    let sealed = custodian.enroll(INSTALLATION, charter).await.unwrap().charter.unwrap();
    let set = change_set(Source::Derived, WrapScheme::RsaOaepSha256, rule(2));
    let mut warrant = Warrant { change_set: set, approvals: vec![], charter: sealed };
    warrant.approvals = both(&warrant);
    Desk { custodian, warrant, coordinates: coordinates_of_two(), scheme: WrapScheme::RsaOaepSha256 }
}

#[tokio::test]
async fn a_key_under_another_profile_is_another_key() {
    let lab = Lab::new();
    let mut desk = approved(&lab, &two_profiles("sandbox", 0)).await;
    let minted = desk.mint().await;
    let real = desk.deliver(&minted, &SoftwareKey::make(KeySize::Rsa2048).unwrap()).await;
    let attacker = SoftwareKey::make(KeySize::Rsa2048).unwrap();

    // The same key and placement, under the profile that needs no approvals, and wrapped under the attacker's key.
    desk.warrant.change_set.profile = "sandbox".parse().unwrap();
    desk.warrant.change_set.approvals = of(0, "developers").import;
    desk.warrant.approvals.clear();
    let request = desk.wrap_request(&minted, attacker.spki());
    let refused = desk.custodian.wrap(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(refused, CustodianError::ApprovalsMissing { have: 0, need: 2, .. }), "{refused}");

    // With that profile in its coordinates the copy is let out, but it has other bytes.
    desk.coordinates.profile = "sandbox".parse().unwrap();
    desk.coordinates.approvals = desk.warrant.change_set.approvals.clone();
    let other = desk.mint().await;
    assert_ne!(desk.deliver(&other, &attacker).await, real);
}

#[tokio::test]
async fn a_generated_copy_does_not_change_its_profile() {
    let lab = Lab::new();
    let mut desk = approved(&lab, &two_profiles("sandbox", 0)).await;
    desk.turn_to(keyplane_model::Algorithm::Aes256, Source::Generated, WrapScheme::RsaOaepSha256);
    desk.warrant.change_set.approvals = rule(2);
    desk.coordinates.approvals = rule(2);
    desk.warrant.approvals = both(&desk.warrant);
    let minted = desk.mint().await;

    desk.warrant.change_set.profile = "sandbox".parse().unwrap();
    desk.warrant.change_set.approvals = of(0, "developers").import;
    desk.warrant.approvals.clear();
    desk.coordinates.profile = "sandbox".parse().unwrap();
    desk.coordinates.approvals = desk.warrant.change_set.approvals.clone();
    let request = desk.wrap_request(&minted, SoftwareKey::make(KeySize::Rsa2048).unwrap().spki());
    let refused = desk.custodian.wrap(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(refused, CustodianError::Broken(_)), "{refused}");
}

#[tokio::test]
async fn those_of_another_profile_do_not_rewrite_the_charter_of_all() {
    let lab = Lab::new();
    let desk = approved(&lab, &two_profiles("sandbox", 2)).await;
    let mut next = desk.warrant.charter.charter.clone();
    next.profiles.insert("payments".parse().unwrap(), of(0, "security"));
    let change = change(&desk.warrant.charter, next);
    let signed = Statement::of_charter(&change).unwrap();
    let developers = [approval("dan", 8, &signed), approval("dora", 9, &signed)];
    let refused = desk.custodian.adopt(&desk.warrant.charter, &change, &developers).await.unwrap_err();
    assert!(matches!(refused, CustodianError::ApprovalsMissing { have: 0, need: 2, .. }), "{refused}");
    let all = [&developers[..], &[approval("alice", 1, &signed), approval("bob", 2, &signed)]].concat();
    assert_eq!(desk.custodian.adopt(&desk.warrant.charter, &change, &all).await.unwrap().serial, 2);
}

#[tokio::test]
async fn old_approvals_do_not_bring_an_old_charter_back() {
    let lab = Lab::new();
    let desk = approved(&lab, &charter(2)).await;
    let custodian = &desk.custodian;
    let first = desk.warrant.charter.clone();
    let sign = |change: &keyplane_model::CharterChange| {
        let signed = Statement::of_charter(change).unwrap();
        [approval("alice", 1, &signed), approval("bob", 2, &signed)]
    };
    let mut with_mallory = charter(2);
    with_mallory.approvers.insert("mallory".parse().unwrap(), person("security", 7));
    let mallory_comes = change(&first, with_mallory.clone());
    let old = sign(&mallory_comes);
    let second = custodian.adopt(&first, &mallory_comes, &old).await.unwrap();
    let mallory_goes = change(&second, charter(2));
    let third = custodian.adopt(&second, &mallory_goes, &sign(&mallory_goes)).await.unwrap();

    assert_eq!(custodian.adopt(&third, &mallory_comes, &old).await.unwrap_err(), CustodianError::CharterChanged);
    let again = change(&third, with_mallory);
    let refused = custodian.adopt(&third, &again, &old).await.unwrap_err();
    assert!(matches!(refused, CustodianError::ApprovalsMissing { have: 0, need: 2, .. }), "{refused}");
    // The approvals are for a proposal of a third person. Under another proposer they do not count.
    let mut other = again.clone();
    other.proposer = Actor("mallory@example.com".to_owned());
    let refused = custodian.adopt(&third, &other, &sign(&again)).await.unwrap_err();
    assert!(matches!(refused, CustodianError::ApprovalsMissing { have: 0, need: 2, .. }), "{refused}");
}

#[tokio::test]
async fn approvals_are_worth_nothing_after_their_end() {
    let lab = Lab::new();
    let mut desk = approved(&lab, &charter(2)).await;
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    for (until, word) in [(NOW.0 - 1, "ended"), ((tomorrow() + Span::days(365)).0, "longer than")] {
        desk.warrant.change_set.until = keyplane_model::Timestamp(until);
        desk.warrant.approvals = both(&desk.warrant);
        let refused = desk.custodian.mint(&desk.warrant, &request).await.unwrap_err();
        assert!(matches!(&refused, CustodianError::Refused(why) if why.contains(word)), "{refused}");
    }
    let mut late = change(&desk.warrant.charter, charter(2));
    late.until = keyplane_model::Timestamp(NOW.0 - 1);
    let signed = Statement::of_charter(&late).unwrap();
    let two = [approval("alice", 1, &signed), approval("bob", 2, &signed)];
    let refused = desk.custodian.adopt(&desk.warrant.charter, &late, &two).await.unwrap_err();
    assert!(matches!(&refused, CustodianError::Refused(why) if why.contains("ended")), "{refused}");
}

/// [`charter`], with approvals that count for this long.
fn with_valid(valid: Span) -> Charter {
    let mut charter = charter(2);
    charter.profiles.values_mut().for_each(|approvals| approvals.valid = valid);
    charter
}

#[tokio::test]
async fn approvals_count_no_longer_than_the_charter_says() {
    let lab = Lab::new();
    let hour = Span::seconds(3_600);
    let mut desk = approved(&lab, &with_valid(hour)).await;
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    let refused = desk.custodian.mint(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(&refused, CustodianError::Refused(why) if why.contains("longer than `1h`")), "{refused}");
    desk.warrant.change_set.until = NOW + hour;
    desk.warrant.approvals = both(&desk.warrant);
    desk.custodian.mint(&desk.warrant, &request).await.unwrap();

    // A change of the charter does not make its own approvals count for longer.
    let mut late = change(&desk.warrant.charter, charter(2));
    let sign = |change: &keyplane_model::CharterChange| {
        let signed = Statement::of_charter(change).unwrap();
        [approval("alice", 1, &signed), approval("bob", 2, &signed)]
    };
    let refused = desk.custodian.adopt(&desk.warrant.charter, &late, &sign(&late)).await.unwrap_err();
    assert!(matches!(&refused, CustodianError::Refused(why) if why.contains("longer than `1h`")), "{refused}");
    late.until = NOW + hour;
    assert_eq!(desk.custodian.adopt(&desk.warrant.charter, &late, &sign(&late)).await.unwrap().serial, 2);
}

#[tokio::test]
async fn a_charter_that_could_not_be_met_or_has_keys_that_are_none_is_not_adopted() {
    let lab = Lab::new();
    let custodian = lab.custodian();
    let mut unmet = charter(2);
    unmet.approvers.remove(&"bob".parse().unwrap());
    let mut unreadable = charter(1);
    unreadable
        .approvers
        .insert("eve".parse().unwrap(), Approver { keys: BTreeSet::from(["ssh-ed25519 AAAA".to_owned()]), ..person("security", 3) });
    let mut twice = charter(1);
    twice.approvers.insert("alice-again".parse().unwrap(), person("security", 1));
    let mut silent = charter(0);
    silent.profiles.clear();
    let cases = [
        (unmet, "belong to its groups"),
        (unreadable, "`eve`"),
        (twice, "the same key"),
        (silent, "no profile"),
        (with_valid(Span::days(31)), "count for"),
    ];
    for (charter, word) in cases {
        let refused = custodian.enroll(INSTALLATION, &charter).await.unwrap_err();
        assert!(matches!(&refused, CustodianError::Refused(why) if why.contains(word)), "{refused}");
    }
}

/// Otherwise an approval given for one key could be used to export another.
#[tokio::test]
async fn a_key_under_another_name_is_not_that_key() {
    let lab = Lab::new();
    let mut desk = approved(&lab, &charter(2)).await;
    let minted = desk.mint().await;
    // The statement that alice and bob read and sign says `test-key`, but the id in the change set is that of `payments-db`.
    desk.warrant.change_set.key = "test-key".parse().unwrap();
    desk.warrant.approvals = both(&desk.warrant);
    let request = desk.wrap_request(&minted, SoftwareKey::make(KeySize::Rsa2048).unwrap().spki());
    let refused = desk.custodian.wrap(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(&refused, CustodianError::Refused(why) if why.contains("key of that name")), "{refused}");
}
