//! What a run promises: the same again from the same seed, every rule kept, and every planted bug found.

use std::collections::BTreeSet;

use crate::planted::Planted;
use crate::rules::Broken;
use crate::schedule::Schedule;
use crate::shrink::shrink;
use crate::symbols::Symbols;
use crate::world::run;

/// Enough to see each kind of fault; the thousands are run by `make simulate` and `make test`, optimised.
const SEEDS: std::ops::Range<u64> = 1..6;

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in SEEDS {
        let schedule = Schedule::draw(seed);
        assert_eq!(Schedule::draw(seed), schedule);
        let (first, second) = (run(&schedule, None, true), run(&schedule, None, true));
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        assert!(first.lines.len() > 500, "seed {seed}: hardly anything happened");
        // Whether it is read does not change it.
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
        assert!(schedule.servers >= 2 && schedule.keys.len() >= 3 && places.len() == 3 && schedule.faults.len() >= 5, "{schedule:?}");
        assert!(schedule.approvers.iter().flatten().count() >= 2, "nobody could approve: {schedule:?}");
        assert_ne!(crate::people::intent(&schedule, false), crate::people::intent(&schedule, true), "nothing is wanted later");
    }
}

#[test]
fn bugs_that_every_schedule_shows_are_found_without_any_fault() {
    let schedule = Schedule { faults: Vec::new(), ..Schedule::draw(1) };
    assert_eq!(run(&schedule, None, false).broken, []);
    for planted in [Planted::BytesInBlob, Planted::AttemptForgotten, Planted::UnapprovedDisable, Planted::WrappingKeySwapped] {
        assert!(!run(&schedule, Some(planted), false).broken.is_empty(), "{}", planted.name());
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
