//! The example company: it loads as a whole, and shows every feature.

use std::collections::BTreeSet;

use crate::common::{destinations, examples};
use keyplane_model::{Algorithm, CloudKind, IdTree, InstallationId, ProblemCode};
use keyplane_policy::{Policy, load};

fn company(configured: bool) -> Policy {
    let destinations = destinations();
    load(&examples(), configured.then_some(&destinations)).unwrap()
}

#[test]
fn the_example_company_has_a_dozen_keys_over_three_clouds() {
    let intent = company(false).intent;
    assert!(intent.keys.len() >= 12, "{} keys", intent.keys.len());
    let clouds: BTreeSet<CloudKind> = intent.keys.values().flat_map(|key| &key.placements).map(|placement| placement.cloud).collect();
    assert_eq!(clouds.len(), 3);
    for team in ["payments", "analytics", "documents", "signing", "backups"] {
        assert!(intent.keys.keys().any(|key| key.as_str().contains(team)), "no key of {team}");
    }
}

/// The charter depends on the policy alone: configuring a destination, or losing one, needs nobody's approval.
#[test]
fn the_rules_by_which_keys_are_stricter_are_in_the_charter_even_of_keys_that_are_left_out() {
    let rules = |policy: Policy| {
        let key_rules = policy.intent.charter(InstallationId(IdTree::new([7; 32]).uuid())).key_rules;
        key_rules
            .into_iter()
            .map(|rule| (rule.need, rule.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
            .collect::<Vec<_>>()
    };
    let of_cards = vec![(2, "security".to_owned())];
    assert_eq!(rules(company(true)), of_cards, "those of `payments-cards`");
    let nowhere = std::collections::BTreeMap::new();
    let policy = load(&examples(), Some(&nowhere)).unwrap();
    assert!(policy.intent.keys.is_empty());
    assert_eq!(rules(policy), of_cards);
}

#[test]
fn what_is_possible_now_is_kept_and_the_rest_is_left_out_with_a_warning() {
    let (all, now) = (company(false), company(true));
    assert_eq!(all.warnings, []);
    assert!(now.intent.keys.len() >= 5, "{} keys", now.intent.keys.len());
    let placements = |policy: &Policy| policy.intent.keys.values().map(|key| key.placements.len()).sum::<usize>();
    let left_out = |what: &str| now.warnings.iter().filter(|warning| warning.detail.ends_with(what)).count();
    assert_eq!(left_out("placement left out"), placements(&all) - placements(&now));
    assert_eq!(left_out("key left out"), all.intent.keys.len() - now.intent.keys.len());
    for placement in now.intent.keys.values().flat_map(|key| &key.placements) {
        assert_eq!((placement.cloud, placement.algorithm), (CloudKind::Aws, Algorithm::Aes256));
    }
    let first = &now.warnings[0];
    assert_eq!(first.to_string(), "analytics.yaml:6:25: destination `analytics-ring` is not configured: placement left out");
    assert_eq!(first.code, ProblemCode::NameUnknown);
    assert_eq!(first.key.as_ref().map(|key| key.as_str()), Some("analytics-lake"));
    assert_eq!(first.destination.as_ref().map(|destination| destination.as_str()), Some("analytics-ring"));
}

#[test]
fn explaining_a_key_says_of_each_rule_where_it_comes_from() {
    let policy = company(true);
    let explanation = policy.explain(&"payments-cards".parse().unwrap()).unwrap();
    let expected = "\
key payments-cards (encrypt), profile payments, payments.yaml:10:6

rules
  algorithms                   [aes-256]                                         this key, payments.yaml:13:13
  protection                   hsm                                               profile payments, profiles.yaml:15:13
  locations                    [corp-vault, payments-ring, prod-eu-central-1, prod-us-east-1]  profile payments, profiles.yaml:16:12
  source                       derived                                           profile payments, profiles.yaml:17:9
  rotation.every               30d                                               this key, payments.yaml:14:20
  rotation.overlap             45d                                               this key, payments.yaml:14:34
  rotation.retire              never                                             profile payments, profiles.yaml:18:33
  approvals.import             { need: 2, from: [security] }                     this key, payments.yaml:16:11
  approvals.retire             { need: 2, from: [platform, security] }           profile standard, profiles.yaml:9:11
  approvals.valid              7d                                                profile payments, profiles.yaml:21:10
  approvals.standing.rotation  365d                                              profile standard, profiles.yaml:10:25

placements
  aws prod-us-east-1: payments/cards, aes-256  payments.yaml:18:5
";
    assert_eq!(explanation.to_string(), expected);
    let json = serde_json::to_value(explanation).unwrap();
    assert_eq!(json["rules"][4]["rule"], "rotation.every");
    assert_eq!(json["rules"][4]["origin"]["key"]["location"]["line"], 14);
    assert_eq!(json["rules"][8]["origin"]["profile"]["profile"], "standard");
    assert_eq!(serde_json::from_value::<keyplane_policy::Explanation>(json).unwrap(), *explanation);
}

#[test]
fn a_key_that_was_left_out_can_be_explained_and_an_unknown_one_gets_a_hint() {
    let policy = company(true);
    let explanation = policy.explain(&"release-signing".parse().unwrap()).unwrap();
    let text = explanation.to_string();
    assert!(text.contains("corp-vault: release, ec-p384  code-signing.yaml:8:5  (left out: the destination is not configured)"));
    assert!(text.contains("rotation.every               no schedule"));
    let problem = policy.explain(&"payment-db".parse().unwrap()).unwrap_err();
    assert_eq!(problem.detail, "no policy file has a key `payment-db`: did you mean `payments-db`");
    assert_eq!(problem.code, ProblemCode::NameUnknown);
}

#[test]
fn what_the_design_shows_is_taken_as_it_stands() {
    let people = include_str!("base.yaml");
    let text = "\
profile: payments
algorithms: [aes-256, rsa-3072]
protection: hsm
source: derived
rotation: { every: 90d, overlap: 30d, retire: never }
approvals:
  import: { need: 1, from: [security] }
  retire: { need: 2, from: [security, platform] }
  standing: { rotation: 365d }      # approving this profile approves its scheduled rotations for a year
---
key: payments-db
profile: payments
purpose: encrypt
placements:
  - aws:   { destination: prod-us-east-1, alias: payments-db, algorithm: aes-256 }
  - gcp:   { destination: analytics-eu, name: payments-db, algorithm: aes-256 }
  - azure: { destination: corp-vault, name: payments-db, algorithm: rsa-3072 }
";
    let sources = [("people.yaml".to_owned(), people.to_owned()), ("payments.yaml".to_owned(), text.to_owned())];
    let policy = load(&sources, None).unwrap();
    assert_eq!(policy.intent.keys[&"payments-db".parse().unwrap()].placements.len(), 3);
    let policy = load(&sources, Some(&destinations())).unwrap();
    assert_eq!(policy.intent.keys[&"payments-db".parse().unwrap()].placements.len(), 1);
}

#[test]
fn an_approvers_keys_are_kept_without_comments_and_the_name_is_the_login_by_default() {
    let intent = company(false).intent;
    let alice = &intent.approvers[&"alice".parse().unwrap()];
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5rI61q7zSzHJuefUBIKlKjoDNrgIP/gXljHsIZLCma";
    assert_eq!(alice.keys, BTreeSet::from([key.to_owned()]));
    assert_eq!(alice.logins, BTreeSet::from(["alice".to_owned(), "alice@example.com".to_owned()]));
    let frank = &intent.approvers[&"frank".parse().unwrap()];
    assert_eq!(frank.logins, BTreeSet::from(["frank".to_owned()]));
}
