//! Import jobs: the keys that copies are wrapped under. Each of ours serves one copy.

use chrono::{DateTime, Utc};
use google_cloudkms1::api::{ImportJob, KeyOperationAttestation};
use google_cloudkms1::common::Response;
use keyplane_model::{Class, ObjectId, Protection, Target, Version, WrapScheme};
use keyplane_port::{Cause, CloudError, Prepared, WrapFor, WrappingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use crate::GoogleKms;
use crate::act::check_id;
use crate::attestation;
use crate::error::{found, garbled};
use crate::kinds;
use crate::names;
use crate::operation::{JOB_READS, MAX_JOBS, Operation};
use crate::read::timestamp;

/// A job with less time left than this is not begun with: a copy may have to wait for its quota.
const LEAST_TIME_LEFT: chrono::Duration = chrono::Duration::hours(1);

/// A job, as it was seen.
pub(crate) struct JobSeen {
    job: ImportJob,
    state: JobState,
    /// The time at Google Cloud when it was seen; `None`: the answer does not say.
    at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JobState {
    Pending,
    Active,
    Expired,
}

impl GoogleKms {
    /// The newest job for a copy, if it can still be used.
    pub(crate) async fn newest_job(&self, target: &Target, version: Version) -> Result<Option<Prepared>, CloudError> {
        let (n, newest) = self.last_job(target, version).await?;
        let ready = newest.and_then(|seen| self.usable(&seen, target));
        Ok(ready.map(|ready| Prepared { wrapping: names::job_id(target.placement, version, n), ready }))
    }

    /// The id of the next job for a copy.
    pub(crate) async fn free_job(&self, target: &Target, version: Version) -> Result<ObjectId, CloudError> {
        match self.last_job(target, version).await? {
            (MAX_JOBS, _) => {
                let message = format!("{MAX_JOBS} import jobs were made for version {version} of placement {}", target.placement);
                Err(found(Operation::CreateImportJob, Class::Denied, Cause::Plain, &message))
            }
            (n, _) => Ok(names::job_id(target.placement, version, n + 1)),
        }
    }

    /// The last job that was made for a copy, and its number; 0: none was. Jobs are never deleted and are numbered from 1 on, so all
    /// numbers up to it are taken and none after it.
    ///
    /// INVARIANT: no more reads than are declared (rule 8), however many jobs ran out. Each asks for the lowest number from which the
    /// reads that are left still find the last one: nearly every copy has none or one, and takes one read or two.
    async fn last_job(&self, target: &Target, version: Version) -> Result<(u32, Option<JobSeen>), CloudError> {
        let (mut taken, mut last, mut free) = (0, None, MAX_JOBS + 1);
        for left in (0..JOB_READS).rev() {
            if free - taken == 1 {
                break;
            }
            let n = free.saturating_sub(1 << left).max(taken + 1);
            match self.job(&names::job_id(target.placement, version, n)).await? {
                Some(seen) => (taken, last) = (n, Some(seen)),
                None => free = n,
            }
        }
        Ok((taken, last))
    }

    /// The public key of a job, if it can be used now and wraps as the scheme says.
    pub(crate) async fn read_wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        const OPERATION: Operation = Operation::GetImportJob;
        let id = match from {
            WrapFor::Prepared(id) => id,
            WrapFor::Object(_) => {
                return Err(found(OPERATION, Class::Unsupported, Cause::Plain, "a key to wrap under comes from an import job"));
            }
        };
        check_id(OPERATION, &id.0)?;
        let refused = |class, cause, message: &str| Err(found(OPERATION, class, cause, message));
        let Some(JobSeen { job, state, .. }) = self.job(id).await? else {
            return refused(Class::NotFound, Cause::Plain, "there is no such import job");
        };
        match state {
            JobState::Active => {}
            JobState::Pending => return refused(Class::Transient, Cause::Plain, "the import job is still being made"),
            JobState::Expired => return refused(Class::Stale, Cause::ImportTokenExpired, "the import job ran out"),
        }
        if !self.unwraps(&job, scheme) {
            let message = format!("the import job does not unwrap `{scheme}` under RSA of {} bits", self.import_key_size);
            return refused(Class::Stale, Cause::Plain, &message);
        }
        if job.protection_level.as_deref() != Some(kinds::level(self.protection)) {
            return refused(Class::Stale, Cause::Plain, "the import job is of another protection level");
        }
        let pem = job.public_key.and_then(|key| key.pem).ok_or_else(|| garbled(OPERATION, "an active import job without a public key"))?;
        let spki = spki(&pem).ok_or_else(|| garbled(OPERATION, "a public key that is not PEM"))?;
        self.check_attested(job.attestation.as_ref(), &spki)?;
        Ok(WrappingKey { spki, scheme, token: self.ring.job(&id.0).into_bytes(), valid_until: job.expire_time.map(timestamp) })
    }

    /// Where roots for attestations are configured, material goes only under a key that an HSM says it holds (rule 11).
    fn check_attested(&self, attestation: Option<&KeyOperationAttestation>, spki: &[u8]) -> Result<(), CloudError> {
        let (Protection::Hsm, Some(roots)) = (self.protection, &self.roots) else { return Ok(()) };
        let statement = match attestation {
            Some(attestation) => attestation::read(attestation, Some(roots)),
            None => Err("the import job has no attestation"),
        };
        let reason = match statement {
            Ok(statement) if statement.has_public_key(spki) => return Ok(()),
            Ok(_) => "the attestation of the import job is of another key",
            Err(reason) => reason,
        };
        Err(found(Operation::GetImportJob, Class::Broken, Cause::Plain, reason))
    }

    /// Why an import was refused. Google Cloud does not say which code an expired job has: its state tells.
    pub(crate) async fn why_refused(&self, error: CloudError, job: &ObjectId) -> CloudError {
        match self.job(job).await {
            Ok(Some(JobSeen { state: JobState::Expired, .. })) => {
                CloudError { class: Class::Stale, cause: Cause::ImportTokenExpired, ..error }
            }
            // What was refused was refused: that the second question has no answer changes nothing.
            Ok(_) | Err(_) => error,
        }
    }

    /// A job by its id; `None`: a typed "not found".
    async fn job(&self, id: &ObjectId) -> Result<Option<JobSeen>, CloudError> {
        const OPERATION: Operation = Operation::GetImportJob;
        let mut request = self.begin(OPERATION, &id.0);
        let sent = self.hub.projects().locations_key_rings_import_jobs_get(&self.ring.job(&id.0)).delegate(&mut request).doit().await;
        let (answer, job) = match request.judge(sent) {
            Err(error) if error.class == Class::NotFound => return Ok(None),
            other => other?,
        };
        self.check_job(OPERATION, job.name.as_deref(), id)?;
        let state = match job.state.as_deref() {
            Some("PENDING_GENERATION") => JobState::Pending,
            Some("ACTIVE") => JobState::Active,
            Some("EXPIRED") => JobState::Expired,
            _ => return Err(garbled(OPERATION, "an import job in a state that is not known")),
        };
        Ok(Some(JobSeen { job, state, at: date(&answer) }))
    }

    /// Whether a job's method is what is asked for now.
    fn unwraps(&self, job: &ImportJob, scheme: WrapScheme) -> bool {
        kinds::method(scheme, self.import_key_size).is_some_and(|method| job.import_method.as_deref() == Some(method))
    }

    /// Whether a job can be begun with, and is ready.
    fn usable(&self, seen: &JobSeen, target: &Target) -> Option<bool> {
        let JobSeen { job, state, at } = seen;
        // Made by an earlier configuration or program: not what is asked for now.
        let fits = job.protection_level.as_deref() == Some(kinds::level(self.protection))
            && kinds::schemes(target.algorithm).into_iter().any(|scheme| self.unwraps(job, scheme));
        let runs_out = matches!((job.expire_time, at), (Some(end), Some(now)) if end - *now < LEAST_TIME_LEFT);
        match state {
            JobState::Expired => None,
            JobState::Pending | JobState::Active if !fits || runs_out => None,
            JobState::Pending => Some(false),
            JobState::Active => Some(true),
        }
    }
}

/// A public key in PEM as DER.
pub(crate) fn spki(pem: &str) -> Option<Vec<u8>> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok().map(|der| der.to_vec())
}

/// The time at the server (RFC 9110, section 6.6.1): what its own times are compared with.
fn date(answer: &Response) -> Option<DateTime<Utc>> {
    let text = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.to_utc())
}
