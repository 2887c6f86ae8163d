//! The lab's folder: its files and their contents.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::files::{make_inner, make_private, write};
use crate::place::{ACCOUNT, Destination, LOCATION, PROJECT, Place};
use crate::policy::{APPROVERS, Policy};
use crate::{Emulator, LabError, people};

/// The label of the lab's token.
pub const TOKEN: &str = "keyplane-lab";
pub(crate) const CONFIG: &str = "keyplane.toml";
pub(crate) const POLICY: &str = "policy";
pub(crate) const DATABASE: &str = "keyplane.db";
/// Of the approvers' keys.
pub(crate) const APPROVERS_FOLDER: &str = "approvers";
/// Of the token's file and its PINs.
pub(crate) const TOKEN_FOLDER: &str = "token";
/// The secret of the AWS access key.
pub(crate) const AWS_SECRET: &str = "aws-secret-access-key";
/// The secret of the Azure application.
pub(crate) const AZURE_SECRET: &str = "azure-client-secret";
/// The key file of the Google Cloud service account, which the emulator makes.
pub(crate) const SERVICE_ACCOUNT: &str = "google-service-account.json";
/// Of the AWS access key.
pub(crate) const ACCESS_KEY: &str = "KEYPLANELAB";
/// The Azure directory's id.
pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
/// The Azure application's id.
pub(crate) const CLIENT: &str = "66666666-7777-8888-9999-000000000000";

/// Secrets that the lab's emulators accept, and nothing else does.
#[derive(Debug)]
pub(crate) struct Access {
    /// The secret of the AWS access key [`ACCESS_KEY`].
    pub(crate) aws: String,
    /// The secret of the Azure application [`CLIENT`].
    pub(crate) azure: String,
}

impl Access {
    pub(crate) fn draw() -> Result<Self, LabError> {
        let draw = || -> Result<String, LabError> {
            let mut secret = [0; 20];
            aws_lc_rs::rand::fill(&mut secret).map_err(|_| LabError::System("a random number"))?;
            Ok(hex::encode(secret))
        };
        Ok(Self { aws: draw()?, azure: draw()? })
    }
}

/// Marks a folder as a lab's own. Locked while the lab runs.
const LOCK: &str = "lab.lock";

/// Makes the folder, which has to be empty if it exists; returns its absolute path and the lock on it.
pub(crate) fn make_folder(folder: &Path) -> Result<(PathBuf, File), LabError> {
    let failed = |doing| move |source| LabError::File { doing, path: folder.to_owned(), source };
    make_private(folder)?;
    if std::fs::read_dir(folder).map_err(failed("read"))?.next().is_some() {
        return Err(LabError::NotEmpty(folder.to_owned()));
    }
    let folder = folder.canonicalize().map_err(failed("found"))?;
    write(&folder.join(LOCK), "")?;
    let lock = lock(&folder)?;
    Ok((folder, lock))
}

/// Removes a lab's folder, if it exists. A folder that no lab made, or in which one runs, stays.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), LabError> {
    let failed = |doing| move |source| LabError::File { doing, path: folder.to_owned(), source };
    let empty = !folder.exists() || std::fs::read_dir(folder).map_err(failed("read"))?.next().is_none();
    if empty {
        return Ok(());
    }
    if !folder.join(LOCK).is_file() {
        return Err(LabError::NotEmpty(folder.to_owned()));
    }
    let _lock = lock(folder)?;
    std::fs::remove_dir_all(folder).map_err(failed("removed"))
}

fn lock(folder: &Path) -> Result<File, LabError> {
    let path = folder.join(LOCK);
    let file = File::open(&path).map_err(|source| LabError::File { doing: "read", path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LabError::Busy(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(LabError::File { doing: "locked", path, source }),
    }
}

/// Writes the policy files. The approvers are the lab's people, unless the policy has its own.
pub(crate) fn write_policy(folder: &Path, policy: &Policy) -> Result<(), LabError> {
    let target = make_inner(folder, POLICY)?;
    write(&target.join(APPROVERS), &people::policy(&folder.join(APPROVERS_FOLDER))?)?;
    policy.files().try_for_each(|(name, text)| write(&target.join(name), text))
}

/// `keyplane.toml` without its destinations.
pub(crate) fn config(module: &Path, init: &str) -> String {
    format!(
        "version = 1\ndatabase = \"sqlite:{DATABASE}\"\npolicy = [\"{POLICY}\"]\n\n\
         [custodian]\nmodule = {}\ntoken = \"{TOKEN}\"\npin-file = \"token/user.pin\"\ninit = {}\n",
        quoted(&module.display().to_string()),
        quoted(init),
    )
}

/// A destination's section in `keyplane.toml`.
pub(crate) fn section(destination: &Destination, emulator: &Emulator, fast: bool) -> String {
    let (name, address) = (destination.name, emulator.address);
    let (body, quotas) = match destination.place {
        Place::Aws { region } => (
            format!(
                "region = \"{region}\"\naccount = \"{ACCOUNT}\"\nendpoint = \"http://{address}\"\n\
                 credentials = {{ source = \"static\", access-key-id = \"{ACCESS_KEY}\", secret-access-key-file = \"{AWS_SECRET}\" }}\n",
            ),
            FAST_AWS,
        ),
        Place::Gcp { ring, protection } => (
            format!(
                "project = \"{PROJECT}\"\nlocation = \"{LOCATION}\"\nkey-ring = \"{ring}\"\nprotection = \"{protection}\"\n\
                 endpoint = \"http://{address}\"\nattestation-roots = \"{}\"\n\
                 credentials = {{ source = \"service-account\", file = \"{SERVICE_ACCOUNT}\" }}\n",
                attestation_root_of(&emulator.name),
            ),
            FAST_GCP,
        ),
        Place::Azure { vault, kind } => (
            format!(
                "vault = \"{vault}\"\nkind = \"{kind}\"\naddress = \"{address}\"\nca = \"{}\"\nauthority = \"https://localhost:{}\"\n\
                 credentials = {{ source = \"client-secret\", tenant = \"{TENANT}\", client = \"{CLIENT}\", secret-file = \"{AZURE_SECRET}\" }}\n{}",
                ca_of(name),
                address.port(),
                if destination.attests() { format!("attestation-roots = \"{}\"\n", attestation_root_of(name)) } else { String::new() },
            ),
            FAST_AZURE,
        ),
    };
    let fast = if fast { format!("{FAST}{quotas}\n") } else { String::new() };
    format!("\n[destination.{}.{name}]\n{body}{fast}", destination.cloud())
}

/// The file with the certificate of the authority behind an Azure emulator.
pub(crate) fn ca_of(emulator: &str) -> String {
    format!("{emulator}-ca.pem")
}

/// The file with the root certificate for the attestations of an emulator's HSMs.
pub(crate) fn attestation_root_of(emulator: &str) -> String {
    format!("{emulator}-attestation-root.pem")
}

/// Settings of a fast lab. The time-out still has to cover an emulator that generates an RSA pair on a busy machine. A lost reply takes as
/// long as time-out and consistency together.
const FAST: &str = "call-timeout = \"3s\"\nconsistency = \"200ms\"\nequal-reads = 2\n";
const FAST_AWS: &str = "quotas = { CreateKey = 1000, CreateAlias = 1000, ImportKeyMaterial = 1000, GetParametersForImport = 1000, \
ListKeyRotations = 1000, DisableKey = 1000, EnableKey = 1000, ScheduleKeyDeletion = 1000 }";
const FAST_GCP: &str = "quotas = { Read = 100000, Write = 100000 }";
const FAST_AZURE: &str = "quotas = { CreateHsm = 10000, Operations = 10000 }";

/// A TOML string. JSON's strings are valid, except with some control characters that no path of a lab has.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_made_in_an_empty_folder_alone_and_nobody_else_can_look_into_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::TempDir::new().unwrap();
        let (folder, lock) = make_folder(&parent.path().join("a/b")).unwrap();
        write(&folder.join("file"), "secret").unwrap();
        for (path, mode) in [(folder.clone(), 0o700), (folder.join("file"), 0o600)] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
        assert!(matches!(make_folder(&folder), Err(LabError::NotEmpty(_))));
        assert!(matches!(remove_folder(&folder), Err(LabError::Busy(_))));
        drop(lock);
        remove_folder(&folder).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_that_no_lab_made_is_never_removed() {
        let folder = tempfile::TempDir::new().unwrap();
        write(&folder.path().join("thesis.tex"), "").unwrap();
        assert!(matches!(remove_folder(folder.path()), Err(LabError::NotEmpty(_))));
        assert!(folder.path().join("thesis.tex").is_file());
    }
}
