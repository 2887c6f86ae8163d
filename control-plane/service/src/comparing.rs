//! Compares the custodian's records of use with the ledger: bytes that left the HSM under a wrapping key that no attempt knows.

use keyplane_model::{Act, ChangeSetRecord, ChangeSetState, Problem, ProblemCode, Span, Timestamp};
use keyplane_port::{CustodianError, Usage, Wrap};

use crate::Service;

/// How long a run may take from a wrap to the record of its attempt: it waits for quotas in between.
const WAITS: Span = Span::seconds(3_600);

impl Service {
    /// What the custodian has on record and the ledger does not know.
    pub(crate) async fn unknown_wraps(&self) -> Vec<Problem> {
        // Read before the ledger, in which a running attempt may be recorded meanwhile.
        let usages = match self.engine.custodian.usages().await {
            Ok(usages) => usages,
            // Such a token wrapped nothing.
            Err(CustodianError::NotEnrolled(_)) => return Vec::new(),
            Err(error) => {
                let problem = error.problem();
                let detail = format!("what left the HSM could not be compared with the ledger: {}", problem.detail);
                return vec![Problem { detail, ..problem }];
            }
        };
        let now = self.engine.clock.now();
        let mut problems: Vec<Problem> = usages.broken.into_iter().map(|what| CustodianError::UsageBroken(what).problem()).collect();
        if usages.more {
            let detail = "the token holds more records of use than are read at once: the rest was not compared with the ledger";
            problems.push(Problem::new(ProblemCode::TokenFailed, detail, "keyplane evidence"));
        }
        for usage in &usages.usages {
            match self.engine.ledger.change_set(&usage.change_set).await {
                Ok(record) => problems.extend(unknown(usage, record.as_ref(), now)),
                Err(error) => problems.push(error.problem()),
            }
        }
        problems
    }
}

/// The wraps of a change set that no attempt of it knows.
fn unknown(usage: &Usage, record: Option<&ChangeSetRecord>, now: Timestamp) -> Vec<Problem> {
    let known = |wrap: &Wrap| {
        record.is_some_and(|record| record.attempts_of(wrap.step).any(|attempt| attempt.wrapped_under == Some(wrap.wrapped_under)))
    };
    // A run that is at work writes the attempt down after the wrap.
    let may_come = |wrap: &Wrap| record.is_some_and(|record| record.state == ChangeSetState::Committed) && now < wrap.at + WAITS;
    usage.wraps.iter().filter(|wrap| !known(wrap) && !may_come(wrap)).map(|wrap| problem(usage, record, wrap)).collect()
}

fn problem(usage: &Usage, record: Option<&ChangeSetRecord>, wrap: &Wrap) -> Problem {
    let next = "unless a server stopped at that time, between wrapping and sending: treat this version as exposed, replace it, and find out \
                who could use the server and its approvals then";
    let (at, hash) = (wrap.at, wrap.wrapped_under);
    let told = |what: &str| format!("{what} left the HSM at {at} under a wrapping key that no attempt knows: {hash}");
    let Some(record) = record else {
        let what = format!("bytes for step {} of change set {}, which the ledger does not have,", wrap.step, usage.change_set);
        return Problem::new(ProblemCode::WrappingKeyUnknown, told(&what), next);
    };
    let key = &record.change_set.key;
    let step = record.change_set.step(wrap.step);
    let what = match step.map(|step| &step.act) {
        Some(Act::Import { version, .. }) => format!("bytes of `{key}`, version {version},"),
        _ => format!("bytes of `{key}`"),
    };
    let problem = Problem::new(ProblemCode::WrappingKeyUnknown, told(&what), next).key(key);
    match step.and_then(|step| record.change_set.placements.get(&step.placement)) {
        Some(plan) => problem.destination(&plan.destination),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use keyplane_model::{
        Action, Actor, Algorithm, ApprovalRule, Attempt, AttemptId, ChangeSet, CloudKind, Digest, Expectation, Generation, IdTree,
        InstallationId, PlacementPlan, Purpose, Step, StepNo, Version, WrapScheme,
    };

    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

    /// A change set with one import, and the record of its use under one key.
    fn wrapped() -> (Usage, ChangeSetRecord) {
        let ids = IdTree::new([1; 32]);
        let (installation, key) = (InstallationId(ids.child("installation").uuid()), ids.key("payments-db"));
        let placement = ids.placement(key, "prod", "payments-db");
        let plan = PlacementPlan {
            destination: "prod".parse().unwrap(),
            fingerprint: Digest::of(b"prod"),
            cloud: CloudKind::Aws,
            name: "payments-db".to_owned(),
            algorithm: Algorithm::Aes256,
            purpose: Purpose::Encrypt,
            incarnation: 1,
        };
        let act = Act::Import { version: Version(3), scheme: WrapScheme::RsaOaepSha256, of: None, made: None };
        let change_set = ChangeSet {
            format: ChangeSet::FORMAT,
            installation,
            key: "payments-db".parse().unwrap(),
            key_id: key,
            profile: "payments".parse().unwrap(),
            action: Action::Import,
            wanted: None,
            approvals: ApprovalRule { need: 0, from: BTreeSet::new() },
            proposer: Actor("carol".to_owned()),
            generation: Generation(0),
            placements: BTreeMap::from([(placement, plan)]),
            steps: vec![Step { placement, expects: Expectation::Empty, act }],
            reasons: Vec::new(),
            until: NOW,
        };
        let digest = change_set.digest().unwrap();
        let wrap = Wrap { step: StepNo(0), wrapped_under: Digest::of(b"a key"), at: NOW };
        let usage = Usage { wraps: vec![wrap], ..Usage::none(&change_set, digest) };
        let record = ChangeSetRecord {
            digest,
            change_set,
            state: ChangeSetState::Committed,
            proposed: NOW,
            approvals: Vec::new(),
            attempts: Vec::new(),
            receipts: BTreeMap::new(),
        };
        (usage, record)
    }

    fn attempt(record: &ChangeSetRecord, step: StepNo, under: &[u8]) -> Attempt {
        let id = AttemptId::of(&record.digest, step.0, 1);
        Attempt { id, step, ordinal: 1, at: NOW, wrapped_under: Some(Digest::of(under)), refused: None }
    }

    #[test]
    fn a_wrapping_key_that_no_attempt_of_its_step_knows_is_told_with_key_version_and_destination() {
        let (usage, mut record) = wrapped();
        let later = NOW + WAITS;
        for other in [attempt(&record, StepNo(0), b"another key"), attempt(&record, StepNo(1), b"a key")] {
            record.attempts = vec![other];
            let problems = unknown(&usage, Some(&record), later);
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!(problem.code, ProblemCode::WrappingKeyUnknown);
            assert_eq!((problem.key.as_ref().unwrap().as_str(), problem.destination.as_ref().unwrap().as_str()), ("payments-db", "prod"));
            for part in ["`payments-db`, version 3", &NOW.to_string(), &Digest::of(b"a key").to_string()] {
                assert!(problem.detail.contains(part), "{part}: {}", problem.detail);
            }
        }
        record.attempts = vec![attempt(&record, StepNo(0), b"a key")];
        assert_eq!(unknown(&usage, Some(&record), later), []);
    }

    #[test]
    fn a_run_that_is_at_work_has_time_to_record_its_attempt() {
        let (usage, mut record) = wrapped();
        assert_eq!(unknown(&usage, Some(&record), NOW + (WAITS - Span::seconds(1))), []);
        assert_eq!(unknown(&usage, Some(&record), NOW + WAITS).len(), 1);
        for state in [ChangeSetState::Proposed, ChangeSetState::Done, ChangeSetState::Dropped] {
            record.state = state;
            assert_eq!(unknown(&usage, Some(&record), NOW).len(), 1, "{state:?}: nothing runs");
        }
    }

    #[test]
    fn a_change_set_that_the_ledger_does_not_have_is_told() {
        let (usage, record) = wrapped();
        let problems = unknown(&usage, None, NOW);
        assert!(problems[0].detail.contains(&record.digest.to_string()), "{problems:?}");
    }
}
