//! Starts `ssh-keygen`, which signs approvals.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// The environment variables that it inherits: where programs and its files are, its agent, how it asks a person, and the language.
const INHERITED: [&str; 12] = [
    "DISPLAY",
    "HOME",
    "LANG",
    "PATH",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "SSH_AUTH_SOCK",
    "SSH_SK_PROVIDER",
    "TERM",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
];

/// The prefix of variables for one category of the language.
const INHERITED_PREFIX: &str = "LC_";

/// Whether `ssh-keygen` inherits a variable of the environment.
pub(crate) fn inherits(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with(INHERITED_PREFIX))
}

/// `ssh-keygen`, without arguments. The environment may hold the PIN and credentials of clouds, and the agents and askers that it starts
/// are foreign programs, so it inherits only what it needs.
pub(crate) fn command() -> Command {
    let mut command = Command::new("ssh-keygen");
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| inherits(name)));
    command
}

/// The fingerprint of a key: of a private one, or of the public one whose private half an agent or a hardware key holds. `Err`: why not,
/// for people.
pub(crate) async fn fingerprint(key: &Path) -> Result<String, String> {
    let output = command().args(["-l", "-f"]).arg(key).stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("`ssh-keygen` cannot be run: {error}"))?;
    // It prints bits, fingerprint, comment and algorithm.
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_whitespace().nth(1) {
        Some(fingerprint) if output.status.success() => Ok(fingerprint.to_owned()),
        _ => {
            let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(300).collect();
            Err(format!("`ssh-keygen` finds no key in `{}`: {said}", key.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_needed_is_not_given_on() {
        for name in ["PATH", "SSH_AUTH_SOCK", "LC_ALL", "LC_MESSAGES"] {
            assert!(inherits(OsStr::new(name)), "{name}");
        }
        for name in ["HSM_PIN", "AWS_SECRET_ACCESS_KEY", "KEYPLANE_DATABASE", "LD_PRELOAD", "XLC_ALL", "path", ""] {
            assert!(!inherits(OsStr::new(name)), "{name}");
        }
    }
}
