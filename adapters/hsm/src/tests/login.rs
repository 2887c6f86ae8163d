//! Logging in, and replacing a lost session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use keyplane_model::{Source, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError};

use super::fixture::*;
use crate::token::Module;
use crate::vault::Vault;
use crate::worker::Worker;
use crate::{HsmConfig, HsmCustodian, HsmError, Pin, PinSource};

fn with_wrong_pin(lab: &Lab) -> HsmConfig {
    HsmConfig { pin: Some(PinSource::new(|| Pin::new("wrong-pin".to_owned()))), ..lab.config.clone() }
}

#[tokio::test]
async fn a_wrong_pin_is_tried_once_however_often_it_is_asked_for() {
    let lab = Lab::new();
    let custodian = HsmCustodian::start(with_wrong_pin(&lab), now()).unwrap();
    // kryoptic locks the token after ten wrong PINs.
    for _ in 0..30 {
        assert_eq!(custodian.status().await.unwrap_err(), CustodianError::PinWrong);
    }
    drop(custodian);
    lab.custodian().status().await.unwrap();
}

#[tokio::test]
async fn the_last_try_is_left_to_a_person() {
    let lab = Lab::new();
    let mut wrong = 0;
    let last = loop {
        match HsmCustodian::start(with_wrong_pin(&lab), now()).unwrap().status().await.unwrap_err() {
            CustodianError::PinWrong => wrong += 1,
            other => break other,
        }
        assert!(wrong < 100, "the token never says that its last try has come");
    };
    assert_eq!(last, CustodianError::PinLocked);
    assert!(wrong > 0);
    // The right PIN is not tried either: a person has to unlock the token.
    assert_eq!(lab.custodian().status().await.unwrap_err(), CustodianError::PinLocked);
    let module = Module::load(&lab.config).unwrap();
    let info = module.pkcs11().get_token_info(module.find("lab").unwrap()).unwrap();
    assert!(info.user_pin_final_try() && !info.user_pin_locked(), "the custodian used the last try up");
}

#[tokio::test]
async fn a_missing_module_is_named() {
    let lab = Lab::new();
    let config = HsmConfig { module: "/nowhere/libhsm.so".into(), ..lab.config.clone() };
    let error = HsmCustodian::start(config, now()).unwrap().status().await.unwrap_err();
    assert!(matches!(&error, CustodianError::ModuleMissing { path, .. } if path == "/nowhere/libhsm.so"), "{error}");
}

#[tokio::test]
async fn a_missing_token_is_named_with_those_that_are_there() {
    let lab = Lab::new();
    let config = HsmConfig { token_label: "prod".to_owned(), ..lab.config.clone() };
    let error = HsmCustodian::start(config, now()).unwrap().status().await.unwrap_err();
    assert_eq!(error, CustodianError::TokenMissing { label: "prod".to_owned(), found: "`lab`".to_owned() });
}

#[tokio::test]
async fn without_a_pin_nothing_is_tried_where_the_token_cannot_ask_for_one() {
    let lab = Lab::new();
    let config = HsmConfig { pin: None, ..lab.config.clone() };
    let error = HsmCustodian::start(config, now()).unwrap().status().await.unwrap_err();
    assert!(matches!(error, CustodianError::Unsupported(_)), "{error}");
}

#[tokio::test]
async fn a_login_that_was_lost_between_two_calls_is_made_again() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Generated, WrapScheme::RsaOaepSha256).await;
    let minted = desk.mint().await;
    let bytes = desk.custodian.reveal_for_test(&desk.coordinates, minted.blob.as_ref()).await.unwrap();
    // The library that the custodian has initialised: logging out here logs out the custodian too.
    let same = Pkcs11::new(&lab.config.module).unwrap();
    for _ in 0..2 {
        let slot = same.get_slots_with_initialized_token().unwrap()[0];
        same.open_ro_session(slot).unwrap().logout().unwrap();
        let again = desk.custodian.reveal_for_test(&desk.coordinates, minted.blob.as_ref()).await.unwrap();
        assert_eq!(again, bytes);
    }
}

#[tokio::test]
async fn a_job_that_loses_its_session_runs_once_more_in_a_new_one() {
    let lab = Lab::new();
    let worker = Worker::start(lab.config.clone()).unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let losing = move |times| {
        let runs = counted.clone();
        move |vault: &Vault| {
            if runs.fetch_add(1, Ordering::SeqCst) < times {
                let gone = Pkcs11Error::Pkcs11(RvError::SessionHandleInvalid, Function::WrapKey);
                return Err(HsmError::token("wrapping")(gone));
            }
            assert!(vault.token().is_logged_in());
            Ok(vault.token().session().handle())
        }
    };
    let before = worker.run(losing(0)).await.unwrap();
    runs.store(0, Ordering::SeqCst);
    let after = worker.run(losing(1)).await.unwrap();
    assert_ne!(before, after);
    assert_eq!(runs.swap(0, Ordering::SeqCst), 2);
    // A session that is lost again is an error; the job is not repeated forever. The next call opens a new one.
    assert!(worker.run(losing(9)).await.unwrap_err().lost_session());
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    runs.store(9, Ordering::SeqCst);
    worker.run(losing(0)).await.unwrap();
}
