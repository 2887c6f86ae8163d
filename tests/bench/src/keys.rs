//! The cost of commands with many keys.
//!
//! There is one lab with AWS's emulator, without quotas. For each number of keys there is a folder of policy files and a database, and the
//! real `keyplane` is run as a process with both. The cost of its start is measured without any key, in the same turns.
//!
//! What is measured is the CPU time of that process, user and system. On a busy machine elapsed time would depend on the other processes.
//! Waiting for the emulator or for the disk is not included. The binaries are built as the tests build their simulation
//! (`.ci/optimised.toml`): unoptimised but for what plans and judges. How a time grows with the number of keys does not depend on that, and
//! the cost of a key stands out from that of the start.
//!
//! The lab is kept in memory where possible, only for speed: a plan syncs the disk once for each change set.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use keyplane_lab::{Lab, Options, Policy};
use keyplane_model::{Act, Actor, Asked, ChangeSetRecord, CopyCoordinates, Digest, IdTree, KeyId, Outcome, Receipt, StepNo, Timestamp};
use keyplane_port::{Ledger as _, LedgerError, Refusal};
use keyplane_store::SqlLedger;
use tempfile::TempDir;

use crate::error::{BenchError, system};
use crate::ratio::{Runs, growth, median};
use crate::temporary::temporary;

/// The command that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Checks the policy files.
    Validate,
    /// The first plan: no key exists, and a change set is proposed for each.
    Plan,
    /// Of keys in the ledger, each with an open change set.
    Status,
}

/// How many change sets an `apply` runs.
const TEN: u32 = 10;

/// The number of the first key that is applied. It is beyond those of the keys that are only planned.
const FIRST_APPLIED: u32 = 80_000;

/// What all keys have in common. The folder without keys has only this.
const PROFILE: &str = "
profile: plain
algorithms: [aes-256]
protection: software
approvals: { import: { need: 1, from: [security] }, retire: { need: 2, from: [security] } }
";

/// Who may approve imports under that profile.
const APPROVER: &str = "alice";

const KEYS_A_FILE: u32 = 100;

/// How often the three numbers of keys of a ratio take turns.
const TURNS: u32 = 3;

/// How often a number of keys is run in one turn. Short runs are repeated more often, because their times scatter more.
fn repeats(keys: u32) -> u32 {
    match keys {
        0..1_000 => 7,
        1_000..10_000 => 3,
        _ => 1,
    }
}

/// An installation whose number of keys can be chosen. Dropping it ends its processes and removes its folder.
pub(crate) struct Installation {
    lab: Lab,
    folder: TempDir,
    /// The numbers of keys for which there is a database in which each key has an open change set that has begun.
    begun: BTreeSet<u32>,
    /// The number of the next key that is applied. The emulator keeps what was applied before, so each run applies others.
    next: u32,
}

impl Installation {
    /// Makes the lab, its database and its enrolled token.
    ///
    /// # Errors
    /// When the lab does not work.
    pub(crate) fn start() -> Result<Self, BenchError> {
        let folder = temporary(Path::new("/dev/shm"))?;
        let lab =
            Lab::start(&folder.path().join("lab"), Options::fast(Policy::Files(vec![("plain.yaml".to_owned(), PROFILE.to_owned())])))?;
        // The lab raises only the quotas of mutating requests, and the first plan only reads.
        lab.edit_config(|config| config.replace("quotas = { ", "quotas = { DescribeKey = 1000000, "))?;
        lab.must(&["init"])?;
        lab.must(&["hsm", "enroll"])?;
        Ok(Self { lab, folder, begun: BTreeSet::new(), next: FIRST_APPLIED })
    }

    /// How much the time per key grows between two numbers of keys.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn growth(&mut self, command: Command, from: u32, to: u32) -> Result<f64, BenchError> {
        let mut runs: [Runs; 3] = [0, from, to].map(|keys| (keys, Vec::new()));
        for _ in 0..TURNS {
            for (keys, times) in &mut runs {
                for _ in 0..repeats(*keys) {
                    times.push(self.time(command, *keys)?);
                }
            }
        }
        let [empty, small, large] = &runs;
        Ok(growth(empty, small, large))
    }

    /// The CPU time of an `apply` of ten change sets beside this many that are open and not approved, divided by that beside none.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn apply_beside(&mut self, others: u32) -> Result<f64, BenchError> {
        let mut sides = [0, others].map(|others| (others, Vec::new()));
        let mut waiting = [self.propose_beside(0)?, self.propose_beside(others)?];
        for _ in 0..TURNS {
            for ((others, times), waiting) in sides.iter_mut().zip(&mut waiting) {
                let ten = waiting.split_off(waiting.len().saturating_sub(TEN as usize));
                times.push(self.apply(*others, &ten)?);
            }
        }
        let [(_, alone), (_, beside)] = &sides;
        Ok(median(beside) / median(alone))
    }

    /// Makes a database in which this many keys are planned, and ten more for each turn. Returns the digests of the latter.
    fn propose_beside(&mut self, others: u32) -> Result<Vec<Digest>, BenchError> {
        let numbers = self.next..self.next + TEN * TURNS;
        self.next = numbers.end;
        let folder = self.folder.path().join(format!("applied-{others}"));
        fs::create_dir(&folder).map_err(system("a policy folder"))?;
        fs::write(folder.join("keys.yaml"), key_documents(numbers.clone())).map_err(system("a policy file"))?;
        let mut policy = self.policy(others)?;
        policy.push(folder);
        self.begun.remove(&others);
        let database = self.fresh(others)?;
        self.run(&["plan"], &policy, &database)?;
        let digests = on_this_thread(open_of(&url(&database), numbers))?;
        if digests.len() == (TEN * TURNS) as usize {
            return Ok(digests);
        }
        Err(BenchError::Failed(format!("{} of {} keys were planned", digests.len(), TEN * TURNS)))
    }

    /// The CPU time of an `apply` of these change sets, which are approved before.
    fn apply(&self, others: u32, digests: &[Digest]) -> Result<f64, BenchError> {
        let database = self.planned(others);
        let key = self.lab.approver_key(APPROVER).display().to_string();
        let digests: Vec<String> = digests.iter().map(Digest::to_string).collect();
        for digest in &digests {
            self.run(&["approve", "--yes", digest, "--as", APPROVER, "--key", &key], &[], &database)?;
        }
        let apply: Vec<&str> = ["apply"].into_iter().chain(digests.iter().map(String::as_str)).collect();
        self.run(&apply, &[], &database)
    }

    /// The CPU time of the command with this many keys, in seconds.
    fn time(&mut self, command: Command, keys: u32) -> Result<f64, BenchError> {
        match command {
            Command::Validate => self.run(&["validate"], &self.policy(keys)?, &self.lab.database()),
            Command::Plan => {
                self.begun.remove(&keys);
                self.run(&["plan"], &self.policy(keys)?, &self.fresh(keys)?)
            }
            Command::Status => {
                self.begin(keys)?;
                self.run(&["status"], &self.policy(keys)?, &self.planned(keys))
            }
        }
    }

    /// The CPU time of a run of `keyplane`. Without policy folders, it uses the lab's own.
    fn run(&self, args: &[&str], policy: &[PathBuf], database: &Path) -> Result<f64, BenchError> {
        let mut command = self.lab.command(args);
        for path in policy {
            command.arg("--policy").arg(path);
        }
        command.env("KEYPLANE_DATABASE", url(database)).stdout(Stdio::null()).stderr(Stdio::piped());
        let before = cpu_time()?;
        let output = command.output().map_err(system("`keyplane` cannot be run"))?;
        if output.status.success() {
            return Ok(cpu_time()? - before);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Failed(format!("`keyplane {}` failed: {said}", args.first().copied().unwrap_or_default())))
    }

    /// The policy folders for this many keys: the lab's own, and one that is written when it is first needed.
    fn policy(&self, keys: u32) -> Result<Vec<PathBuf>, BenchError> {
        let own = self.lab.policy_folder();
        if keys == 0 {
            return Ok(vec![own]);
        }
        let folder = self.folder.path().join(format!("policy-{keys}"));
        if !folder.exists() {
            fs::create_dir(&folder).map_err(system("a policy folder"))?;
            for first in (0..keys).step_by(KEYS_A_FILE as usize) {
                let text = key_documents(first..(first + KEYS_A_FILE).min(keys));
                fs::write(folder.join(format!("keys-{first:05}.yaml")), text).map_err(system("a policy file"))?;
            }
        }
        Ok(vec![own, folder])
    }

    /// The database in which this many keys are planned.
    fn planned(&self, keys: u32) -> PathBuf {
        self.folder.path().join(format!("planned-{keys}/keyplane.db"))
    }

    /// Makes that database again: a copy of the enrolled one, without keys.
    fn fresh(&self, keys: u32) -> Result<PathBuf, BenchError> {
        let (from, to) = (self.lab.database(), self.planned(keys));
        let folder = to.with_file_name("");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(system("a database"))?;
        }
        fs::create_dir(&folder).map_err(system("a database"))?;
        // SQLite's log has what is not in the file yet.
        for end in ["", "-wal"] {
            let file = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
            if file(&from).exists() {
                fs::copy(file(&from), file(&to)).map_err(system("a database"))?;
            }
        }
        Ok(to)
    }

    /// Makes sure that each key in that database has an open change set that has begun.
    fn begin(&mut self, keys: u32) -> Result<(), BenchError> {
        if self.begun.contains(&keys) {
            return Ok(());
        }
        if !self.planned(keys).exists() {
            self.time(Command::Plan, keys)?;
        }
        let begun = on_this_thread(begin(&url(&self.planned(keys))))?;
        if begun != keys as usize {
            return Err(BenchError::Failed(format!("{begun} of {keys} keys were planned")));
        }
        self.begun.insert(keys);
        Ok(())
    }
}

/// The CPU time of all child processes that have ended, in seconds. Linux counts it in hundredths.
fn cpu_time() -> Result<f64, BenchError> {
    let text = fs::read_to_string("/proc/self/stat").map_err(system("the CPU time"))?;
    ticks_of_children(&text).map(|ticks| ticks / 100.0).ok_or_else(|| BenchError::Failed(format!("no CPU time in `{text}`")))
}

/// The sum of the fields `cutime` and `cstime` of a process's line in `/proc` (`proc_pid_stat(5)`).
fn ticks_of_children(stat: &str) -> Option<f64> {
    // Before it is the program's name in parentheses, which may have spaces; the first field after it is the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(field(16)? + field(17)?)
}

fn url(database: &Path) -> String {
    format!("sqlite:{}", database.display())
}

fn name(number: u32) -> String {
    format!("orders-{number:05}")
}

/// Policy documents for keys with these numbers.
fn key_documents(numbers: std::ops::Range<u32>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        let key = name(number);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "---\nkey: {key}\nprofile: plain\npurpose: encrypt\n\
             placements: [aws: {{ destination: prod-us-east-1, alias: orders/{number:05}, algorithm: aes-256 }}]\n"
        );
        text
    })
}

fn on_this_thread<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("no threads"))?;
    runtime.block_on(work)
}

/// The open change sets of the keys with these numbers.
async fn open_of(url: &str, numbers: std::ops::Range<u32>) -> Result<Vec<Digest>, BenchError> {
    let ledger = SqlLedger::open(url).await?;
    let ids = IdTree::of(ledger.installation().await?);
    let keys: BTreeSet<KeyId> = numbers.map(|number| ids.key(&name(number))).collect();
    let open = ledger.open().await?;
    ledger.close().await;
    Ok(open.into_iter().filter(|open| keys.contains(&open.key)).map(|open| open.digest).collect())
}

/// Commits every proposed change set and records that its key was derived, as in a run that is interrupted then. Returns how many there
/// are.
///
/// It uses the ledger's transactions directly, without approvals: engine and custodian ask for those, but have no part in `status`.
async fn begin(url: &str) -> Result<usize, BenchError> {
    let ledger = SqlLedger::open(url).await?;
    let by = Actor("bench".to_owned());
    for open in ledger.open().await? {
        let record = ledger.change_set(&open.digest).await?.ok_or(Refusal::NoChangeSet(open.digest)).map_err(LedgerError::from)?;
        let asked = Asked { by: &by, at: record.proposed };
        ledger.commit(&record.digest, asked).await?;
        for receipt in minted(&record) {
            ledger.receive(&record.digest, &receipt, None, asked).await?;
        }
    }
    let begun = ledger.snapshot().await?;
    ledger.close().await;
    Ok(begun.keys.values().filter(|key| !key.copies.is_empty() && begun.open.contains_key(&key.id)).count())
}

/// The receipts of the steps that derive a change set's copies.
fn minted(record: &ChangeSetRecord) -> impl Iterator<Item = Receipt> {
    let change_set = &record.change_set;
    (0..).map(StepNo).zip(&change_set.steps).filter_map(|(number, step)| {
        let Act::Mint { version, source, epoch } = step.act else { return None };
        let coordinates = CopyCoordinates {
            installation: change_set.installation,
            key: change_set.key_id,
            version,
            placement: step.placement,
            algorithm: change_set.placements.get(&step.placement)?.algorithm,
            source,
            epoch,
            profile: change_set.profile.clone(),
            approvals: change_set.approvals.clone(),
        };
        let outcome = Outcome::Minted { coordinates, check_value: None, blob: None, public_key: None };
        Some(Receipt { step: number, attempt: None, outcome, at: Timestamp(record.proposed.0 + 1) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_file_has_a_document_for_each_of_its_keys() {
        let text = key_documents(100..200);
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("key: ")).collect();
        assert_eq!((names.len(), names[0], names[99]), (100, "orders-00100", "orders-00199"));
        assert_eq!(text.matches("---\n").count(), 100);
    }

    #[test]
    fn the_time_of_children_is_found_behind_a_name_with_spaces() {
        let stat = "1 (a (b) c) S 4 5 6 7 8 9 10 11 12 13 14 15 1600 17 18 19 20";
        assert_eq!(ticks_of_children(stat), Some(1_617.0));
        assert_eq!(ticks_of_children("1 (a) S 4"), None);
    }
}
