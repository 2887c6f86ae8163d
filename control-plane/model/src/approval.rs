//! Approvals, and the charter: who may approve what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Action, ApprovalRule, Approvals, ApproverName, Digest, EpochId, GroupName, InstallationId, ProfileName, Timestamp};

/// The namespace of approval signatures (`ssh-keygen -Y sign -n …`): a signature made for anything else is none.
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
    /// The groups that the person is of.
    pub groups: BTreeSet<GroupName>,
    /// The logins under which the person proposes: approvals of one's own proposals do not count.
    pub logins: BTreeSet<String>,
    /// Public keys in OpenSSH's format without comments: `ssh-ed25519 AAAA…`.
    pub keys: BTreeSet<String>,
}

/// An approval as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who says to have signed; the signature shows it.
    pub approver: ApproverName,
    /// An OpenSSH signature (PROTOCOL.sshsig), armored, over [`approval_message`] in [`APPROVAL_NAMESPACE`].
    pub signature: String,
    /// When it was received.
    pub at: Timestamp,
}

/// Who may approve what: the part of the intent that the custodian holds everybody to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// Whose charter it is.
    pub installation: InstallationId,
    /// Who may approve.
    pub approvers: BTreeMap<ApproverName, Approver>,
    /// What each profile asks for.
    pub profiles: BTreeMap<ProfileName, Approvals>,
}

impl Charter {
    /// The rule for an action under a profile; `None` when the charter does not know the profile.
    #[must_use]
    pub fn rule(&self, profile: &ProfileName, action: Action) -> Option<&ApprovalRule> {
        let approvals = self.profiles.get(profile)?;
        Some(match action {
            Action::Import | Action::CleanUp => &approvals.import,
        })
    }

    /// The rule for changing the charter itself: the one that asks for most people (a rule is changed only under the old rule).
    #[must_use]
    pub fn strictest(&self) -> ApprovalRule {
        self.profiles
            .values()
            .flat_map(|approvals| [&approvals.import, &approvals.retire])
            .max_by_key(|rule| rule.need)
            .cloned()
            .unwrap_or(ApprovalRule { need: 0, from: BTreeSet::new() })
    }

    /// The digest that approvals of this charter sign.
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

/// A charter that the custodian adopted, under a MAC that only its HSM can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedCharter {
    /// What was adopted.
    pub charter: Charter,
    /// Counts adoptions, from 1.
    pub serial: u32,
    /// The root epoch whose MAC key sealed it.
    pub epoch: EpochId,
    /// The MAC over the canonical bytes of charter, serial and epoch.
    #[serde(with = "crate::custody::base64_bytes")]
    pub mac: Vec<u8>,
}
