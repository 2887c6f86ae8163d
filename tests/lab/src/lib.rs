//! A whole installation on one machine, in one folder: cloud emulators, a development token, approvers with keys, policy and configuration.
//! The demo and the end-to-end tests run in it.
//!
//! Owns the lab's processes and files. Runs the real `keyplane` binary from outside, as a person would. Must not know how that works
//! inside, and uses no adapter except the custodian's, to make a development token. For development only: nothing here protects a key that
//! matters.
//!
//! | module | owns |
//! |---|---|
//! | `binaries` | where the programs are |
//! | `emulator` | an emulator's process and its control interface |
//! | `http` | a minimal client for that |
//! | `place` | the destinations |
//! | `people` | approvers, their keys, who may approve what |
//! | `policy` | the policy files, but for the approvers' |
//! | `files` | folders and files that only this user can read |
//! | `layout` | the files in the lab's folder |
//! | `template` | what labs for tests are copied from: an enrolled token, a database |
//! | `user` | applications that use keys at every cloud, through its own SDK |

mod binaries;
mod emulator;
mod error;
mod files;
mod http;
mod layout;
mod people;
mod place;
mod policy;
mod template;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

pub use emulator::Emulator;
use emulator::Start;
pub use error::LabError;
use keyplane_api::StatusReport;
use keyplane_hsm::provision::{self, Provisioned};
use keyplane_model::{ChangeSetState, CloudKind};
pub use layout::TOKEN;
pub use people::OPERATOR;
pub use place::{ACCOUNT, DESTINATIONS, Destination, LOCATION, PROJECT, Place};
pub use policy::Policy;
use user::AzureAccess;
pub use user::{Application, AzureUser, Encrypted, GoogleUser, KeyUser, Protected};

#[derive(Clone, Debug)]
pub struct Options {
    /// For tests: short time-outs and consistency, and no quotas. Otherwise the published quotas and `keyplane`'s defaults.
    pub fast: bool,
    /// The policy files. The lab adds `approvers.yaml`, unless a file of that name is given.
    pub policy: Policy,
    pub clouds: BTreeSet<CloudKind>,
    /// Further arguments of every emulator, such as `--reveal-material`.
    pub emulator_args: Vec<String>,
    /// Whether the lab begins with a database and an enrolled token, copied from a template that each build makes once. Otherwise the
    /// caller has to run `keyplane init` and `keyplane hsm enroll`.
    pub enrolled: bool,
}

impl Options {
    /// A lab for tests, with AWS only.
    #[must_use]
    pub fn fast(policy: Policy) -> Self {
        Self { fast: true, policy, clouds: [CloudKind::Aws].into(), emulator_args: Vec::new(), enrolled: false }
    }

    /// A lab that behaves like the clouds: published quotas, `keyplane`'s default time-outs.
    #[must_use]
    pub fn published(policy: Policy) -> Self {
        let clouds = [CloudKind::Aws, CloudKind::Gcp, CloudKind::Azure].into();
        Self { fast: false, policy, clouds, emulator_args: Vec::new(), enrolled: false }
    }

    /// With a database and an enrolled token.
    #[must_use]
    pub fn enrolled(self) -> Self {
        Self { enrolled: true, ..self }
    }
}

/// The result of a run of `keyplane`.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; as in a shell, 127 if it could not be started, and 128 and the number if a signal ended it.
    pub code: i32,
    pub stdout: String,
    /// Progress, problems and logs.
    pub stderr: String,
}

/// A lab. Dropping it ends every process that it started; its folder stays.
#[derive(Debug)]
pub struct Lab {
    /// Absolute. All files are in it.
    pub folder: PathBuf,
    keyplane: PathBuf,
    module: PathBuf,
    pin_file: PathBuf,
    emulators: BTreeMap<String, Emulator>,
    access: layout::Access,
    _lock: File,
}

impl Lab {
    /// Removes the folder of a lab that has ended, if it exists.
    ///
    /// # Errors
    /// When no lab made this folder, one runs in it, or the operating system refuses.
    pub fn remove(folder: &Path) -> Result<(), LabError> {
        layout::remove_folder(folder)
    }

    /// Makes a lab in a folder: starts the emulators, and makes the token, the approvers' keys, policy and configuration. The caller then
    /// runs `keyplane init` and `keyplane hsm enroll`, unless [`Options::enrolled`].
    ///
    /// # Errors
    /// When the folder is not empty, a binary is missing, or a part does not start.
    pub fn start(folder: &Path, options: Options) -> Result<Self, LabError> {
        let (folder, lock) = layout::make_folder(folder)?;
        let access = layout::Access::draw()?;
        let module = binaries::find(provision::MODULE, "keyplane-token")?;
        let keyplane = binaries::find("keyplane", "keyplane-server")?;
        let program = binaries::find("keyplane-emulator", "keyplane-emulator-wire")?;
        files::write(&folder.join(layout::AWS_SECRET), &access.aws)?;
        files::write(&folder.join(layout::AZURE_SECRET), &access.azure)?;

        let destinations: Vec<Destination> = DESTINATIONS.into_iter().filter(|there| options.clouds.contains(&there.cloud())).collect();
        let mut emulators = BTreeMap::new();
        for destination in &destinations {
            if !emulators.contains_key(destination.emulator()) {
                let start = start(destination, &options, &folder, &access, program.clone(), emulators.len());
                let emulator = Emulator::start(start)?;
                if destination.attests() {
                    files::write(&folder.join(layout::attestation_root_of(&emulator.name)), &emulator.text("attestation-root")?)?;
                }
                emulators.insert(destination.emulator().to_owned(), emulator);
            }
        }
        let Provisioned { init, pin_file, .. } = if options.enrolled {
            template::copy(&folder, &options.policy, &keyplane, &module, |template| Self::make_template(template, &options.policy))?
        } else {
            people::make_keys(&files::make_inner(&folder, layout::APPROVERS_FOLDER)?)?;
            // INVARIANT: a PKCS#11 module is initialised once in a process, but several labs may start concurrently.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            provision::provision(&module, &folder.join(layout::TOKEN_FOLDER), TOKEN)?
        };
        layout::write_policy(&folder, &options.policy)?;
        let mut config = layout::config(&module, &init);
        for destination in &destinations {
            config.push_str(&layout::section(destination, &emulators[destination.emulator()], options.fast));
        }
        files::write(&folder.join(layout::CONFIG), &config)?;
        Ok(Self { folder, keyplane, module, pin_file, emulators, access, _lock: lock })
    }

    /// Makes what a lab for tests begins with; see [`template::copy`].
    fn make_template(folder: &Path, policy: &Policy) -> Result<(), LabError> {
        let options = Options { clouds: [].into(), enrolled: false, ..Options::fast(policy.clone()) };
        let lab = Self::start(folder, options)?;
        lab.must(&["init"])?;
        lab.must(&["hsm", "enroll"])?;
        Ok(())
    }

    /// The real `keyplane` with this lab's configuration, without input. The caller runs it.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.keyplane);
        command.arg("--config").arg(self.config_path()).args(args);
        // Variables of the caller's shell are for other installations.
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

    /// The emulator of a destination.
    ///
    /// # Errors
    /// When the lab has no such destination.
    pub fn emulator(&self, destination: &str) -> Result<&Emulator, LabError> {
        let emulator = DESTINATIONS.iter().find(|there| there.name == destination).map(Destination::emulator);
        emulator.and_then(|name| self.emulators.get(name)).ok_or_else(|| LabError::Destination(destination.to_owned()))
    }

    /// The emulators that run, in order of their names.
    pub fn emulators(&self) -> impl Iterator<Item = &Emulator> {
        self.emulators.values()
    }

    /// An application at AWS that can use encryption contexts.
    ///
    /// # Errors
    /// When the lab has no such destination at AWS, or the operating system cannot start threads.
    pub fn user(&self, destination: &str) -> Result<KeyUser, LabError> {
        match self.application(destination)? {
            Application::Aws(user) => Ok(user),
            Application::Gcp(_) | Application::Azure(_) => Err(LabError::Destination(destination.to_owned())),
        }
    }

    /// An application that uses the keys of a destination through that cloud's SDK.
    ///
    /// # Errors
    /// When the lab has no such destination, or the operating system cannot start threads.
    pub fn application(&self, destination: &str) -> Result<Application, LabError> {
        let emulator = self.emulator(destination)?;
        let place = DESTINATIONS.iter().find(|there| there.name == destination).map(|there| there.place);
        match place.ok_or_else(|| LabError::Destination(destination.to_owned()))? {
            Place::Aws { region } => Application::aws(destination, &emulator.endpoint(), region, layout::ACCESS_KEY, &self.access.aws),
            Place::Gcp { ring, .. } => {
                let account = files::read(&self.folder.join(layout::SERVICE_ACCOUNT))?;
                Application::gcp(destination, &emulator.endpoint(), &Destination::key_ring(ring), &account)
            }
            Place::Azure { vault, .. } => {
                let ca_pem = files::read(&self.folder.join(layout::ca_of(destination)))?;
                let access = AzureAccess {
                    vault,
                    address: emulator.address,
                    ca_pem: ca_pem.as_bytes(),
                    authority: &format!("https://localhost:{}", emulator.address.port()),
                    tenant: layout::TENANT,
                    client: layout::CLIENT,
                    secret: &self.access.azure,
                };
                Application::azure(destination, &access)
            }
        }
    }

    /// Approves every proposed change set with as many approvers as its profile asks for.
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
                self.must(&["approve", "--yes", &view.digest.to_string(), "--as", name, "--key", &key.display().to_string()])?;
                missing -= 1;
            }
            if missing > 0 {
                return Err(LabError::TooFewApprovers { key: view.key, missing });
            }
        }
        Ok(())
    }

    /// The report of `keyplane status`.
    ///
    /// # Errors
    /// When `keyplane` fails, or prints something else.
    pub fn status(&self) -> Result<StatusReport, LabError> {
        let ran = self.must(&["--json", "status"])?;
        serde_json::from_str(&ran.stdout).map_err(|source| LabError::Answer { what: "keyplane status".to_owned(), source })
    }

    /// Runs `keyplane`, which has to succeed.
    ///
    /// # Errors
    /// When its exit code is not 0.
    pub fn must(&self, args: &[&str]) -> Result<Ran, LabError> {
        let ran = self.keyplane(args);
        if ran.code == 0 { Ok(ran) } else { Err(LabError::Keyplane { args: args.join(" "), code: ran.code, stderr: ran.stderr }) }
    }

    /// # Errors
    /// When it cannot be read.
    pub fn config(&self) -> Result<String, LabError> {
        files::read(&self.config_path())
    }

    /// Edits the configuration's text.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) -> Result<(), LabError> {
        files::write(&self.config_path(), &edit(self.config()?))
    }

    /// Adds or replaces a policy file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<(), LabError> {
        files::write(&self.policy_folder().join(name), text)
    }

    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.join(layout::CONFIG)
    }

    #[must_use]
    pub fn policy_folder(&self) -> PathBuf {
        self.folder.join(layout::POLICY)
    }

    /// The database's file, once `keyplane init` has made it. SQLite keeps more files beside it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join(layout::DATABASE)
    }

    /// The private key of an approver. Its public key is beside it, with `.pub`.
    #[must_use]
    pub fn approver_key(&self, name: &str) -> PathBuf {
        self.folder.join(layout::APPROVERS_FOLDER).join(name)
    }

    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Has the token's file and its PINs.
    #[must_use]
    pub fn token_folder(&self) -> PathBuf {
        self.folder.join(layout::TOKEN_FOLDER)
    }

    #[must_use]
    pub fn pin_file(&self) -> &Path {
        &self.pin_file
    }
}

/// How the emulator of a destination is started.
fn start(destination: &Destination, options: &Options, folder: &Path, access: &layout::Access, program: PathBuf, number: usize) -> Start {
    let name = destination.emulator();
    let path = |file: &str| folder.join(file).display().to_string();
    let mut args: Vec<String> = match destination.place {
        Place::Aws { region } => ["--region", region, "--account", ACCOUNT, "--access-key", layout::ACCESS_KEY].map(str::to_owned).into(),
        Place::Gcp { .. } => {
            let account = path(layout::SERVICE_ACCOUNT);
            let rings = DESTINATIONS.iter().filter_map(|there| match there.place {
                Place::Gcp { ring, .. } => Some(["--key-ring".to_owned(), Destination::key_ring(ring)]),
                Place::Aws { .. } | Place::Azure { .. } => None,
            });
            ["--project".to_owned(), PROJECT.to_owned(), "--make-service-account".to_owned(), account]
                .into_iter()
                .chain(rings.flatten())
                .collect()
        }
        Place::Azure { vault, kind } => {
            let ca = path(&layout::ca_of(name));
            let args = ["--kind", kind, "--host", vault, "--ca-out", &ca, "--tenant", layout::TENANT, "--client-id", layout::CLIENT];
            let premium = (kind == "key-vault").then(|| "--premium".to_owned());
            args.into_iter().map(str::to_owned).chain(premium).collect()
        }
    };
    if options.fast {
        args.push("--no-quotas".to_owned());
        args.push("--fixed-pairs".to_owned());
    }
    if !options.emulator_args.iter().any(|arg| arg == "--seed") {
        // So that emulators do not give the same ids.
        args.extend(["--seed".to_owned(), number.to_string()]);
    }
    args.extend(options.emulator_args.iter().cloned());
    let secrets = match destination.cloud() {
        CloudKind::Aws => vec![("KEYPLANE_EMULATOR_SECRET_KEY", access.aws.clone())],
        CloudKind::Gcp => Vec::new(),
        CloudKind::Azure => vec![("KEYPLANE_EMULATOR_CLIENT_SECRET", access.azure.clone())],
    };
    let log = folder.join(format!("emulator-{name}.log"));
    Start { program, name: name.to_owned(), cloud: destination.cloud(), args, secrets, log }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
