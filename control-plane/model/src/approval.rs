//! Approvals, and the charter: who may approve what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Action, Actor, ApprovalRule, Approvals, ApproverName, ChangeSet, Digest, EpochId, GroupName, InstallationId, ProfileName, Span,
    Timestamp,
};

/// The namespace of approval signatures (`ssh-keygen -Y sign -n …`). A signature in any other namespace is no approval.
pub const APPROVAL_NAMESPACE: &str = "approval.keyplane.v1";

/// How long approvals are good for, at most: a change set or a proposed charter that asks for longer is refused.
pub const APPROVALS_LAST: Span = Span::days(30);

/// Names a charter: nothing that people sign under one is good under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterId {
    /// Counts the adoptions of the installation, from 1.
    pub serial: u32,
    /// [`Charter::digest`].
    pub digest: Digest,
}

impl fmt::Display for CharterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.serial, self.digest)
    }
}

/// A change of the charter, as people approve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterChange {
    /// The charter in force, under whose rules it is approved.
    pub before: CharterId,
    /// The charter that is wanted.
    pub next: Charter,
    /// Who proposes it; nobody's approval of an own proposal counts.
    pub proposer: Actor,
    /// When its approvals end.
    pub until: Timestamp,
}

/// What an approver signs: a text that says for what, where, under which charter and until when.
///
/// INVARIANT: two different things to approve never have one text. Each line is a word of its own and one value; values that people
/// choose freely stand in quotes, with line feeds and quotes escaped as in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement(String);

impl Statement {
    /// The text for a change set with this digest, under the charter in force.
    #[must_use]
    pub fn of_change_set(change_set: &ChangeSet, digest: &Digest, charter: &CharterId) -> Self {
        let ChangeSet { installation, key, profile, action, proposer, generation, until, .. } = change_set;
        Self(format!(
            "Keyplane approval v1: change set\n\
             installation: {installation}\n\
             charter: {charter}\n\
             change set: {digest}\n\
             key: {key}\n\
             action: {action}\n\
             profile: {profile}\n\
             generation: {generation}\n\
             proposer: {proposer}\n\
             until: {until}\n",
            proposer = quoted(proposer),
        ))
    }

    /// The text for a change of the charter.
    ///
    /// # Errors
    /// See [`Charter::digest`].
    pub fn of_charter(change: &CharterChange) -> Result<Self, serde_json::Error> {
        let CharterChange { before, next, proposer, until } = change;
        Ok(Self(format!(
            "Keyplane approval v1: charter\n\
             installation: {installation}\n\
             charter: {before}\n\
             next charter: {next}\n\
             proposer: {proposer}\n\
             until: {until}\n",
            installation = next.installation,
            next = next.digest()?,
            proposer = quoted(proposer),
        )))
    }

    /// The text; its bytes are what is signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn quoted(actor: &Actor) -> serde_json::Value {
    serde_json::Value::String(actor.0.clone())
}

/// A person who may approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// The groups that the person belongs to.
    pub groups: BTreeSet<GroupName>,
    /// The logins under which the person proposes change sets. Nobody's approval of an own proposal counts.
    pub logins: BTreeSet<String>,
    /// Public keys in OpenSSH's format without comments: `ssh-ed25519 AAAA…`.
    pub keys: BTreeSet<String>,
}

/// An approval as it was received; nothing here says that it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The approver that whoever sent it names; only the signature proves it.
    pub approver: ApproverName,
    /// An OpenSSH signature (PROTOCOL.sshsig), armored, over a [`Statement`] in [`APPROVAL_NAMESPACE`].
    pub signature: String,
    /// When the server received it.
    pub at: Timestamp,
}

/// Who may approve what: the part of the intent that the custodian enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// The installation that it belongs to.
    pub installation: InstallationId,
    /// Everybody who may approve, by name.
    pub approvers: BTreeMap<ApproverName, Approver>,
    /// The approvals that each profile asks for.
    pub profiles: BTreeMap<ProfileName, Approvals>,
}

impl Charter {
    /// The rule for an action under a profile. `None`: the charter does not know the profile.
    #[must_use]
    pub fn rule(&self, profile: &ProfileName, action: Action) -> Option<&ApprovalRule> {
        let approvals = self.profiles.get(profile)?;
        Some(match action {
            Action::Import | Action::CleanUp => &approvals.import,
        })
    }

    /// Every rule of every profile, each once.
    #[must_use]
    pub fn rules(&self) -> BTreeSet<&ApprovalRule> {
        self.profiles.values().flat_map(|approvals| [&approvals.import, &approvals.retire]).collect()
    }

    /// The rules that need the most approvers: several, where other groups count for each.
    #[must_use]
    pub fn strictest(&self) -> BTreeSet<&ApprovalRule> {
        let mut rules = self.rules();
        let most = rules.iter().map(|rule| rule.need).max();
        rules.retain(|rule| Some(rule.need) == most);
        rules
    }

    /// The digest over its canonical bytes (RFC 8785).
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

impl SealedCharter {
    /// Its name in what people sign.
    ///
    /// # Errors
    /// See [`Charter::digest`].
    pub fn id(&self) -> Result<CharterId, serde_json::Error> {
        Ok(CharterId { serial: self.serial, digest: self.charter.digest()? })
    }
}

/// A charter that the custodian adopted, with a MAC that only its HSM can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedCharter {
    /// The charter that was adopted.
    pub charter: Charter,
    /// Counts the adoptions of this installation, from 1.
    pub serial: u32,
    /// The root epoch whose MAC key sealed it.
    pub epoch: EpochId,
    /// The MAC over the canonical bytes of charter, serial and epoch.
    #[serde(with = "crate::custody::base64_bytes")]
    pub mac: Vec<u8>,
}
