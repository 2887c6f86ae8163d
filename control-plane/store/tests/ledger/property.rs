//! Both ledgers give the same answers and hold the same contents, for random calls in random order.

use std::collections::BTreeMap;

use keyplane_model::{AttemptId, ChangeSet, ChangeSetState, Class, Digest, Generation, Inventory, Receipt};
use keyplane_port::{Ledger, MemoryLedger};
use proptest::prelude::*;

use crate::world::*;

/// A random call of a ledger. Its subject is chosen from the existing change sets, so that long lives occur as well as refusals.
#[derive(Clone, Debug)]
enum Ask {
    PutIntent {
        login: u8,
    },
    /// In nine of ten cases the generation is the key's current one.
    Propose {
        key: u32,
        variant: u32,
        generation: u64,
    },
    Approve {
        set: usize,
        approver: u8,
        signature: u8,
    },
    Commit {
        set: usize,
    },
    Wrap {
        set: usize,
        step: u32,
        key: u32,
    },
    Attempt {
        set: usize,
        step: u32,
        ordinal: u32,
    },
    Refuse {
        set: usize,
        step: u32,
        ordinal: u32,
        throttled: bool,
    },
    Receive {
        set: usize,
        step: u32,
        by: u32,
        late: bool,
    },
    /// Records the next receipts of a change set.
    Advance {
        set: usize,
        steps: usize,
    },
    Complete {
        set: usize,
    },
    End {
        set: usize,
    },
    Withdraw {
        set: usize,
    },
    Abandon {
        set: usize,
    },
    PutInventory {
        place: u8,
        complete: bool,
    },
    PutCharter {
        serial: u32,
        mac: u8,
    },
}

fn ask() -> impl Strategy<Value = Ask> {
    let set = 0..8_usize;
    let step = 0..11_u32;
    let ordinal = 1..4_u32;
    prop_oneof![
        1 => (0..2_u8).prop_map(|login| Ask::PutIntent { login }),
        6 => (0..3_u32, 0..2_u32, 0..10_u64).prop_map(|(key, variant, generation)| Ask::Propose { key, variant, generation }),
        2 => (set.clone(), 0..2_u8, 0..2_u8).prop_map(|(set, approver, signature)| Ask::Approve { set, approver, signature }),
        6 => set.clone().prop_map(|set| Ask::Commit { set }),
        3 => (set.clone(), step.clone(), 0..2_u32).prop_map(|(set, step, key)| Ask::Wrap { set, step, key }),
        3 => (set.clone(), step.clone(), ordinal.clone()).prop_map(|(set, step, ordinal)| Ask::Attempt { set, step, ordinal }),
        2 => (set.clone(), step.clone(), ordinal, any::<bool>())
            .prop_map(|(set, step, ordinal, throttled)| Ask::Refuse { set, step, ordinal, throttled }),
        3 => (set.clone(), step, 0..3_u32, any::<bool>()).prop_map(|(set, step, by, late)| Ask::Receive { set, step, by, late }),
        4 => (set.clone(), 1..11_usize).prop_map(|(set, steps)| Ask::Advance { set, steps }),
        3 => set.clone().prop_map(|set| Ask::Complete { set }),
        2 => set.clone().prop_map(|set| Ask::End { set }),
        2 => set.clone().prop_map(|set| Ask::Withdraw { set }),
        2 => set.prop_map(|set| Ask::Abandon { set }),
        1 => (0..2_u8, any::<bool>()).prop_map(|(place, complete)| Ask::PutInventory { place, complete }),
        1 => (0..3_u32, 0..2_u8).prop_map(|(serial, mac)| Ask::PutCharter { serial, mac }),
    ]
}

/// Makes a call and returns the answer as text. `known` are the change sets proposed so far. The last choice is an unknown one.
async fn answer(ledger: &dyn Ledger, known: &mut Vec<ChangeSet>, ask: &Ask) -> String {
    let pick = |set: usize| known.get(set % (known.len() + 1)).cloned().unwrap_or_else(|| change_set(9, 0, 9));
    match ask {
        Ask::PutIntent { login } => format!("{:?}", ledger.put_intent(&intent(&format!("login-{login}")), "api", asked(AT)).await),
        Ask::Propose { key, variant, generation } => {
            // Keys 0 and 1 want the same name.
            let name = format!("key-{}", key / 2);
            let mut keys = snapshot(ledger).await.keys.into_values();
            let present = keys.find(|record| record.id == key_id(*key)).map_or(Generation(0), |record| record.generation);
            let generation = if *generation == 0 { present.0 + 1 } else { present.0 };
            let planned = named_change_set(&name, *key, generation, *variant);
            if !known.contains(&planned) {
                known.push(planned.clone());
            }
            format!("{:?}", ledger.propose(&planned, asked(AT)).await)
        }
        Ask::Approve { set, approver, signature } => {
            let approval = approval(&format!("approver-{approver}"), &format!("signature-{signature}"));
            format!("{:?}", ledger.approve(&digest(&pick(*set)), &approval, asked(AT)).await)
        }
        Ask::Commit { set } => format!("{:?}", ledger.commit(&digest(&pick(*set)), asked(AT)).await),
        Ask::Wrap { set, step, key } => format!("{:?}", ledger.wrap(&digest(&pick(*set)), &wrap(*step, *key), None, asked(AT)).await),
        Ask::Attempt { set, step, ordinal } => {
            let digest = digest(&pick(*set));
            format!("{:?}", ledger.attempt(&digest, &attempt(&digest, *step, *ordinal), None, asked(AT)).await)
        }
        Ask::Refuse { set, step, ordinal, throttled } => {
            let digest = digest(&pick(*set));
            let class = if *throttled { Class::Throttled } else { Class::Denied };
            format!("{:?}", ledger.refused(&digest, AttemptId::of(&digest, *step, *ordinal), class, asked(AT)).await)
        }
        Ask::Receive { set, step, by, late } => {
            let planned = pick(*set);
            let digest = digest(&planned);
            let by = (*by > 0).then(|| AttemptId::of(&digest, *step, *by));
            // Step 10 does not exist; its receipt is that of another step.
            let mut receipt = Receipt { step: keyplane_model::StepNo(*step), ..receipt(&planned, (*step).min(9), by) };
            if *late {
                receipt.at = later(9_999);
            }
            format!("{:?}", ledger.receive(&digest, &receipt, None, asked(AT)).await)
        }
        Ask::Advance { set, steps } => {
            let planned = pick(*set);
            let digest = digest(&planned);
            let there = ledger.change_set(&digest).await.unwrap().map(|record| record.receipts).unwrap_or_default();
            let mut answers = Vec::new();
            for step in (0..10).filter(|step| !there.contains_key(&keyplane_model::StepNo(*step))).take(*steps) {
                answers.push(ledger.receive(&digest, &receipt(&planned, step, None), None, asked(AT)).await);
            }
            format!("{answers:?}")
        }
        Ask::Complete { set } => format!("{:?}", ledger.complete(&digest(&pick(*set)), asked(later(5_000))).await),
        Ask::End { set } => format!("{:?}", ledger.end(&digest(&pick(*set)), asked(AT)).await),
        Ask::Withdraw { set } => format!("{:?}", ledger.withdraw(&digest(&pick(*set)), "a test", asked(later(6_000))).await),
        Ask::Abandon { set } => format!("{:?}", ledger.abandon(&digest(&pick(*set)), "a test", asked(later(6_000))).await),
        Ask::PutInventory { place, complete } => {
            let inventory = Inventory { at: AT, complete: *complete, ours: BTreeMap::new(), placements: BTreeMap::new() };
            format!("{:?}", ledger.put_inventory(&parse(&format!("destination-{place}")), &inventory, asked(AT)).await)
        }
        Ask::PutCharter { serial, mac } => format!("{:?}", ledger.put_charter(&sealed_charter(*serial, *mac), &[], asked(AT)).await),
    }
}

fn digest(change_set: &ChangeSet) -> Digest {
    change_set.digest().unwrap()
}

/// As text.
async fn everything(ledger: &dyn Ledger, known: &[ChangeSet]) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut change_sets = Vec::new();
    for planned in known {
        change_sets.push(ledger.change_set(&digest(planned)).await.unwrap());
    }
    (
        snapshot(ledger).await,
        change_sets,
        ledger.intent().await.unwrap(),
        ledger.inventories().await.unwrap(),
        ledger.charter().await.unwrap(),
        events(ledger).await,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ledgers_answer_and_know_the_same(asks in prop::collection::vec(ask(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::new();
            let (sql, memory) = (database.init().await, MemoryLedger::new(installation()));
            let (mut known_to_sql, mut known_to_memory) = (Vec::new(), Vec::new());
            for ask in &asks {
                let in_sql = answer(&sql, &mut known_to_sql, ask).await;
                let in_memory = answer(&memory, &mut known_to_memory, ask).await;
                assert_eq!(in_sql, in_memory, "{ask:?}");
            }
            assert_eq!(everything(&sql, &known_to_sql).await, everything(&memory, &known_to_memory).await);
            // Open are those whose state says so, one for each key.
            let open = snapshot(&memory).await.open;
            for planned in &known_to_memory {
                let state = memory.change_set(&digest(planned)).await.unwrap().map(|record| record.state);
                let is_open = open.get(&planned.key_id).is_some_and(|record| record.digest == digest(planned));
                assert_eq!(is_open, state.is_some_and(ChangeSetState::is_open));
            }
        });
    }
}
