//! What security teams write: policy files in, [`Intent`] out.
//!
//! Owns the policy language: YAML documents of three kinds (`profile:`, `key:`, `approver:`), inheritance that only gets
//! stricter, every message about a mistake in them, the JSON Schema for editors, and [`Policy::explain`]. Knows `model`
//! alone: it reads no files (texts are arguments), no clock and no network, and what a destination can take it learns
//! from the destination's declared capabilities, never from its vendor.
//!
//! The way of a file: `yaml` cuts it into documents and gives each as a tree with places; `read` turns trees into
//! the types of `wire`, which the JSON Schema is generated from; `people`, `rules` and `keys` check and resolve
//! them. Each of these reports to `report` and goes on, so that one run tells every problem.

mod explain;
mod keys;
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

pub use explain::{ExplainedPlacement, ExplainedRule, Explanation, Origin};
pub use schema::json_schema;
pub use strict::{is_at_least_as_strict, looser_rules};
pub use yaml::{MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_FILES};

use report::Report;

/// The command that helps with any problem of this room: it says all of them again.
const NEXT: &str = "keyplane validate";

/// Policy files, read and found good.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What is wanted: every rule resolved.
    pub intent: Intent,
    /// What was left out, and why: placements at destinations that are not configured. In the order of the files.
    pub warnings: Vec<Problem>,
    explanations: BTreeMap<KeyName, Explanation>,
}

impl Policy {
    /// The effective rules of a key and where each of them comes from. Knows keys that were left out of the intent, too.
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

/// Reads policy files: `sources` are their names (as messages shall show them) and texts.
///
/// Flow: limits; documents; each kind's own checks; profiles, along `extends`; keys against profiles and, where they are
/// given, `destinations`.
///
/// Guarantees: the order of files and of documents in them changes nothing but the places in explanations and messages. No
/// key's rules are looser than its profile's. A name at a destination belongs to one key.
///
/// With `destinations`, a placement at a destination that is not there becomes a warning and stays out of the intent (and
/// so does a key without any other placement), unless the name is so near to a configured one that it is probably
/// misspelt. Without, nothing is checked against them.
///
/// # Errors
/// All problems, in the order of the files, each with its place.
pub fn load(sources: &[(String, String)], destinations: Option<&BTreeMap<DestinationName, Destination>>) -> Result<Policy, Vec<Problem>> {
    let mut report = Report::new(sources.iter().map(|(name, _)| name.clone()).collect());
    let documents = wire::documents(sources, &mut report);
    let (approvers, groups) = people::resolve(&documents.approvers, &mut report);
    // A document that could not be read may be the one that is looked for: then only what is surely wrong is told.
    let groups = documents.complete.then_some(&groups);
    let profiles = rules::profiles(&documents.profiles, documents.complete, groups, destinations, &mut report);
    let keys = keys::resolve(&documents.keys, &profiles, documents.complete, groups, destinations, &mut report);
    let (problems, warnings) = report.finish();
    // INVARIANT: whatever was left out on the way (a broken profile, a key under it) has a problem; without one, all is here.
    if problems.is_empty() {
        let profiles = profiles.into_iter().filter_map(|(name, rules)| Some((name, rules?.to_model()))).collect();
        Ok(Policy { intent: Intent { approvers, profiles, keys: keys.wanted }, warnings, explanations: keys.explanations })
    } else {
        Err(problems)
    }
}
