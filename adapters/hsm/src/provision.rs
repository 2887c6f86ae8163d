//! Makes development tokens for the lab and the tests. Owners initialise real HSMs themselves, with their vendor's tools.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cryptoki::session::UserType;

use crate::token::Module;
use crate::{HsmConfig, HsmError, Pin};

/// The file name of the lab's PKCS#11 module, which `tests/token` builds.
pub const MODULE: &str = "libkeyplane_token.so";

#[derive(Debug)]
pub struct Provisioned {
    /// The reserved string of `C_Initialize` that names the token's file.
    pub init: String,
    pub label: String,
    /// The file with the user PIN.
    pub pin_file: PathBuf,
}

/// The lab's module, in the executable's folder or (for tests) the one above. `None`: it is in neither.
#[must_use]
pub fn module_beside(executable: &Path) -> Option<PathBuf> {
    executable.ancestors().skip(1).take(2).map(|folder| folder.join(MODULE)).find(|path| path.is_file())
}

/// Makes a kryoptic token in `folder`: `token.sql`, with random PINs in `user.pin` and `so.pin`. Only this process's user can read these
/// files.
///
/// # Errors
/// When the folder holds one of these files already, or the module refuses.
pub fn provision(module: &Path, folder: &Path, label: &str) -> Result<Provisioned, HsmError> {
    let file_error = |path: &Path| {
        let path = path.display().to_string();
        move |source| HsmError::File { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file_error(folder))?;
    let secret_file = |name: &str, content: &str| -> Result<PathBuf, HsmError> {
        let path = folder.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(file_error(&path))?;
        file.write_all(content.as_bytes()).map_err(file_error(&path))?;
        Ok(path)
    };
    // kryoptic takes the empty file as an empty SQLite database, and SQLite's journals take over its mode. So no file's mode depends on the
    // umask.
    let token = secret_file("token.sql", "")?;
    let user = random_pin()?;
    let so = random_pin()?;
    let pin_file = secret_file("user.pin", &user)?;
    secret_file("so.pin", &so)?;
    let init = token.display().to_string();
    let config = HsmConfig { module: module.to_owned(), token_label: label.to_owned(), init: Some(init.clone()), pin: None };
    initialise(&config, &Pin::new(so)?, &Pin::new(user)?)?;
    Ok(Provisioned { init, label: label.to_owned(), pin_file })
}

/// Initialises the first uninitialised token of a module, and sets its PINs.
///
/// # Errors
/// When the module has none, or refuses.
pub fn initialise(config: &HsmConfig, so: &Pin, user: &Pin) -> Result<(), HsmError> {
    let doing = HsmError::token;
    let module = Module::load(config)?;
    let pkcs11 = module.pkcs11();
    let mut empty = None;
    for slot in pkcs11.get_slots_with_token().map_err(doing("listing slots"))? {
        if !pkcs11.get_token_info(slot).map_err(doing("reading a token's state"))?.token_initialized() {
            empty = Some(slot);
            break;
        }
    }
    let slot = empty.ok_or_else(|| HsmError::TokenMissing { label: String::new(), found: Vec::new() })?;
    pkcs11.init_token(slot, so.expose_pin(), &config.token_label).map_err(doing("initialising a token"))?;
    // Some modules move a token to another slot when it is initialised.
    let slot = module.find(&config.token_label)?;
    let session = pkcs11.open_rw_session(slot).map_err(doing("opening a session"))?;
    session.login(UserType::So, Some(so.expose_pin())).map_err(doing("logging in as security officer"))?;
    session.init_pin(user.expose_pin()).map_err(doing("setting the user PIN"))?;
    session.logout().map_err(doing("logging out"))
}

/// 96 random bits as 24 hexadecimal digits: too many to guess, and every token takes that length.
fn random_pin() -> Result<String, HsmError> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| HsmError::Software("drawing a PIN"))?;
    Ok(hex::encode(bytes))
}
