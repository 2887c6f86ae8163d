//! `keyplane.toml` names everything that the program needs. It contains no secret.
//!
//! A flag takes precedence over an environment variable, and that over the file: `--config`/`KEYPLANE_CONFIG`, `--policy`,
//! `KEYPLANE_DATABASE`. Paths are relative to the configuration file. Secrets are in the files and environment variables that it names.

use std::path::{Path, PathBuf};

use keyplane_model::{InstallationId, Problem, ProblemCode};
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

pub(crate) mod destinations;

use destinations::Destinations;

use crate::{files, keygen};

/// The largest configuration file, and the largest file that it names and that is no secret, in bytes. The certificates of a whole system
/// have some 220,000.
const LARGEST: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The version of this format: 1.
    pub(crate) version: u32,
    /// As `sqlite:PATH`.
    pub(crate) database: String,
    /// The installation that the database has to be of, as `keyplane init` prints it. Default: any.
    pub(crate) installation: Option<InstallationId>,
    /// Policy files, and folders of them. Default: none.
    #[serde(default)]
    pub(crate) policy: Vec<PathBuf>,
    /// The HSM token that holds the root of trust.
    pub(crate) custodian: Custodian,
    /// The places that may hold keys. Default: none.
    #[serde(default)]
    pub(crate) destination: Destinations,
    /// Of the configuration file.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Custodian {
    /// The vendor's PKCS#11 library.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token: String,
    /// The file that holds the PIN. Excludes `pin_env`.
    pub(crate) pin_file: Option<PathBuf>,
    /// The environment variable that holds the PIN. Without either, the token asks for the PIN.
    pub(crate) pin_env: Option<String>,
    /// The reserved string of `C_Initialize`, by which software tokens find their file. Default: none.
    pub(crate) init: Option<String>,
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display();
        let invalid = |detail: String| Problem::new(ProblemCode::ConfigInvalid, detail, "keyplane config check");
        let text = files::text(path, LARGEST).map_err(|error| invalid(format!("configuration `{name}` cannot be read: {error}")))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            let problem = invalid(error.message().to_owned());
            match error.span() {
                Some(span) => problem.at(place(&name.to_string(), &text, span.start)),
                None => problem,
            }
        })?;
        if config.version != 1 {
            return Err(invalid(format!("configuration `{name}` has version {}, this program reads version 1", config.version)));
        }
        if let Ok(database) = std::env::var("KEYPLANE_DATABASE") {
            config.database = database;
        }
        config.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(config)
    }

    pub(crate) fn database(&self) -> Result<PathBuf, Problem> {
        let path = self.database.strip_prefix("sqlite:").ok_or_else(|| {
            let detail = format!("`{}` is no database that this program knows: write `sqlite:PATH`", self.database);
            Problem::new(ProblemCode::ConfigInvalid, detail, "keyplane config check")
        })?;
        Ok(self.resolve(Path::new(path)))
    }

    /// Relative to the configuration file's folder.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Reads a file that the configuration names and that is no secret. `what` describes it in errors.
    pub(crate) fn file(&self, path: &Path, what: &str) -> Result<String, Problem> {
        let path = self.resolve(path);
        files::text(&path, LARGEST).map_err(|error| unreadable(what, &path, &error))
    }

    /// `None`: the token asks for the PIN.
    pub(crate) fn pin(&self) -> Result<Option<PinPlace>, Problem> {
        let missing = |detail: String| Problem::new(ProblemCode::PinMissing, detail, "keyplane config check");
        match (&self.custodian.pin_file, &self.custodian.pin_env) {
            (Some(_), Some(_)) => Err(missing("`pin-file` and `pin-env` are both given: one of them is enough".to_owned())),
            (Some(file), None) => Ok(Some(PinPlace::File(self.resolve(file)))),
            (None, Some(name)) if keygen::inherits(name.as_ref()) => {
                Err(missing(format!("`ssh-keygen` is given the variable `{name}`, so it cannot hold the PIN: choose another name")))
            }
            (None, Some(name)) => Ok(Some(PinPlace::Variable(name.clone()))),
            (None, None) => Ok(None),
        }
    }

    /// Resolved against the configuration file's folder.
    pub(crate) fn policy(&self) -> Vec<PathBuf> {
        self.policy.iter().map(|path| self.resolve(path)).collect()
    }
}

/// Where the PIN is read whenever the token needs it.
#[derive(Debug)]
pub(crate) enum PinPlace {
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl PinPlace {
    /// `Err`: why it cannot be read, for people.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, String> {
        match self {
            Self::File(path) => files::secret(path).map_err(|error| format!("the PIN file `{}` cannot be read: {error}", path.display())),
            Self::Variable(name) => {
                let pin = std::env::var_os(name).ok_or_else(|| format!("the environment has no `{name}`"))?;
                String::from_utf8(pin.into_encoded_bytes()).map(Zeroizing::new).map_err(|error| {
                    error.into_bytes().zeroize();
                    format!("the variable `{name}` is no text in UTF-8")
                })
            }
        }
    }
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    let detail = format!("the {what} `{}` cannot be read: {error}", path.display());
    Problem::new(ProblemCode::ConfigInvalid, detail, "keyplane config check")
}

/// The line and column of a byte offset.
fn place(file: &str, text: &str, offset: usize) -> keyplane_model::SourceLocation {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    keyplane_model::SourceLocation {
        file: file.to_owned(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use keyplane_model::Span;

    use super::*;

    fn parse(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    const GOOD: &str = r#"
version = 1
database = "sqlite:keyplane.db"
policy = ["policy"]
[custodian]
module = "/usr/lib/token.so"
token = "keyplane"
pin-file = "pin"
[destination.aws.prod-us-east-1]
region = "us-east-1"
account = "111122223333"
credentials = { source = "static", access-key-id = "AKIA", secret-access-key-file = "secret" }
quotas = { CreateKey = 50 }
[destination.gcp.analytics-ring]
project = "acme-prod"
location = "europe-west3"
key-ring = "analytics"
protection = "hsm"
credentials = { source = "service-account", file = "service-account.json" }
[destination.azure.corp-vault]
vault = "corp-vault.vault.azure.net"
kind = "key-vault"
credentials = { source = "client-secret", tenant = "t", client = "c", secret-file = "secret" }
"#;

    #[test]
    fn a_configuration_is_read_and_what_it_does_not_say_has_a_default() {
        let config = parse(GOOD).expect("good");
        let aws = config.destination.aws.values().next().expect("one");
        assert_eq!((aws.equal_reads, aws.deletion_days), (3, 7));
        assert_eq!(aws.call_timeout, Span::seconds(20));
        assert!(matches!(aws.credentials, destinations::AwsCredentials::Static { .. }));
        let gcp = config.destination.gcp.values().next().expect("one");
        assert_eq!((gcp.equal_reads, gcp.deletion_days, gcp.import_key_size), (2, 30, 4_096));
        let azure = config.destination.azure.values().next().expect("one");
        assert_eq!((azure.equal_reads, azure.deletion_days), (3, 90));
    }

    /// `--config` may name a file with a secret by mistake.
    #[test]
    fn nothing_of_a_text_that_is_no_toml_is_quoted() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("keyplane.toml");
        for text in [
            "48151623",
            "pin 48151623",
            "pin = 48151623x",
            "pin = x48151623",
            "pin = \"48151623",
            "pin = '48151623",
            "[48151623",
            "= 48151623",
            "pin = 0x48151623g",
            "a.48151623 = 1\na = 2",
            "48151623 = 1\n48151623 = 2",
            "[48151623]\n[48151623]",
            "pin = \"\\48151623\"",
            "-----BEGIN PRIVATE KEY-----\n48151623",
            "{ \"private_key\": \"48151623\" }",
        ] {
            std::fs::write(&path, text).expect("written");
            let problem = Config::read(&path).expect_err(text);
            assert!(!problem.to_string().contains("8151623"), "{text:?} is quoted: {problem}");
        }
    }

    #[test]
    fn the_pin_is_in_no_variable_that_another_program_is_given() {
        let mut config = parse(&GOOD.replace("pin-file = \"pin\"", "pin-env = \"LC_PIN\"")).expect("good");
        assert!(config.pin().expect_err("inherited").detail.contains("`ssh-keygen` is given the variable `LC_PIN`"));
        config.custodian.pin_env = Some("KEYPLANE_NO_SUCH_VARIABLE".to_owned());
        let place = config.pin().expect("a good name").expect("a place");
        assert_eq!(place.read().expect_err("not there"), "the environment has no `KEYPLANE_NO_SUCH_VARIABLE`");
    }

    #[test]
    fn what_it_says_is_taken() {
        let good = GOOD.replace("key-ring =", "import-key-size = 3072\ndeletion-days = 7\nkey-ring =");
        let config = parse(&good).expect("good");
        let gcp = config.destination.gcp.values().next().expect("one");
        assert_eq!((gcp.import_key_size, gcp.deletion_days), (3_072, 7));
        let aws = config.destination.aws.values().next().expect("one");
        assert_eq!(aws.quotas["CreateKey"], 50);
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused_wherever_it_stands() {
        for (from, to) in [
            ("version = 1", "version = 1\nverion = 2"),
            ("pin-file", "pin = \"1234\"\npin-file"),
            ("region =", "secret-access-key = \"x\"\nregion ="),
            ("access-key-id", "secret = \"x\", access-key-id"),
            ("project =", "key = \"x\"\nproject ="),
            ("vault =", "client-secret = \"x\"\nvault ="),
        ] {
            assert!(parse(&GOOD.replace(from, to)).is_err(), "{to} was taken");
        }
    }
}
