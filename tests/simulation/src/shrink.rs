//! Makes a failing schedule smaller, as long as it breaks the same rule.

use crate::rules::{Broken, Rule};
use crate::schedule::Schedule;

/// Leaves out one thing after another; returns the smallest schedule that was found, and what it breaks.
pub(crate) fn shrink(schedule: &Schedule, broken: &[Broken], run: impl Fn(&Schedule) -> Vec<Broken>) -> (Schedule, Vec<Broken>) {
    let rule = broken.first().map(|broken| broken.rule);
    let (mut smallest, mut said) = (schedule.clone(), broken.to_vec());
    // After something was left out, the next candidate has its index. The last round is one in which nothing could be left out.
    let (mut at, mut progress) = (0, false);
    loop {
        match candidates(&smallest).into_iter().nth(at) {
            Some(candidate) => {
                let broken = run(&candidate);
                if breaks(&broken, rule) {
                    (smallest, said, progress) = (candidate, broken, true);
                } else {
                    at += 1;
                }
            }
            None if progress => (at, progress) = (0, false),
            None => return (smallest, said),
        }
    }
}

fn breaks(broken: &[Broken], rule: Option<Rule>) -> bool {
    broken.iter().any(|broken| Some(broken.rule) == rule)
}

/// Every schedule with one thing less.
fn candidates(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = Vec::new();
    for fault in 0..schedule.faults.len() {
        let mut less = schedule.clone();
        less.faults.remove(fault);
        candidates.push(less);
    }
    for key in (0..schedule.keys.len()).filter(|_| schedule.keys.len() > 1) {
        let mut less = schedule.clone();
        less.keys.remove(key);
        candidates.push(less);
    }
    for (key, plan) in schedule.keys.iter().enumerate() {
        for place in plan.places.keys().filter(|_| plan.places.len() > 1) {
            let mut less = schedule.clone();
            less.keys[key].places.remove(place);
            candidates.push(less);
        }
    }
    for place in schedule.lags.iter().filter(|(_, seconds)| **seconds > 0).map(|(place, _)| *place) {
        let mut less = schedule.clone();
        less.lags.insert(place, 0);
        candidates.push(less);
    }
    for reading in 0..schedule.readings.len() {
        let mut less = schedule.clone();
        less.readings.remove(reading);
        candidates.push(less);
    }
    if schedule.change.is_some() {
        candidates.push(Schedule { change: None, charter: None, ..schedule.clone() });
    }
    if schedule.charter.is_some() {
        candidates.push(Schedule { charter: None, ..schedule.clone() });
    }
    if schedule.servers > 1 {
        candidates.push(Schedule { servers: schedule.servers - 1, ..schedule.clone() });
    }
    candidates
}
