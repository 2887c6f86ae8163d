//! A lab with a policy, and helpers that many tests use.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use keyplane_lab::{Emulator, Lab, Options, Policy, Ran};
use serde_json::Value;
use tempfile::TempDir;

use crate::site::{self, Site};

/// The destination of tests that name no other.
pub(crate) const HERE: &str = "prod-us-east-1";
/// A second destination.
pub(crate) const THERE: &str = "prod-eu-central-1";

/// How long anything may take before the test fails. A busy machine is not a failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// The pause between two looks while waiting.
const LOOK: Duration = Duration::from_millis(30);

/// A profile for each source, and one that asks for two approvals.
const PROFILES: &str = "
profile: derived
algorithms: [aes-256, rsa-3072]
protection: software
source: derived
approvals: { import: { need: 1, from: [security] }, retire: { need: 2, from: [security] } }
---
profile: generated
algorithms: [aes-256, rsa-3072]
protection: software
source: generated
approvals: { import: { need: 1, from: [security] }, retire: { need: 2, from: [security] } }
---
profile: guarded
algorithms: [aes-256, rsa-3072]
protection: software
source: derived
approvals: { import: { need: 2, from: [security] }, retire: { need: 2, from: [security] } }
";

/// A lab in a temporary folder.
pub(crate) struct World {
    lab: Lab,
    _folder: TempDir,
}

impl Deref for World {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl World {
    /// A lab in which no command was run yet.
    pub(crate) fn raw(options: impl FnOnce(Policy) -> Options) -> Self {
        let folder = TempDir::new().unwrap();
        let policy = Policy::Files(vec![("profiles.yaml".to_owned(), PROFILES.to_owned())]);
        let lab = Lab::start(&folder.path().join("lab"), options(policy)).unwrap();
        Self { lab, _folder: folder }
    }

    /// A fast lab with database and enrolled token, with the cloud of this destination.
    pub(crate) fn enrolled_at(destination: &str) -> Self {
        let cloud = keyplane_lab::DESTINATIONS.iter().find(|there| there.name == destination).unwrap().cloud();
        Self::raw(|policy| Options { clouds: [cloud].into(), ..Options::fast(policy).enrolled() })
    }

    /// A fast lab with database and enrolled token, and without keys.
    pub(crate) fn enrolled() -> Self {
        Self::raw(|policy| Options::fast(policy).enrolled())
    }

    /// Does with the real commands what [`Options::enrolled`] copies from a template.
    pub(crate) fn enrol(&self) {
        self.must(&["init"]).unwrap();
        self.must(&["hsm", "enroll"]).unwrap();
    }

    /// Adds a key to the policy.
    pub(crate) fn ask(&self, key: &str, profile: &str, destinations: &[&str]) {
        let placements: Vec<String> = destinations.iter().map(|destination| site::of(destination).placement(destination, key)).collect();
        let text = format!("key: {key}\nprofile: {profile}\npurpose: encrypt\nplacements:\n{}", placements.concat());
        self.write_policy(&format!("{key}.yaml"), &text).unwrap();
    }

    /// Adds a key, plans and approves; returns the digest of its change set.
    pub(crate) fn approved(&self, key: &str, profile: &str, destinations: &[&str]) -> String {
        let digest = self.proposed(key, profile, destinations);
        self.approve_all().unwrap();
        digest
    }

    /// Adds a key and plans; returns the digest of its change set.
    pub(crate) fn proposed(&self, key: &str, profile: &str, destinations: &[&str]) -> String {
        self.ask(key, profile, destinations);
        self.must(&["plan"]).unwrap();
        self.digest(key)
    }

    /// Adds a key and brings it to its destinations.
    pub(crate) fn applied(&self, key: &str, profile: &str, destinations: &[&str]) {
        self.approved(key, profile, destinations);
        self.must(&["apply"]).unwrap();
    }

    /// The digest of a key's open change set.
    pub(crate) fn digest(&self, key: &str) -> String {
        let status = self.status().unwrap();
        status.open.iter().find(|view| view.key.as_str() == key).unwrap().digest.to_string()
    }

    pub(crate) fn here(&self) -> &Emulator {
        self.emulator(HERE).unwrap()
    }

    /// Approves with a person's own key.
    pub(crate) fn approve(&self, digest: &str, name: &str) -> Ran {
        self.keyplane(&["--json", "approve", "--yes", digest, "--as", name, "--key", text(&self.approver_key(name))])
    }

    /// Checks that a plan finds nothing to do.
    pub(crate) fn settled(&self) -> Result<(), String> {
        let ran = self.keyplane(&["plan", "--detailed-exitcode"]);
        if ran.code == 0 { Ok(()) } else { Err(format!("the next plan ended with {}:\n{}{}", ran.code, ran.stdout, ran.stderr)) }
    }

    /// The objects at a destination that carry our marks for a key.
    pub(crate) fn objects(&self, destination: &str, key: &str) -> Vec<Value> {
        let dump = self.emulator(destination).unwrap().get("dump").unwrap();
        dump["keys"].as_array().unwrap().iter().filter(|object| Site::is_of(object, key)).cloned().collect()
    }

    /// The alias that is the claim of a key's placement, from its object's tags; with `alias/`.
    pub(crate) fn claim(&self, key: &str) -> String {
        let objects = self.objects(HERE, key);
        let tag = |name: &str| objects[0]["tags"][name].as_str().unwrap();
        format!("alias/keyplane/{}/{}", tag("keyplane:placement"), tag("keyplane:incarnation"))
    }

    /// The target of an alias at a destination; `alias` with `alias/`.
    pub(crate) fn target(&self, destination: &str, alias: &str) -> Option<String> {
        let dump = self.emulator(destination).unwrap().get("dump").unwrap();
        let found = dump["aliases"].as_array().unwrap().iter().find(|there| there["name"] == alias)?;
        Some(found["target"].as_str().unwrap().to_owned())
    }

    /// The requests in an emulator's journal.
    pub(crate) fn requests(&self, destination: &str) -> Vec<Value> {
        self.emulator(destination).unwrap().get("requests").unwrap().as_array().unwrap().clone()
    }
}

/// The hashes of the materials that objects hold.
pub(crate) fn hashes(objects: &[Value]) -> BTreeSet<String> {
    let materials = objects.iter().flat_map(|object| object["materials"].as_array().unwrap());
    materials.filter_map(|material| material["sha256"].as_str()).map(str::to_owned).collect()
}

/// Looks repeatedly until there is a result.
#[expect(clippy::disallowed_methods, reason = "how long a test waits for another process is told by the real clock alone")]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "{what} did not come");
        std::thread::sleep(LOOK);
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The JSON that a command printed.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
}

/// The problems that a command with `--json` reported, in its last line after the log.
pub(crate) fn problems(ran: &Ran) -> Vec<Value> {
    let last = ran.stderr.lines().last().unwrap_or_else(|| panic!("nothing was told, and the exit code is {}: {}", ran.code, ran.stdout));
    json(last)["problems"].as_array().unwrap().clone()
}
