//! Several processes on one database, and killed processes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use keyplane_model::{ChangeSetState, Generation, KeyRecord};
use keyplane_port::{Commitment, Ledger, LedgerError};
use keyplane_store::SqlLedger;
use tokio::task::JoinSet;

use crate::world::*;

/// How many keys the killed process works on: far more than it can finish.
const KEYS: u32 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_competing_change_sets_in_several_ledgers_exactly_one_is_committed() {
    let database = Database::new();
    let ledgers = [database.init().await, database.open().await, database.open().await].map(Arc::new);
    for key in 0..8 {
        let mut tasks = JoinSet::new();
        for (variant, ledger) in (0..12).zip(ledgers.iter().cycle().cloned()) {
            tasks.spawn(async move {
                let digest = refused_or(ledger.propose(&change_set(key, 0, variant), asked(AT)).await)?;
                let commitment = refused_or(ledger.commit(&digest, asked(AT)).await)?;
                Some((digest, commitment))
            });
        }
        let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        let snapshots = [snapshot(&*ledgers[0]).await, snapshot(&*ledgers[1]).await];
        assert_eq!(snapshots[0], snapshots[1]);
        assert_eq!(won, [(snapshots[0].open[&key_id(key)].digest, Commitment::Committed(Generation(1)))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_that_initialise_at_once_all_have_the_same_ledger() {
    let database = Database::new();
    // One task creates the file and its log; the others find these in any state.
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let url = database.url.clone();
        tasks.spawn(async move {
            loop {
                match SqlLedger::init(&url, installation(), AT).await {
                    Err(LedgerError::Failed(_)) => tokio::task::yield_now().await,
                    done => return done.map(drop),
                }
            }
        });
    }
    assert_eq!(tasks.join_all().await, [Ok(()), Ok(()), Ok(()), Ok(())]);
    database.open().await;
}

/// `None` if the ledger refused. Any other error fails the test.
fn refused_or<T>(result: Result<T, LedgerError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(LedgerError::Refused(_)) => None,
        Err(error) => unreachable!("{error}"),
    }
}

/// Kills a process again and again, each time after one more transaction, and continues with the same database. Every transaction that the
/// process reported has to be there, and at most one more.
#[tokio::test]
async fn a_transaction_of_a_killed_process_is_wholly_there_or_not_at_all() {
    let database = Database::new();
    database.init().await.close().await;
    let mut done = 0;
    for kill_after in 1..=40 {
        let told = told_until_killed(&database, kill_after);
        let ledger = database.open().await;
        check_every_change_set(&ledger).await;
        let found = transactions(&ledger).await;
        assert!((done + told..=done + told + 1).contains(&found), "{done} and {told} transactions were told, {found} are there");
        done = found;
        ledger.close().await;
    }
}

/// Runs [`killed_process`] until it has reported at least this many transactions, then kills it. Returns how many it reported in all.
fn told_until_killed(database: &Database, kill_after: usize) -> usize {
    let mut child = Process::start("killed_process", database, 0);
    let mut lines = child.lines();
    let first = lines.by_ref().take(kill_after).count();
    // Waits for nothing in particular. A transaction takes a few milliseconds, and this spreads the kills over its length, so that they do
    // not all hit its beginning.
    std::thread::sleep(std::time::Duration::from_micros(100 * kill_after as u64));
    drop(child);
    // And what it reported until it died.
    first + lines.count()
}

/// A test of this file in its own process, which is killed when this value is dropped.
struct Process(Child);

impl Process {
    fn start(test: &str, database: &Database, variant: u32) -> Self {
        Self::start_at(test, &database.url, variant)
    }

    fn start_at(test: &str, url: &str, variant: u32) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("processes::{test}"), "--ignored", "--nocapture"])
            .env("KEYPLANE_TEST_DATABASE", url)
            .env("KEYPLANE_TEST_VARIANT", variant.to_string())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// The lines that it reports, without the test harness's own.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        lines.filter_map(|line| line.unwrap().split_once("told ").map(|(_, what)| what.to_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL. It fails only if the process has already ended.
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_holds_its_lane_until_it_is_killed_and_not_a_moment_longer() {
    let (database, links) = (Database::new(), tempfile::tempdir().unwrap());
    let ledger = database.init().await;
    std::os::unix::fs::symlink(database.folder.path(), links.path().join("link")).unwrap();
    let linked = format!("sqlite:{}", links.path().join("link/ledger.db").display());
    for (variant, url) in (1..).zip([&database.url, &linked]) {
        let mut child = Process::start_at("holding_process", url, variant);
        assert_eq!(child.lines().next().as_deref(), Some("so"));
        let other = SqlLedger::open(&linked).await.unwrap();
        for ledger in [&ledger, &other] {
            assert_eq!(ledger.lease("lane").await.unwrap().holder, Some(server(variant)), "it lives");
        }
        drop(child);
        for ledger in [&ledger, &other] {
            assert_eq!(ledger.lease("lane").await.unwrap().holder, None, "it was killed");
        }
    }
}

#[tokio::test]
#[ignore = "run by a test that kills it"]
async fn holding_process() {
    let (Ok(url), Ok(variant)) = (std::env::var("KEYPLANE_TEST_DATABASE"), std::env::var("KEYPLANE_TEST_VARIANT")) else { return };
    let ledger = SqlLedger::open(&url).await.unwrap();
    take(&ledger, "lane", server(parse(&variant))).await;
    println!("told so");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn of_competing_change_sets_of_several_processes_exactly_one_is_committed() {
    let database = Database::new();
    let ledger = database.init().await;
    let mut processes: Vec<Process> = (0..3).map(|variant| Process::start("competing_process", &database, variant)).collect();
    let mut won: Vec<String> = processes.iter_mut().map(Process::lines).collect::<Vec<_>>().into_iter().flatten().collect();
    won.sort();
    let open = snapshot(&ledger).await.open;
    let mut committed: Vec<String> = open.values().map(|record| record.digest.to_string()).collect();
    committed.sort();
    assert_eq!(won, committed);
    assert_eq!(open.len(), 30);
    assert!(open.values().all(|record| record.state == ChangeSetState::Committed));
}

#[tokio::test]
#[ignore = "run by a test that starts several"]
async fn competing_process() {
    let (Ok(url), Ok(variant)) = (std::env::var("KEYPLANE_TEST_DATABASE"), std::env::var("KEYPLANE_TEST_VARIANT")) else { return };
    let ledger = SqlLedger::open(&url).await.unwrap();
    for key in 0..30 {
        let Some(digest) = refused_or(ledger.propose(&change_set(key, 0, parse(&variant)), asked(AT)).await) else { continue };
        if let Some(Commitment::Committed(_)) = refused_or(ledger.commit(&digest, asked(AT)).await) {
            println!("told {digest}");
        }
    }
}

#[tokio::test]
#[ignore = "run by a test that kills it"]
async fn killed_process() {
    let Ok(url) = std::env::var("KEYPLANE_TEST_DATABASE") else { return };
    let ledger = SqlLedger::open(&url).await.unwrap();
    for key in 0..KEYS {
        work(&ledger, key, || println!("told so")).await;
    }
}

/// Carries on the change set of a key from any state to its end, and reports each transaction that changed something.
async fn work(ledger: &dyn Ledger, key: u32, told: impl Fn()) {
    let planned = change_set(key, 0, 0);
    let digest = planned.digest().unwrap();
    let record = ledger.change_set(&digest).await.unwrap();
    if record.is_none() {
        ledger.propose(&planned, asked(AT)).await.unwrap();
        told();
    }
    if record.as_ref().is_none_or(|record| record.state == ChangeSetState::Proposed) {
        ledger.commit(&digest, asked(AT)).await.unwrap();
        told();
    }
    let receipts = record.as_ref().map(|record| record.receipts.clone()).unwrap_or_default();
    for step in (0..10).filter(|step| !receipts.contains_key(&keyplane_model::StepNo(*step))) {
        ledger.receive(&digest, &receipt(&planned, step, None), None, asked(AT)).await.unwrap();
        told();
    }
    if record.is_none_or(|record| record.state != ChangeSetState::Done) {
        ledger.complete(&digest, asked(later(2_000))).await.unwrap();
        told();
    }
}

/// Counts the transactions of [`work`] in a ledger.
async fn transactions(ledger: &dyn Ledger) -> usize {
    let mut count = 0;
    for key in 0..KEYS {
        let Some(record) = ledger.change_set(&change_set(key, 0, 0).digest().unwrap()).await.unwrap() else { break };
        count += 1 + record.receipts.len();
        count += match record.state {
            ChangeSetState::Proposed => 0,
            ChangeSetState::Committed => 1,
            ChangeSetState::Done => 2,
            ChangeSetState::Ending | ChangeSetState::Dropped => unreachable!("nobody drops anything here"),
        };
    }
    count
}

/// Checks that every key's record follows from the state and the receipts of its change set.
async fn check_every_change_set(ledger: &dyn Ledger) {
    let keys = snapshot(ledger).await.keys;
    for key in 0..KEYS {
        let planned = change_set(key, 0, 0);
        let Some(record) = ledger.change_set(&planned.digest().unwrap()).await.unwrap() else { break };
        let expected = (record.state != ChangeSetState::Proposed).then(|| {
            let mut expected = KeyRecord::committed(None, &planned).unwrap();
            for receipt in record.receipts.values() {
                expected.settle(&planned, receipt).unwrap();
            }
            if record.state == ChangeSetState::Done {
                expected.complete(later(2_000));
            }
            expected
        });
        assert_eq!(keys.get(&planned.key), expected.as_ref());
    }
}
