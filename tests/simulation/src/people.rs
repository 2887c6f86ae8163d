//! The people of a run: intents, and approvers who sign or do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};

use keyplane_model::{
    APPROVAL_NAMESPACE, APPROVALS_LAST, Actor, Algorithm, Approval, ApprovalRule, Approvals, Approver, ApproverName, Asked, ChangeSetState,
    Charter, CloudKind, GroupName, Intent, Key, PlacementIntent, ProfileName, Protection, Retire, Rotation, Rules, Source, Span, Standing,
    Statement,
};
use keyplane_port::{Ledger, MemoryLedger};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use crate::clouds::Place;
use crate::executor::{Sim, locked};
use crate::schedule::{CharterChange, KeyPlan, Schedule};

/// The approvers, in the order of [`Schedule::approvers`]. The last one replaces [`LEAVES`] in the charter, if that is replaced.
pub(crate) const APPROVERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// The approver who is replaced.
const LEAVES: &str = APPROVERS[1];

/// The approver who takes the place.
const COMES: &str = APPROVERS[3];

/// The only one who signs a new charter that is given up for lack of approvals.
const SIGNS_ALONE: &str = APPROVERS[0];

/// The login under which the servers propose. This person approves everything at once, which must never count.
pub(crate) const PROPOSER: &str = "mallory";

const GROUP: &str = "security";

/// The shortest pause between two looks of an approver.
const LOOKS: Span = Span::seconds(25);

pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    #[expect(clippy::unwrap_used, reason = "names of a run are constants or numbered, and fit")]
    text.parse().unwrap()
}

/// Each person's key, and its public key as charters have it. Generated once, the same in every run.
static KEYS: LazyLock<BTreeMap<&str, (PrivateKey, String)>> = LazyLock::new(|| {
    let key = |name: &'static str| {
        let mut seed = [7; 32];
        seed.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let public = key.public_key().to_openssh().unwrap_or_default();
        (name, (key, public))
    };
    APPROVERS.into_iter().chain([PROPOSER]).map(key).collect()
});

fn approver(name: &str) -> (ApproverName, Approver) {
    let public = KEYS.get(name).map(|(_, public)| public.clone());
    (
        parsed(name),
        Approver { groups: [parsed::<GroupName>(GROUP)].into(), logins: [name.to_owned()].into(), keys: public.into_iter().collect() },
    )
}

/// The intent. `changed`: after the change of what is wanted. `charter`: with these other approvers or rules.
pub(crate) fn intent(schedule: &Schedule, changed: bool, charter: Option<CharterChange>) -> Intent {
    let later = schedule.change.as_ref().map(|(_, key)| key).filter(|_| changed);
    let keys: Vec<&KeyPlan> = schedule.keys.iter().chain(later).collect();
    let rules = |need: u32| {
        let need = match charter {
            Some(CharterChange::Loosened) => need.min(1),
            Some(CharterChange::Tightened) => need.max(2),
            Some(CharterChange::Replaced) | None => need,
        };
        let rule = ApprovalRule { need, from: [parsed::<GroupName>(GROUP)].into() };
        Rules {
            algorithms: Algorithm::ALL.into(),
            protection: Protection::Software,
            locations: None,
            source: None,
            rotation: Rotation { every: None, overlap: Span::days(30), retire: Retire::Never },
            approvals: Approvals { import: rule.clone(), retire: rule, valid: APPROVALS_LAST, standing: Standing::default() },
        }
    };
    let profile = |need: u32| parsed::<ProfileName>(&format!("need-{need}"));
    let key = |plan: &KeyPlan| Key {
        profile: profile(plan.need),
        purpose: plan.purpose,
        shared: plan.shared,
        rules: Rules { source: Some(if plan.generated { Source::Generated } else { Source::Derived }), ..rules(plan.need) },
        placements: plan.places.iter().map(|(place, algorithm)| wanted(*place, &plan.name, *algorithm)).collect(),
    };
    let gone = if charter == Some(CharterChange::Replaced) { LEAVES } else { COMES };
    Intent {
        approvers: APPROVERS.into_iter().filter(|name| *name != gone).chain([PROPOSER]).map(approver).collect(),
        profiles: [1, 2].into_iter().map(|need| (profile(need), rules(need))).collect(),
        key_rules: BTreeSet::new(),
        keys: keys.into_iter().map(|plan| (parsed(&plan.name), key(plan))).collect(),
    }
}

fn wanted(place: Place, name: &str, algorithm: Algorithm) -> PlacementIntent {
    let cloud = match place {
        Place::Aws => CloudKind::Aws,
        Place::Gcp | Place::Gcp2 => CloudKind::Gcp,
        Place::Azure => CloudKind::Azure,
    };
    PlacementIntent { destination: parsed(place.name()), cloud, name: name.to_owned(), algorithm }
}

/// How many of a charter's approvers gave one of these approvals, except the proposer. The verifier checks the signatures.
pub(crate) fn approvers_of(charter: &Charter, approvals: &[Approval]) -> u32 {
    let people: BTreeSet<_> = approvals.iter().map(|approval| &approval.approver).collect();
    let count = people.into_iter().filter(|name| name.as_str() != PROPOSER && charter.approvers.contains_key(*name)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The same for approvers in one of these groups.
pub(crate) fn approvers_in(charter: &Charter, groups: &BTreeSet<GroupName>, approvals: &[Approval]) -> u32 {
    let people: BTreeSet<_> = approvals.iter().map(|approval| &approval.approver).filter(|name| name.as_str() != PROPOSER).collect();
    let counts = |name: &&ApproverName| {
        charter.approvers.get(*name).is_some_and(|approver| approver.groups.iter().any(|group| groups.contains(group)))
    };
    u32::try_from(people.into_iter().filter(counts).count()).unwrap_or(u32::MAX)
}

/// New charters that somebody wants to be in force: what is to be signed, with the approvals so far.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<BTreeMap<String, Vec<Approval>>>>);

impl Desk {
    /// The approvals of a charter change so far. The first request puts it on the desk.
    pub(crate) fn approvals(&self, change: &Statement) -> Vec<Approval> {
        locked(&self.0).entry(change.as_str().to_owned()).or_default().clone()
    }

    /// Signs everything on the desk that this person has not signed; returns how many that were.
    fn sign(&self, name: &str, sim: &Sim) -> usize {
        let mut signed = 0;
        for (change, approvals) in locked(&self.0).iter_mut() {
            if approvals.iter().all(|approval| approval.approver.as_str() != name) {
                approvals.extend(sign(name, change, sim));
                signed += 1;
            }
        }
        signed
    }
}

fn sign(name: &str, statement: &str, sim: &Sim) -> Option<Approval> {
    let signature = KEYS.get(name)?.0.sign(APPROVAL_NAMESPACE, HashAlg::Sha512, statement.as_bytes()).ok()?;
    Some(Approval { approver: parsed(name), signature: signature.to_pem(LineEnding::LF).ok()?, at: sim.now() })
}

/// An approver of a run, and its means.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    /// The longest time until it notices what is to be signed.
    pub(crate) thinks: Span,
    /// Whether a new charter is given up: then the approvers who would complete it do not sign.
    pub(crate) given_up: bool,
    pub(crate) sim: Arc<Sim>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) desk: Desk,
}

impl Person {
    /// Looks from time to time, and signs what is proposed, until the run is over.
    pub(crate) async fn approve(self, over: Arc<dyn Fn() -> bool + Send + Sync>) {
        let Self { name, thinks, given_up, sim, ledger, desk } = self;
        let signs = !given_up || [SIGNS_ALONE, PROPOSER].contains(&name);
        // By digest and charter, since a change set has to be signed again under another charter.
        let mut signed = BTreeSet::new();
        while !over() {
            sim.sleep(LOOKS + sim.span(thinks)).await;
            if signs && desk.sign(name, &sim) > 0 {
                sim.note(name, "signs another charter");
            }
            let (Ok(snapshot), Ok(Some(sealed))) = (ledger.snapshot().await, ledger.charter().await) else { continue };
            let Ok(charter) = sealed.id() else { continue };
            for record in snapshot.open.values().filter(|record| record.state == ChangeSetState::Proposed) {
                let statement = Statement::of_change_set(&record.change_set, &record.digest, &charter);
                if signed.insert((record.digest, charter.serial))
                    && let Some(approval) = sign(name, statement.as_str(), &sim)
                    && ledger.approve(&record.digest, &approval, Asked { by: &Actor(name.to_owned()), at: sim.now() }).await.is_ok()
                {
                    sim.note(name, &format!("approves {} of {}", record.digest.short(), record.change_set.key));
                }
            }
        }
    }
}
