//! "At least as strict": a partial order on rules, with one function for each rule.
//!
//! Each function compares a new value with the one in force. The result is `Ok`, or what would be right.

use std::collections::BTreeSet;

use keyplane_model::{Algorithm, ApprovalRule, DestinationName, Protection, Retire, Rules, Source, Span};

use crate::suggest::list;

/// `Err`: what would be right.
pub(crate) type Judgement = Result<(), String>;

/// Whether `than` allows everything that `rules` allow.
///
/// A partial order: reflexive and transitive. Two sets of loaded rules that are at least as strict as each other are equal.
#[must_use]
pub fn is_at_least_as_strict(rules: &Rules, than: &Rules) -> bool {
    looser_rules(rules, than).is_empty()
}

/// The rules of the first set that are looser than those of the second, by their path in policy files, each with what would be right.
#[must_use]
pub fn looser_rules(rules: &Rules, than: &Rules) -> Vec<(&'static str, String)> {
    [
        ("algorithms", algorithms(&rules.algorithms, &than.algorithms)),
        ("protection", protection(&rules.protection, &than.protection)),
        ("locations", locations(&rules.locations, &than.locations)),
        ("source", source(&rules.source, &than.source)),
        ("rotation.every", every(&rules.rotation.every, &than.rotation.every)),
        ("rotation.overlap", overlap(&rules.rotation.overlap, &than.rotation.overlap)),
        ("rotation.retire", retire(&rules.rotation.retire, &than.rotation.retire)),
        ("approvals.import", approval(&rules.approvals.import, &than.approvals.import)),
        ("approvals.retire", approval(&rules.approvals.retire, &than.approvals.retire)),
        ("approvals.valid", valid(&rules.approvals.valid, &than.approvals.valid)),
        ("approvals.standing.rotation", standing(&rules.approvals.standing.rotation, &than.approvals.standing.rotation)),
    ]
    .into_iter()
    .filter_map(|(rule, judgement)| Some((rule, judgement.err()?)))
    .collect()
}

/// Stricter: fewer algorithms.
pub(crate) fn algorithms(new: &BTreeSet<Algorithm>, held: &BTreeSet<Algorithm>) -> Judgement {
    judge(new.is_subset(held), || format!("no others than {}", list(held)))
}

/// Stricter: stronger protection.
pub(crate) fn protection(new: &Protection, held: &Protection) -> Judgement {
    judge(new >= held, || format!("at least `{held}`"))
}

/// Stricter: fewer destinations.
pub(crate) fn locations(new: &Option<BTreeSet<DestinationName>>, held: &Option<BTreeSet<DestinationName>>) -> Judgement {
    let Some(held) = held else { return Ok(()) };
    judge(new.as_ref().is_some_and(|new| new.is_subset(held)), || format!("no others than {}", list(held)))
}

/// An open source may be set; once set it cannot be changed, since neither source is stricter than the other.
pub(crate) fn source(new: &Option<Source>, held: &Option<Source>) -> Judgement {
    let Some(held) = held else { return Ok(()) };
    judge(*new == Some(*held), || format!("`{held}`, which can be fixed but not changed"))
}

/// Stricter: a shorter time between rotations.
pub(crate) fn every(new: &Option<Span>, held: &Option<Span>) -> Judgement {
    let Some(held) = held else { return Ok(()) };
    judge(new.is_some_and(|new| new <= *held), || format!("at most `{held}`"))
}

/// Stricter: a longer overlap.
pub(crate) fn overlap(new: &Span, held: &Span) -> Judgement {
    judge(new >= held, || format!("at least `{held}`"))
}

/// Stricter: retired later, or never. Keeping a version longer loses nothing.
pub(crate) fn retire(new: &Retire, held: &Retire) -> Judgement {
    match (new, held) {
        (Retire::Never, _) => Ok(()),
        (Retire::After(_), Retire::Never) => Err("`never`".to_owned()),
        (Retire::After(new), Retire::After(held)) => judge(new >= held, || format!("`{{ after: {held} }}`, later, or `never`")),
    }
}

/// Stricter: more approvers, from fewer groups. Where none was needed, any rule is at least as strict.
pub(crate) fn approval(new: &ApprovalRule, held: &ApprovalRule) -> Judgement {
    judge(new.is_at_least(held), || format!("`need` at least {}, `from` no others than {}", held.need, list(&held.from)))
}

/// Stricter: a shorter time.
pub(crate) fn valid(new: &Span, held: &Span) -> Judgement {
    judge(new <= held, || format!("at most `{held}`"))
}

/// Stricter: a shorter time, or none.
pub(crate) fn standing(new: &Option<Span>, held: &Option<Span>) -> Judgement {
    match (new, held) {
        (None, _) => Ok(()),
        (Some(_), None) => Err("none: leave it out".to_owned()),
        (Some(new), Some(held)) => judge(new <= held, || format!("at most `{held}`")),
    }
}

fn judge(fine: bool, right: impl FnOnce() -> String) -> Judgement {
    if fine { Ok(()) } else { Err(right()) }
}

#[cfg(test)]
mod tests {
    use keyplane_model::{APPROVALS_LAST, Approvals, GroupName, Rotation, Standing};

    use super::*;

    fn rules() -> Rules {
        let approval = ApprovalRule { need: 1, from: groups(&["a"]) };
        Rules {
            algorithms: BTreeSet::from([Algorithm::Aes256]),
            protection: Protection::Software,
            locations: None,
            source: None,
            rotation: Rotation { every: None, overlap: Span::ZERO, retire: Retire::Never },
            approvals: Approvals {
                import: approval.clone(),
                retire: approval,
                valid: APPROVALS_LAST,
                standing: Standing { rotation: None },
            },
        }
    }

    fn groups(names: &[&str]) -> BTreeSet<GroupName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// For each rule, values that cover every way in which two values can compare.
    fn variants() -> Vec<Vec<Rules>> {
        fn vary<T>(values: impl IntoIterator<Item = T>, set: impl Fn(&mut Rules, T)) -> Vec<Rules> {
            let with = |value| {
                let mut rules = rules();
                set(&mut rules, value);
                rules
            };
            values.into_iter().map(with).collect()
        }
        let algorithms = [vec![0], vec![1], vec![2], vec![0, 1], vec![1, 2], vec![0, 1, 2]];
        let places = || ["x", "y"].map(|name| name.parse::<DestinationName>().unwrap());
        let [x, y] = places();
        let locations = [None, Some(BTreeSet::from([x.clone()])), Some(BTreeSet::from([y])), Some(BTreeSet::from(places()))];
        let spans = || [None, Some(Span::days(1)), Some(Span::days(2)), Some(Span::days(3))];
        let from = [groups(&["a"]), groups(&["b"]), groups(&["a", "b"])];
        let needs = || {
            let some = from.clone().into_iter().flat_map(|from| (1..4).map(move |need| ApprovalRule { need, from: from.clone() }));
            some.chain([ApprovalRule { need: 0, from: BTreeSet::new() }])
        };
        let retires = [Retire::Never, Retire::After(Span::days(1)), Retire::After(Span::days(2)), Retire::After(Span::days(3))];
        vec![
            vary(algorithms, |rules, set| rules.algorithms = set.into_iter().map(|index: usize| Algorithm::ALL[index]).collect()),
            vary([Protection::Software, Protection::Hsm], |rules, protection| rules.protection = protection),
            vary(locations, |rules, locations| rules.locations = locations),
            vary([None, Some(Source::Derived), Some(Source::Generated)], |rules, source| rules.source = source),
            vary(spans(), |rules, every| rules.rotation.every = every),
            vary(spans().into_iter().flatten(), |rules, overlap| rules.rotation.overlap = overlap),
            vary(retires, |rules, retire| rules.rotation.retire = retire),
            vary(needs(), |rules, need| rules.approvals.import = need),
            vary(needs(), |rules, need| rules.approvals.retire = need),
            vary(spans().into_iter().flatten(), |rules, valid| rules.approvals.valid = valid),
            vary(spans(), |rules, standing| rules.approvals.standing.rotation = standing),
        ]
    }

    #[test]
    fn at_least_as_strict_is_a_partial_order() {
        for variants in variants() {
            for a in &variants {
                assert!(is_at_least_as_strict(a, a), "not reflexive: {a:?}");
                for b in &variants {
                    let both = is_at_least_as_strict(a, b) && is_at_least_as_strict(b, a);
                    assert!(!both || a == b, "not antisymmetric: {a:?} and {b:?}");
                    for c in &variants {
                        let chain = is_at_least_as_strict(a, b) && is_at_least_as_strict(b, c);
                        assert!(!chain || is_at_least_as_strict(a, c), "not transitive: {a:?}, {b:?}, {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_rule_has_a_looser_and_a_stricter_side() {
        for variants in variants() {
            let strict = variants.iter().any(|a| variants.iter().any(|b| a != b && is_at_least_as_strict(a, b)));
            let loose = variants.iter().any(|a| variants.iter().any(|b| !is_at_least_as_strict(a, b)));
            assert!(strict && loose, "{variants:?}");
        }
    }
}
