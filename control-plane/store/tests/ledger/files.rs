//! Where a database is, who can read it, and what is refused there.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use keyplane_port::{Ledger as _, LedgerError, Refusal};
use keyplane_store::SqlLedger;

use crate::world::*;

#[tokio::test]
async fn a_database_and_its_log_are_their_owners_alone() {
    let database = Database::new();
    let ledger = database.init().await;
    ledger.propose(&change_set(1, 0, 0), AT).await.unwrap();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(database.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        seen.push(entry.file_name().into_string().unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["ledger.db", "ledger.db-shm", "ledger.db-wal"]);
}

#[tokio::test]
async fn a_database_that_others_can_read_is_refused() {
    let database = Database::new();
    database.init().await.close().await;
    std::fs::set_permissions(database.file(), Permissions::from_mode(0o640)).unwrap();
    let error = SqlLedger::open(&database.url).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Failed(message) if message.contains("mode 640") && message.contains("chmod 600")), "{error}");
}

#[tokio::test]
async fn opening_and_migrating_make_no_database() {
    let database = Database::new();
    let missing = LedgerError::Missing(database.file().display().to_string());
    assert_eq!(SqlLedger::open(&database.url).await.unwrap_err(), missing);
    assert_eq!(SqlLedger::migrate(&database.url).await.unwrap_err(), missing);
    assert_eq!(std::fs::read_dir(database.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_a_crash_left_empty_is_missing_until_it_is_initialised_again() {
    let database = Database::new();
    std::fs::write(database.file(), b"").unwrap();
    std::fs::set_permissions(database.file(), Permissions::from_mode(0o600)).unwrap();
    let missing = LedgerError::Missing(database.file().display().to_string());
    assert_eq!(SqlLedger::open(&database.url).await.unwrap_err(), missing);
    assert_eq!(SqlLedger::migrate(&database.url).await.unwrap_err(), missing);
    database.init().await;
    database.open().await;
}

#[tokio::test]
async fn initialising_again_changes_nothing_and_another_installation_is_refused() {
    let database = Database::new();
    let ledger = database.init().await;
    carry_out(&ledger, &change_set(1, 0, 0)).await;
    let before = snapshot(&ledger).await;
    assert_eq!(snapshot(&database.init().await).await, before);
    let other = parse("ffffffff-0000-8000-8000-000000000000");
    assert_refused(SqlLedger::init(&database.url, other, AT).await.map(drop), Refusal::Contradiction);
    assert_eq!(snapshot(&ledger).await, before);
}

#[tokio::test]
async fn a_folder_has_to_be_there() {
    let database = Database::new();
    let url = format!("sqlite:{}", database.folder.path().join("nowhere/ledger.db").display());
    let error = SqlLedger::init(&url, installation(), AT).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Failed(message) if message.contains("nowhere/ledger.db")), "{error}");
}

#[tokio::test]
async fn urls_that_name_no_file_are_refused() {
    for url in ["", "ledger.db", "sqlite:", "sqlite://", "sqlite::memory:", "sqlite:a.db?mode=rwc", "mysql://user:secret@host/db"] {
        let error = SqlLedger::init(url, installation(), AT).await.unwrap_err();
        assert!(matches!(&error, LedgerError::Failed(message) if message.contains("sqlite:PATH")), "{url}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let database = Database::new();
    std::fs::write(database.file(), b"").unwrap();
    std::fs::set_permissions(database.file(), Permissions::from_mode(0o600)).unwrap();
    database.tamper("CREATE TABLE recipes (name TEXT)").await;
    let error = SqlLedger::init(&database.url, installation(), AT).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Broken(message) if message.contains("`recipes`")), "{error}");
    assert!(matches!(SqlLedger::open(&database.url).await, Err(LedgerError::Broken(_))));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_broken() {
    let database = Database::new();
    std::fs::write(database.file(), [b'x'; 4096]).unwrap();
    std::fs::set_permissions(database.file(), Permissions::from_mode(0o600)).unwrap();
    let error = SqlLedger::open(&database.url).await.unwrap_err();
    assert!(matches!(error, LedgerError::Broken(_)), "{error}");
}

#[tokio::test]
async fn a_database_that_somebody_else_holds_has_failed_and_works_again_afterwards() {
    let database = Database::new();
    let ledger = database.init().await;
    let mut raw = database.raw().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut raw).await.unwrap();
    assert!(matches!(ledger.propose(&change_set(1, 0, 0), AT).await, Err(LedgerError::Failed(_))));
    // Readers see what was there.
    assert!(snapshot(&ledger).await.open.is_empty());
    sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
    ledger.propose(&change_set(1, 0, 0), AT).await.unwrap();
}

#[tokio::test]
async fn why_and_when_change_sets_ended_is_kept() {
    let database = Database::new();
    let ledger = database.init().await;
    let superseded = ledger.propose(&change_set(1, 0, 1), AT).await.unwrap();
    let dropped = ledger.propose(&change_set(1, 0, 2), later(1)).await.unwrap();
    ledger.commit(&dropped, later(2)).await.unwrap();
    ledger.abandon(&dropped, &"x".repeat(5_000), later(3)).await.unwrap();
    ledger.abandon(&dropped, "again", later(4)).await.unwrap();
    let sql = "SELECT digest, committed_at, ended_at, end_reason FROM change_sets ORDER BY proposed_at";
    let rows: Vec<(String, Option<i64>, i64, String)> = sqlx::query_as(sql).fetch_all(&mut database.raw().await).await.unwrap();
    assert_eq!(
        rows,
        [
            (superseded.to_string(), None, later(1).0, format!("superseded by {dropped}")),
            (dropped.to_string(), Some(later(2).0), later(3).0, "x".repeat(1_000)),
        ]
    );
}

#[tokio::test]
async fn a_server_that_is_gone_holds_nothing() {
    let database = Database::new();
    let (one, other) = (database.init().await, database.open().await);
    let held = take(&one, "lane", server(1)).await;
    assert_eq!(other.lease("lane").await, Ok(held), "it lives");
    one.close().await;
    drop(one);
    assert_eq!(other.lease("lane").await, Ok(keyplane_model::Lease { holder: None, ..held }));
    assert_eq!(take(&other, "lane", server(2)).await.fence, held.fence + 1);
    let seats = std::fs::read_dir(database.folder.path().join("ledger.db.servers")).unwrap();
    let left: Vec<_> = seats.map(|seat| seat.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, [server(2).to_string()], "nothing of it is left");
}
