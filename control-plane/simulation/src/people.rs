//! Who wants keys, who approves them, and who does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyplane_model::{
    APPROVAL_NAMESPACE, Algorithm, Approval, ApprovalRule, Approvals, Approver, ApproverName, ChangeSetState, CloudKind, Digest, GroupName,
    Intent, Key, PlacementIntent, ProfileName, Protection, Purpose, Retire, Rotation, Rules, Source, Span, Standing, approval_message,
};
use keyplane_port::{Ledger, MemoryLedger};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use crate::clouds::Place;
use crate::executor::Sim;
use crate::schedule::{KeyPlan, Schedule};

/// The approvers that count, in the order of [`Schedule::approvers`].
pub(crate) const APPROVERS: [&str; 3] = ["alice", "bob", "carol"];

/// The login under which the servers propose: its person approves everything at once, which must never count.
pub(crate) const PROPOSER: &str = "mallory";

const GROUP: &str = "security";

/// The pause between two looks of an approver, at least.
const LOOKS: Span = Span::seconds(25);

/// What the run's constants cannot fail at.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    #[expect(clippy::unwrap_used, reason = "names of a run are constants or numbered, and fit")]
    text.parse().unwrap()
}

fn key_of(name: &str) -> PrivateKey {
    let mut seed = [7; 32];
    seed.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    PrivateKey::from(Ed25519Keypair::from_seed(&seed))
}

fn approver(name: &str) -> (ApproverName, Approver) {
    let public = key_of(name).public_key().to_openssh().unwrap_or_default();
    (parsed(name), Approver { groups: [parsed::<GroupName>(GROUP)].into(), logins: [name.to_owned()].into(), keys: [public].into() })
}

/// What is wanted: from the beginning, or after the change.
pub(crate) fn intent(schedule: &Schedule, changed: bool) -> Intent {
    let later = changed.then_some(&schedule.change.1);
    let keys: Vec<&KeyPlan> = schedule.keys.iter().chain(later).collect();
    let rules = |need: u32| {
        let rule = ApprovalRule { need, from: [parsed::<GroupName>(GROUP)].into() };
        Rules {
            algorithms: [Algorithm::Aes256].into(),
            protection: Protection::Software,
            locations: None,
            source: None,
            rotation: Rotation { every: None, overlap: Span::days(30), retire: Retire::Never },
            approvals: Approvals { import: rule.clone(), retire: rule, standing: Standing::default() },
        }
    };
    let profile = |need: u32| parsed::<ProfileName>(&format!("need-{need}"));
    let key = |plan: &KeyPlan| Key {
        profile: profile(plan.need),
        purpose: Purpose::Encrypt,
        shared: plan.shared,
        rules: Rules { source: Some(if plan.generated { Source::Generated } else { Source::Derived }), ..rules(plan.need) },
        placements: plan.places.iter().map(|place| wanted(*place, &plan.name)).collect(),
    };
    Intent {
        approvers: APPROVERS.into_iter().chain([PROPOSER]).map(approver).collect(),
        profiles: [1, 2].into_iter().map(|need| (profile(need), rules(need))).collect(),
        keys: keys.into_iter().map(|plan| (parsed(&plan.name), key(plan))).collect(),
    }
}

fn wanted(place: Place, name: &str) -> PlacementIntent {
    let cloud = match place {
        Place::Aws => CloudKind::Aws,
        Place::Gcp => CloudKind::Gcp,
        Place::Azure => CloudKind::Azure,
    };
    PlacementIntent { destination: parsed(place.name()), cloud, name: name.to_owned(), algorithm: Algorithm::Aes256 }
}

fn sign(name: &str, digest: &Digest, sim: &Sim) -> Option<Approval> {
    let signature = key_of(name).sign(APPROVAL_NAMESPACE, HashAlg::Sha512, &approval_message(digest)).ok()?;
    Some(Approval { approver: parsed(name), signature: signature.to_pem(LineEnding::LF).ok()?, at: sim.now() })
}

/// An approver who looks now and then, thinks, and signs whatever is proposed, until nobody needs anybody any more.
pub(crate) async fn approve(
    name: &'static str,
    thinks: Span,
    sim: Arc<Sim>,
    ledger: Arc<MemoryLedger>,
    over: Arc<dyn Fn() -> bool + Send + Sync>,
) {
    let mut signed: BTreeSet<Digest> = BTreeSet::new();
    while !over() {
        sim.sleep(LOOKS + sim.span(thinks)).await;
        let Ok(snapshot) = ledger.snapshot().await else { continue };
        for record in snapshot.open.values().filter(|record| record.state == ChangeSetState::Proposed) {
            if signed.insert(record.digest)
                && let Some(approval) = sign(name, &record.digest, &sim)
                && ledger.approve(&record.digest, &approval).await.is_ok()
            {
                sim.note(name, &format!("approves {} of {}", record.digest.short(), record.change_set.key));
            }
        }
    }
}
