//! Enrolment: what it tests, generates, finds again, completes and refuses.

use std::os::unix::fs::PermissionsExt as _;

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use keyplane_model::{Digest, Source, Statement, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError, Expected};

use super::fixture::*;
use crate::charter::{self, Adopted};
use crate::provision::provision;
use crate::root::Root;
use crate::template::{self, Life, Use, named};
use crate::token::Fails;
use crate::{HsmCustodian, HsmError};

#[tokio::test]
async fn enrolling_proves_every_route_and_every_refusal_of_kryoptic() {
    let lab = Lab::new();
    let custodian = HsmCustodian::start(lab.config.clone(), now()).unwrap();
    let report = custodian.enroll(INSTALLATION, &charter(0)).await.unwrap();
    for check in &report.checks {
        assert!(check.passed, "{}: {}", check.name, check.detail);
    }
    let count = |expected| report.checks.iter().filter(|check| check.expected == expected).count();
    assert_eq!((count(Expected::Works), count(Expected::Refused)), (8, 23));
    assert_eq!(report.status.epoch, Some(EPOCH));
    assert!(report.status.derives);
    assert!(report.status.development, "kryoptic is no HSM");
    let ways: Vec<_> = report.status.routes.iter().map(|route| (route.scheme, route.way.as_deref())).collect();
    assert_eq!(
        ways,
        [
            (WrapScheme::RsaOaepSha256, Some("direct")),
            (WrapScheme::RsaOaepSha1, Some("direct")),
            (WrapScheme::RsaAesKeyWrapSha256, Some("composed")),
            (WrapScheme::RsaAesKeyWrapSha1, Some("composed")),
        ]
    );
}

#[tokio::test]
async fn a_token_that_is_not_enrolled_says_so_and_testing_it_changes_nothing() {
    let lab = Lab::new();
    let custodian = lab.custodian();
    let report = custodian.test().await.unwrap();
    assert_eq!((report.status.epoch, report.status.charter, report.charter), (None, None, None));
    assert_eq!(custodian.status().await.unwrap().epoch, None);
    assert!(custodian.audit_public_key().await.is_err());
    drop(custodian);
    assert_eq!(lab.token().session().find_objects(&[Attribute::Token(true)]).unwrap().len(), 0);
}

#[tokio::test]
async fn enrolling_twice_finds_what_is_there() {
    let lab = Lab::new();
    let custodian = lab.custodian();
    let first = custodian.enroll(INSTALLATION, &charter(0)).await.unwrap();
    let audit = custodian.audit_public_key().await.unwrap();
    drop(custodian);
    let custodian = lab.custodian();
    let second = custodian.enroll(INSTALLATION, &charter(0)).await.unwrap();
    assert_eq!((first.status, first.charter), (second.status, second.charter));
    assert_eq!(custodian.audit_public_key().await.unwrap(), audit);
    drop(custodian);
    // Two root keys, the two halves of the audit key, and the records of charter and proof.
    assert_eq!(lab.token().session().find_objects(&[Attribute::Token(true)]).unwrap().len(), 6);
}

#[tokio::test]
async fn an_epoch_that_a_crash_left_half_made_is_finished_and_nothing_is_doubled() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let before = desk.mint().await.check_value;
    drop(desk);
    // As after a crash between the first root key and the second.
    lose(&lab, |root| vec![root.wrapping, root.audit, root.audit_public], true);
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    assert_eq!(desk.mint().await.check_value, before, "the derivation key was made anew");
    drop(desk);
    assert_eq!(lab.token().session().find_objects(&[Attribute::Token(true)]).unwrap().len(), 6);
}

#[tokio::test]
async fn a_root_key_that_was_lost_is_not_made_anew() {
    let lab = Lab::new();
    lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap();
    lose(&lab, |root| vec![root.derivation.unwrap()], false);
    let error = lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(text) if text.contains("gone")), "{error}");
    assert_eq!(lab.token().session().find_objects(&[Attribute::Token(true)]).unwrap().len(), 5);
}

/// Destroys objects of the root epoch and, with `records`, the records of charter and proof.
fn lose(lab: &Lab, which: impl Fn(&Root) -> Vec<ObjectHandle>, records: bool) {
    let token = lab.token();
    let mut handles = which(&Root::open(&token, EPOCH).unwrap());
    if records {
        handles.extend(token.session().find_objects(&[Attribute::Class(ObjectClass::DATA)]).unwrap());
    }
    for handle in handles {
        token.session().destroy_object(handle).unwrap();
    }
    assert_eq!(Root::newest(&token).unwrap(), None);
}

#[tokio::test]
async fn an_imported_key_under_our_label_is_refused_by_name() {
    let lab = Lab::new();
    {
        // Like ours in every attribute that a caller can set. Only the token's own attributes show that it was imported.
        let mut template = named(template::secret(Life::Root, &[Use::Wrap, Use::Unwrap]), "keyplane/root/1/wrap");
        template.push(Attribute::Value(vec![7; 32]));
        lab.token().session().create_object(&template).unwrap();
    }
    let error = lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap_err();
    let CustodianError::Broken(text) = error else { panic!("{error}") };
    assert!(text.contains("`keyplane/root/1/wrap`") && text.contains("`CKA_LOCAL`"), "{text}");
}

#[tokio::test]
async fn a_key_of_ours_that_may_do_more_than_ours_is_refused() {
    let lab = Lab::new();
    {
        let uses = [Use::Wrap, Use::Unwrap, Use::Decrypt];
        let template = named(template::secret_of_256_bits(Life::Root, &uses), "keyplane/root/1/wrap");
        lab.token().session().generate_key(&cryptoki::mechanism::Mechanism::AesKeyGen, &template).unwrap();
    }
    let error = lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(text) if text.contains("`CKA_DECRYPT`")), "{error}");
}

#[tokio::test]
async fn an_epoch_that_could_seal_in_two_ways_is_refused() {
    let lab = Lab::new();
    lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap();
    {
        let template = named(template::secret_of_256_bits(Life::Root, &[Use::Sign, Use::Verify]), "keyplane/root/1/mac");
        lab.token().session().generate_key(&cryptoki::mechanism::Mechanism::AesKeyGen, &template).unwrap();
    }
    let error = lab.custodian().status().await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(text) if text.contains("`keyplane/root/1/mac`")), "{error}");
}

#[tokio::test]
async fn a_second_first_charter_leaves_the_adopted_one_alone() {
    let lab = Lab::new();
    let custodian = lab.custodian();
    let first = custodian.enroll(INSTALLATION, &charter(1)).await.unwrap();
    let second = custodian.enroll(INSTALLATION, &charter(0)).await.unwrap();
    assert_eq!(second.charter, None);
    assert_eq!(second.status.charter, first.status.charter);
    assert_eq!(first.status.charter, Some((1, charter(1).digest().unwrap())));
}

#[tokio::test]
async fn a_charter_is_adopted_under_the_one_before_and_never_goes_back() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let custodian = &desk.custodian;
    let first = &desk.warrant.charter;
    let to_strict = change(first, charter(2));
    let second = custodian.adopt(first, &to_strict, &[]).await.unwrap();
    assert_eq!(second.serial, 2);
    // Repeated, as after a lost answer. The answer is the same.
    assert_eq!(custodian.adopt(first, &to_strict, &[]).await.unwrap(), second);
    // The first charter asks for no approvals, but is no longer in force.
    let to_loose = change(first, charter(0));
    assert_eq!(custodian.adopt(first, &to_loose, &[]).await.unwrap_err(), CustodianError::CharterChanged);
    assert_eq!(custodian.adopt(&second, &to_loose, &[]).await.unwrap_err(), CustodianError::CharterChanged);
    let to_loose = change(&second, charter(0));
    let signed = Statement::of_charter(&to_loose).unwrap();
    let one = [approval("alice", 1, &signed)];
    let refused = custodian.adopt(&second, &to_loose, &one).await.unwrap_err();
    assert!(matches!(refused, CustodianError::ApprovalsMissing { have: 1, need: 2, .. }), "{refused}");
    let two = [approval("alice", 1, &signed), approval("bob", 2, &signed)];
    assert_eq!(custodian.adopt(&second, &to_loose, &two).await.unwrap().serial, 3);
    // Nor does a warrant under the first charter count, although the third has the same content.
    let request = keyplane_port::MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    assert_eq!(custodian.mint(&desk.warrant, &request).await.unwrap_err(), CustodianError::CharterChanged);
}

#[tokio::test]
async fn a_private_audit_key_without_its_public_half_is_refused_by_name() {
    let lab = Lab::new();
    lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap();
    {
        let token = lab.token();
        let root = Root::open(&token, EPOCH).unwrap();
        token.session().destroy_object(root.audit_public).unwrap();
    }
    let error = lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(text) if text.contains("`keyplane/root/1/audit`")), "{error}");
}

#[test]
fn of_two_charter_records_that_a_crash_left_the_later_counts_and_the_earlier_goes() {
    let lab = Lab::new();
    let token = lab.token();
    let adopted = |serial| Adopted { serial, digest: keyplane_model::Digest::of(&[1]) };
    let count = || token.session().find_objects(&[Attribute::Token(true)]).unwrap().len();
    // Written in this order both records stay, as after a crash before the older one is removed.
    adopted(2).write(&token).unwrap();
    adopted(1).write_beside(&token, Vec::new()).unwrap();
    assert_eq!((Adopted::read(&token).unwrap(), count()), (Some(adopted(2)), 2));
    adopted(2).write(&token).unwrap();
    assert_eq!((Adopted::read(&token).unwrap(), count()), (Some(adopted(2)), 1));
}

#[test]
fn a_public_object_under_the_charter_s_label_is_no_charter() {
    let lab = Lab::new();
    let token = lab.token();
    let adopted = |serial| Adopted { serial, digest: keyplane_model::Digest::of(&[1]) };
    adopted(1).write(&token).unwrap();
    let public = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(b"keyplane/charter".to_vec()),
        Attribute::Value(serde_json::to_vec(&adopted(2)).unwrap()),
    ];
    token.session().create_object(&public).unwrap();
    assert_eq!(Adopted::read(&token).unwrap(), Some(adopted(1)));
}

#[test]
fn a_development_token_is_never_made_over_another() {
    let lab = Lab::new();
    assert!(matches!(provision(&kryoptic(), lab.folder.path(), "again"), Err(HsmError::File { .. })));
    assert_eq!(lab.token().identity().label, "lab");
}

#[test]
fn nobody_else_can_read_a_development_token() {
    let lab = Lab::new();
    drop(lab.token());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(lab.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["so.pin", "token.sql", "user.pin"]);
}

#[tokio::test]
async fn of_two_charters_that_are_adopted_at_the_same_moment_one_is() {
    let lab = Lab::new();
    lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap();
    let token = lab.token();
    let [one, other] = [&b"one"[..], b"other"].map(|text| Adopted { serial: 2, digest: Digest::of(text) });
    // Both processes found charter 1 in force. The first one wrote its record, and looked, before the other wrote.
    let before = charter::records(&token).unwrap();
    one.write(&token).unwrap();
    let all = charter::records(&token).unwrap();
    for refused in [other.write_beside(&token, before), other.write(&token)] {
        assert!(matches!(refused, Err(HsmError::CharterChanged)), "{refused:?}");
        assert_eq!(charter::records(&token).unwrap(), all, "its own record is still there");
    }
    one.write(&token).unwrap();
    assert_eq!(charter::records(&token).unwrap(), all, "a repeated adoption changes nothing");

    // Both were killed after they wrote and before they looked.
    let record = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(b"keyplane/charter".to_vec()),
        Attribute::Value(serde_json::to_vec(&other).unwrap()),
    ];
    token.session().create_object(&record).unwrap();
    let read = Adopted::read(&token).unwrap_err();
    assert!(matches!(read, HsmError::CharterDoubled { .. }), "which of them is in force is not for chance to say: {read}");
    assert!([one, other].iter().all(|record| read.to_string().contains(&record.digest.to_string())), "{read}");
    assert!(matches!(one.write(&token), Err(HsmError::CharterDoubled { .. })));
}

#[tokio::test]
async fn whoever_cannot_look_for_another_adoption_takes_its_own_back() {
    let lab = Lab::new();
    lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap();
    let token = lab.token();
    let before = charter::records(&token).unwrap();
    token.fails.set(Some(Fails::Searches));
    let next = Adopted { serial: 2, digest: Digest::of(b"next") };
    assert!(matches!(next.write_beside(&token, before.clone()), Err(HsmError::Token { .. })));
    token.fails.set(None);
    assert_eq!(charter::records(&token).unwrap(), before);
}

#[tokio::test]
async fn no_charter_is_adopted_below_another_one() {
    let lab = Lab::new();
    lab.custodian().enroll(INSTALLATION, &charter(0)).await.unwrap();
    let token = lab.token();
    Adopted { serial: 3, digest: Digest::of(b"third") }.write(&token).unwrap();
    let second = Adopted { serial: 2, digest: Digest::of(b"second") };
    assert!(matches!(second.write(&token), Err(HsmError::CharterChanged)));
    assert_eq!(charter::records(&token).unwrap().len(), 1, "the first one is removed, and the second was not written");
}
