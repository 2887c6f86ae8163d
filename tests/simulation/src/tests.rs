//! What a run promises: the same result from the same seed, every rule kept, and every planted bug found.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{Algorithm, ChangeSetRecord, ChangeSetState, IdTree, InstallationId, Purpose, StepNo};

use crate::clouds::Place;
use crate::people;
use crate::planted::Planted;
use crate::rules::{Broken, Rule};
use crate::schedule::{BOT_SECONDS, BOTS, Bot, Fault, KeyPlan, Mishap, Schedule};
use crate::shrink::shrink;
use crate::symbols::Symbols;
use crate::world::run;

/// Enough to meet each kind of fault; `make simulate` and `make test` run thousands, optimised.
const SEEDS: std::ops::Range<u64> = 1..6;

/// The seeds whose transcripts are in `transcripts.txt`.
const TRANSCRIPTS: [u64; 6] = [1, 2, 3, 4, 5, 6];

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in SEEDS {
        let schedule = Schedule::draw(seed);
        assert_eq!(Schedule::draw(seed), schedule);
        let (first, second) = (run(&schedule, None, true), run(&schedule, None, true));
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        assert!(first.lines.len() > 500, "seed {seed}: hardly anything happened");
        // Keeping the transcript's lines does not change the run.
        assert_eq!(run(&schedule, None, false).transcript, first.transcript, "seed {seed}");
    }
    assert_ne!(run(&Schedule::draw(1), None, false).transcript, run(&Schedule::draw(2), None, false).transcript);
}

#[test]
fn every_rule_holds() {
    for seed in SEEDS {
        let ended = run(&Schedule::draw(seed), None, false);
        assert_eq!(ended.broken, [], "seed {seed}");
    }
}

#[test]
fn a_schedule_has_what_it_has_to_have() {
    for seed in 0..500 {
        let schedule = Schedule::draw(seed);
        let places: BTreeSet<_> = schedule.keys.iter().flat_map(|key| &key.places).collect();
        assert!(schedule.servers >= 2 && schedule.keys.len() >= 3 && places.len() >= 3 && schedule.faults.len() >= 5, "{schedule:?}");
        assert!(schedule.approvers.iter().flatten().count() >= 3, "nobody could approve: {schedule:?}");
        let charter = schedule.charter.as_ref().map(|charter| charter.what);
        let installation = InstallationId(IdTree::new([3; 32]).uuid());
        let (before, after) = (people::intent(&schedule, false, None), people::intent(&schedule, true, charter));
        assert_ne!(before.keys, after.keys, "nothing is wanted later");
        assert_eq!(before.charter(installation) != after.charter(installation), charter.is_some(), "{schedule:?}");
    }
}

/// Otherwise a kind of key could be lost from the draw unnoticed.
#[test]
fn every_kind_of_key_is_drawn_wherever_it_is_taken() {
    let mut drawn = BTreeSet::new();
    let mut shared = BTreeSet::new();
    for schedule in (0..2_000).map(Schedule::draw) {
        for key in &schedule.keys {
            drawn.extend(key.places.iter().map(|(place, algorithm)| (*place, schedule.key_vault, *algorithm, key.purpose)));
            if key.shared && key.places.len() > 1 {
                assert_eq!(key.places.values().collect::<BTreeSet<_>>().len(), 1, "{key:?}");
                shared.extend(key.places.values().copied());
            }
        }
    }
    let purposes = [Purpose::Encrypt, Purpose::Sign, Purpose::Mac];
    for (place, key_vault) in Place::ALWAYS.into_iter().flat_map(|place| [(place, false), (place, true)]) {
        for (algorithm, purpose) in Algorithm::ALL.into_iter().flat_map(|algorithm| purposes.map(|purpose| (algorithm, purpose))) {
            let takes = place.takes(key_vault).contains(&algorithm) && algorithm.serves(purpose);
            assert_eq!(drawn.contains(&(place, key_vault, algorithm, purpose)), takes, "{algorithm} to {purpose} at {place:?}");
        }
    }
    assert_eq!(shared, Algorithm::ALL.into(), "what is shared");
}

/// Of each kind one key, shared by two clouds where two take it, without faults: the keys arrive.
#[test]
fn every_kind_of_key_comes_to_every_cloud_that_takes_it() {
    for (algorithm, purpose, key_vault) in [
        (Algorithm::Aes256, Purpose::Encrypt, false),
        (Algorithm::Rsa2048, Purpose::Encrypt, true),
        (Algorithm::Rsa3072, Purpose::Sign, false),
        (Algorithm::Rsa4096, Purpose::Sign, true),
        (Algorithm::EcP256, Purpose::Sign, false),
        (Algorithm::EcP384, Purpose::Sign, true),
        (Algorithm::HmacSha256, Purpose::Mac, false),
    ] {
        let taken = Place::ALL.into_iter().filter(|place| place.takes(key_vault).contains(&algorithm));
        let places: BTreeMap<Place, Algorithm> = taken.map(|place| (place, algorithm)).collect();
        let wanted = places.len();
        let key = |name: &str| KeyPlan { name: name.to_owned(), need: 1, generated: true, purpose, shared: true, places: places.clone() };
        let schedule =
            Schedule { key_vault, keys: vec![key("one")], change: Some((60, key("two"))), faults: Vec::new(), ..Schedule::draw(3) };
        let ended = run(&schedule, None, false);
        assert_eq!(ended.broken, [], "{algorithm}");
        let imports: u64 = ended.counts.iter().filter(|(what, _)| what.starts_with("import at ")).map(|(_, count)| count).sum();
        assert_eq!(imports, 2 * wanted as u64, "{algorithm}: {:?}", ended.counts);
    }
}

/// As many keys as a company has at first. They wait for each other's quotas, but none of them for ever; not even those that have to sweep
/// all the others for what an unanswered attempt may have made.
#[test]
fn many_keys_come_to_every_cloud_side_by_side() {
    let aes = |place| (place, Algorithm::Aes256);
    let key = |number: u32| KeyPlan {
        name: format!("key-{number}"),
        need: 1,
        generated: false,
        purpose: Purpose::Encrypt,
        shared: false,
        places: Place::ALWAYS.into_iter().map(aes).collect(),
    };
    let schedule = Schedule {
        key_vault: false,
        keys: (0..60).map(key).collect(),
        change: Some((60, key(99))),
        faults: (1..16).map(|nth| Fault::Request { place: Place::Aws, mutation: 8 * nth, what: Mishap::Swallowed }).collect(),
        ..Schedule::draw(3)
    };
    assert_eq!(run(&schedule, None, false).broken, []);
}

/// One key, and a program of the cloud's owner that keeps it from arriving for most of an hour.
fn with_bot(place: Place, operation: &'static str, what: Bot) -> Schedule {
    let key = KeyPlan {
        name: "key-0".to_owned(),
        need: 1,
        generated: false,
        purpose: Purpose::Encrypt,
        shared: false,
        places: [(place, Algorithm::Aes256)].into(),
    };
    Schedule {
        seed: 1,
        servers: 1,
        key_vault: false,
        keys: vec![key],
        change: None,
        charter: None,
        approvers: vec![Some(1)],
        lags: BTreeMap::new(),
        readings: Vec::new(),
        slow: false,
        trouble: BOT_SECONDS,
        faults: vec![Fault::Bot { place, operation, what }],
    }
}

/// Otherwise a governance bot that strips tags, or an alias call without effect, makes keys for ever.
#[test]
fn what_a_bot_undoes_is_sent_so_often_and_no_more_and_arrives_once_the_bot_stops() {
    for (place, operation, what) in BOTS {
        let ended = run(&with_bot(place, operation, what), None, false);
        assert_eq!(ended.broken, [], "{operation} at {place:?}");
        let attempts =
            |record: &ChangeSetRecord, number: u32| record.attempts_of(StepNo(number)).filter(|attempt| attempt.refused.is_none()).count();
        let given_up = ended.remains.change_sets.iter().filter(|record| record.state == ChangeSetState::Dropped);
        let spent = given_up.flat_map(|record| (0..).zip(&record.change_set.steps).map(move |(number, _)| attempts(record, number)));
        assert_eq!(spent.max(), Some(8), "{operation} at {place:?}: nothing was in the way for long");
        let ledger = ended.remains.ledger.unwrap();
        let record = ledger.keys.values().next().unwrap();
        assert!(record.placements.values().all(|placement| placement.published), "{operation} at {place:?}: {record:?}");
    }
}

/// The bound holds over all runs of a change set: each run by itself keeps within its own.
#[test]
fn a_bound_that_each_run_begins_anew_is_found_at_every_bot() {
    for (place, operation, what) in BOTS {
        let broken = run(&with_bot(place, operation, what), Some(Planted::AttemptsForgiven), false).broken;
        assert!(broken.iter().any(|broken| broken.rule == Rule::Bounded), "{operation} at {place:?}: {broken:?}");
    }
}

/// Each rule has a bug that breaks it. Without the rule's checker that bug would not be found.
#[test]
fn every_rule_that_schedules_break_has_a_bug_of_its_own() {
    let broken: BTreeSet<Rule> = Planted::ALL.map(Planted::breaks).into();
    assert_eq!(broken, Rule::ALL.into());
}

/// Every machine runs the same runs. Otherwise a seed would mean nothing on another machine.
///
/// `UPDATE=1 cargo nextest run -p keyplane-simulation transcripts` rewrites the file.
#[test]
fn transcripts_are_those_of_every_other_machine() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts.txt");
    let runs = TRANSCRIPTS.map(|seed| format!("{seed} {}\n", run(&Schedule::draw(seed), None, false).transcript));
    let now: String = runs.concat();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, now).unwrap();
        return;
    }
    let known = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        now, known,
        "a change of engine, planner, clouds or simulation that is meant to change what happens changes transcripts: write them anew with \
         `UPDATE=1 cargo nextest run -p keyplane-simulation transcripts`, and commit the file. If nothing of that was changed, a run \
         depends on the machine"
    );
}

#[test]
fn bugs_that_every_schedule_shows_are_found_without_any_fault() {
    let schedule = Schedule { faults: Vec::new(), ..Schedule::draw(1) };
    assert_eq!(run(&schedule, None, false).broken, []);
    for planted in
        [Planted::BytesInBlob, Planted::AttemptForgotten, Planted::UnapprovedDisable, Planted::WrappingKeySwapped, Planted::WrapForgotten]
    {
        let broken = run(&schedule, Some(planted), false).broken;
        assert!(broken.iter().any(|broken| broken.rule == planted.breaks()), "{}: {broken:?}", planted.name());
    }
}

#[test]
fn shrinking_keeps_what_is_needed_and_the_rule() {
    let schedule = Schedule::draw(7);
    let needed = schedule.faults[2].clone();
    let rule = crate::rules::Rule::Doubles;
    let run = |schedule: &Schedule| {
        let what = "needs the fault".to_owned();
        if schedule.faults.contains(&needed) { vec![Broken { rule, what }] } else { Vec::new() }
    };
    let (smaller, _) = shrink(&schedule, &run(&schedule), run);
    assert_eq!(smaller.faults, std::slice::from_ref(&needed));
}

#[test]
fn key_bytes_are_known_again_however_they_are_written() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let symbols = Symbols::default();
    let (other, key) = (symbols.key("one"), symbols.key("another"));
    assert_ne!(other, key);
    for before in 0..4 {
        let inside = [&[9; 4][..before], &key, b"behind"].concat();
        for text in [
            inside.clone(),
            hex::encode(&inside).into_bytes(),
            STANDARD.encode(&inside).into_bytes(),
            URL_SAFE.encode(&inside).into_bytes(),
        ] {
            let text = [b"{\"a\":\"", text.as_slice(), b"\"}"].concat();
            assert_eq!(symbols.leaked(&[b"nothing", &text]), Some((1, 1)), "{before} bytes before");
        }
    }
    let sealed = symbols.kwp(&other, &key);
    assert_eq!(symbols.leaked(&[&sealed, &sealed[..8], b""]), None, "what is sealed says nothing");
}
