//! Approvals, and the charter: who may approve what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Action, ApprovalRule, Approvals, ApproverName, Digest, EpochId, GroupName, InstallationId, ProfileName, Timestamp};

/// The namespace of approval signatures (`ssh-keygen -Y sign -n …`). A signature in any other namespace is no approval.
pub const APPROVAL_NAMESPACE: &str = "approval.keyplane.v1";

/// The bytes that an approver signs: the digest as text and a line feed, so that `echo DIGEST | ssh-keygen -Y sign` does it.
#[must_use]
pub fn approval_message(digest: &Digest) -> Vec<u8> {
    format!("{digest}\n").into_bytes()
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
    /// An OpenSSH signature (PROTOCOL.sshsig), armored, over [`approval_message`] in [`APPROVAL_NAMESPACE`].
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

    /// The rule for changing the charter itself: of all its rules, the one that needs the most approvers (rule 12).
    #[must_use]
    pub fn strictest(&self) -> ApprovalRule {
        self.profiles
            .values()
            .flat_map(|approvals| [&approvals.import, &approvals.retire])
            .max_by_key(|rule| rule.need)
            .cloned()
            .unwrap_or(ApprovalRule { need: 0, from: BTreeSet::new() })
    }

    /// The digest that approvers of this charter sign.
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
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
