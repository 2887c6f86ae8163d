//! The lab's people: who they are, their keys, and what they may approve.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use keyplane_model::GroupName;

use crate::{LabError, files};

/// The approver that stands for whoever runs `keyplane` here. Entitled everywhere, but never for proposals of their own:
/// which all proposals of a lab are.
pub const OPERATOR: &str = "operator";

/// Name and groups. The groups are those of `policy/examples`, with enough people in each for every rule there.
const PEOPLE: [(&str, &[&str]); 4] = [
    ("alice", &["security"]),
    ("bob", &["platform"]),
    ("carol", &["security", "release"]),
    (OPERATOR, &["security", "platform", "release"]),
];

/// Who may approve what asks for one of these groups, the operator aside.
pub(crate) fn entitled(groups: &BTreeSet<GroupName>) -> impl Iterator<Item = &'static str> {
    PEOPLE
        .into_iter()
        .filter(|(name, own)| *name != OPERATOR && groups.iter().any(|group| own.contains(&group.as_str())))
        .map(|(name, _)| name)
}

/// Makes a key for each, without a passphrase.
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

/// Who runs this process, as the operating system says: the login of [`OPERATOR`].
pub(crate) fn login() -> Result<String, LabError> {
    whoami::username().map_err(|_| LabError::System("who runs this process"))
}

/// The policy file that enrols them.
pub(crate) fn policy(folder: &Path) -> Result<String, LabError> {
    let login = login()?;
    let mut documents = Vec::new();
    for (name, groups) in PEOPLE {
        let public = files::read(&folder.join(format!("{name}.pub")))?;
        // A login belongs to one person: whoever runs this may have the name of one of them.
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

/// A YAML string: JSON's are such.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
