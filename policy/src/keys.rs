//! Checks keys against their profiles, against each other, and against what destinations accept.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Algorithm, ApprovalRule, CloudKind, Destination, DestinationName, Key, KeyName, PlacementIntent, ProblemCode, Source,
};

use crate::explain::{self, ExplainedPlacement, Explanation};
use crate::people::Groups;
use crate::read::At;
use crate::report::{Place, Report};
use crate::rules::{Check, Effective, Profiles, Speaker, Statements, misspelt};
use crate::suggest::{did_you_mean_or_known, list};
use crate::wire::{KeyDocument, Placement};

pub(crate) struct Keys {
    /// The keys with at least one placement at a configured destination.
    pub(crate) wanted: BTreeMap<KeyName, Key>,
    /// All keys, including those left out of the intent.
    pub(crate) explanations: BTreeMap<KeyName, Explanation>,
    /// The approval rules by which any key is stricter than its profile.
    pub(crate) rules: BTreeSet<ApprovalRule>,
}

pub(crate) fn resolve(
    documents: &[KeyDocument],
    profiles: &Profiles,
    complete: bool,
    groups: Option<&Groups>,
    destinations: Option<&BTreeMap<DestinationName, Destination>>,
    report: &mut Report,
) -> Keys {
    let mut keys = Keys { wanted: BTreeMap::new(), explanations: BTreeMap::new(), rules: BTreeSet::new() };
    let mut names: BTreeMap<&KeyName, Place> = BTreeMap::new();
    let mut taken = Taken::new();
    for document in documents {
        let name = &document.key.value;
        let mark = report.mark();
        if let Some(first) = names.get(name) {
            let first = report.location(*first);
            report.invalid(document.key.place, format!("key `{name}` is there already, at {first}: keep one of them"));
        } else {
            names.insert(name, document.key.place);
            let own = Statements::of_key(document, &mut Check { groups, destinations, report: &mut *report });
            let rules = effective(document, own, profiles, complete, report);
            check_source(document, report);
            check_shared(document, report);
            for placement in &document.placements.value.0 {
                check_name(name, placement, &mut taken, report);
                check_purpose(document, placement, report);
                if let Some(rules) = &rules {
                    check_rules(rules, placement, report);
                }
                if let Some(destinations) = destinations {
                    check_destination(rules.as_ref(), placement, destinations, report);
                }
            }
            if let Some(rules) = rules {
                let of_profile = profiles.get(&document.profile.value).and_then(Option::as_ref);
                keys.rules.extend(of_profile.into_iter().flat_map(|profile| rules.stricter_approvals(profile)).cloned());
                keep(document, &rules, destinations, report, &mut keys);
            }
        }
        report.about(mark, name);
    }
    keys
}

/// The profile's rules, made stricter by the key. `None`: the profile is missing or broken, which was reported.
fn effective(document: &KeyDocument, own: Statements, profiles: &Profiles, complete: bool, report: &mut Report) -> Option<Effective> {
    let At { value: profile, place } = &document.profile;
    match profiles.get(profile) {
        Some(rules) => Some(rules.as_ref()?.narrowed(profile, own, Speaker::Key, report)),
        None => {
            if complete {
                let hint = did_you_mean_or_known(profile.as_str(), profiles.keys().map(|name| name.as_str()));
                report.problem(ProblemCode::NameUnknown, *place, format!("there is no profile `{profile}`{hint}"));
            }
            None
        }
    }
}

/// A key whose own document says `derived` needs an algorithm that can be derived. A profile may say `derived` for all of its keys, because
/// asymmetric keys are generated anyway.
fn check_source(document: &KeyDocument, report: &mut Report) {
    let Some(At { value: Source::Derived, place }) = &document.source else { return };
    let asymmetric =
        document.placements.value.0.iter().map(|placement| placement.value.algorithm().value).find(|algorithm| !algorithm.is_symmetric());
    if let Some(algorithm) = asymmetric {
        report.invalid(*place, format!("a key of `{algorithm}` cannot be derived, it is always generated: leave `source` out"));
    }
}

/// Placements that share bytes need the same algorithm.
fn check_shared(document: &KeyDocument, report: &mut Report) {
    let shared = document.shared.as_ref().is_some_and(|shared| shared.value);
    let mut algorithms = document.placements.value.0.iter().map(|placement| placement.value.algorithm());
    let Some(first) = algorithms.next().filter(|_| shared) else { return };
    if let Some(other) = algorithms.find(|algorithm| algorithm.value != first.value) {
        let first_place = report.location(first.place);
        let detail = format!(
            "`shared: true` means the same bytes everywhere, but this is `{}` and the first placement `{}` ({first_place}): give all the same algorithm",
            other.value, first.value,
        );
        report.invalid(other.place, detail);
    }
}

/// Which key has which name at a destination, with names as the cloud compares them.
type Taken = BTreeMap<(DestinationName, String), (KeyName, Place)>;

/// Checks that no other placement has the same name at the same destination.
fn check_name(key: &KeyName, placement: &At<Placement>, taken: &mut Taken, report: &mut Report) {
    let destination = &placement.value.destination().value;
    let (name, place) = placement.value.name();
    let compared = match placement.value.cloud() {
        CloudKind::Aws | CloudKind::Gcp => name.to_owned(),
        // Azure's object names are case-insensitive.
        CloudKind::Azure => name.to_ascii_lowercase(),
    };
    let entry = (destination.clone(), compared);
    if let Some((owner, first)) = taken.get(&entry) {
        let first = report.location(*first);
        let detail = format!("`{name}` at destination `{destination}` belongs to key `{owner}` already, at {first}: choose another name");
        report.invalid(place, detail).destination = Some(destination.clone());
    } else {
        taken.insert(entry, (key.clone(), place));
    }
}

fn check_purpose(document: &KeyDocument, placement: &At<Placement>, report: &mut Report) {
    let purpose = document.purpose.value;
    let At { value: algorithm, place } = *placement.value.algorithm();
    if !algorithm.serves(purpose) {
        let able = list(Algorithm::ALL.into_iter().filter(|algorithm| algorithm.serves(purpose)));
        report.invalid(place, format!("`{algorithm}` cannot serve purpose `{purpose}`: those that can are {able}"));
    }
}

fn check_rules(rules: &Effective, placement: &At<Placement>, report: &mut Report) {
    let At { value: algorithm, place } = *placement.value.algorithm();
    if !rules.algorithms.value.contains(&algorithm) {
        let allowed = list(&rules.algorithms.value);
        report.invalid(
            place,
            format!("`{algorithm}` is not among the key's algorithms ({}): allowed are {allowed}", rules.algorithms.origin),
        );
    }
    let At { value: destination, place } = placement.value.destination();
    if let Some(locations) = rules.locations.value.as_ref().filter(|locations| !locations.contains(destination)) {
        let detail = format!(
            "destination `{destination}` is not among the key's locations ({}): allowed are {}",
            rules.locations.origin,
            list(locations),
        );
        report.invalid(*place, detail).destination = Some(destination.clone());
    }
}

fn check_destination(
    rules: Option<&Effective>,
    placement: &At<Placement>,
    destinations: &BTreeMap<DestinationName, Destination>,
    report: &mut Report,
) {
    let At { value: name, place } = placement.value.destination();
    let mut complain = |code, place, detail| report.problem(code, place, detail).destination = Some(name.clone());
    let Some(destination) = destinations.get(name) else {
        if let Some(meant) = misspelt(name, destinations) {
            complain(ProblemCode::NameUnknown, *place, format!("destination `{name}` is not configured: did you mean `{meant}`"));
        }
        return;
    };
    let cloud = placement.value.cloud();
    if destination.cloud != cloud {
        let detail = format!("destination `{name}` is not of cloud `{cloud}`: write `{}:` here", destination.cloud);
        complain(ProblemCode::PolicyInvalid, placement.place, detail);
        return;
    }
    let capabilities = &destination.capabilities;
    let algorithm = placement.value.algorithm();
    if !capabilities.algorithms.contains_key(&algorithm.value) {
        let detail =
            format!("destination `{name}` cannot take `{}`: it can take {}", algorithm.value, list(capabilities.algorithms.keys()));
        complain(ProblemCode::DestinationUnsupported, algorithm.place, detail);
    }
    if let Some(rules) = rules.filter(|rules| rules.protection.value > capabilities.protection) {
        let detail = format!(
            "destination `{name}` gives protection `{}`, and the key asks for `{}` ({}): choose another destination",
            capabilities.protection, rules.protection.value, rules.protection.origin,
        );
        complain(ProblemCode::DestinationUnsupported, *place, detail);
    }
}

/// Keeps a key and its explanation, and warns about placements that are left out.
fn keep(
    document: &KeyDocument,
    rules: &Effective,
    destinations: Option<&BTreeMap<DestinationName, Destination>>,
    report: &mut Report,
    keys: &mut Keys,
) {
    let name = &document.key.value;
    let mut explained = Vec::new();
    let mut key = Key {
        profile: document.profile.value.clone(),
        purpose: document.purpose.value,
        shared: document.shared.as_ref().is_some_and(|shared| shared.value),
        rules: rules.to_model(),
        placements: BTreeSet::new(),
    };
    for placement in &document.placements.value.0 {
        let (cloud, algorithm) = (placement.value.cloud(), placement.value.algorithm().value);
        let At { value: destination, place } = placement.value.destination();
        let (placement_name, _) = placement.value.name();
        let configured = destinations.map(|destinations| destinations.contains_key(destination));
        if configured == Some(false) {
            let detail = format!("destination `{destination}` is not configured: placement left out");
            let warning = report.warning(ProblemCode::NameUnknown, *place, detail);
            (warning.key, warning.destination) = (Some(name.clone()), Some(destination.clone()));
        } else {
            key.placements.insert(PlacementIntent { destination: destination.clone(), cloud, name: placement_name.to_owned(), algorithm });
        }
        explained.push(ExplainedPlacement {
            cloud,
            destination: destination.clone(),
            name: placement_name.to_owned(),
            algorithm,
            location: report.location(placement.place),
            configured,
        });
    }
    let explanation = Explanation {
        key: name.clone(),
        profile: key.profile.clone(),
        purpose: key.purpose,
        shared: key.shared,
        location: report.location(document.key.place),
        rules: explain::rules(rules),
        placements: explained,
    };
    keys.explanations.insert(name.clone(), explanation);
    if key.placements.is_empty() {
        let detail = format!("none of the destinations of key `{name}` is configured: key left out");
        report.warning(ProblemCode::NameUnknown, document.key.place, detail).key = Some(name.clone());
    } else {
        keys.wanted.insert(name.clone(), key);
    }
}
