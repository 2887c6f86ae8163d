//! What can go wrong in the lab.

use std::path::PathBuf;

use keyplane_hsm::HsmError;
use keyplane_model::KeyName;

/// Something in the lab does not work.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file or folder cannot be read or written.
    #[error("`{path}` cannot be {doing}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The folder holds something.
    #[error("the folder `{0}` holds something else: a lab is made in a folder of its own")]
    NotEmpty(PathBuf),
    /// Another lab works in this folder.
    #[error("another lab works in `{0}`: end it first")]
    Busy(PathBuf),
    /// A program of this workspace is not built.
    #[error("there is no `{name}` in {looked}: build it by `cargo build -p {package}`, or say where it is in KEYPLANE_BIN_DIR")]
    Binary {
        /// The file's name.
        name: &'static str,
        /// The crate that makes it.
        package: &'static str,
        /// Where it should be.
        looked: String,
    },
    /// A program cannot be run.
    #[error("`{program}` cannot be run")]
    Run {
        /// Which.
        program: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The operating system has no random numbers, or does not say who runs this.
    #[error("the operating system does not say {0}")]
    System(&'static str),
    /// No key could be made for an approver.
    #[error("`ssh-keygen` makes no key for `{name}`: {said}")]
    SshKey {
        /// For whom.
        name: String,
        /// What it said.
        said: String,
    },
    /// An emulator did not start.
    #[error("the emulator `{name}` does not start; it logs to `{log}`")]
    Emulator {
        /// Which.
        name: String,
        /// Where it tells why.
        log: PathBuf,
    },
    /// The lab has no such destination.
    #[error("the lab has no destination `{0}`")]
    Destination(String),
    /// An emulator's control interface does not answer.
    #[error("the emulator `{name}` does not answer to `{path}`")]
    Control {
        /// Which.
        name: String,
        /// What was asked.
        path: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// An emulator's control interface refuses.
    #[error("the emulator `{name}` refuses `{path}` with status {status}: {said}")]
    Refused {
        /// Which.
        name: String,
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// Why.
        said: String,
    },
    /// An answer is not what it should be.
    #[error("the answer to `{what}` makes no sense")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No token could be made.
    #[error("no development token could be made")]
    Token(#[from] HsmError),
    /// `keyplane` failed where it must not.
    #[error("`keyplane {args}` ended with exit code {code}: {stderr}")]
    Keyplane {
        /// Its arguments.
        args: String,
        /// Its exit code.
        code: i32,
        /// What it told.
        stderr: String,
    },
    /// A change set needs more approvals than the lab has people for.
    #[error("`{key}` needs {missing} more approval(s) than the lab has entitled approvers for")]
    TooFewApprovers {
        /// For which key.
        key: KeyName,
        /// How many are missing.
        missing: usize,
    },
    /// A destination did not do what a user of keys asked.
    #[error("`{operation}` at `{destination}` failed")]
    Use {
        /// What was asked.
        operation: &'static str,
        /// Where.
        destination: String,
        /// What the SDK says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Decrypting did not give what was encrypted, or a plan is not empty where it must be: the tour has shown a bug.
    #[error("{0}")]
    Wrong(String),
}
