//! The tour: each step prints the command that a person would type, and then its real output.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that writes to the terminal")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use keyplane_lab::{Lab, LabError, OPERATOR, Options, Policy};
use keyplane_model::{APPROVAL_NAMESPACE, ChangeSetState};

/// The destination and alias whose key is used with an encryption context.
const USED: (&str, &str) = ("prod-us-east-1", "payments-db");

/// The message that applications protect.
const MESSAGE: &[u8] = b"4111 1111 1111 1111";

/// The class "denied" (`keyplane_model::Class::exit_code`).
const DENIED: i32 = 4;

/// Shows the life of keys, and fails unless every step does what it has to.
pub(crate) fn demo(folder: &Path) -> Result<(), LabError> {
    title("A lab: three emulated clouds, a software token as HSM, approvers with SSH keys, policy/examples");
    let lab = start(folder)?;
    let tour = Tour { lab: &lab, folder };
    tour.environment();

    title("A new installation: its database, and everything that the configuration names");
    tour.keyplane(&["init"], 0)?;
    tour.keyplane(&["config", "check"], 0)?;

    title("The root of trust: choose and prove the wrapping routes, make the root keys, adopt who may approve what");
    tour.keyplane(&["hsm", "enroll"], 0)?;

    title("What the security team wrote");
    tour.keyplane(&["validate"], 0)?;
    tour.keyplane(&["explain", "payments-cards"], 0)?;

    title("What has to change, and why");
    tour.keyplane(&["plan"], 0)?;

    title("Approvals are signatures over what is read: each change set in words. One's own proposal cannot be approved");
    tour.approve_own()?;
    for approver in ["alice", "carol"] {
        tour.approve_as(approver)?;
    }

    title("Keys are made and wrapped in the HSM, and imported side by side, each cloud at its own quotas");
    tour.keyplane(&["apply"], 0)?;

    title("What is where, and what proves it");
    tour.keyplane(&["status"], 0)?;
    tour.keyplane(&["evidence"], 0)?;

    title("Applications use every copy by its own name, each through its cloud's SDK, and know nothing of Keyplane");
    tour.use_all()?;
    tour.use_context()?;

    title("Who may approve is itself approved, by those whose rules it touches: bob joins the release group");
    tour.change_charter()?;

    title("Applying again: nothing to do, and why");
    tour.keyplane(&["apply"], 0)?;
    tour.keyplane(&["plan", "--detailed-exitcode"], 0)?;
    println!("\n(exit code 0: nothing to do; 2 would be: something)");

    drop(lab);
    title("The tour has ended, and nothing is left running");
    println!("By hand: start a lab by `target/debug/keyplane-lab up`; it prints the commands to try.");
    println!("What the tour left (policy, configuration, database) is in {}.", folder.display());
    Ok(())
}

/// Starts a lab and waits until it is ended.
pub(crate) fn up(folder: &Path) -> Result<(), LabError> {
    let lab = start(folder)?;
    let tour = Tour { lab: &lab, folder };
    println!("The lab runs until Ctrl-C. The emulators keep their keys in memory: each lab begins anew.");
    println!("In another terminal, from this folder:\n");
    tour.environment();
    println!("  $ keyplane init");
    println!("  $ keyplane hsm enroll");
    println!("  $ keyplane plan");
    println!("  $ keyplane approve --all --as alice --key {}", tour.key("alice"));
    println!("  $ keyplane approve --all --as carol --key {}", tour.key("carol"));
    println!("  $ keyplane apply");
    println!("  $ keyplane status");
    println!("  $ $EDITOR {}    # then plan again", folder.join("policy/payments.yaml").display());
    println!("\nEach emulator's control interface (clock, quotas, faults, dump):\n");
    for emulator in lab.emulators() {
        println!("  $ curl -s {}/state    # {}", emulator.control_url(), emulator.name);
    }
    flush();
    loop {
        std::thread::park();
    }
}

/// Prints an error.
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}

fn start(folder: &Path) -> Result<Lab, LabError> {
    Lab::remove(folder)?;
    Lab::start(folder, Options::published(Policy::Example))
}

struct Tour<'a> {
    lab: &'a Lab,
    /// As it was given, which is what a person would type.
    folder: &'a Path,
}

impl Tour<'_> {
    fn environment(&self) {
        let binaries = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_path_buf)).unwrap_or_default();
        let here = std::env::current_dir().unwrap_or_default();
        let shown =
            binaries.strip_prefix(&here).map_or_else(|_| binaries.display().to_string(), |inner| format!("$PWD/{}", inner.display()));
        println!("  $ export PATH={shown}:$PATH KEYPLANE_CONFIG={}", self.folder.join("keyplane.toml").display());
        flush();
    }

    /// Prints and runs a command, which has to end with this exit code.
    fn keyplane(&self, args: &[&str], code: i32) -> Result<(), LabError> {
        println!("\n  $ keyplane {}", args.join(" "));
        flush();
        let run = |source| LabError::Run { program: "keyplane".to_owned(), source };
        let status = self.lab.command(args).status().map_err(run)?;
        if status.code() == Some(code) {
            return Ok(());
        }
        Err(LabError::Wrong(format!("`keyplane {}` ended with {status}; it should with {code}", args.join(" "))))
    }

    fn key(&self, approver: &str) -> String {
        self.folder.join("approvers").join(approver).display().to_string()
    }

    /// Approves as the proposer, which has to be refused.
    fn approve_own(&self) -> Result<(), LabError> {
        let open = self.lab.status()?.open;
        let view = open.first().ok_or_else(|| LabError::Wrong("the plan of a new installation is empty".to_owned()))?;
        self.keyplane(&["approve", "--yes", &view.digest.to_string(), "--as", OPERATOR, "--key", &self.key(OPERATOR)], DENIED)
    }

    /// Approves what this approver may approve and has not yet.
    fn approve_as(&self, approver: &str) -> Result<(), LabError> {
        let open = self.lab.status()?.open;
        let waiting = open.iter().filter(|view| view.state == ChangeSetState::Proposed);
        let missing: Vec<_> =
            waiting.filter(|view| u32::try_from(view.approved_by.len()).is_ok_and(|have| have < view.approvals.need)).collect();
        let key = self.key(approver);
        if missing.len() == open.len() {
            return self.keyplane(&["approve", "--yes", "--all", "--as", approver, "--key", &key], 0);
        }
        missing
            .iter()
            .try_for_each(|view| self.keyplane(&["approve", "--yes", &view.digest.to_string(), "--as", approver, "--key", &key], 0))
    }

    /// Changes an approver in the policy, and has that approved: by two with their keys here, by one who signs elsewhere with plain
    /// `ssh-keygen`.
    fn change_charter(&self) -> Result<(), LabError> {
        const APPROVERS: &str = "approvers.yaml";
        let before = std::fs::read_to_string(self.lab.policy_folder().join(APPROVERS))
            .map_err(|source| LabError::Run { program: "cat".to_owned(), source })?;
        let after = before.replace("approver: bob\ngroups: [platform]", "approver: bob\ngroups: [platform, release]");
        self.lab.write_policy(APPROVERS, &after)?;
        self.keyplane(&["hsm", "charter"], 0)?;
        let proposed: serde_json::Value = serde_json::from_str(&self.lab.must(&["--json", "hsm", "charter"])?.stdout)
            .map_err(|error| LabError::Wrong(format!("`keyplane hsm charter` printed no JSON: {error}")))?;
        let digest = proposed["proposal"].as_str().ok_or_else(|| LabError::Wrong("no charter was proposed".to_owned()))?;
        for approver in ["alice", "carol"] {
            self.keyplane(&["approve", "--yes", digest, "--as", approver, "--key", &self.key(approver)], 0)?;
        }

        let text = self.lab.must(&["show", digest, "--message"])?.stdout;
        let (message, signature) = (self.folder.join("charter.txt"), self.folder.join("charter.txt.sig"));
        let wrong = |source| LabError::Run { program: "ssh-keygen".to_owned(), source };
        std::fs::write(&message, &text).map_err(wrong)?;
        println!("\n  $ keyplane show {digest} --message > {}", message.display());
        print!("{text}");
        let shown = format!("ssh-keygen -q -Y sign -n {APPROVAL_NAMESPACE} -f {}", self.key("bob"));
        println!("  $ {shown} < {} > {}", message.display(), signature.display());
        let input = std::fs::File::open(&message).map_err(wrong)?;
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f", &self.key("bob")]).stdin(input);
        let output = sign.output().map_err(wrong)?;
        if !output.status.success() {
            return Err(LabError::Wrong(format!("`{shown}` ended with {}", output.status)));
        }
        std::fs::write(&signature, output.stdout).map_err(wrong)?;
        self.keyplane(&["approve", digest, "--as", "bob", "--signature", &signature.display().to_string()], 0)?;
        self.keyplane(&["hsm", "charter"], 0)
    }

    /// Protects a message with every copy, and checks or decrypts the result.
    fn use_all(&self) -> Result<(), LabError> {
        println!();
        let mut applications = BTreeMap::new();
        for status in self.lab.status()?.keys {
            for copy in &status.copies {
                let destination = copy.destination.as_str();
                let application = match applications.entry(destination.to_owned()) {
                    Entry::Occupied(there) => there.into_mut(),
                    Entry::Vacant(free) => free.insert(self.lab.application(destination)?),
                };
                let kept = application.protect(&copy.name, copy.algorithm, copy.purpose, MESSAGE)?;
                application.check(&copy.name, copy.algorithm, copy.purpose, MESSAGE, &kept)?;
                let (algorithm, size) = (copy.algorithm.as_str(), kept.bytes.len());
                println!("  {destination:<18} {:<20} {algorithm:<12} {:<11} {size:>3} bytes, made and checked", copy.name, kept.word);
                flush();
            }
        }
        Ok(())
    }

    /// Shows that AWS authenticates the encryption context.
    fn use_context(&self) -> Result<(), LabError> {
        let (destination, alias) = USED;
        let user = self.lab.user(destination)?;
        let (plaintext, context) = (MESSAGE, [("table", "cards")]);
        println!("\n  kms.encrypt(KeyId=\"alias/{alias}\", Plaintext=\"{}\", EncryptionContext={context:?})", plaintext.escape_ascii());
        let encrypted = user.encrypt(alias, plaintext, &context)?;
        println!("{} bytes, by {}", encrypted.ciphertext.len(), encrypted.key);
        println!("\n  kms.decrypt(CiphertextBlob=…, EncryptionContext={context:?})");
        let decrypted = user.decrypt(&encrypted.ciphertext, &context)?;
        println!("{}", decrypted.escape_ascii());
        if decrypted != plaintext {
            return Err(LabError::Wrong("decrypting did not give what was encrypted".to_owned()));
        }
        println!("\n  kms.decrypt(CiphertextBlob=…, EncryptionContext={{}})");
        match user.decrypt(&encrypted.ciphertext, &[]) {
            Ok(_) => Err(LabError::Wrong("another encryption context was accepted".to_owned())),
            Err(error) => {
                println!("refused, as it must be: {}", root(&error));
                Ok(())
            }
        }
    }
}

/// The innermost cause.
fn root(error: &LabError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn title(text: &str) {
    println!("\n── {text}");
    flush();
}

/// Called before a child process prints, to keep the order.
fn flush() {
    // If nobody reads the output, that does not matter.
    let _ = std::io::stdout().flush();
}
