//! Resolves rules: profiles along `extends`, and keys under their profiles. Each rule keeps the document that set it.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    APPROVALS_LAST, Algorithm, ApprovalRule, Approvals, Destination, DestinationName, ProblemCode, ProfileName, Protection, Retire,
    Rotation, Rules, Source, Span, Standing,
};

use crate::origin::Origin;
use crate::people::Groups;
use crate::read::{At, Set};
use crate::report::{Place, Report};
use crate::strict::{self, Judgement};
use crate::suggest::{did_you_mean, did_you_mean_or_known, list, nearest};
use crate::wire::{ApprovalNeed, ApprovalRules, KeyDocument, ProfileDocument, RotationRules};

#[derive(Clone, Debug)]
pub(crate) struct Stated<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// Resolved rules, each with its origin.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) algorithms: Stated<BTreeSet<Algorithm>>,
    pub(crate) protection: Stated<Protection>,
    pub(crate) locations: Stated<Option<BTreeSet<DestinationName>>>,
    pub(crate) source: Stated<Option<Source>>,
    pub(crate) every: Stated<Option<Span>>,
    pub(crate) overlap: Stated<Span>,
    pub(crate) retire: Stated<Retire>,
    pub(crate) import_approvals: Stated<ApprovalRule>,
    pub(crate) retire_approvals: Stated<ApprovalRule>,
    pub(crate) valid: Stated<Span>,
    pub(crate) standing: Stated<Option<Span>>,
}

impl Effective {
    pub(crate) fn to_model(&self) -> Rules {
        Rules {
            algorithms: self.algorithms.value.clone(),
            protection: self.protection.value,
            locations: self.locations.value.clone(),
            source: self.source.value,
            rotation: Rotation { every: self.every.value, overlap: self.overlap.value, retire: self.retire.value },
            approvals: Approvals {
                import: self.import_approvals.value.clone(),
                retire: self.retire_approvals.value.clone(),
                valid: self.valid.value,
                standing: Standing { rotation: self.standing.value },
            },
        }
    }

    /// The approval rules that differ from the profile's.
    pub(crate) fn stricter_approvals<'a>(&'a self, profile: &Self) -> impl Iterator<Item = &'a ApprovalRule> + use<'a> {
        let of = |own: &'a Stated<ApprovalRule>, held: &Stated<ApprovalRule>| (own.value != held.value).then_some(&own.value);
        [of(&self.import_approvals, &profile.import_approvals), of(&self.retire_approvals, &profile.retire_approvals)].into_iter().flatten()
    }

    /// The rules of a profile that extends none. `None`: a required rule is missing, which was reported.
    fn root(profile: &At<ProfileName>, own: Statements, report: &mut Report) -> Option<Self> {
        let speaker = Speaker::Profile(&profile.value);
        let missing = [
            ("algorithms", own.algorithms.is_none()),
            ("protection", own.protection.is_none()),
            ("approvals.import", own.import_approvals.is_none()),
            ("approvals.retire", own.retire_approvals.is_none()),
        ];
        for (rule, _) in missing.iter().filter(|(_, missing)| *missing) {
            report
                .invalid(profile.place, format!("profile `{}` has to say `{rule}`, since it extends no profile that does", profile.value));
        }
        Some(Self {
            algorithms: speaker.states(own.algorithms?, report),
            protection: speaker.states(own.protection?, report),
            locations: speaker.states_or(own.locations, None, report),
            source: speaker.states_or(own.source, None, report),
            every: speaker.states_or(own.every, None, report),
            overlap: speaker.states_or(own.overlap, Span::ZERO, report),
            retire: speaker.states_or(own.retire, Retire::Never, report),
            import_approvals: speaker.states(own.import_approvals?, report),
            retire_approvals: speaker.states(own.retire_approvals?, report),
            valid: speaker.states_or(own.valid, APPROVALS_LAST, report),
            standing: speaker.states_or(own.standing, None, report),
        })
    }

    /// These rules, made stricter by a key or by a profile that extends this one. A looser value is reported and ignored.
    pub(crate) fn narrowed(&self, holder: &ProfileName, own: Statements, speaker: Speaker<'_>, report: &mut Report) -> Self {
        let mut narrow = Narrow { holder, speaker, report };
        Self {
            algorithms: narrow.rule("algorithms", &self.algorithms, own.algorithms, strict::algorithms),
            protection: narrow.rule("protection", &self.protection, own.protection, strict::protection),
            locations: narrow.rule("locations", &self.locations, own.locations, strict::locations),
            source: narrow.rule("source", &self.source, own.source, strict::source),
            every: narrow.rule("rotation.every", &self.every, own.every, strict::every),
            overlap: narrow.rule("rotation.overlap", &self.overlap, own.overlap, strict::overlap),
            retire: narrow.rule("rotation.retire", &self.retire, own.retire, strict::retire),
            import_approvals: narrow.rule("approvals.import", &self.import_approvals, own.import_approvals, strict::approval),
            retire_approvals: narrow.rule("approvals.retire", &self.retire_approvals, own.retire_approvals, strict::approval),
            valid: narrow.rule("approvals.valid", &self.valid, own.valid, strict::valid),
            standing: narrow.rule("approvals.standing.rotation", &self.standing, own.standing, strict::standing),
        }
    }
}

/// The document that states a rule.
#[derive(Clone, Copy)]
pub(crate) enum Speaker<'a> {
    Profile(&'a ProfileName),
    Key,
}

impl Speaker<'_> {
    fn states<T>(self, own: At<T>, report: &Report) -> Stated<T> {
        let location = report.location(own.place);
        let origin = match self {
            Self::Profile(profile) => Origin::Profile { profile: profile.clone(), location },
            Self::Key => Origin::Key { location },
        };
        Stated { value: own.value, origin }
    }

    fn states_or<T>(self, own: Option<At<T>>, default: T, report: &Report) -> Stated<T> {
        match own {
            Some(own) => self.states(own, report),
            None => Stated { value: default, origin: Origin::Default },
        }
    }
}

/// Makes rules stricter one by one, for one document.
struct Narrow<'a> {
    /// The profile whose rules apply so far.
    holder: &'a ProfileName,
    speaker: Speaker<'a>,
    report: &'a mut Report,
}

impl Narrow<'_> {
    fn rule<T: Clone>(&mut self, rule: &str, held: &Stated<T>, own: Option<At<T>>, judge: fn(&T, &T) -> Judgement) -> Stated<T> {
        let Some(own) = own else { return held.clone() };
        match judge(&own.value, &held.value) {
            Ok(()) => self.speaker.states(own, self.report),
            Err(right) => {
                let holder = match &held.origin {
                    Origin::Profile { profile, location } => format!("profile `{profile}` ({location})"),
                    Origin::Key { .. } | Origin::Default => format!("profile `{}` (by default)", self.holder),
                };
                self.report.invalid(own.place, format!("`{rule}` is looser than in {holder}: right would be {right}"));
                held.clone()
            }
        }
    }
}

/// The rules that one document itself states.
pub(crate) struct Statements {
    algorithms: Option<At<BTreeSet<Algorithm>>>,
    protection: Option<At<Protection>>,
    locations: Option<At<Option<BTreeSet<DestinationName>>>>,
    source: Option<At<Option<Source>>>,
    every: Option<At<Option<Span>>>,
    overlap: Option<At<Span>>,
    retire: Option<At<Retire>>,
    import_approvals: Option<At<ApprovalRule>>,
    retire_approvals: Option<At<ApprovalRule>>,
    valid: Option<At<Span>>,
    standing: Option<At<Option<Span>>>,
}

impl Statements {
    fn of_profile(profile: &ProfileDocument, check: &mut Check<'_>) -> Self {
        let ProfileDocument { profile: _, extends: _, algorithms, protection, locations, source, rotation, approvals } = profile;
        Self::checked(algorithms, protection, locations, source, rotation, approvals, check)
    }

    pub(crate) fn of_key(key: &KeyDocument, check: &mut Check<'_>) -> Self {
        let KeyDocument {
            key: _,
            profile: _,
            purpose: _,
            shared: _,
            placements: _,
            algorithms,
            protection,
            locations,
            source,
            rotation,
            approvals,
        } = key;
        Self::checked(algorithms, protection, locations, source, rotation, approvals, check)
    }

    fn checked(
        algorithms: &Option<At<Set<Algorithm>>>,
        protection: &Option<At<Protection>>,
        locations: &Option<At<Set<DestinationName>>>,
        source: &Option<At<Source>>,
        rotation: &Option<RotationRules>,
        approvals: &Option<ApprovalRules>,
        check: &mut Check<'_>,
    ) -> Self {
        let rotation = rotation.as_ref();
        let approvals = approvals.as_ref();
        let every = rotation.and_then(|rotation| rotation.every.as_ref());
        let standing = approvals.and_then(|approvals| approvals.standing.as_ref()).and_then(|standing| standing.rotation.as_ref());
        for span in [every, standing].into_iter().flatten().filter(|span| span.value == Span::ZERO) {
            check.report.invalid(span.place, "a time of zero would never end: give a longer one, or leave it out");
        }
        for (destination, place) in locations.iter().flat_map(|locations| locations.value.iter()) {
            check.location(destination, place);
        }
        Self {
            algorithms: algorithms.as_ref().map(|own| At { value: own.value.values(), place: own.place }),
            protection: protection.clone(),
            locations: locations.as_ref().map(|own| At { value: Some(own.value.values()), place: own.place }),
            source: source.as_ref().map(|own| At { value: Some(own.value), place: own.place }),
            every: every.map(|own| At { value: Some(own.value), place: own.place }),
            overlap: rotation.and_then(|rotation| rotation.overlap.clone()),
            retire: rotation.and_then(|rotation| rotation.retire.as_ref()).map(|own| At { value: own.value.0, place: own.place }),
            import_approvals: approvals.and_then(|approvals| approvals.import.as_ref()).map(|own| check.approvals(own)),
            retire_approvals: approvals.and_then(|approvals| approvals.retire.as_ref()).map(|own| check.approvals(own)),
            valid: approvals.and_then(|approvals| approvals.valid.as_ref()).and_then(|own| check.valid(own)),
            standing: standing.map(|own| At { value: Some(own.value), place: own.place }),
        }
    }
}

/// What every stated rule is checked against.
pub(crate) struct Check<'a> {
    /// `None`: a document could not be read, so a group may be missing.
    pub(crate) groups: Option<&'a Groups>,
    /// `None`: the caller gave no configuration.
    pub(crate) destinations: Option<&'a BTreeMap<DestinationName, Destination>>,
    pub(crate) report: &'a mut Report,
}

impl Check<'_> {
    /// A location may be configured later. If its name is close to a configured one, it is misspelt.
    fn location(&mut self, destination: &DestinationName, place: Place) {
        if let Some(meant) = self.destinations.and_then(|destinations| misspelt(destination, destinations)) {
            self.report
                .problem(ProblemCode::NameUnknown, place, format!("destination `{destination}` is not configured: did you mean `{meant}`"))
                .destination = Some(destination.clone());
        }
    }

    /// Checks that enough approvers exist for the rule.
    fn approvals(&mut self, own: &At<ApprovalNeed>) -> At<ApprovalRule> {
        let ApprovalNeed { need, from } = &own.value;
        let from = from.as_ref();
        if need.value == 0 {
            // A rule that needs nobody names no groups, so that equal rules are equal values.
            return At { value: ApprovalRule { need: 0, from: BTreeSet::new() }, place: own.place };
        }
        let groups_asked = from.map(Set::values).unwrap_or_default();
        if groups_asked.is_empty() {
            let detail = format!("`need` is {}, but `from` names no group: name those that may approve", need.value);
            self.report.invalid(need.place, detail);
        } else if let Some(groups) = self.groups {
            let mut members = BTreeSet::new();
            let mut all_known = true;
            for (group, place) in from.into_iter().flat_map(Set::iter) {
                match groups.get(group) {
                    Some(of_group) => members.extend(of_group),
                    None => {
                        let hint = did_you_mean(group.as_str(), groups.keys().map(|group| group.as_str()));
                        self.report.problem(ProblemCode::NameUnknown, place, format!("no approver is of group `{group}`{hint}"));
                        all_known = false;
                    }
                }
            }
            if all_known && u64::from(need.value) > u64::try_from(members.len()).unwrap_or(u64::MAX) {
                let detail = format!(
                    "`need` is {}, but only {} approvers are of {}: nobody could ever approve; need fewer, or name more groups",
                    need.value,
                    members.len(),
                    list(&groups_asked),
                );
                self.report.invalid(need.place, detail);
            }
        }
        At { value: ApprovalRule { need: need.value, from: groups_asked }, place: own.place }
    }

    /// `None`: no charter could have approvals count for so long, which was reported.
    fn valid(&mut self, own: &At<Span>) -> Option<At<Span>> {
        if Approvals::VALID.contains(&own.value) {
            return Some(own.clone());
        }
        let (least, most) = Approvals::VALID.into_inner();
        self.report.invalid(own.place, format!("approvals cannot count for `{}`: give at least `{least}` and at most `{most}`", own.value));
        None
    }
}

/// The configured destination that an unknown name probably means. `None`: the name is known, or close to none.
pub(crate) fn misspelt<'a>(name: &DestinationName, destinations: &'a BTreeMap<DestinationName, Destination>) -> Option<&'a str> {
    if destinations.contains_key(name) {
        return None;
    }
    nearest(name.as_str(), destinations.keys().map(DestinationName::as_str))
}

/// `None`: the profile exists but is broken, which was reported.
pub(crate) type Profiles = BTreeMap<ProfileName, Option<Effective>>;

pub(crate) fn profiles(
    documents: &[ProfileDocument],
    complete: bool,
    groups: Option<&Groups>,
    destinations: Option<&BTreeMap<DestinationName, Destination>>,
    report: &mut Report,
) -> Profiles {
    let mut by_name: BTreeMap<&ProfileName, &ProfileDocument> = BTreeMap::new();
    for document in documents {
        let At { value: name, place } = &document.profile;
        if let Some(first) = by_name.get(name) {
            let first = report.location(first.profile.place);
            report.invalid(*place, format!("profile `{name}` is there already, at {first}: keep one of them"));
        } else {
            by_name.insert(name, document);
        }
    }
    let mut resolved = Profiles::new();
    for name in by_name.keys().copied() {
        // Goes up from a profile to one that is resolved or extends none, and then down again. Not recursive, because a chain may be long.
        let mut chain: Vec<&ProfileDocument> = Vec::new();
        let mut on_chain = BTreeSet::new();
        let mut next = Some(name);
        while let Some(name) = next.filter(|name| !resolved.contains_key(*name)) {
            let Some(document) = by_name.get(name).copied() else {
                unknown_parent(&chain, name, complete, &by_name, report);
                break;
            };
            if !on_chain.insert(name) {
                circle(&chain, name, report);
                break;
            }
            chain.push(document);
            next = document.extends.as_ref().map(|extends| &extends.value);
        }
        for document in chain.into_iter().rev() {
            let mut check = Check { groups, destinations, report: &mut *report };
            let own = Statements::of_profile(document, &mut check);
            let parent = document.extends.as_ref().map(|extends| (&extends.value, resolved.get(&extends.value)));
            let rules = match parent {
                None => Effective::root(&document.profile, own, report),
                Some((name, Some(Some(parent)))) => Some(parent.narrowed(name, own, Speaker::Profile(&document.profile.value), report)),
                // Unknown, broken or in a circle, which was reported there.
                Some(_) => None,
            };
            check_source(document, rules.as_ref(), report);
            resolved.insert(document.profile.value.clone(), rules);
        }
    }
    resolved
}

/// A profile whose own document says `derived` needs at least one algorithm that can be derived.
fn check_source(document: &ProfileDocument, rules: Option<&Effective>, report: &mut Report) {
    let (Some(At { value: Source::Derived, place }), Some(rules)) = (&document.source, rules) else { return };
    if !rules.algorithms.value.iter().any(|algorithm| algorithm.is_symmetric()) {
        let algorithms = list(&rules.algorithms.value);
        report.invalid(*place, format!("keys of {algorithms} cannot be derived, they are always generated: leave `source` out"));
    }
}

fn unknown_parent(
    chain: &[&ProfileDocument],
    name: &ProfileName,
    complete: bool,
    known: &BTreeMap<&ProfileName, &ProfileDocument>,
    report: &mut Report,
) {
    let Some(child) = chain.last().filter(|_| complete) else { return };
    if let Some(extends) = &child.extends {
        let others = known.keys().filter(|other| **other != &child.profile.value);
        let hint = did_you_mean_or_known(name.as_str(), others.map(|name| name.as_str()));
        report.problem(ProblemCode::NameUnknown, extends.place, format!("there is no profile `{name}`{hint}"));
    }
}

fn circle(chain: &[&ProfileDocument], name: &ProfileName, report: &mut Report) {
    // The most names that one message lists.
    const SHOWN: usize = 5;
    let start = chain.iter().position(|document| document.profile.value == *name).unwrap_or(0);
    let circle = chain.get(start..).unwrap_or_default();
    let mut way: Vec<String> = circle.iter().take(SHOWN).map(|document| format!("`{}`", document.profile.value)).collect();
    if circle.len() > SHOWN {
        way.push("…".to_owned());
    }
    way.push(format!("`{name}`"));
    if let Some(extends) = chain.last().and_then(|last| last.extends.as_ref()) {
        report.invalid(extends.place, format!("profiles extend each other in a circle: {}", way.join(" extends ")));
    }
}
