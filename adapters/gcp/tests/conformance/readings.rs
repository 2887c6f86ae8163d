//! What Google's documents leave open: the suite under every answer, and what the adapter makes of another attestation format.

use keyplane_conformance::cases::evidence;
use keyplane_emulator_core::gcp::{Attestation, BadMaterial, ExpiredJob, ExtendedCheck, PendingJob, PrimaryOfUnusable, Readings, Spoiled};
use keyplane_model::{EvidenceStrength, Protection};
use keyplane_port::Cloud as _;
use serde_json::json;

use crate::emulated::begin_with;

fn usual() -> Readings {
    Readings::default()
}

/// For each reading another answer than the default; nothing takes any time.
fn others() -> Readings {
    Readings {
        job_millis: 0,
        import_millis: 0,
        generation_millis: 0,
        bad_material: BadMaterial::AtOnce,
        expired_job: ExpiredJob::InvalidArgument,
        pending_job: PendingJob::InvalidArgument,
        primary_of_unusable: PrimaryOfUnusable::Accepted,
        attestation: Attestation::CaviumV2,
        extended_check: ExtendedCheck::Sha256,
        largest_page: 25,
        spoiled: Spoiled::default(),
    }
}

/// The third answer, where a reading has three; everything takes long.
fn further() -> Readings {
    Readings {
        job_millis: 30_000,
        import_millis: 30_000,
        generation_millis: 30_000,
        expired_job: ExpiredJob::NotFound,
        attestation: Attestation::CaviumV1,
        ..others()
    }
}

/// The fourth answer, where there is one.
fn last() -> Readings {
    Readings { expired_job: ExpiredJob::ImportFailed, ..usual() }
}

/// Every answer. Those that only concern HSMs are used below.
// contract: gcp.unstated
mod software {
    use super::{Protection, Readings, begin_with, further, last, others, usual};
    use crate::emulated::Emulated;

    async fn begin(readings: Readings) -> Emulated {
        begin_with(Protection::Software, readings).await
    }

    keyplane_conformance::runs!(usual others further last);
}

mod hsm {
    use super::{Protection, Readings, begin_with, further, last, others, usual};
    use crate::emulated::Emulated;

    async fn begin(readings: Readings) -> Emulated {
        begin_with(Protection::Hsm, readings).await
    }

    keyplane_conformance::runs!(usual others further last);
}

#[test]
fn every_answer_is_in_force_in_a_whole_run() {
    keyplane_conformance::assert_every_answer_is_in_force!([usual(), others(), further(), last()]; Readings {
        bad_material: BadMaterial { Later AtOnce }
        expired_job: ExpiredJob { FailedPrecondition InvalidArgument NotFound ImportFailed }
        pending_job: PendingJob { FailedPrecondition InvalidArgument }
        primary_of_unusable: PrimaryOfUnusable { Refused Accepted }
        attestation: Attestation { CaviumV2 CaviumV1 }
        extended_check: ExtendedCheck { Hkdf Sha256 }
    }; numbers { job_millis import_millis generation_millis largest_page }; beside { spoiled });
}

#[tokio::test]
async fn an_attestation_of_another_format_proves_nothing_and_lets_nothing_through() {
    let emulated = begin_with(Protection::Hsm, usual()).await;
    evidence::an_imported_copy_is_what_the_cloud_shows(&emulated).await;
    emulated.control.call("POST", "readings", Some(json!({ "attestation": "cavium_v1" }))).await;
    let shown = crate::evidence::of_the_copy(&emulated, &emulated.cloud, "proven").await;
    assert_eq!((shown.strength, shown.fits), (EvidenceStrength::None, false), "{shown:?}");
    assert!(emulated.cloud.destination().capabilities.prepares);
}
