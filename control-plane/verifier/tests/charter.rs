//! Whose approvals a change of the charter needs, case by case, and which charters cannot be in force.

#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{APPROVALS_LAST, ApprovalRule, Approvals, Approver, Charter, IdTree, InstallationId, Span, Standing};
use keyplane_verifier::{CharterFault, KeyFault, fit, required_for_charter, valid_for_charter};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

fn rule(need: u32, from: &[&str]) -> ApprovalRule {
    ApprovalRule { need, from: from.iter().map(|group| group.parse().unwrap()).collect() }
}

fn both(rule: ApprovalRule) -> Approvals {
    Approvals { retire: rule.clone(), import: rule, valid: APPROVALS_LAST, standing: Standing { rotation: None } }
}

fn person(seed: u8, groups: &[&str]) -> Approver {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
    Approver {
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        logins: BTreeSet::new(),
        keys: BTreeSet::from([key.public_key().to_openssh().unwrap()]),
    }
}

/// `payments` needs two of security, `sandbox` two of developers, `logs` one of developers or platform. A key needs three of `vault`, a
/// group that no profile's rule names: vera, viola and vito.
fn charter() -> Charter {
    let people = [
        ("alice", person(1, &["security"])),
        ("bob", person(2, &["security", "platform"])),
        ("dan", person(3, &["developers"])),
        ("dora", person(4, &["developers"])),
        ("paul", person(5, &["platform"])),
        ("vera", person(6, &["vault"])),
        ("viola", person(7, &["vault"])),
        ("vito", person(8, &["vault"])),
    ];
    Charter {
        installation: InstallationId(IdTree::new([7; 32]).uuid()),
        approvers: people.into_iter().map(|(name, approver)| (name.parse().unwrap(), approver)).collect(),
        profiles: BTreeMap::from([
            ("payments".parse().unwrap(), both(rule(2, &["security"]))),
            ("sandbox".parse().unwrap(), both(rule(2, &["developers"]))),
            ("logs".parse().unwrap(), both(rule(1, &["developers", "platform"]))),
        ]),
        key_rules: BTreeSet::from([rule(3, &["vault"])]),
    }
}

/// The rules that a change needs, by the names of their profiles.
fn needed(change: impl FnOnce(&mut Charter)) -> String {
    let (before, mut next) = (charter(), charter());
    change(&mut next);
    let named = |rule: &ApprovalRule| match (rule.need, rule.from.first().map(|group| group.as_str())) {
        (2, Some("security")) => "payments",
        (2, Some("developers")) => "sandbox",
        (1, Some("developers")) => "logs",
        (3, Some("vault")) => "vault",
        _ => "?",
    };
    required_for_charter(&before, &next).into_iter().map(named).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

fn profile<'a>(charter: &'a mut Charter, name: &str) -> &'a mut Approvals {
    charter.profiles.get_mut(&name.parse().unwrap()).unwrap()
}

fn approver<'a>(charter: &'a mut Charter, name: &str) -> &'a mut Approver {
    charter.approvers.get_mut(&name.parse().unwrap()).unwrap()
}

/// A change that touches no rule needs the rules with the highest `need`: those of `payments` and `sandbox`.
#[test]
fn a_change_needs_every_rule_that_it_touches_and_those_that_need_the_most() {
    type Change = fn(&mut Charter);
    let cases: [(&str, &str, Change); 13] = [
        ("a profile more", "payments sandbox", |next| {
            next.profiles.insert("more".parse().unwrap(), both(rule(0, &[])));
        }),
        ("equal numbers, other groups", "payments sandbox", |next| profile(next, "payments").import = rule(2, &["developers"])),
        ("a looser rule of fewer people", "logs payments sandbox", |next| profile(next, "logs").import = rule(0, &[])),
        ("a stricter rule", "logs payments sandbox", |next| profile(next, "logs").retire = rule(2, &["developers", "platform"])),
        ("a profile less", "logs payments sandbox", |next| drop(next.profiles.remove(&"logs".parse().unwrap()))),
        ("a standing approval", "logs payments sandbox", |next| profile(next, "logs").standing.rotation = Some(Span::days(1))),
        ("how long approvals count", "logs payments sandbox", |next| profile(next, "logs").valid = Span::days(7)),
        ("a rule moved to another group", "logs payments sandbox", |next| profile(next, "logs").import = rule(1, &["security"])),
        ("somebody comes", "logs payments sandbox", |next| drop(next.approvers.insert("eve".parse().unwrap(), person(9, &["platform"])))),
        ("one person in two groups goes", "logs payments sandbox", |next| drop(next.approvers.remove(&"bob".parse().unwrap()))),
        ("a group is emptied", "logs payments sandbox", |next| {
            approver(next, "bob").groups = BTreeSet::from(["security".parse().unwrap()]);
            approver(next, "paul").groups.clear();
        }),
        ("another key", "logs payments sandbox", |next| approver(next, "paul").keys = person(9, &[]).keys),
        ("another login", "payments sandbox", |next| {
            approver(next, "alice").logins.insert("alice@example.com".to_owned());
        }),
    ];
    for (what, rules, change) in cases {
        assert_eq!(needed(change), rules, "{what}");
    }
}

/// Otherwise those of the profiles' rules could put their own people into `vault`, and approve for the key by themselves.
#[test]
fn a_keys_own_rule_is_changed_only_by_those_who_satisfy_it() {
    type Change = fn(&mut Charter);
    let cases: [(&str, &str, Change); 6] = [
        ("somebody comes", "payments sandbox vault", |next| drop(next.approvers.insert("mallory".parse().unwrap(), person(9, &["vault"])))),
        ("somebody goes", "payments sandbox vault", |next| drop(next.approvers.remove(&"vito".parse().unwrap()))),
        ("somebody gets the group", "payments sandbox vault", |next| {
            approver(next, "alice").groups.insert("vault".parse().unwrap());
        }),
        ("another key", "payments sandbox vault", |next| approver(next, "vera").keys = person(9, &[]).keys),
        ("the rule goes", "payments sandbox vault", |next| next.key_rules.clear()),
        ("the rule is changed", "payments sandbox vault", |next| next.key_rules = BTreeSet::from([rule(2, &["vault"])])),
    ];
    for (what, rules, change) in cases {
        assert_eq!(needed(change), rules, "{what}");
    }
    // A rule of keys does not decide about anything else, even if it needs the most people; and another one comes under the profiles' rules.
    assert_eq!(needed(|next| drop(next.profiles.insert("more".parse().unwrap(), both(rule(0, &[]))))), "payments sandbox");
    assert_eq!(needed(|next| next.key_rules.extend([rule(2, &["vault"])])), "payments sandbox");
}

/// Only one rule needs the most, so the test can tell it from the rules that a change touches.
#[test]
fn a_rule_that_a_change_does_not_touch_is_not_needed() {
    let mut before = charter();
    profile(&mut before, "sandbox").clone_from(&both(rule(1, &["developers"])));
    let mut next = before.clone();
    next.approvers.insert("eve".parse().unwrap(), person(9, &["platform"]));
    let rules: Vec<_> = required_for_charter(&before, &next).into_iter().cloned().collect();
    assert_eq!(rules, [rule(1, &["developers", "platform"]), rule(2, &["security"])]);
}

#[test]
fn approvals_of_a_change_count_no_longer_than_those_say_whose_rules_it_touches() {
    let mut before = charter();
    profile(&mut before, "payments").valid = Span::days(7);
    profile(&mut before, "logs").valid = Span::days(1);
    let valid = |change: fn(&mut Charter)| {
        let mut next = before.clone();
        change(&mut next);
        valid_for_charter(&before, &next)
    };
    assert_eq!(valid(|next| drop(next.profiles.insert("more".parse().unwrap(), both(rule(0, &[]))))), Span::days(7));
    assert_eq!(valid(|next| profile(next, "logs").valid = APPROVALS_LAST), Span::days(1));
    before.profiles.clear();
    assert_eq!(valid_for_charter(&before, &charter()), APPROVALS_LAST);
}

/// Approvals that hardly ever count would lock everybody out, and those that count for years are as good as none.
#[test]
fn a_charter_has_approvals_count_for_an_hour_to_thirty_days() {
    let hour = Span::seconds(3_600);
    let cases = [(Span::ZERO, false), (Span::seconds(3_599), false), (hour, true), (APPROVALS_LAST, true), (Span::days(31), false)];
    for (valid, fits) in cases {
        let mut charter = charter();
        profile(&mut charter, "logs").valid = valid;
        let expected = if fits { Ok(()) } else { Err(vec![CharterFault::Valid { profile: "logs".parse().unwrap(), valid }]) };
        assert_eq!(fit(&charter), expected, "{valid}");
    }
}

#[test]
fn a_charter_without_rules_is_changed_by_nobody() {
    let mut silent = charter();
    silent.profiles.clear();
    let rules: Vec<u32> = required_for_charter(&silent, &charter()).into_iter().map(|rule| rule.need).collect();
    assert_eq!(rules, [u32::MAX]);
    assert_eq!(fit(&silent), Err(vec![CharterFault::NoProfile]));
}

fn fault_of(key: &str) -> Option<KeyFault> {
    let mut charter = charter();
    // The group's other members suffice for its rules.
    charter.approvers.insert("pia".parse().unwrap(), person(10, &["platform"]));
    approver(&mut charter, "paul").keys = BTreeSet::from([key.to_owned()]);
    let faults = fit(&charter).err()?;
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().find_map(|fault| if let CharterFault::Key { fault, .. } = fault { Some(fault) } else { None })
}

/// Invalid public keys, built by hand and written as OpenSSH does.
#[test]
fn a_key_that_is_none_or_weak_is_not_enrolled() {
    let text = |data: ssh_key::public::KeyData| ssh_key::PublicKey::from(data).to_openssh().unwrap();
    let number = |bytes: &[u8]| ssh_key::Mpint::from_positive_bytes(bytes).unwrap();
    let modulus = [vec![0x80], vec![0; 254], vec![1]].concat();
    let rsa = |n: &[u8], e: &[u8]| text(ssh_key::public::KeyData::Rsa(ssh_key::public::RsaPublicKey { e: number(e), n: number(n) }));
    assert_eq!(fault_of(&rsa(&modulus, &[1, 0, 1])), None);
    for (n, e, fault) in [
        (&modulus[..], &[1][..], KeyFault::Exponent),
        (&modulus, &[3], KeyFault::Exponent),
        (&modulus, &[1, 0, 2], KeyFault::Exponent),
        (&modulus[1..], &[1, 0, 1], KeyFault::Modulus),
        (&[&modulus[..255], &[2]].concat(), &[1, 0, 1], KeyFault::Modulus),
    ] {
        let n = if n[0] == 0 { &[&[1], n].concat()[1 + n.iter().position(|byte| *byte != 0).unwrap()..] } else { n };
        assert_eq!(fault_of(&rsa(n, e)), Some(fault), "e = {e:?}");
    }
    let ed25519 = |bytes| text(ssh_key::public::KeyData::Ed25519(ssh_key::public::Ed25519PublicKey(bytes)));
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(fault_of(&ed25519(identity)), Some(KeyFault::SmallOrder));
    let mut off = [0; 32];
    off[0] = 2;
    assert_eq!(fault_of(&ed25519(off)), Some(KeyFault::OffCurve));
    let point = [&[4][..], &[1; 64]].concat();
    let point = ssh_key::public::EcdsaPublicKey::from_sec1_bytes(&point).unwrap();
    assert_eq!(fault_of(&text(ssh_key::public::KeyData::Ecdsa(point))), Some(KeyFault::OffCurve));
    assert_eq!(fault_of("ssh-ed25519 AAAA"), Some(KeyFault::Malformed));
}

#[test]
fn a_rule_that_nobody_can_meet_and_a_key_of_two_people_are_refused() {
    let mut unmet = charter();
    unmet.approvers.remove(&"dora".parse().unwrap());
    let fault = CharterFault::CannotBeMet { profile: "sandbox".parse().unwrap(), need: 2, have: 1 };
    assert_eq!(fit(&unmet), Err(vec![fault]));
    // An approver without a key can approve nothing, and is not counted.
    let mut keyless = charter();
    approver(&mut keyless, "dora").keys.clear();
    let fault = CharterFault::CannotBeMet { profile: "sandbox".parse().unwrap(), need: 2, have: 1 };
    assert_eq!(fit(&keyless), Err(vec![CharterFault::NoKey("dora".parse().unwrap()), fault]));
    let mut key_rule = charter();
    approver(&mut key_rule, "vito").groups.clear();
    assert_eq!(fit(&key_rule), Err(vec![CharterFault::KeyRuleCannotBeMet { need: 3, have: 2 }]));
    let mut shared = charter();
    approver(&mut shared, "paul").keys = person(1, &[]).keys;
    let fault = CharterFault::SharedKey { one: "alice".parse().unwrap(), other: "paul".parse().unwrap() };
    assert_eq!(fit(&shared), Err(vec![fault]));
}
