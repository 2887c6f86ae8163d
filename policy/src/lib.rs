//! What security teams write: policy files in, [`Intent`] out.
//!
//! Owns the policy language: YAML documents of three kinds (`profile:`, `key:`, `approver:`), inheritance that only gets stricter, all
//! messages about mistakes, the JSON Schema for editors, and [`Policy::explain`]. Knows only `model`. Uses no files, clock or network:
//! texts are arguments. What a destination accepts comes from its declared capabilities, never from its vendor.
//!
//! `yaml` splits a file into documents and parses each into a tree with places. `syntax` explains a document that is no YAML; `limits` are
//! the size limits. `read` turns the trees into the types of `wire`, from which the JSON Schema is generated. `people`, `rules` and `keys`
//! check and resolve them. Each rule keeps its `origin`, which `explain` shows. All of these report a problem to `report` and continue, so
//! that one run reports every problem.

mod explain;
mod keys;
mod limits;
mod origin;
mod people;
mod read;
mod report;
mod rules;
mod schema;
mod strict;
mod suggest;
mod syntax;
mod wire;
mod yaml;

use std::collections::BTreeMap;

use keyplane_model::{Destination, DestinationName, Intent, KeyName, Problem, ProblemCode};

pub use explain::{ExplainedPlacement, ExplainedRule, Explanation};
pub use limits::{MAX_BYTES, MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_FILES};
pub use origin::Origin;
pub use schema::json_schema;
pub use strict::{is_at_least_as_strict, looser_rules};

use report::{NEXT, Report};

/// Policy files that were read without a problem.
#[derive(Clone, Debug)]
pub struct Policy {
    /// With every rule resolved.
    pub intent: Intent,
    /// Placements and keys that were left out because a destination is not configured, in the order of the files.
    pub warnings: Vec<Problem>,
    explanations: BTreeMap<KeyName, Explanation>,
}

impl Policy {
    /// The effective rules of a key, and where each comes from. Also for keys that were left out of the intent.
    ///
    /// # Errors
    /// `name-unknown` when no file has such a key.
    pub fn explain(&self, key: &KeyName) -> Result<&Explanation, Box<Problem>> {
        self.explanations.get(key).ok_or_else(|| {
            let hint = suggest::did_you_mean(key.as_str(), self.explanations.keys().map(KeyName::as_str));
            Box::new(Problem::new(ProblemCode::NameUnknown, format!("no policy file has a key `{key}`{hint}"), NEXT).key(key))
        })
    }
}

/// Reads policy files. `sources` are their names, for messages, and their texts.
///
/// Flow: limits; documents; the checks of each kind of document; profiles along `extends`; keys against their profiles and, if given,
/// against `destinations`.
///
/// Guarantees: the order of files and documents changes only the places in explanations and messages. No key's rules are looser than its
/// profile's. No two placements have the same name at the same destination.
///
/// With `destinations`, a placement at an unknown destination is left out of the intent with a warning, and so is a key without any other
/// placement. If the name is close to a configured one, it is probably misspelt and a problem. With `None`, destinations are not checked.
///
/// # Errors
/// All problems in the order of the files, each with its place.
pub fn load(sources: &[(String, String)], destinations: Option<&BTreeMap<DestinationName, Destination>>) -> Result<Policy, Vec<Problem>> {
    let mut report = Report::new(sources.iter().map(|(name, _)| name.clone()).collect());
    let documents = wire::documents(sources, &mut report);
    let (approvers, groups) = people::resolve(&documents.approvers, &mut report);
    // A document that could not be read may define a missing name, so names are only checked if all were read.
    let groups = documents.complete.then_some(&groups);
    let profiles = rules::profiles(&documents.profiles, documents.complete, groups, destinations, &mut report);
    let keys = keys::resolve(&documents.keys, &profiles, documents.complete, groups, destinations, &mut report);
    let (problems, warnings) = report.finish();
    // INVARIANT: everything that is left out because it is broken has a problem. Without problems, nothing is missing.
    if problems.is_empty() {
        let profiles = profiles.into_iter().filter_map(|(name, rules)| Some((name, rules?.to_model()))).collect();
        Ok(Policy {
            intent: Intent { approvers, profiles, key_rules: keys.rules, keys: keys.wanted },
            warnings,
            explanations: keys.explanations,
        })
    } else {
        Err(problems)
    }
}
