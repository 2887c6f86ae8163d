//! The lab's people: their groups, keys and logins.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use keyplane_model::GroupName;

use crate::{LabError, files};

/// The approver who is the user that runs `keyplane` here. Entitled everywhere, but never for own proposals, and all proposals of a lab
/// are.
pub const OPERATOR: &str = "operator";

/// Names and groups. The groups are those of `policy/examples`, with enough people for every rule there.
const PEOPLE: [(&str, &[&str]); 4] = [
    ("alice", &["security"]),
    ("bob", &["platform"]),
    ("carol", &["security", "release"]),
    (OPERATOR, &["security", "platform", "release"]),
];

/// Who may approve if these groups are asked for, without the operator.
pub(crate) fn entitled(groups: &BTreeSet<GroupName>) -> impl Iterator<Item = &'static str> {
    PEOPLE
        .into_iter()
        .filter(|(name, own)| *name != OPERATOR && groups.iter().any(|group| own.contains(&group.as_str())))
        .map(|(name, _)| name)
}

/// Makes a key for each person, without a passphrase.
pub(crate) fn make_keys(folder: &Path) -> Result<(), LabError> {
    for (name, _) in PEOPLE {
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(folder.join(name))
            .stdin(Stdio::null())
            .output()
            .map_err(|source| LabError::Run { program: "ssh-keygen".to_owned(), source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(LabError::SshKey { name: name.to_owned(), said });
        }
    }
    Ok(())
}

/// The login name of the user that runs this process: the login of [`OPERATOR`].
pub(crate) fn login() -> Result<String, LabError> {
    whoami::username().map_err(|_| LabError::System("who runs this process"))
}

/// The policy file that enrols these approvers.
pub(crate) fn policy(folder: &Path) -> Result<String, LabError> {
    let login = login()?;
    let mut documents = Vec::new();
    for (name, groups) in PEOPLE {
        let public = files::read(&folder.join(format!("{name}.pub")))?;
        // A login belongs to one person, and that of this user may be the name of one of them.
        let login = if name == OPERATOR { login.clone() } else { format!("{name}@lab.example") };
        documents.push(format!(
            "approver: {name}\ngroups: [{}]\nlogins: [{}]\nkeys: [{}]\n",
            groups.join(", "),
            quoted(&login),
            quoted(public.trim())
        ));
    }
    Ok(documents.join("---\n"))
}

/// A YAML string. JSON's strings are valid.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
