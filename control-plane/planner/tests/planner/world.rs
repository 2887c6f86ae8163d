//! A small pure world of intent, ledger and clouds. Change sets are applied to it without an engine.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    APPROVALS_LAST, Act, Action, Actor, Algorithm, ApprovalRule, Approvals, AttemptId, Capabilities, ChangeSet, ChangeSetRecord,
    ChangeSetState, CloudKind, CopyCoordinates, Creation, Destination, DestinationName, Digest, EpochId, IdTree, InstallationId, Intent,
    Inventory, Key, KeyName, KeyRecord, LedgerSnapshot, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, Outcome,
    PlacementId, PlacementIntent, PlacementSeen, Presence, Protection, Purpose, Quota, Receipt, Retire, Rotation, Rules, Source, Span,
    Standing, Step, StepNo, Timestamp, WrapScheme,
};
use keyplane_planner::{Custody, Plan, PlanInput, plan, targets};
use keyplane_verifier::{Facts, Violation, judge};

pub(crate) const SEED: [u8; 32] = [7; 32];
pub(crate) const START: Timestamp = Timestamp(1_790_000_000_000_000);

pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// The objects of one destination.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cloud {
    pub(crate) objects: BTreeMap<ObjectId, ObjectSeen>,
    pub(crate) claims: BTreeMap<PlacementId, ObjectId>,
    pub(crate) names: BTreeMap<String, ObjectId>,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) intent: Intent,
    pub(crate) destinations: BTreeMap<DestinationName, Destination>,
    pub(crate) ledger: LedgerSnapshot,
    pub(crate) clouds: BTreeMap<DestinationName, Cloud>,
    pub(crate) custody: Custody,
    pub(crate) proposer: Actor,
    pub(crate) now: Timestamp,
}

impl World {
    /// Two AWS destinations in one lane, and one destination of a cloud without claims. No key is wanted yet.
    pub(crate) fn new() -> Self {
        let symmetric = BTreeSet::from([Algorithm::Aes256, Algorithm::HmacSha256]);
        let all = BTreeSet::from(Algorithm::ALL);
        let destinations: BTreeMap<DestinationName, Destination> = [
            destination("prod", CloudKind::Aws, "111122223333 us-east-1", true),
            destination("prod-too", CloudKind::Aws, "111122223333 us-east-1", true),
            destination("ring", CloudKind::Gcp, "project/europe-west1/ring", false),
        ]
        .into_iter()
        .map(|destination| (destination.name.clone(), destination))
        .collect();
        Self {
            intent: Intent { profiles: BTreeMap::from([(name("payments"), rules())]), ..Intent::default() },
            clouds: destinations.keys().map(|name| (name.clone(), Cloud::default())).collect(),
            destinations,
            ledger: LedgerSnapshot {
                installation: InstallationId(IdTree::new(SEED).child("installation").uuid()),
                keys: BTreeMap::new(),
                open: BTreeMap::new(),
            },
            custody: Custody {
                epoch: EpochId(1),
                derives: true,
                schemes: BTreeMap::from([(WrapScheme::RsaOaepSha256, symmetric), (WrapScheme::RsaAesKeyWrapSha256, all)]),
            },
            proposer: Actor("pipeline".into()),
            now: START,
        }
    }

    pub(crate) fn with_one_key() -> Self {
        let mut world = Self::new();
        world.want("payments-db", &[("prod", Algorithm::Aes256)]);
        world
    }

    /// Wants a key at these destinations, with the key's name as its name there.
    pub(crate) fn want(&mut self, key: &str, placements: &[(&str, Algorithm)]) {
        let placements = placements
            .iter()
            .map(|(at, algorithm)| PlacementIntent {
                destination: name(at),
                cloud: self.destinations.get(&name(at)).map_or(CloudKind::Azure, |destination| destination.cloud),
                name: key.to_owned(),
                algorithm: *algorithm,
            })
            .collect();
        let key_intent = Key { profile: name("payments"), purpose: Purpose::Encrypt, shared: false, rules: rules(), placements };
        self.intent.keys.insert(name(key), key_intent);
    }

    pub(crate) fn key(&mut self, key: &str) -> &mut Key {
        self.intent.keys.get_mut(&name(key)).unwrap()
    }

    pub(crate) fn record(&mut self, key: &str) -> &mut KeyRecord {
        self.ledger.keys.get_mut(&name::<KeyName>(key)).unwrap()
    }

    pub(crate) fn cloud(&mut self, at: &str) -> &mut Cloud {
        self.clouds.get_mut(&name(at)).unwrap()
    }

    pub(crate) fn destination(&mut self, at: &str) -> &mut Destination {
        self.destinations.get_mut(&name(at)).unwrap()
    }

    /// The only object that has a claim or, in a cloud without claims, the name.
    pub(crate) fn object(&mut self, at: &str) -> &mut ObjectSeen {
        let cloud = self.cloud(at);
        let object = cloud.claims.values().chain(cloud.names.values()).next().unwrap().clone();
        cloud.objects.get_mut(&object).unwrap()
    }

    /// A complete look at every destination.
    pub(crate) fn look(&self) -> BTreeMap<DestinationName, Inventory> {
        targets(&self.intent, &self.destinations, &self.ledger, IdTree::new(SEED), self.ledger.installation)
            .into_iter()
            .map(|(at, targets)| {
                let cloud = &self.clouds[&at];
                let claims = self.destinations[&at].capabilities.creation == Creation::Claimed;
                let object = |id: Option<&ObjectId>| id.and_then(|id| cloud.objects.get(id)).cloned();
                let placements = targets.into_iter().map(|target| {
                    let published = object(cloud.names.get(&target.name));
                    let claimed = if claims { object(cloud.claims.get(&target.placement)) } else { published.clone() };
                    (target.placement, PlacementSeen { claimed, published })
                });
                let ours = cloud.objects.iter().filter(|(_, object)| object.marks.is_some());
                let inventory = Inventory {
                    at: self.now,
                    complete: true,
                    placements: placements.collect(),
                    ours: ours.map(|(id, object)| (id.clone(), object.clone())).collect(),
                };
                (at, inventory)
            })
            .collect()
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan_with(&self.look())
    }

    pub(crate) fn plan_with(&self, inventories: &BTreeMap<DestinationName, Inventory>) -> Plan {
        self.plan_since(&self.ledger, inventories)
    }

    /// Plans with looks that were taken when the ledger was `before`.
    pub(crate) fn plan_since(&self, before: &LedgerSnapshot, inventories: &BTreeMap<DestinationName, Inventory>) -> Plan {
        plan(&PlanInput {
            intent: &self.intent,
            destinations: &self.destinations,
            before,
            ledger: &self.ledger,
            inventories,
            custody: &self.custody,
            proposer: &self.proposer,
            now: self.now,
            ids: IdTree::new(SEED),
        })
    }

    /// The verifier's judgement of a change set.
    pub(crate) fn verdict(&self, change_set: &ChangeSet) -> Result<(), Vec<Violation>> {
        let charter = self.intent.charter(self.ledger.installation);
        judge(
            change_set,
            &Facts {
                charter: &charter,
                installation: self.ledger.installation,
                now: self.now,
                record: self.ledger.keys.get(&change_set.key),
                key: self.intent.keys.get(&change_set.key),
                destinations: Some(&self.destinations),
            },
        )
    }

    /// Records a change set as proposed.
    pub(crate) fn propose(&mut self, change_set: &ChangeSet) {
        let record = ChangeSetRecord {
            digest: change_set.digest().unwrap(),
            change_set: change_set.clone(),
            state: ChangeSetState::Proposed,
            proposed: self.now,
            approvals: Vec::new(),
            attempts: Vec::new(),
            wraps: Vec::new(),
            receipts: BTreeMap::new(),
        };
        self.ledger.open.insert(change_set.key_id, record);
    }

    /// Commits a change set and carries out all its steps.
    pub(crate) fn apply(&mut self, change_set: &ChangeSet) {
        self.apply_until(change_set, change_set.steps.len(), false);
        self.ledger.keys.get_mut(&change_set.key).unwrap().complete(self.now);
        self.settle();
    }

    /// Lets time pass until every read shows the last change.
    fn settle(&mut self) {
        self.now = self.now + Span::seconds(60);
    }

    /// Commits a change set, carries out its first steps, and drops it. `lost`: the last step had its effect, but its receipt is lost.
    pub(crate) fn apply_until(&mut self, change_set: &ChangeSet, steps: usize, lost: bool) {
        self.ledger.open.remove(&change_set.key_id);
        let record = KeyRecord::committed(self.ledger.keys.get(&change_set.key), change_set).unwrap();
        self.ledger.keys.insert(change_set.key.clone(), record);
        for (number, step) in (0..).map(StepNo).zip(&change_set.steps).take(steps) {
            self.now = self.now + Span::seconds(1);
            let outcome = self.act(change_set, number, step);
            if lost && number.0 as usize + 1 == steps {
                break;
            }
            let receipt = Receipt { step: number, attempt: None, outcome, at: self.now };
            self.ledger.keys.get_mut(&change_set.key).unwrap().settle(change_set, &receipt).unwrap();
        }
        self.settle();
    }

    /// Carries out one step as the engine does: it looks first.
    fn act(&mut self, change_set: &ChangeSet, number: StepNo, step: &Step) -> Outcome {
        let plan = &change_set.placements[&step.placement];
        let claims = self.destinations[&plan.destination].capabilities.creation == Creation::Claimed;
        let recorded = self.ledger.keys[&change_set.key].placements[&step.placement].object.clone();
        let cloud = self.clouds.get_mut(&plan.destination).unwrap();
        let held = if claims { cloud.claims.get(&step.placement) } else { cloud.names.get(&plan.name) }.cloned();
        match &step.act {
            Act::Mint { version, source, epoch } => Outcome::Minted {
                coordinates: CopyCoordinates {
                    installation: change_set.installation,
                    key: change_set.key_id,
                    version: *version,
                    placement: step.placement,
                    algorithm: plan.algorithm,
                    source: *source,
                    epoch: *epoch,
                    profile: "standard".parse().unwrap(),
                    approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
                },
                check_value: None,
                blob: None,
                public_key: None,
            },
            Act::Share { from, .. } => Outcome::Shared { from: *from },
            Act::Create => {
                let object = held.filter(|_| !claims).unwrap_or_else(|| ObjectId(format!("object-{}", cloud.objects.len())));
                let marks = Marks {
                    installation: change_set.installation,
                    placement: step.placement,
                    incarnation: plan.incarnation,
                    attempt: AttemptId::of(&change_set.digest().unwrap(), number.0, 1),
                };
                cloud.objects.entry(object.clone()).or_insert_with(|| empty_object(object.clone(), Some(marks), plan.algorithm));
                if !claims {
                    cloud.names.insert(plan.name.clone(), object.clone());
                }
                Outcome::Created { object }
            }
            Act::Claim => {
                let object = held.or(recorded).unwrap();
                cloud.claims.insert(step.placement, object.clone());
                Outcome::Claimed { object }
            }
            Act::Import { version, .. } => {
                let object = cloud.objects.get_mut(&held.unwrap()).unwrap();
                object.state = ObjectState::Usable;
                let id = Some(format!("material-{version}"));
                // Where only a name points at the object, activation makes the import the current one.
                let state = if claims { MaterialState::Current } else { MaterialState::Pending };
                object.materials =
                    vec![MaterialSeen { id: id.clone(), version: Some(*version), state, presence: Presence::Present, public_key: None }];
                Outcome::Imported { version: *version, object: None, material: id, wrapped_under: None }
            }
            Act::Publish => {
                let object = held.unwrap();
                for material in &mut cloud.objects.get_mut(&object).unwrap().materials {
                    material.state = MaterialState::Current;
                }
                cloud.names.insert(plan.name.clone(), object);
                Outcome::Published
            }
            Act::Prepare { version, .. } => Outcome::Prepared { wrapping: ObjectId(format!("job-{version}")) },
            Act::DisableSurplus { object, material, .. } => {
                let found = cloud.objects.get_mut(object).unwrap();
                found
                    .materials
                    .iter_mut()
                    .filter(|seen| seen.id.as_ref() == Some(material))
                    .for_each(|seen| seen.presence = Presence::Disabled);
                Outcome::SurplusDisabled { object: object.clone(), material: material.clone() }
            }
            Act::FollowSecond { object, keeps, .. } => Outcome::SecondFollowed { object: object.clone(), material: keeps.clone() },
            Act::RemoveSurplus { object } => {
                cloud.objects.get_mut(object).unwrap().state = ObjectState::DeletionScheduled(None);
                Outcome::SurplusRemoved { object: object.clone() }
            }
        }
    }

    /// Adds an object that a failed attempt of ours left.
    pub(crate) fn leave_a_spare(&mut self, at: &str, placement: PlacementId) -> ObjectId {
        let installation = self.ledger.installation;
        let attempt = AttemptId::of(&Digest::of(b"in vain"), 1, 1);
        let cloud = self.cloud(at);
        let object = ObjectId(format!("spare-{}", cloud.objects.len()));
        let marks = Marks { installation, placement, incarnation: 1, attempt };
        cloud.objects.insert(object.clone(), empty_object(object.clone(), Some(marks), Algorithm::Aes256));
        object
    }
}

pub(crate) fn empty_object(object: ObjectId, marks: Option<Marks>, algorithm: Algorithm) -> ObjectSeen {
    ObjectSeen {
        object,
        marks,
        external: true,
        algorithm: Some(algorithm),
        purpose: Some(Purpose::Encrypt),
        policy_fits: true,
        state: ObjectState::AwaitingMaterial,
        created: None,
        materials: Vec::new(),
    }
}

pub(crate) fn words(change_set: &ChangeSet) -> Vec<&'static str> {
    change_set.steps.iter().map(|step| step.act.word()).collect()
}

/// The plan's only change set.
pub(crate) fn only(plan: &Plan) -> ChangeSet {
    assert_eq!(plan.change_sets.len(), 1, "{}", plan.report);
    plan.change_sets[0].clone()
}

pub(crate) fn is_clean_up(change_set: &ChangeSet) -> bool {
    change_set.action == Action::CleanUp
}

fn rules() -> Rules {
    let rule = |need| ApprovalRule { need, from: BTreeSet::from([name("security")]) };
    Rules {
        algorithms: BTreeSet::from([Algorithm::Aes256, Algorithm::Rsa3072]),
        protection: Protection::Hsm,
        locations: None,
        source: Option::<Source>::None,
        rotation: Rotation { every: Some(Span::days(90)), overlap: Span::days(30), retire: Retire::Never },
        approvals: Approvals { import: rule(1), retire: rule(2), valid: APPROVALS_LAST, standing: Standing::default() },
    }
}

fn destination(at: &str, cloud: CloudKind, home: &str, claims: bool) -> Destination {
    let second = |calls| Quota { calls, per: Span::seconds(1) };
    let draws = [
        ("wrapping-key", "GetParametersForImport"),
        ("import", "ImportKeyMaterial"),
        ("create", "CreateKey"),
        ("claim", "CreateAlias"),
        ("publish", "CreateAlias"),
        ("look", "DescribeKey"),
    ];
    Destination {
        name: name(at),
        cloud,
        home: home.into(),
        fingerprint: Digest::of(at.as_bytes()),
        capabilities: Capabilities {
            algorithms: BTreeMap::from([
                (Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256]),
                (Algorithm::Rsa3072, vec![WrapScheme::RsaAesKeyWrapSha256]),
            ]),
            protection: Protection::Hsm,
            creation: if claims { Creation::Claimed } else { Creation::Named },
            prepares: !claims,
            generations: !claims,
            consistency: Span::seconds(5),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: BTreeMap::from([
                ("GetParametersForImport".into(), second(1)),
                ("ImportKeyMaterial".into(), second(15)),
                ("CreateKey".into(), second(5)),
                ("CreateAlias".into(), second(5)),
                ("DescribeKey".into(), second(2_000)),
            ]),
            draws: draws.map(|(word, quota)| (word.to_owned(), vec![quota.to_owned()])).into(),
            deletion_days: 30,
        },
    }
}
