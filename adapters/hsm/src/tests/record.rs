//! The record of the self-tests: the next process believes it, and only on the token and module where it was made.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use keyplane_model::{Digest, EpochId, Source};
use keyplane_port::Custodian as _;

use super::fixture::*;
use crate::record::{self, Proven, Subject, Unrecorded};
use crate::root::Root;
use crate::token::Token;
use crate::vault::Vault;
use crate::{HsmConfig, HsmCustodian, proof};

const LABEL: &[u8] = b"keyplane/proof";

/// Enrols, opens the token again, and checks that no self-tests run then.
pub(super) async fn a_second_process_makes_no_proof(config: &HsmConfig) {
    let enrolled = HsmCustodian::start(config.clone(), now()).unwrap().quick().enroll(INSTALLATION, &charter(0)).await.unwrap();
    {
        let vault = Vault::open(config).unwrap();
        assert_eq!(vault.status().unwrap(), enrolled.status);
        assert_eq!((vault.proofs.get(), vault.token().made()), (0, 0), "it asked the token for throwaway keys");
        vault.mint(&coordinates(Source::Generated)).unwrap();
        assert_eq!((vault.proofs.get(), vault.token().made()), (0, 1), "it asked the token for more than the copy");
    }
    let custodian = HsmCustodian::start(config.clone(), now()).unwrap().quick();
    custodian.test().await.unwrap();
    assert_eq!(custodian.proofs_for_test().await, 1, "testing the token means proving anew");
    custodian.status().await.unwrap();
    assert_eq!(custodian.proofs_for_test().await, 1);
}

/// Changes the record of an enrolled token in several ways, and checks that none is believed.
pub(super) fn a_tampered_record_is_not_believed(config: &HsmConfig) {
    let token = Token::open(config).unwrap();
    let good = value(&token, the_record(&token));
    let text = String::from_utf8(good.clone()).unwrap();
    // One route, or one refusal, more than was proven.
    let edits = [
        text.replacen("{\"Err\":", "{\"Ok\":", 1).replacen("\"oaep\"", "\"direct\"", 1),
        text.replacen("\"lenient\":true", "\"lenient\":false", 1),
        text.replacen("\"lenient\":false", "\"lenient\":true", 1),
        text.replacen("\"mac\":\"", "\"mac\":\"0", 1).replacen("0\",\"record\"", "\",\"record\"", 1),
        text.replacen("\"mac\":\"", "\"mac\":\"00", 1),
    ];
    let edits: Vec<String> = edits.into_iter().filter(|edit| *edit != text).collect();
    assert!(edits.len() >= 2, "{text}");
    for edit in edits {
        put(&token, edit.as_bytes());
        assert!(matches!(read(&token), Err(Unrecorded::Unsealed | Unrecorded::Malformed)), "{edit}");
    }
    put(&token, &good);
    assert!(read(&token).is_ok());
}

fn read(token: &Token) -> Result<Proven, Unrecorded> {
    let now = Subject::of(token, EPOCH).unwrap().unwrap();
    record::read(token, &Root::open(token, EPOCH).unwrap(), &now).unwrap()
}

fn records(token: &Token) -> Vec<ObjectHandle> {
    token.session().find_objects(&[Attribute::Class(ObjectClass::DATA), Attribute::Label(LABEL.to_vec())]).unwrap()
}

fn the_record(token: &Token) -> ObjectHandle {
    let [record] = records(token)[..] else { panic!("not one record") };
    record
}

fn value(token: &Token, record: ObjectHandle) -> Vec<u8> {
    let [Attribute::Value(value)] = &token.attributes(record, &[AttributeType::Value]).unwrap()[..] else { panic!("no value") };
    value.clone()
}

/// Replaces all records by this value.
fn put(token: &Token, value: &[u8]) {
    for record in records(token) {
        token.session().destroy_object(record).unwrap();
    }
    token.session().create_object(&record::template(value.to_vec())).unwrap();
}

/// A token with a record of quick self-tests.
fn recorded() -> Lab {
    let lab = Lab::new();
    let vault = Vault::open(&lab.config).unwrap();
    let (routes, mut checks) = vault.prove(proof::QUICK).unwrap();
    let epoch = vault.enrol(&routes).unwrap();
    vault.record(epoch, &routes, &mut checks).unwrap();
    drop(vault);
    lab
}

#[tokio::test]
async fn a_second_process_makes_no_proof_of_kryoptic() {
    a_second_process_makes_no_proof(&Lab::new().config).await;
}

#[test]
fn a_record_that_was_changed_is_not_believed_and_the_process_proves_by_itself() {
    let lab = recorded();
    a_tampered_record_is_not_believed(&lab.config);
    let good = {
        let token = lab.token();
        let good = value(&token, the_record(&token));
        put(&token, &String::from_utf8(good.clone()).unwrap().replacen("\"derives\":true", "\"derives\":false", 1).into_bytes());
        assert_eq!(read(&token).unwrap_err(), Unrecorded::Unsealed);
        good
    };
    let vault = Vault::open(&lab.config).unwrap();
    assert!(vault.status().unwrap().derives, "what the changed record says was believed");
    assert_eq!(vault.proofs.get(), 1);
    vault.status().unwrap();
    assert_eq!(vault.proofs.get(), 1, "once a process is enough");
    put(vault.token(), &good);
}

#[test]
fn what_cannot_be_read_or_is_there_twice_is_not_believed() {
    let lab = recorded();
    let token = lab.token();
    let good = value(&token, the_record(&token));
    let text = String::from_utf8(good.clone()).unwrap();
    let twice = text.replacen("\"ways\":[", "\"ways\":[[\"rsa-oaep-sha256\",\"aes-256\",{\"Ok\":\"direct\"}],", 1);
    for bad in ["", "{}", "null", &text[..text.len() - 1], &text.replacen('{', "{\"more\":1,", 1), &" ".repeat(5000), &twice] {
        put(&token, bad.as_bytes());
        assert!(matches!(read(&token), Err(Unrecorded::Malformed | Unrecorded::Unsealed)), "{bad}");
    }
    put(&token, &good);
    assert!(read(&token).is_ok());
    token.session().create_object(&record::template(good)).unwrap();
    assert_eq!(read(&token).unwrap_err(), Unrecorded::Doubled);
}

#[test]
fn a_public_or_modifiable_object_under_the_record_s_label_is_no_record() {
    let lab = recorded();
    let token = lab.token();
    let good = value(&token, the_record(&token));
    let with = |other: Attribute| {
        let mut template = record::template(good.clone());
        template.retain(|attribute| attribute.attribute_type() != other.attribute_type());
        template.push(other);
        token.session().create_object(&template).unwrap()
    };
    let public = with(Attribute::Private(false));
    assert!(read(&token).is_ok(), "a public object hides the record");
    let real = records(&token).into_iter().find(|record| *record != public).unwrap();
    token.session().destroy_object(real).unwrap();
    assert_eq!(read(&token).unwrap_err(), Unrecorded::Missing, "a public object was taken for the record");
    token.session().destroy_object(public).unwrap();
    with(Attribute::Modifiable(true));
    assert_eq!(read(&token).unwrap_err(), Unrecorded::Malformed);
}

#[test]
fn the_record_of_another_token_is_not_believed() {
    let (lab, other) = (recorded(), recorded());
    let foreign = {
        let token = other.token();
        value(&token, the_record(&token))
    };
    let token = lab.token();
    put(&token, &foreign);
    assert_eq!(read(&token).unwrap_err(), Unrecorded::Unsealed);
}

/// A change to what the self-tests ran on, and the reason that the log gives for it.
type Change = (fn(&mut Subject), &'static str);

#[test]
fn a_record_of_other_firmware_or_another_module_or_proof_is_not_believed() {
    let lab = recorded();
    let token = lab.token();
    let (root, proven) = (Root::open(&token, EPOCH).unwrap(), read(&token).unwrap());
    let changes: [Change; 9] = [
        (|on| on.proof += 1, "another release of the proof"),
        (|on| on.release.push('1'), "another release of the proof"),
        (|on| on.module = Digest::of(b"another"), "another PKCS#11 module"),
        (|on| on.library.push('1'), "another PKCS#11 module"),
        (|on| on.token.push('1'), "another token"),
        (|on| on.hardware.push('1'), "another token"),
        (|on| on.firmware.push('1'), "another firmware"),
        (|on| on.mechanisms = Digest::of(b"fewer"), "other mechanisms"),
        (|on| on.epoch = EpochId(2), "another root epoch"),
    ];
    for (change, what) in changes {
        let mut on = Subject::of(&token, EPOCH).unwrap().unwrap();
        change(&mut on);
        record::write(&token, &root, on, &proven).unwrap();
        assert_eq!(read(&token).unwrap_err(), Unrecorded::Other(what));
    }
}

#[test]
fn another_build_of_the_module_is_proven_anew() {
    let lab = recorded();
    // The same library with one byte after its end works alike, but is another file.
    let module = lab.folder.path().join("another.so");
    let bytes = [std::fs::read(&lab.config.module).unwrap(), vec![0]].concat();
    std::fs::write(&module, bytes).unwrap();
    let vault = Vault::open(&HsmConfig { module, ..lab.config.clone() }).unwrap();
    vault.status().unwrap();
    assert_eq!(vault.proofs.get(), 1);
}

#[test]
fn a_record_is_what_the_custodian_goes_by() {
    let lab = recorded();
    {
        let token = lab.token();
        let mut proven = read(&token).unwrap();
        // The record says less than the token can do, so the status shows that it was used.
        proven.routes.derives = false;
        proven.routes.ways.clear();
        record::write(&token, &Root::open(&token, EPOCH).unwrap(), Subject::of(&token, EPOCH).unwrap().unwrap(), &proven).unwrap();
    }
    let vault = Vault::open(&lab.config).unwrap();
    let status = vault.status().unwrap();
    assert!(!status.derives && status.routes.iter().all(|route| route.way.is_none()));
    assert!(vault.mint(&coordinates(Source::Generated)).is_err(), "a copy was made that leads nowhere");
    assert_eq!(vault.proofs.get(), 0);
}
