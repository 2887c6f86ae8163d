//! What Google's documents leave open: the cases that could tell the difference, under every reading.

use keyplane_conformance::cases::{evidence, faults, life};
use keyplane_model::{EvidenceStrength, Protection};
use keyplane_port::Cloud as _;
use serde_json::json;

use crate::emulated::{Emulated, begin_with};

async fn software(readings: serde_json::Value) -> Emulated {
    begin_with(Protection::Software, readings).await
}

// contract: gcp.unstated
#[tokio::test]
async fn an_expired_job_is_named_whatever_the_code_of_its_refusal() {
    for code in ["failed_precondition", "invalid_argument", "not_found", "import_failed"] {
        life::an_expired_token_is_named_and_a_new_one_works(&software(json!({ "expired_job": code })).await).await;
    }
}

// contract: gcp.unstated
#[tokio::test]
async fn bad_material_is_told_from_good_whenever_it_is_refused() {
    for moment in ["later", "at_once"] {
        let readings = json!({ "bad_material": moment });
        life::what_could_not_be_unwrapped_is_imported_again_into_the_same_material(&software(readings.clone()).await).await;
        life::lost_material_comes_back_by_the_same_bytes_alone(&software(readings).await).await;
    }
}

#[tokio::test]
async fn jobs_and_imports_may_take_no_time_or_long() {
    for millis in [0, 30_000] {
        let readings = json!({ "job_millis": millis, "import_millis": millis });
        life::an_imported_key_is_the_key_that_was_wrapped(&software(readings.clone()).await).await;
        life::two_imports_of_one_version_are_both_seen_and_one_is_switched_off(&software(readings.clone()).await).await;
        faults::a_lost_prepare_leaves_one_wrapping_key_to_use(&software(readings.clone()).await).await;
        faults::a_lost_import_is_found_by_its_version(&software(readings).await).await;
    }
}

#[tokio::test]
async fn an_attestation_of_another_format_proves_nothing_and_lets_nothing_through() {
    let emulated = begin_with(Protection::Hsm, json!({})).await;
    evidence::an_imported_copy_is_what_the_cloud_shows(&emulated).await;
    emulated.control("POST", "readings", Some(json!({ "attestation": "cavium_v1" }))).await;
    let shown = crate::evidence::of_the_copy(&emulated, &emulated.cloud, "proven").await;
    assert_eq!((shown.strength, shown.fits), (EvidenceStrength::None, false), "{shown:?}");
    assert!(emulated.cloud.destination().capabilities.prepares);
}
