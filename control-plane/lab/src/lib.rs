//! A whole installation on one machine, in one folder: cloud emulators, a development token, approvers with keys, policy and
//! configuration. The demo shows it to people, the end-to-end tests work in it.
//!
//! Owns processes and files of the lab. Drives the real `keyplane` binary from outside, like a person would; must not know
//! how it works inside, and names no adapter but the custodian's, to make a development token. For development only:
//! nothing here protects a key that matters.
//!
//! | module | owns |
//! |---|---|
//! | `binaries` | where the programs are |
//! | `emulator` | an emulator's process and its control interface |
//! | `http` | just enough of a client for that |
//! | `people` | approvers, their keys, who may approve what |
//! | `layout` | the folder's files |
//! | `user` | an application that uses keys through the cloud's own SDK |

mod binaries;
mod emulator;
mod error;
mod http;
mod layout;
mod people;
mod user;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

pub use emulator::Emulator;
pub use error::LabError;
use keyplane_api::StatusReport;
use keyplane_hsm::provision::{self, Provisioned};
use keyplane_model::ChangeSetState;
pub use people::OPERATOR;
pub use user::{Encrypted, KeyUser};

/// The destinations of every lab, and the AWS region that an emulator plays for each.
pub const DESTINATIONS: [(&str, &str); 2] = [("prod-us-east-1", "us-east-1"), ("prod-eu-central-1", "eu-central-1")];

/// The account that the emulators play.
pub const ACCOUNT: &str = "111122223333";

/// The label of the lab's token.
pub const TOKEN: &str = "keyplane-lab";

/// What kind of lab.
#[derive(Clone, Debug)]
pub struct Options {
    /// For tests: short time-outs and consistency, and no quotas. Otherwise what AWS publishes, and `keyplane`'s defaults.
    pub fast: bool,
    /// What the security team wrote. The lab adds `approvers.yaml`, unless a file of that name is given.
    pub policy: Policy,
    /// More arguments for every emulator, as in `--reveal-material`.
    pub emulator_args: Vec<String>,
}

impl Options {
    /// A lab for tests.
    #[must_use]
    pub fn fast(policy: Policy) -> Self {
        Self { fast: true, policy, emulator_args: Vec::new() }
    }

    /// A lab that behaves as AWS does: published quotas, `keyplane`'s default time-outs.
    #[must_use]
    pub fn published(policy: Policy) -> Self {
        Self { fast: false, policy, emulator_args: Vec::new() }
    }
}

/// What the security team wrote.
#[derive(Clone, Debug)]
pub enum Policy {
    /// The example company of `policy/examples`, with the lab's approvers in place of its own.
    Example,
    /// These files: name and text. Approvers can be those of [`Lab::approver_key`], with these groups: `alice` (security),
    /// `bob` (platform), `carol` (security and release), and [`OPERATOR`] (all three), who is the one that runs `keyplane`
    /// and so proposes.
    Files(Vec<(String, String)>),
}

/// What a run of `keyplane` gave.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; as in a shell, 127 when it could not be started, and 128 and the number when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it told: progress, problems, logs.
    pub stderr: String,
}

/// A lab. Dropping it ends every process that it started; the folder stays.
#[derive(Debug)]
pub struct Lab {
    /// Everything is in here; absolute.
    pub folder: PathBuf,
    keyplane: PathBuf,
    module: PathBuf,
    pin_file: PathBuf,
    emulators: BTreeMap<String, Emulator>,
    access: layout::Access,
    _lock: File,
}

impl Lab {
    /// Removes the folder of a lab that has ended, if it is there.
    ///
    /// # Errors
    /// When no lab made this folder, one works in it, or the operating system refuses.
    pub fn remove(folder: &Path) -> Result<(), LabError> {
        layout::remove_folder(folder)
    }

    /// Makes a lab in a folder: starts the emulators, makes the token, the approvers' keys, policy and configuration.
    /// What comes next (`keyplane init`, `keyplane hsm enroll`) is the caller's.
    ///
    /// # Errors
    /// When the folder is not empty, a binary is missing, or anything does not work.
    pub fn start(folder: &Path, options: Options) -> Result<Self, LabError> {
        let (folder, lock) = layout::make_folder(folder)?;
        let access = layout::Access::draw()?;
        let module = binaries::find(provision::MODULE, "keyplane-token")?;
        let keyplane = binaries::find("keyplane", "keyplane-server")?;
        let program = binaries::find("keyplane-emulator", "keyplane-emulator-wire")?;
        layout::write(&folder.join(layout::SECRET), &access.secret)?;

        let mut emulators = BTreeMap::new();
        for (number, (destination, region)) in DESTINATIONS.into_iter().enumerate() {
            let mut args: Vec<String> = ["--region", region, "--account", ACCOUNT, "--access-key", &access.id].map(str::to_owned).into();
            if options.fast {
                args.push("--no-quotas".to_owned());
            }
            if !options.emulator_args.iter().any(|arg| arg == "--seed") {
                // Regions do not give the same ids.
                args.extend(["--seed".to_owned(), number.to_string()]);
            }
            args.extend(options.emulator_args.iter().cloned());
            let log = folder.join(format!("emulator-{destination}.log"));
            let emulator = Emulator::start(program.clone(), destination, region, args, access.secret.clone(), log)?;
            emulators.insert(destination.to_owned(), emulator);
        }
        let Provisioned { init, pin_file, .. } = {
            // INVARIANT: a PKCS#11 module is initialised once in a process; several labs may start side by side.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            provision::provision(&module, &folder.join("token"), TOKEN)?
        };
        people::make_keys(&layout::make_inner(&folder, "approvers")?)?;
        layout::write_policy(&folder, &options.policy)?;
        layout::write(&folder.join(layout::CONFIG), &layout::config(&module, &init, &access.id, options.fast, emulators.values()))?;
        Ok(Self { folder, keyplane, module, pin_file, emulators, access, _lock: lock })
    }

    /// The real `keyplane` with this lab's configuration, to be run as the caller likes. It reads no input.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.keyplane);
        command.arg("--config").arg(self.config_path()).args(args);
        // What the caller's shell has set for another installation is not for this one.
        command.env_remove("KEYPLANE_DATABASE").env_remove("KEYPLANE_LOG").stdin(Stdio::null());
        command
    }

    /// Runs the real `keyplane` to its end.
    #[must_use]
    pub fn keyplane(&self, args: &[&str]) -> Ran {
        match self.command(args).output() {
            Ok(output) => Ran::from(output),
            Err(error) => Ran { code: 127, stdout: String::new(), stderr: format!("`keyplane` cannot be run: {error}\n") },
        }
    }

    /// The emulator behind a destination.
    ///
    /// # Errors
    /// When the lab has no such destination.
    pub fn emulator(&self, destination: &str) -> Result<&Emulator, LabError> {
        self.emulators.get(destination).ok_or_else(|| LabError::Destination(destination.to_owned()))
    }

    /// An application that uses the keys of a destination.
    ///
    /// # Errors
    /// When the lab has no such destination, or the operating system gives no threads.
    pub fn user(&self, destination: &str) -> Result<KeyUser, LabError> {
        KeyUser::new(self.emulator(destination)?, &self.access)
    }

    /// Approves every change set that waits for it, with as many approvers as its profile asks for.
    ///
    /// # Errors
    /// When `keyplane` refuses, or the lab has too few approvers in the groups that are asked for.
    pub fn approve_all(&self) -> Result<(), LabError> {
        for view in self.status()?.open.into_iter().filter(|view| view.state == ChangeSetState::Proposed) {
            let mut missing = usize::try_from(view.approvals.need).unwrap_or(usize::MAX).saturating_sub(view.approved_by.len());
            for name in people::entitled(&view.approvals.from).filter(|name| view.approved_by.iter().all(|by| by.as_str() != *name)) {
                if missing == 0 {
                    break;
                }
                let key = self.approver_key(name);
                self.must(&["approve", &view.digest.to_string(), "--as", name, "--key", &key.display().to_string()])?;
                missing -= 1;
            }
            if missing > 0 {
                return Err(LabError::TooFewApprovers { key: view.key, missing });
            }
        }
        Ok(())
    }

    /// What `keyplane status` says.
    ///
    /// # Errors
    /// When it fails.
    pub fn status(&self) -> Result<StatusReport, LabError> {
        let ran = self.must(&["--json", "status"])?;
        serde_json::from_str(&ran.stdout).map_err(|source| LabError::Answer { what: "keyplane status".to_owned(), source })
    }

    /// Runs `keyplane`, which has to succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn must(&self, args: &[&str]) -> Result<Ran, LabError> {
        let ran = self.keyplane(args);
        if ran.code == 0 { Ok(ran) } else { Err(LabError::Keyplane { args: args.join(" "), code: ran.code, stderr: ran.stderr }) }
    }

    /// The configuration's text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config(&self) -> Result<String, LabError> {
        layout::read(&self.config_path())
    }

    /// Changes the configuration's text.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) -> Result<(), LabError> {
        layout::write(&self.config_path(), &edit(self.config()?))
    }

    /// Adds a policy file, or replaces one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<(), LabError> {
        layout::write(&self.policy_folder().join(name), text)
    }

    /// Where the configuration is.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.join(layout::CONFIG)
    }

    /// Where the policy files are.
    #[must_use]
    pub fn policy_folder(&self) -> PathBuf {
        self.folder.join(layout::POLICY)
    }

    /// Where the database is, once `keyplane init` has made it. SQLite keeps more files beside it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join(layout::DATABASE)
    }

    /// The private key of an approver; the public one is beside it, with `.pub`.
    #[must_use]
    pub fn approver_key(&self, name: &str) -> PathBuf {
        self.folder.join("approvers").join(name)
    }

    /// The token's PKCS#11 module.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The token's own folder: its file and its PINs.
    #[must_use]
    pub fn token_folder(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// The file with the token's user PIN.
    #[must_use]
    pub fn pin_file(&self) -> &Path {
        &self.pin_file
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
