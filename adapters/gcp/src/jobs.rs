//! Import jobs, which are Google Cloud's wrapping keys. Each of ours serves one copy.

use chrono::{DateTime, Utc};
use google_cloudkms1::api::{ImportJob, KeyOperationAttestation};
use keyplane_destination::check_wrapping_key;
use keyplane_model::{Class, ObjectId, Protection, Target, Timestamp, Version, WrapScheme};
use keyplane_port::{Cause, CloudError, Prepared, WrapFor, WrappingKey};

use crate::GoogleKms;
use crate::answer::{date, spki, timestamp};
use crate::attestation;
use crate::checks::check_id;
use crate::error::{found, garbled};
use crate::kinds;
use crate::names;
use crate::operation::{JOB_READS, MAX_JOBS, Operation};

/// A job that expires sooner than this is not used for a new import, because the import may first have to wait for its quota.
const LEAST_TIME_LEFT: chrono::Duration = chrono::Duration::hours(1);

/// An import job, as one read showed it.
pub(crate) struct JobSeen {
    job: ImportJob,
    state: JobState,
    /// The server's time at that read; `None`: the answer does not say.
    at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JobState {
    Pending,
    Active,
    Expired,
}

impl GoogleKms {
    /// The newest job for a copy; `None`: there is none, or it can no longer be used.
    pub(crate) async fn newest_job(&self, target: &Target, version: Version) -> Result<Option<Prepared>, CloudError> {
        let (n, newest) = self.last_job(target, version).await?;
        let ready = newest.and_then(|seen| self.usable(&seen, target));
        Ok(ready.map(|ready| Prepared { wrapping: names::job_id(target.placement, version, n), ready }))
    }

    /// The first free id for a copy's job.
    pub(crate) async fn free_job(&self, target: &Target, version: Version) -> Result<ObjectId, CloudError> {
        match self.last_job(target, version).await? {
            (MAX_JOBS, _) => {
                let message = format!("{MAX_JOBS} import jobs were made for version {version} of placement {}", target.placement);
                Err(found(Operation::CreateImportJob, Class::Denied, Cause::Plain, &message))
            }
            (n, _) => Ok(names::job_id(target.placement, version, n + 1)),
        }
    }

    /// The number of a copy's last job, and the job; 0: there is none. Jobs are numbered from 1 and cannot be deleted, so exactly the
    /// numbers up to the last are taken.
    ///
    /// INVARIANT: sends no more reads than [`JOB_READS`] (rule 8), however many jobs expired. Each read asks for the lowest number from
    /// which the remaining reads can still find the last job. So a copy without a job takes one read, and one with one job two.
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

    /// The public key of a job that is active and unwraps by the scheme.
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
        let Some(JobSeen { job, state, at }) = self.job(id).await? else {
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
        // INVARIANT: nothing is wrapped under a key of another size than the job's method says (rule 11).
        check_wrapping_key(&spki, self.import_key_size as usize).map_err(|unfit| garbled(OPERATION, &unfit.to_string()))?;
        // A job lives for three days, so its attestation is about as old as this answer.
        self.check_attested(job.attestation.as_ref(), &spki, at.map(timestamp))?;
        Ok(WrappingKey { spki, scheme, token: self.ring.job(&id.0).into_bytes(), valid_until: job.expire_time.map(timestamp) })
    }

    /// If roots for attestations are configured, refuses a wrapping key that no HSM attests (rule 11).
    // contract: gcp.attestation
    fn check_attested(&self, attestation: Option<&KeyOperationAttestation>, spki: &[u8], at: Option<Timestamp>) -> Result<(), CloudError> {
        let (Protection::Hsm, Some(roots)) = (self.protection, &self.roots) else { return Ok(()) };
        let statement = match attestation {
            Some(attestation) => attestation::read(attestation, Some(roots), at),
            None => Err("the import job has no attestation".to_owned()),
        };
        let reason = match statement {
            Ok(statement) if statement.has_public_key(spki) => return Ok(()),
            Ok(_) => "the attestation of the import job is of another key".to_owned(),
            Err(reason) => reason,
        };
        Err(found(Operation::GetImportJob, Class::Broken, Cause::Plain, &reason))
    }

    /// The error for a refused import. Google Cloud's code for an expired job is not documented, so the job's state is read.
    // contract: gcp.unstated
    pub(crate) async fn why_refused(&self, error: CloudError, job: &ObjectId) -> CloudError {
        match self.job(job).await {
            Ok(Some(JobSeen { state: JobState::Expired, .. })) => {
                CloudError { class: Class::Stale, cause: Cause::ImportTokenExpired, ..error }
            }
            // The import was refused in any case. If the job cannot be read, the import's error stays.
            Ok(_) | Err(_) => error,
        }
    }

    /// Reads a job by its id; `None`: Google Cloud's typed "not found".
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

    /// Whether a job's import method is the one that the scheme and the configured length ask for.
    fn unwraps(&self, job: &ImportJob, scheme: WrapScheme) -> bool {
        kinds::method(scheme, self.import_key_size).is_some_and(|method| job.import_method.as_deref() == Some(method))
    }

    /// Whether a job is ready; `None`: it can no longer be used for a new import.
    fn usable(&self, seen: &JobSeen, target: &Target) -> Option<bool> {
        let JobSeen { job, state, at } = seen;
        // Another configuration or program may have made the job, so that it does not fit.
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
