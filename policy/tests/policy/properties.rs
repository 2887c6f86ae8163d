//! Properties of every policy: it is read back as it was written, order changes nothing, and no key is looser than its profile.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Algorithm, ApprovalRule, Approvals, CloudKind, DestinationName, Intent, Key, KeyName, PlacementIntent, ProfileName, Protection,
    Purpose, Retire, Rotation, Rules, Source, Span, Standing,
};
use keyplane_policy::{load, looser_rules};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// The approvers of the random policies: `alice` and `bob` are in `security`, `dave` is in `platform`.
const PEOPLE: &str = include_str!("base.yaml");

const DESTINATIONS: [&str; 3] = ["north", "south", "overseas"];

proptest! {
    #[test]
    fn an_intent_that_is_written_down_is_read_back(intent in intents()) {
        let text = documents(&intent).join("---\n");
        let read = load(&[people(), ("random.yaml".to_owned(), text.clone())], None);
        prop_assert_eq!(read.map(|policy| wanted(policy.intent)), Ok(wanted(intent)), "{}", text);
    }

    #[test]
    fn the_order_of_files_and_documents_is_nothing(
        (intent, order) in intents().prop_flat_map(|intent| {
            let documents = documents(&intent);
            let count = documents.len();
            let files = vec(0..4_usize, count);
            (Just(intent), (Just(documents).prop_shuffle(), files))
        })
    ) {
        let (shuffled, files) = order;
        let mut sources: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (document, file) in shuffled.into_iter().zip(files) {
            sources.entry(file).or_default().push(document);
        }
        let mut sources: Vec<_> = sources.into_iter().map(|(file, documents)| (format!("{file}.yaml"), documents.join("---\n"))).collect();
        sources.push(people());
        let read = load(&sources, None);
        prop_assert_eq!(read.map(|policy| wanted(policy.intent)), Ok(wanted(intent)));
    }

    #[test]
    fn what_is_accepted_is_never_looser(profile in rules(), own in partial_rules(), child in partial_rules()) {
        let placements = "placements:\n  - gcp: { destination: north, name: k, algorithm: aes-256 }\n";
        let text = [
            format!("profile: parent\n{}", rule_fields(&profile)),
            format!("profile: child\nextends: parent\n{child}"),
            format!("key: k\nprofile: child\npurpose: encrypt\n{own}{placements}"),
        ]
        .join("---\n");
        match load(&[people(), ("random.yaml".to_owned(), text.clone())], None) {
            Ok(policy) => {
                let rules = |name: &str| policy.intent.profiles[&name.parse().unwrap()].clone();
                let key = policy.intent.keys.values().find(|key| key.profile.as_str() == "child").unwrap();
                prop_assert!(naively_as_strict(&key.rules, &rules("child")), "{}", text);
                prop_assert!(naively_as_strict(&rules("child"), &rules("parent")), "{}", text);
                prop_assert!(naively_as_strict(&key.rules, &profile), "{}", text);
            }
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.location.is_some())),
        }
    }

    #[test]
    fn no_text_whatever_makes_it_panic(text in "[a-z:{}\\[\\],'\"&*!|>%@`#\\- \t\n0-9ä🔑]{0,200}") {
        if let Err(problems) = load(&[("any.yaml".to_owned(), text.clone())], None) {
            for problem in problems {
                let location = problem.location.unwrap();
                let lines = u32::try_from(text.lines().count()).unwrap().max(1);
                prop_assert!((1..=lines + 1).contains(&location.line), "{:?}: line {} of {}", text, location.line, lines);
            }
        }
    }

    #[test]
    fn no_good_policy_with_a_piece_cut_out_makes_it_panic(intent in intents(), from in 0.0..1.0_f64, length in 0..12_usize) {
        let mut characters: Vec<char> = documents(&intent).join("---\n").chars().collect();
        let start = ((characters.len() as f64) * from) as usize;
        characters.drain(start..(start + length).min(characters.len()));
        let _ = load(&[people(), ("cut.yaml".to_owned(), characters.into_iter().collect())], None);
    }
}

fn people() -> (String, String) {
    ("people.yaml".to_owned(), PEOPLE.to_owned())
}

/// The random part of an intent, without the profile and key of the base documents.
fn wanted(mut intent: Intent) -> Intent {
    let theirs = |name: &str| ["standard", "open", "taken"].contains(&name);
    intent.approvers.clear();
    intent.profiles.retain(|name, _| !theirs(name.as_str()));
    intent.keys.retain(|name, _| !theirs(name.as_str()));
    intent
}

/// A second definition of "at least as strict", by trying out whether `than` allows whatever `rules` allow. It shares no code with the
/// first.
fn naively_as_strict(rules: &Rules, than: &Rules) -> bool {
    let implies = |these: bool, those: bool| !these || those;
    let days: Vec<Span> = (0..100).map(Span::days).collect();
    let algorithms =
        Algorithm::ALL.iter().all(|algorithm| implies(rules.algorithms.contains(algorithm), than.algorithms.contains(algorithm)));
    let protections =
        [Protection::Software, Protection::Hsm].iter().all(|given| implies(*given >= rules.protection, *given >= than.protection));
    let places = DESTINATIONS.iter().chain(&["anywhere"]).all(|place| {
        let allowed =
            |rules: &Rules| rules.locations.as_ref().is_none_or(|locations| locations.iter().any(|location| location.as_str() == *place));
        implies(allowed(rules), allowed(than))
    });
    let sources = [Source::Derived, Source::Generated].iter().all(|source| {
        let allowed = |rules: &Rules| rules.source.is_none_or(|fixed| fixed == *source);
        implies(allowed(rules), allowed(than))
    });
    // Five properties of time: how old an active version may be; after which overlap the one before may be dropped; after which time an old
    // one may be retired; how old the approval of a rotation may be; how old any other approval may be.
    let times = days.iter().all(|time| {
        let active = |rules: &Rules| rules.rotation.every.is_none_or(|every| *time <= every);
        let dropped = |rules: &Rules| *time >= rules.rotation.overlap;
        let retired = |rules: &Rules| matches!(rules.rotation.retire, Retire::After(after) if *time >= after);
        let standing = |rules: &Rules| rules.approvals.standing.rotation.is_some_and(|standing| *time <= standing);
        let counts = |rules: &Rules| *time <= rules.approvals.valid;
        [
            active(rules) <= active(than),
            dropped(rules) <= dropped(than),
            retired(rules) <= retired(than),
            standing(rules) <= standing(than),
            counts(rules) <= counts(than),
        ]
        .into_iter()
        .all(|fine| fine)
    });
    // Every set of people that suffices for one rule suffices for the other. The population: three of each group, and one in both.
    let population = [("s", 3), ("p", 3), ("sp", 1)];
    let crowds = (0..=3_u32).flat_map(|s| (0..=3_u32).flat_map(move |p| (0..=1_u32).map(move |both| [s, p, both])));
    let approvals = crowds.into_iter().all(|crowd| {
        let enough = |rule: &ApprovalRule| {
            let asked = |kind: &str| rule.from.iter().any(|group| kind.contains(&group.as_str()[..1]));
            let counted: u32 = population.iter().zip(crowd).filter(|((kind, _), _)| asked(kind)).map(|(_, people)| people).sum();
            counted >= rule.need
        };
        implies(enough(&rules.approvals.import), enough(&than.approvals.import))
            && implies(enough(&rules.approvals.retire), enough(&than.approvals.retire))
    });
    algorithms && protections && places && sources && times && approvals
}

// Random policies.

fn algorithms() -> impl Strategy<Value = BTreeSet<Algorithm>> {
    // Always includes AES-256, so that a policy can say `derived` and have a key for encryption.
    subsequence(Algorithm::ALL[1..].to_vec(), 0..4).prop_map(|some| some.into_iter().chain([Algorithm::Aes256]).collect())
}

fn locations() -> impl Strategy<Value = Option<BTreeSet<DestinationName>>> {
    let some = subsequence(DESTINATIONS[1..].to_vec(), 0..3);
    option::of(some.prop_map(|some| some.into_iter().chain(["north"]).map(|name| name.parse().unwrap()).collect()))
}

fn span() -> impl Strategy<Value = Span> {
    select(vec![Span::days(1), Span::days(30), Span::days(90)])
}

fn retire() -> impl Strategy<Value = Retire> {
    prop_oneof![Just(Retire::Never), span().prop_map(Retire::After)]
}

fn approval() -> impl Strategy<Value = ApprovalRule> {
    let groups = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<_>>();
    // No rule asks for more people than there are.
    select(vec![
        ApprovalRule { need: 0, from: BTreeSet::new() },
        ApprovalRule { need: 1, from: groups(&["security"]) },
        ApprovalRule { need: 2, from: groups(&["security"]) },
        ApprovalRule { need: 1, from: groups(&["platform"]) },
        ApprovalRule { need: 1, from: groups(&["security", "platform"]) },
        ApprovalRule { need: 3, from: groups(&["security", "platform"]) },
    ])
}

fn source() -> impl Strategy<Value = Option<Source>> {
    option::of(select(vec![Source::Derived, Source::Generated]))
}

prop_compose! {
    fn rules()(
        algorithms in algorithms(),
        protection in select(vec![Protection::Software, Protection::Hsm]),
        locations in locations(),
        source in source(),
        every in option::of(span()),
        overlap in prop_oneof![Just(Span::ZERO), span()],
        retire in retire(),
        import in approval(),
        retire_approval in approval(),
        valid in select(vec![Span::days(1), Span::days(7), Span::days(30)]),
        standing in option::of(span()),
    ) -> Rules {
        Rules {
            algorithms, protection, locations, source,
            rotation: Rotation { every, overlap, retire },
            approvals: Approvals { import, retire: retire_approval, valid, standing: Standing { rotation: standing } },
        }
    }
}

/// A profile's rules with most fields left out.
fn partial_rules() -> impl Strategy<Value = String> {
    (rules(), vec(prop::bool::weighted(0.15), 11)).prop_map(|(rules, keep)| {
        let fields = rule_lines(&rules).into_iter().zip(keep).filter_map(|(line, keep)| line.filter(|_| keep)).collect();
        nested(fields)
    })
}

/// A key under a profile with random rules. A random value that would be looser is replaced by the profile's.
fn key(profiles: BTreeMap<String, Rules>) -> impl Strategy<Value = Key> {
    let profile = select(profiles.into_iter().collect::<Vec<_>>());
    let purpose = select(vec![Purpose::Encrypt, Purpose::Sign, Purpose::Mac]);
    let placement =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), select(vec![CloudKind::Aws, CloudKind::Gcp, CloudKind::Azure]));
    (profile, rules(), purpose, vec(placement, 1..4), any::<bool>()).prop_filter_map(
        "no algorithm serves the purpose",
        |((profile, held), own, purpose, placements, same)| {
            let mut rules = own;
            for (looser, _) in looser_rules(&rules, &held) {
                match looser {
                    "algorithms" => rules.algorithms = held.algorithms.clone(),
                    "protection" => rules.protection = held.protection,
                    "locations" => rules.locations = held.locations.clone(),
                    "source" => rules.source = held.source,
                    "rotation.every" => rules.rotation.every = held.rotation.every,
                    "rotation.overlap" => rules.rotation.overlap = held.rotation.overlap,
                    "rotation.retire" => rules.rotation.retire = held.rotation.retire,
                    "approvals.import" => rules.approvals.import = held.approvals.import.clone(),
                    "approvals.retire" => rules.approvals.retire = held.approvals.retire.clone(),
                    "approvals.valid" => rules.approvals.valid = held.approvals.valid,
                    "approvals.standing.rotation" => rules.approvals.standing = held.approvals.standing,
                    other => panic!("no rule {other}"),
                }
            }
            // A key's document cannot state these, so they are the profile's: standing approvals, no schedule, the source of an asymmetric
            // key.
            rules.approvals.standing = held.approvals.standing;
            let able: Vec<Algorithm> = rules.algorithms.iter().copied().filter(|algorithm| algorithm.serves(purpose)).collect();
            if able.is_empty() {
                return None;
            }
            let anywhere = DESTINATIONS.iter().map(|name| name.parse().unwrap()).collect();
            let places: Vec<DestinationName> = rules.locations.clone().unwrap_or(anywhere).into_iter().collect();
            let placements: BTreeSet<PlacementIntent> = placements
                .iter()
                .enumerate()
                .map(|(number, (algorithm, place, cloud))| PlacementIntent {
                    destination: place.get(&places).clone(),
                    cloud: *cloud,
                    // Replaced by a unique name with the key's name.
                    name: number.to_string(),
                    algorithm: if same { able[0] } else { *algorithm.get(&able) },
                })
                .collect();
            if placements.iter().any(|placement| !placement.algorithm.is_symmetric()) {
                rules.source = held.source;
            }
            Some(Key { profile: profile.parse().unwrap(), purpose, shared: same, rules, placements })
        },
    )
}

fn intents() -> impl Strategy<Value = Intent> {
    btree_map("p[a-z0-9-]{0,8}", rules(), 1..4)
        .prop_flat_map(|profiles| {
            let keys = btree_set("k[a-z0-9-]{0,8}", 0..5).prop_flat_map({
                let profiles = profiles.clone();
                move |names| {
                    let count = names.len();
                    (Just(names), vec(key(profiles.clone()), count))
                }
            });
            (Just(profiles), keys)
        })
        .prop_map(|(profiles, (names, keys))| {
            let keys = names.into_iter().zip(keys).map(|(name, mut key)| {
                let named = |placement: PlacementIntent| PlacementIntent { name: format!("{name}-{}", placement.name), ..placement };
                key.placements = std::mem::take(&mut key.placements).into_iter().map(named).collect();
                (name.parse().unwrap(), key)
            });
            let keys: BTreeMap<KeyName, Key> = keys.collect();
            let profiles: BTreeMap<ProfileName, Rules> = profiles.into_iter().map(|(name, rules)| (name.parse().unwrap(), rules)).collect();
            let stricter = |key: &Key| {
                let (own, of) = (&key.rules.approvals, &profiles[&key.profile].approvals);
                [(&own.import, &of.import), (&own.retire, &of.retire)].map(|(own, of)| (own != of).then(|| own.clone()))
            };
            let key_rules = keys.values().flat_map(stricter).flatten().collect();
            Intent { approvers: BTreeMap::new(), profiles, key_rules, keys }
        })
}

// Writing policies down.

fn documents(intent: &Intent) -> Vec<String> {
    let profiles = intent.profiles.iter().map(|(name, rules)| format!("profile: {name}\n{}", rule_fields(rules)));
    let keys = intent.keys.iter().map(|(name, key)| {
        let mut lines = rule_lines(&key.rules);
        if key.placements.iter().any(|placement| !placement.algorithm.is_symmetric()) {
            // A key with asymmetric placements cannot say `derived`, though its profile can.
            lines[3] = None;
        }
        let placements: String = key
            .placements
            .iter()
            .map(|placement| {
                let word = if placement.cloud == CloudKind::Aws { "alias" } else { "name" };
                format!(
                    "  - {}: {{ destination: {}, {word}: {}, algorithm: {} }}\n",
                    placement.cloud, placement.destination, placement.name, placement.algorithm,
                )
            })
            .collect();
        format!(
            "key: {name}\nprofile: {}\npurpose: {}\nshared: {}\nplacements:\n{placements}{}",
            key.profile,
            key.purpose,
            key.shared,
            nested(lines.into_iter().flatten().collect()),
        )
    });
    profiles.chain(keys).collect()
}

fn rule_fields(rules: &Rules) -> String {
    nested(rule_lines(rules).into_iter().flatten().collect())
}

/// Eleven rules as paths and values. `None`: a file cannot state the value, which is the default.
fn rule_lines(rules: &Rules) -> Vec<Option<(&'static str, String)>> {
    let approval = |rule: &ApprovalRule| match rule.need {
        0 => "{ need: 0 }".to_owned(),
        need => format!("{{ need: {need}, from: {} }}", flow(&rule.from)),
    };
    let retire = match rules.rotation.retire {
        Retire::Never => "never".to_owned(),
        Retire::After(after) => format!("{{ after: {after} }}"),
    };
    vec![
        Some(("algorithms", flow(&rules.algorithms))),
        Some(("protection", rules.protection.to_string())),
        rules.locations.as_ref().map(|locations| ("locations", flow(locations))),
        rules.source.map(|source| ("source", source.to_string())),
        rules.rotation.every.map(|every| ("rotation.every", every.to_string())),
        Some(("rotation.overlap", rules.rotation.overlap.to_string())),
        Some(("rotation.retire", retire)),
        Some(("approvals.import", approval(&rules.approvals.import))),
        Some(("approvals.retire", approval(&rules.approvals.retire))),
        Some(("approvals.valid", rules.approvals.valid.to_string())),
        rules.approvals.standing.rotation.map(|span| ("approvals.standing", format!("{{ rotation: {span} }}"))),
    ]
}

/// Writes paths of at most two parts as block YAML.
fn nested(lines: Vec<(&'static str, String)>) -> String {
    let mut text = String::new();
    let mut parent = "";
    for (path, value) in lines {
        match path.split_once('.') {
            None => text.push_str(&format!("{path}: {value}\n")),
            Some((outer, inner)) => {
                if outer != parent {
                    text.push_str(&format!("{outer}:\n"));
                    parent = outer;
                }
                text.push_str(&format!("  {inner}: {value}\n"));
            }
        }
    }
    text
}

fn flow<T: ToString>(values: &BTreeSet<T>) -> String {
    format!("[{}]", values.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}
