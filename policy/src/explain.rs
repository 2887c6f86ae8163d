//! The effective rules of a key and where each comes from, as data for programs and as text for people.

use std::collections::BTreeSet;
use std::fmt;

use keyplane_model::{Algorithm, CloudKind, DestinationName, KeyName, ProfileName, Purpose, Retire, SourceLocation};
use serde::{Deserialize, Serialize};

use crate::origin::Origin;
use crate::rules::{Effective, Stated};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub key: KeyName,
    pub profile: ProfileName,
    pub purpose: Purpose,
    pub shared: bool,
    /// Where the key's document begins.
    pub location: SourceLocation,
    /// All of them, always in the same order.
    pub rules: Vec<ExplainedRule>,
    /// In the order of the file.
    pub placements: Vec<ExplainedPlacement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// The path in a policy file, as in `rotation.every`.
    pub rule: String,
    /// As a policy file would write it. If a file would leave the rule out: a few words.
    pub value: String,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPlacement {
    /// As the policy file says.
    pub cloud: CloudKind,
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    pub algorithm: Algorithm,
    pub location: SourceLocation,
    /// Whether the destination is configured. If not, the placement is left out of the intent. `None`: the caller gave no configuration.
    pub configured: Option<bool>,
}

/// Two columns, ending with a line feed.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = if self.shared { ", the same bytes everywhere" } else { "" };
        writeln!(f, "key {} ({}{shared}), profile {}, {}", self.key, self.purpose, self.profile, self.location)?;
        writeln!(f, "\nrules")?;
        let name_width = widest(self.rules.iter().map(|rule| rule.rule.as_str()));
        // A longer list would push the origins off the screen.
        let value_width = widest(self.rules.iter().map(|rule| rule.value.as_str())).min(48);
        for ExplainedRule { rule, value, origin } in &self.rules {
            writeln!(f, "  {rule:name_width$}  {value:value_width$}  {origin}")?;
        }
        writeln!(f, "\nplacements")?;
        for placement in &self.placements {
            let ExplainedPlacement { cloud, destination, name, algorithm, location, configured } = placement;
            let note = if *configured == Some(false) { "  (left out: the destination is not configured)" } else { "" };
            writeln!(f, "  {cloud} {destination}: {name}, {algorithm}  {location}{note}")?;
        }
        Ok(())
    }
}

pub(crate) fn rules(effective: &Effective) -> Vec<ExplainedRule> {
    // Destructured, so that forgetting a new rule here does not compile.
    let Effective {
        algorithms,
        protection,
        locations,
        source,
        every,
        overlap,
        retire,
        import_approvals,
        retire_approvals,
        valid,
        standing,
    } = effective;
    vec![
        rule("algorithms", algorithms, flow(&algorithms.value)),
        rule("protection", protection, protection.value.to_string()),
        rule("locations", locations, locations.value.as_ref().map_or_else(|| "anywhere".to_owned(), flow)),
        rule(
            "source",
            source,
            source.value.map_or_else(|| "derived where the token can, else generated".to_owned(), |source| source.to_string()),
        ),
        rule("rotation.every", every, every.value.map_or_else(|| "no schedule".to_owned(), |span| span.to_string())),
        rule("rotation.overlap", overlap, overlap.value.to_string()),
        rule(
            "rotation.retire",
            retire,
            match retire.value {
                Retire::Never => "never".to_owned(),
                Retire::After(span) => format!("{{ after: {span} }}"),
            },
        ),
        rule("approvals.import", import_approvals, approval(import_approvals)),
        rule("approvals.retire", retire_approvals, approval(retire_approvals)),
        rule("approvals.valid", valid, valid.value.to_string()),
        rule("approvals.standing.rotation", standing, standing.value.map_or_else(|| "none in advance".to_owned(), |span| span.to_string())),
    ]
}

fn rule<T>(name: &str, stated: &Stated<T>, value: String) -> ExplainedRule {
    ExplainedRule { rule: name.to_owned(), value, origin: stated.origin.clone() }
}

fn approval(stated: &Stated<keyplane_model::ApprovalRule>) -> String {
    match stated.value.need {
        0 => "nobody".to_owned(),
        need => format!("{{ need: {need}, from: {} }}", flow(&stated.value.from)),
    }
}

fn flow<T: fmt::Display>(values: &BTreeSet<T>) -> String {
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    format!("[{}]", values.join(", "))
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}
