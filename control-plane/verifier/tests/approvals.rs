//! Which approvals count, with signatures made by the test and by the real `ssh-keygen`.

#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyplane_model::{
    APPROVAL_NAMESPACE, Actor, Approval, ApprovalRule, Approver, ApproverName, Charter, CharterChange, CharterId, Digest, IdTree,
    InstallationId, ProblemCode, Statement, Timestamp,
};
use keyplane_verifier::{ApprovalFault, MAX_SIGNATURE, NotCounted, approved, normalised, verify_approval};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair};
use ssh_key::public::{DsaPublicKey, KeyData, RsaPublicKey, SkEd25519};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, Mpint, PrivateKey, PublicKey, Signature, SigningKey, SshSig};

fn name(text: &str) -> ApproverName {
    text.parse().unwrap()
}

/// What is approved in these tests: a change of charter number 1.
fn statement() -> Statement {
    statement_after(1)
}

fn statement_after(serial: u32) -> Statement {
    let before = CharterId { serial, digest: Digest::of(b"a charter") };
    let next = charter([]);
    Statement::of_charter(&CharterChange { before, next, proposer: Actor("pipeline".into()), until: Timestamp(0) }).unwrap()
}

fn message() -> Vec<u8> {
    statement().as_str().as_bytes().to_vec()
}

/// The same key pair in every run.
fn ed25519(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn armored<K: SigningKey>(key: &K, namespace: &str, message: &[u8]) -> String {
    SshSig::sign(key, namespace, HashAlg::Sha512, message).unwrap().to_pem(LineEnding::LF).unwrap()
}

fn approval(approver: &str, signature: String) -> Approval {
    Approval { approver: name(approver), signature, at: Timestamp(0) }
}

/// A valid approval of [`statement`].
fn signed(approver: &str, key: &PrivateKey) -> Approval {
    approval(approver, armored(key, APPROVAL_NAMESPACE, &message()))
}

fn enrol(public: &PublicKey, groups: &[&str]) -> Approver {
    Approver {
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        logins: BTreeSet::new(),
        keys: BTreeSet::from([public.to_openssh().unwrap()]),
    }
}

fn charter(approvers: impl IntoIterator<Item = (&'static str, Approver)>) -> Charter {
    Charter {
        installation: InstallationId(IdTree::new([7; 32]).uuid()),
        approvers: approvers.into_iter().map(|(who, approver)| (name(who), approver)).collect(),
        profiles: BTreeMap::new(),
        key_rules: BTreeSet::new(),
    }
}

/// Alice and bob are in `security`, bob and carol in `platform`. Their keys are 1, 2 and 3.
fn people() -> Charter {
    charter([
        ("alice", enrol(ed25519(1).public_key(), &["security"])),
        ("bob", enrol(ed25519(2).public_key(), &["security", "platform"])),
        ("carol", enrol(ed25519(3).public_key(), &["platform"])),
    ])
}

fn rule(need: u32, from: &[&str]) -> ApprovalRule {
    ApprovalRule { need, from: from.iter().map(|group| group.parse().unwrap()).collect() }
}

fn counted(charter: &Charter, proposer: &str, rule: &ApprovalRule, approvals: &[Approval]) -> (Vec<String>, Vec<NotCounted>) {
    let (by, not_counted) = match approved(&statement(), &Actor(proposer.into()), [rule], charter, approvals) {
        Ok(approved) => (approved.by, approved.not_counted),
        Err(shortfall) => (shortfall.by, shortfall.not_counted),
    };
    (by.into_iter().map(String::from).collect(), not_counted)
}

fn faults(not_counted: Vec<NotCounted>) -> Vec<ApprovalFault> {
    not_counted.into_iter().map(|ignored| ignored.fault).collect()
}

/// The fault of alice's approval with this signature, if this is her only enrolled key.
fn fault_of(public: PublicKey, signature: Signature) -> Result<(), ApprovalFault> {
    let alice = charter([("alice", enrol(&public, &["security"]))]);
    let signature = SshSig::new(public.key_data().clone(), APPROVAL_NAMESPACE, HashAlg::Sha512, signature).unwrap();
    verify_approval(&statement(), &approval("alice", signature.to_pem(LineEnding::LF).unwrap()), &alice)
}

#[test]
fn ed25519_and_ecdsa_keys_can_approve() {
    let mut rng = ChaCha8Rng::from_seed([7; 32]);
    let keys = [
        ed25519(1),
        PrivateKey::from(EcdsaKeypair::random(&mut rng, EcdsaCurve::NistP256).unwrap()),
        PrivateKey::from(EcdsaKeypair::random(&mut rng, EcdsaCurve::NistP384).unwrap()),
    ];
    for key in keys {
        let alice = charter([("alice", enrol(key.public_key(), &["security"]))]);
        assert_eq!(verify_approval(&statement(), &signed("alice", &key), &alice), Ok(()), "{}", key.algorithm());
    }
}

/// A hardware key's signature (OpenSSH, PROTOCOL.u2f), made by a key in software.
fn by_hardware(flags: u8) -> Result<(), ApprovalFault> {
    let pair = Ed25519Keypair::from_seed(&[1; 32]);
    let public = PublicKey::from(SkEd25519::new(pair.public, "ssh:"));
    let data = SshSig::signed_data(APPROVAL_NAMESPACE, HashAlg::Sha512, &message()).unwrap();
    let trailer = [flags, 0, 0, 0, 9];
    let message = [&Digest::of(b"ssh:").0[..], &trailer, &Digest::of(&data).0].concat();
    let mut signature = signature::Signer::<Signature>::try_sign(&PrivateKey::from(pair), &message).unwrap().as_bytes().to_vec();
    signature.extend(trailer);
    fault_of(public, Signature::new(Algorithm::SkEd25519, signature).unwrap())
}

#[test]
fn a_hardware_key_can_approve_when_it_was_touched() {
    assert_eq!(by_hardware(0x01), Ok(()));
    assert_eq!(by_hardware(0x05), Ok(()), "touched and verified by PIN");
    assert_eq!(by_hardware(0x00), Err(ApprovalFault::Untouched));
}

#[test]
fn weak_keys_cannot_approve() {
    let number = |bytes: usize| Mpint::from_positive_bytes(&vec![0x7f; bytes]).unwrap();
    let rsa = |n| KeyData::Rsa(RsaPublicKey { e: Mpint::from_positive_bytes(&[1, 0, 1]).unwrap(), n });
    let rsa_signature = || Signature::new(Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, vec![1; 256]).unwrap();
    assert_eq!(fault_of(PublicKey::from(rsa(number(128))), rsa_signature()), Err(ApprovalFault::WeakKey));
    // 2047 bits, in 256 bytes.
    assert_eq!(fault_of(PublicKey::from(rsa(number(256))), rsa_signature()), Err(ApprovalFault::WeakKey));

    let dsa = DsaPublicKey { p: number(128), q: number(20), g: number(128), y: number(128) };
    let dsa_signature = Signature::new(Algorithm::Dsa, vec![1; 40]).unwrap();
    assert_eq!(fault_of(PublicKey::from(dsa), dsa_signature), Err(ApprovalFault::WeakKey));
}

#[test]
fn an_approval_of_the_same_under_another_charter_does_not_verify() {
    let other = approval("alice", armored(&ed25519(1), APPROVAL_NAMESPACE, statement_after(2).as_str().as_bytes()));
    assert_eq!(verify_approval(&statement(), &other, &people()), Err(ApprovalFault::BadSignature));
}

#[test]
fn an_approval_without_the_line_feed_is_of_another_message() {
    let message = statement().as_str().trim_end().to_owned();
    let other = approval("alice", armored(&ed25519(1), APPROVAL_NAMESPACE, message.as_bytes()));
    assert_eq!(verify_approval(&statement(), &other, &people()), Err(ApprovalFault::BadSignature));
}

#[test]
fn a_signature_for_another_purpose_is_no_approval() {
    let other = approval("alice", armored(&ed25519(1), "git", &message()));
    assert_eq!(verify_approval(&statement(), &other, &people()), Err(ApprovalFault::Namespace));
}

#[test]
fn a_key_that_is_not_enrolled_for_the_approver_is_refused() {
    assert_eq!(verify_approval(&statement(), &signed("alice", &ed25519(2)), &people()), Err(ApprovalFault::NotEnrolled));
}

#[test]
fn an_unknown_approver_is_refused() {
    assert_eq!(verify_approval(&statement(), &signed("mallory", &ed25519(1)), &people()), Err(ApprovalFault::UnknownApprover));
}

#[test]
fn an_enrolled_key_that_cannot_be_read_is_none_and_spoils_no_other() {
    let mut people = people();
    people.approvers.get_mut(&name("alice")).unwrap().keys.insert("ssh-ed25519 AAAA".into());
    assert_eq!(verify_approval(&statement(), &signed("alice", &ed25519(1)), &people), Ok(()));
}

#[test]
fn what_is_no_signature_is_refused_whatever_it_is() {
    let good = signed("alice", &ed25519(1)).signature;
    for bad in [
        "",
        "x",
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----",
        &good[..good.len() / 2],
        &good.replace("SSH SIG", "PGP SIG"),
    ] {
        assert_eq!(verify_approval(&statement(), &approval("alice", bad.into()), &people()), Err(ApprovalFault::Malformed), "{bad:?}");
    }
    let long = approval("alice", " ".repeat(MAX_SIGNATURE + 1));
    assert_eq!(verify_approval(&statement(), &long, &people()), Err(ApprovalFault::TooLong));
}

#[test]
fn space_around_a_signature_does_no_harm() {
    let good = signed("alice", &ed25519(1)).signature;
    assert_eq!(verify_approval(&statement(), &approval("alice", format!("\n  {good}\n\n")), &people()), Ok(()));
    assert_eq!(verify_approval(&statement(), &approval("alice", good.replace('\n', "\r\n")), &people()), Ok(()));
}

#[test]
fn different_approvers_of_the_groups_count() {
    let approvals = [signed("alice", &ed25519(1)), signed("bob", &ed25519(2)), signed("carol", &ed25519(3))];
    let (by, not_counted) = counted(&people(), "pipeline", &rule(2, &["security"]), &approvals);
    assert_eq!(by, ["alice", "bob"]);
    assert_eq!(not_counted, [NotCounted { approver: name("carol"), fault: ApprovalFault::NotInGroups }]);
    assert!(approved(&statement(), &Actor("pipeline".into()), [&rule(2, &["security"])], &people(), &approvals).is_ok());

    let shortfall = approved(&statement(), &Actor("pipeline".into()), [&rule(3, &["security"])], &people(), &approvals).unwrap_err();
    assert_eq!((shortfall.have(), shortfall.rule.need), (2, 3));
    assert_eq!(
        shortfall.to_string(),
        "2 of 3 approvals of security; not counted: `carol` (the approver is in none of the groups that the rule asks for)"
    );
}

#[test]
fn the_same_approvals_in_another_order_give_the_same_answer() {
    let mut people = people();
    let key = ed25519(1).public_key().to_openssh().unwrap();
    people.approvers.get_mut(&name("carol")).unwrap().keys.insert(key);
    let mut approvals = vec![signed("alice", &ed25519(1)), signed("carol", &ed25519(1)), signed("bob", &ed25519(2))];
    let first = counted(&people, "pipeline", &rule(3, &["security", "platform"]), &approvals);
    approvals.reverse();
    assert_eq!(counted(&people, "pipeline", &rule(3, &["security", "platform"]), &approvals), first);
}

#[test]
fn nobody_approves_a_proposal_of_ones_own() {
    let mut people = people();
    people.approvers.get_mut(&name("alice")).unwrap().logins.insert("alice@example.com".into());
    for proposer in ["alice", "Alice", "alice@example.com", "ALICE@EXAMPLE.COM ", " alice"] {
        let (by, not_counted) = counted(&people, proposer, &rule(1, &["security"]), &[signed("alice", &ed25519(1))]);
        assert!(by.is_empty(), "{proposer}");
        assert_eq!(not_counted[0].fault.code(), ProblemCode::ApprovalBySelf);
    }
    let (by, _) = counted(&people, "bob", &rule(1, &["security"]), &[signed("alice", &ed25519(1))]);
    assert_eq!(by, ["alice"]);
}

#[test]
fn the_proposers_key_does_not_count_under_another_name() {
    let mut people = people();
    let key = ed25519(1).public_key().to_openssh().unwrap();
    people.approvers.get_mut(&name("bob")).unwrap().keys.insert(key);
    let (by, not_counted) = counted(&people, "alice", &rule(1, &["security"]), &[signed("bob", &ed25519(1))]);
    assert_eq!((by, faults(not_counted)), (vec![], vec![ApprovalFault::Proposer]));
}

#[test]
fn nobody_counts_twice() {
    let approvals = [signed("alice", &ed25519(1)), signed("alice", &ed25519(1))];
    let (by, not_counted) = counted(&people(), "pipeline", &rule(2, &["security"]), &approvals);
    assert_eq!((by.len(), faults(not_counted)), (1, vec![ApprovalFault::Repeated]));
}

#[test]
fn one_key_does_not_count_for_two_people() {
    let mut people = people();
    let key = ed25519(1).public_key().to_openssh().unwrap();
    people.approvers.get_mut(&name("bob")).unwrap().keys.insert(key);
    let approvals = [signed("alice", &ed25519(1)), signed("bob", &ed25519(1))];
    let (by, not_counted) = counted(&people, "pipeline", &rule(2, &["security"]), &approvals);
    assert_eq!((by.len(), faults(not_counted)), (1, vec![ApprovalFault::SameKey]));
}

#[test]
fn a_rule_that_needs_nobody_is_met_by_nobody_and_one_without_groups_by_no_one() {
    let proposer = Actor("pipeline".into());
    assert!(approved(&statement(), &proposer, [&rule(0, &[])], &people(), &[]).is_ok());
    let shortfall = approved(&statement(), &proposer, [&rule(1, &[])], &people(), &[signed("alice", &ed25519(1))]).unwrap_err();
    assert_eq!(shortfall.have(), 0);
    assert_eq!(
        approved(&statement(), &proposer, [&rule(1, &["security"])], &people(), &[]).unwrap_err().to_string(),
        "0 of 1 approvals of security"
    );
}

/// Every kind of key that counts and needs no hardware. RSA is tested only here, since `ssh-key` 0.6 cannot sign with it.
#[test]
fn what_the_real_ssh_keygen_signs_is_an_approval() {
    for (kind, bits) in [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("rsa", "2048")] {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", "alice", "-f"]).arg(&key).status();
        let Ok(made) = made else {
            assert!(std::env::var_os("CI").is_none(), "ssh-keygen is missing");
            return;
        };
        assert!(made.success());
        let file = folder.path().join("message");
        std::fs::write(&file, message()).unwrap();
        let sign = Command::new("ssh-keygen").args(["-q", "-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f"]).arg(&key).arg(&file).status();
        assert!(sign.unwrap().success());

        let public = PublicKey::from_openssh(&std::fs::read_to_string(key.with_extension("pub")).unwrap()).unwrap();
        // Enrolled without its comment, as policies store it.
        let alice = charter([("alice", enrol(&PublicKey::from(public.key_data().clone()), &["security"]))]);
        let given = approval("alice", std::fs::read_to_string(folder.path().join("message.sig")).unwrap());
        assert_eq!(verify_approval(&statement(), &given, &alice), Ok(()), "{kind} {bits}");
        assert_eq!(verify_approval(&statement_after(2), &given, &alice), Err(ApprovalFault::BadSignature), "{kind} {bits}");
        assert_eq!(normalised(&given.signature).as_ref(), Ok(&given.signature), "{kind} {bits}");
        for changed in with_one_bit_changed(&given.signature) {
            let counts = verify_approval(&statement(), &approval("alice", changed.clone()), &alice);
            assert!(counts.is_err(), "{kind} {bits}: {changed}");
        }
    }
}

/// The armored signature with the highest and the lowest bit of each byte changed in turn.
fn with_one_bit_changed(armored: &str) -> Vec<String> {
    let lines: Vec<&str> = armored.trim().lines().collect();
    let [begin, body @ .., end] = lines.as_slice() else { unreachable!("{armored}") };
    let bytes = STANDARD.decode(body.concat()).unwrap();
    let changed = |(place, bit): (usize, u8)| {
        let mut changed = bytes.clone();
        changed[place] ^= bit;
        let text = STANDARD.encode(changed);
        let body: Vec<&str> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("{begin}\n{}\n{end}\n", body.join("\n"))
    };
    (0..bytes.len()).flat_map(|place| [(place, 0x80), (place, 0x01)]).map(changed).collect()
}
