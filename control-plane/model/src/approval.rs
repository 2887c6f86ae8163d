//! Approvals, and the charter: who may approve what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::quoted;
use crate::{
    APPROVALS_LAST, Action, Actor, ApprovalRule, Approvals, ApproverName, ChangeSet, Digest, EpochId, GroupName, InstallationId,
    ProfileName, Span, Timestamp,
};

/// The namespace of approval signatures (`ssh-keygen -Y sign -n …`). A signature in any other namespace is no approval.
pub const APPROVAL_NAMESPACE: &str = "approval.keyplane.v1";

/// Identifies a charter. A signature made under one charter counts under no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterId {
    /// Counts the installation's adoptions, from 1.
    pub serial: u32,
    /// [`Charter::digest`].
    pub digest: Digest,
}

impl fmt::Display for CharterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.serial, self.digest)
    }
}

/// A change of the charter, as approvers sign it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterChange {
    /// The charter in force. Its rules decide about the change.
    pub before: CharterId,
    pub next: Charter,
    /// The proposer's own approval does not count.
    pub proposer: Actor,
    /// When its approvals expire.
    pub until: Timestamp,
}

impl CharterChange {
    /// Over the canonical bytes (RFC 8785). The change is proposed, shown and approved under it.
    ///
    /// # Errors
    /// See [`Charter::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

/// A change of the charter that was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterProposal {
    /// [`CharterChange::digest`].
    pub digest: Digest,
    pub change: CharterChange,
    /// By the server's wall clock.
    pub proposed: Timestamp,
    /// At most one for each approver, sorted by approver. Whoever relies on them verifies them.
    pub approvals: Vec<Approval>,
}

impl CharterProposal {
    /// Adds an approval, in place of an earlier one by the same approver. False: this signature is there already.
    pub fn approve(&mut self, approval: &Approval) -> bool {
        add_approval(&mut self.approvals, approval)
    }
}

/// Adds an approval, in place of an earlier one by the same approver. False: this signature is there already.
///
/// INVARIANT: the approvals are sorted by approver, at most one each.
pub(crate) fn add_approval(approvals: &mut Vec<Approval>, approval: &Approval) -> bool {
    match approvals.binary_search_by(|given| given.approver.cmp(&approval.approver)) {
        Ok(place) if approvals[place].signature == approval.signature => return false,
        Ok(place) => approvals[place] = approval.clone(),
        Err(place) => approvals.insert(place, approval.clone()),
    }
    true
}

/// The text that an approver signs: for what, where, under which charter, until when.
///
/// INVARIANT: two different things to approve never have the same text. Each line is a fixed label and one value. Values that people choose
/// freely are quoted, with quotes and whatever changes how a terminal displays the rest escaped as in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement(String);

impl Statement {
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
            proposer = quoted(&proposer.0),
        ))
    }

    /// Of a change of the charter.
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
            proposer = quoted(&proposer.0),
        )))
    }

    /// Its bytes are what is signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A person who may approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    pub groups: BTreeSet<GroupName>,
    /// The logins under which the person proposes change sets. The approval of one's own proposal does not count.
    pub logins: BTreeSet<String>,
    /// Public keys in OpenSSH's format without comments: `ssh-ed25519 AAAA…`.
    pub keys: BTreeSet<String>,
}

/// An approval as received, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// As the sender says; only the signature proves it.
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
    pub installation: InstallationId,
    pub approvers: BTreeMap<ApproverName, Approver>,
    /// Each profile's approval rules.
    pub profiles: BTreeMap<ProfileName, Approvals>,
    /// The rules by which single keys are stricter than their profiles, without duplicates. A change set asks for its profile's rule or for
    /// one of these. Left out if empty, so that a charter from before this field keeps its digest.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub key_rules: BTreeSet<ApprovalRule>,
}

impl Charter {
    /// `None`: the charter does not know the profile.
    #[must_use]
    pub fn rule(&self, profile: &ProfileName, action: Action) -> Option<&ApprovalRule> {
        let approvals = self.profiles.get(profile)?;
        Some(match action {
            Action::Import | Action::CleanUp => &approvals.import,
        })
    }

    /// How long approvals under the profile count. The shortest time of all profiles stands in for a profile that the charter does not
    /// know.
    #[must_use]
    pub fn valid(&self, profile: &ProfileName) -> Span {
        let shortest = || self.profiles.values().map(|approvals| approvals.valid).min();
        self.profiles.get(profile).map(|approvals| approvals.valid).or_else(shortest).unwrap_or(APPROVALS_LAST)
    }

    /// Every rule of every profile, and those of keys.
    #[must_use]
    pub fn rules(&self) -> BTreeSet<&ApprovalRule> {
        self.of_profiles().chain(&self.key_rules).collect()
    }

    /// The profiles' rules with the highest `need`. Several, if they accept different groups. Keys' rules are not among them: whoever may
    /// approve one key does not thereby decide about all.
    #[must_use]
    pub fn strictest(&self) -> BTreeSet<&ApprovalRule> {
        let mut rules: BTreeSet<_> = self.of_profiles().collect();
        let most = rules.iter().map(|rule| rule.need).max();
        rules.retain(|rule| Some(rule.need) == most);
        rules
    }

    fn of_profiles(&self) -> impl Iterator<Item = &ApprovalRule> {
        self.profiles.values().flat_map(|approvals| [&approvals.import, &approvals.retire])
    }

    /// Over the canonical bytes (RFC 8785).
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

impl SealedCharter {
    /// As people sign it.
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
    pub charter: Charter,
    /// Counts the installation's adoptions, from 1.
    pub serial: u32,
    /// The root epoch whose MAC key sealed it.
    pub epoch: EpochId,
    /// Over the canonical bytes (RFC 8785) of charter, serial and epoch.
    #[serde(with = "crate::custody::base64_bytes")]
    pub mac: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::plain;

    /// Whoever proposes chooses the name under which they do.
    #[test]
    fn no_name_of_a_proposer_adds_a_line_or_changes_how_one_is_displayed() {
        let charter = Charter {
            installation: InstallationId(uuid::Uuid::nil()),
            approvers: BTreeMap::new(),
            profiles: BTreeMap::new(),
            key_rules: BTreeSet::new(),
        };
        let before = CharterId { serial: 1, digest: Digest::of(b"before") };
        let of = |proposer: &str| {
            let proposer = Actor(proposer.to_owned());
            Statement::of_charter(&CharterChange { before, next: charter.clone(), proposer, until: Timestamp(0) }).unwrap()
        };
        let hostile = of("eve\"\nuntil: 1970\u{1b}[8m\u{202e}");
        assert_eq!(hostile.as_str().lines().count(), of("eve").as_str().lines().count());
        assert!(hostile.as_str().lines().all(|line| plain(line) == line), "{hostile:?}");
        assert!(hostile.as_str().contains("proposer: \"eve\\\"\\u000auntil: 1970\\u001b[8m\\u202e\"\n"), "{hostile:?}");
    }
}
