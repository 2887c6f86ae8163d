//! Checks every mutating request as it leaves: that it was approved, follows a look of a few seconds ago (rule 4), was recorded before
//! (rule 5), is not repeated too early (rule 3), is sent by the server that holds the lane (rule 8), and concerns something that the server
//! was told is missing (rule 9); and that no step is sent for ever. Checks every commit: that it has all approvals that the charter in force asks for (rule 12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt as _;
use keyplane_model::{
    Act, Asked, Attempt, ChangeSetRecord, ChangeSetState, Charter, Class, CopyRecord, Destination, Digest, Evidence, Fence, ObjectId,
    ObjectSeen, PlacementId, PlacementSeen, Receipt, SealedCharter, ServerId, Span, StepNo, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{
    Acted, Cloud, CloudError, Commitment, Cursor, Ledger, LedgerError, MemoryLedger, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey,
};

use crate::absence::Answers;
use crate::executor::{Sim, locked};
use crate::life::{Life, Moment};
use crate::people::{APPROVERS, approvers_of};
use crate::ports::Between;
use crate::rules::{Broken, Rule};

/// A cloud, watched between the server and the network.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Cloud>,
    pub(crate) ledger: Arc<MemoryLedger>,
    /// The server that sends requests.
    pub(crate) server: ServerId,
    pub(crate) broken: Arc<Mutex<Vec<Broken>>>,
    /// Every change set that was ever seen committed, since another server may drop one after its attempt was recorded.
    pub(crate) committed: Arc<Mutex<BTreeSet<Digest>>>,
    pub(crate) sim: Arc<Sim>,
    /// The last answers that this server got.
    pub(crate) answers: Mutex<Answers>,
    /// When each step was last sent by any server, unless the cloud certainly refused it.
    pub(crate) tried: Arc<Mutex<BTreeMap<(Digest, StepNo), Timestamp>>>,
    /// How often each step was sent by any server, except what the cloud certainly refused.
    pub(crate) sent: Arc<Mutex<BTreeMap<(Digest, StepNo), u32>>>,
    /// How many requests of each kind were sent.
    pub(crate) counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// How often a step of a change set may be sent that may have had its effect, over all runs. Whatever undid the effect so often will undo
/// it again.
const MOST_SENT: u32 = 8;

impl Watched {
    /// Of these steps, those of a change set that is committed now, for which a request is sent. It may fit those of a dropped one, too.
    fn running(&self, steps: &[(Digest, StepNo)]) -> Vec<(Digest, StepNo)> {
        let is_committed = |digest: &Digest| {
            let record = self.ledger.change_set(digest).now_or_never().and_then(Result::ok).flatten();
            record.is_some_and(|record| record.state == ChangeSetState::Committed)
        };
        steps.iter().filter(|(digest, _)| is_committed(digest)).copied().collect()
    }

    /// Checks that a step is not sent for ever to a destination that never shows its effect.
    fn judge_bound(&self, word: &str, running: &[(Digest, StepNo)]) {
        for step in running {
            let sent = {
                let mut all = locked(&self.sent);
                let sent = all.entry(*step).or_default();
                *sent += 1;
                *sent
            };
            if sent > MOST_SENT {
                let name = &self.inner.destination().name;
                let what = format!("{word} was sent to {name} {sent} times for step {} of change set {}", step.1, step.0.short());
                locked(&self.broken).push(Broken { rule: Rule::Bounded, what });
            }
        }
    }

    /// Checks that the sender holds the lane, as the ledger has it now.
    fn judge_lane(&self, word: &str) {
        let Destination { name, home, .. } = self.inner.destination();
        let Some(Ok(lease)) = self.ledger.lease(home).now_or_never() else { return };
        if lease.holder != Some(self.server) {
            let what = format!("{word} was sent to {name} by a server that does not hold the lane: {lease:?}");
            locked(&self.broken).push(Broken { rule: Rule::Lanes, what });
        }
    }

    /// The open steps of committed change sets that this mutation can be: their attempt is recorded, and their receipt is not.
    fn judge(&self, mutation: &Mutation) -> Vec<(Digest, StepNo)> {
        let destination = &self.inner.destination().name;
        // The ledger in memory is never busy.
        let Some(Ok(snapshot)) = self.ledger.snapshot().now_or_never() else { return Vec::new() };
        let open = snapshot.open.values().filter(|record| record.state == ChangeSetState::Committed);
        let known: Vec<Digest> = {
            let mut committed = locked(&self.committed);
            committed.extend(open.map(|record| record.digest));
            committed.iter().copied().collect()
        };
        let records: Vec<ChangeSetRecord> =
            known.iter().filter_map(|digest| self.ledger.change_set(digest).now_or_never()?.ok()?).collect();
        let steps: Vec<(&ChangeSetRecord, u32)> =
            records.iter().flat_map(|record| matching(record, destination.as_str(), mutation)).collect();
        let word = mutation.word();
        if locked(&self.answers).retires(mutation) {
            let what = format!("{word} was sent to {destination} for what is in use: {mutation:?}");
            locked(&self.broken).push(Broken { rule: Rule::Retiring, what });
        }
        if steps.is_empty() {
            let what = format!("{word} was sent to {destination}, and no committed change set says so: {mutation:?}");
            locked(&self.broken).push(Broken { rule: Rule::Approved, what });
            return Vec::new();
        }
        if !steps.iter().any(|(record, _)| is_approved(record)) {
            let what = format!("{word} was sent to {destination}, and too few approved it who did not propose it");
            locked(&self.broken).push(Broken { rule: Rule::Approved, what });
        }
        if let Mutation::Import { target, object: Some(object), .. } = mutation
            && let Some(known) = snapshot.keys.get(&target.key).and_then(|record| record.placements.get(&target.placement))
            && known.object.as_ref() != Some(object)
        {
            let what = format!("material was sent to `{object}` at {destination}, which is not the object that holds the claim");
            locked(&self.broken).push(Broken { rule: Rule::Doubles, what });
        }
        // The next change set does not search for what a dropped one attempted. It becomes surplus, which a clean-up removes.
        let again = steps
            .iter()
            .filter(|(record, _)| record.state == ChangeSetState::Committed)
            .any(|(record, number)| record.attempts_of(StepNo(*number)).filter(|attempt| attempt.refused.is_none()).count() > 1);
        if let Some(why) = locked(&self.answers).contradicts(mutation, self.inner.destination().capabilities.creation, again) {
            let what = format!("{word} was sent to {destination} for what is missing there, but {why}: {mutation:?}");
            locked(&self.broken).push(Broken { rule: Rule::Absence, what });
        }
        let written = steps
            .iter()
            .any(|(record, number)| record.attempts.iter().any(|attempt| attempt.step.0 == *number && attempt.refused.is_none()));
        if !written {
            let what = format!("{word} was sent to {destination}, and no attempt at it is in the ledger");
            locked(&self.broken).push(Broken { rule: Rule::Attempted, what });
        }
        // A server looks for a wrapping key, not at the placement, before it makes one; and an unused one does no harm.
        if !matches!(mutation, Mutation::Prepare { .. }) {
            let committed = steps.iter().filter(|(record, _)| record.state == ChangeSetState::Committed);
            committed.for_each(|(record, number)| self.judge_look(word, record, StepNo(*number)));
        }
        steps.iter().map(|(record, number)| (record.digest, StepNo(*number))).collect()
    }

    /// Checks that a step follows a look of a few seconds ago and, if it was sent before, a conclusive absence.
    fn judge_look(&self, word: &str, record: &ChangeSetRecord, number: StepNo) {
        let Some(step) = record.change_set.steps.get(number.0 as usize) else { return };
        let Destination { name, capabilities, .. } = self.inner.destination();
        let (now, answers) = (self.sim.now(), locked(&self.answers));
        if let Some(why) = answers.outdated(step.placement, now) {
            let what = format!("{word} was sent to {name}, and {why}");
            locked(&self.broken).push(Broken { rule: Rule::Approved, what });
        }
        let sent = locked(&self.tried).get(&(record.digest, number)).copied();
        if let Some(why) = sent.and_then(|sent| answers.inconclusive(step.placement, sent, now, capabilities)) {
            let what = format!("{word} was sent to {name} again, {why}");
            locked(&self.broken).push(Broken { rule: Rule::Doubles, what });
        }
    }
}

/// Counts the approvals by itself: enough different people, without the proposer. The verifier checks the signatures.
fn is_approved(record: &ChangeSetRecord) -> bool {
    let others = record.approvals.iter().filter(|approval| APPROVERS.contains(&approval.approver.as_str()));
    let people: BTreeSet<_> = others.map(|approval| &approval.approver).collect();
    u32::try_from(people.len()).is_ok_and(|people| people >= record.change_set.approvals.need)
}

/// The ledger, watched between it and the server that commits.
pub(crate) struct WatchedLedger {
    pub(crate) inner: Arc<MemoryLedger>,
    pub(crate) life: Life,
    pub(crate) broken: Arc<Mutex<Vec<Broken>>>,
    /// The charter that the server read last, and when.
    pub(crate) read: Mutex<Option<(SealedCharter, Timestamp)>>,
}

/// How old a charter may be when approvals are counted by it: a server may be suspended meanwhile.
const STALE: Span = Span::seconds(180);

#[async_trait]
impl Between for WatchedLedger {
    fn behind(&self) -> &dyn Ledger {
        self.inner.as_ref()
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        let charter = self.inner.charter().await;
        *locked(&self.read) = charter.as_ref().ok().cloned().flatten().map(|charter| (charter, self.life.sim.now()));
        charter
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.inner.attempt(digest, attempt, fence, asked).await?;
        self.life.passes(Moment::Written);
        Ok(())
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.inner.receive(digest, receipt, fence, asked).await?;
        self.life.passes(Moment::Recorded);
        Ok(())
    }

    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError> {
        let record = self.inner.change_set(digest).await?;
        let committed = self.inner.commit(digest, asked).await;
        if let (Ok(Commitment::Committed(_)), Some(record)) = (&committed, record) {
            let why = match &*locked(&self.read) {
                Some((sealed, read)) if self.life.sim.now() - *read <= STALE => {
                    let (have, need) = (approvers_of(&sealed.charter, &record.approvals), need(&sealed.charter, &record));
                    (have < need).then(|| format!("charter {} asks for {need} approvals of it, and it had {have}", sealed.serial))
                }
                _ => Some("nobody looked which charter is in force".to_owned()),
            };
            if let Some(why) = why {
                let what = format!("{} of {} was committed, but {why}", digest.short(), record.change_set.key);
                locked(&self.broken).push(Broken { rule: Rule::Charter, what });
            }
        }
        committed
    }
}

/// The number of approvals that a change set needs: the charter's or its own, whichever is higher.
fn need(charter: &Charter, record: &ChangeSetRecord) -> u32 {
    let change_set = &record.change_set;
    charter.rule(&change_set.profile, change_set.action).map_or(u32::MAX, |rule| rule.need.max(change_set.approvals.need))
}

/// The steps of a change set that a mutation can belong to.
fn matching<'a>(record: &'a ChangeSetRecord, destination: &str, mutation: &Mutation) -> Vec<(&'a ChangeSetRecord, u32)> {
    let here =
        |placement: &PlacementId| record.change_set.placements.get(placement).is_some_and(|plan| plan.destination.as_str() == destination);
    let fits = |act: &Act, placement: &PlacementId| match (mutation, act) {
        (Mutation::Create { target, .. }, Act::Create)
        | (Mutation::Claim { target, .. }, Act::Claim)
        | (Mutation::Publish { target, .. }, Act::Publish) => target.placement == *placement,
        (Mutation::Prepare { target, version, .. }, Act::Prepare { version: planned, .. })
        | (Mutation::Import { target, version, .. }, Act::Import { version: planned, .. }) => {
            target.placement == *placement && version == planned
        }
        (Mutation::Disable { object, material: Some(material) }, Act::DisableSurplus { object: planned, material: surplus, .. }) => {
            object == planned && material == surplus
        }
        (Mutation::ScheduleDeletion { object, .. }, Act::RemoveSurplus { object: planned }) => object == planned,
        _ => false,
    };
    // Another server may have confirmed it between an attempt and its request.
    let open = |number: u32| match record.receipts.get(&StepNo(number)) {
        None => true,
        Some(theirs) => record.attempts_of(StepNo(number)).any(|attempt| attempt.refused.is_none() && Some(attempt.id) != theirs.attempt),
    };
    let numbered = (0..).zip(&record.change_set.steps);
    numbered
        .filter(|(number, step)| here(&step.placement) && fits(&step.act, &step.placement) && open(*number))
        .map(|(number, _)| (record, number))
        .collect()
}

#[async_trait]
impl Cloud for Watched {
    fn destination(&self) -> &Destination {
        self.inner.destination()
    }

    fn sent(&self, quota: &str) -> Option<u64> {
        self.inner.sent(quota)
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let asked = self.sim.now();
        locked(&self.answers).asked(target.placement, asked);
        let answer = self.inner.look(target).await;
        locked(&self.answers).looked(target.placement, asked, &answer);
        answer
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.inner.inspect(object).await
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        locked(&self.answers).turns(cursor);
        let answer = self.inner.sweep(cursor).await;
        locked(&self.answers).turned(&answer);
        answer
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        self.inner.find(target, swept).await
    }

    async fn prepared(&self, target: &Target, version: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        self.inner.prepared(target, version, made).await
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        self.inner.wrapping_key(from, scheme).await
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        self.judge_lane(mutation.word());
        let steps = self.judge(mutation);
        let running = self.running(&steps);
        self.judge_bound(mutation.word(), &running);
        locked(&self.tried).extend(steps.iter().map(|step| (*step, self.sim.now())));
        let word = format!("{} at {}", mutation.word(), self.inner.destination().name);
        *locked(&self.counts).entry(word).or_default() += 1;
        let answer = self.inner.act(mutation).await;
        if answer.as_ref().is_err_and(|error| error.class != Class::Ambiguous) {
            locked(&self.tried).retain(|step, _| !steps.contains(step));
            locked(&self.sent).iter_mut().filter(|(step, _)| running.contains(step)).for_each(|(_, sent)| *sent -= 1);
        }
        answer
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        self.inner.evidence(target, copy, now).await
    }
}
