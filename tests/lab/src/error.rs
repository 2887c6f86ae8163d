//! The errors of the lab.

use std::path::PathBuf;

use keyplane_hsm::HsmError;
use keyplane_model::KeyName;

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("`{path}` cannot be {doing}")]
    File {
        /// Completes "cannot be".
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the folder `{0}` holds something else: a lab is made in a folder of its own")]
    NotEmpty(PathBuf),
    #[error("another lab works in `{0}`: end it first")]
    Busy(PathBuf),
    #[error("there is no `{name}` in {looked}: build it by `cargo build -p {package}`, or say where it is in KEYPLANE_BIN_DIR")]
    Binary {
        name: &'static str,
        /// The crate that builds it.
        package: &'static str,
        /// The folders that were searched, for people.
        looked: String,
    },
    #[error("`{program}` cannot be run")]
    Run { program: String, source: std::io::Error },
    /// There are no random numbers, or no login name. The text completes "does not say".
    #[error("the operating system does not say {0}")]
    System(&'static str),
    #[error("`ssh-keygen` makes no key for `{name}`: {said}")]
    SshKey {
        name: String,
        /// The output of `ssh-keygen`.
        said: String,
    },
    #[error("the emulator `{name}` does not start; it logs to `{log}`")]
    Emulator {
        name: String,
        /// Has the reason.
        log: PathBuf,
    },
    #[error("the lab has no destination `{0}`")]
    Destination(String),
    #[error("the emulator `{name}` does not answer to `{path}`")]
    Control {
        name: String,
        /// Below `/_emulator/`.
        path: String,
        source: std::io::Error,
    },
    #[error("the emulator `{name}` refuses `{path}` with status {status}: {said}")]
    Refused {
        name: String,
        /// Below `/_emulator/`.
        path: String,
        status: u16,
        /// The answer's text.
        said: String,
    },
    #[error("the answer to `{what}` makes no sense")]
    Answer {
        /// The request.
        what: String,
        source: serde_json::Error,
    },
    #[error("no development token could be made")]
    Token(#[from] HsmError),
    /// `keyplane` failed where it has to succeed.
    #[error("`keyplane {args}` ended with exit code {code}: {stderr}")]
    Keyplane { args: String, code: i32, stderr: String },
    #[error("`{key}` needs {missing} more approval(s) than the lab has entitled approvers for")]
    TooFewApprovers {
        key: KeyName,
        /// How many are missing.
        missing: usize,
    },
    /// A destination refused an operation of an application.
    #[error("`{operation}` at `{destination}` failed")]
    Use {
        operation: &'static str,
        destination: String,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Decrypting gave another message, or a plan is not empty where it has to be: there is a bug.
    #[error("{0}")]
    Wrong(String),
}
