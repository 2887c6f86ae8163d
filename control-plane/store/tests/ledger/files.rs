//! The files of a database: where they are, who can read them, which ones are refused, and the liveness locks beside them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use keyplane_port::{Ledger as _, LedgerError, Refusal};
use keyplane_store::SqlLedger;

use crate::world::*;

#[tokio::test]
async fn a_database_and_its_log_are_their_owners_alone() {
    let database = Database::new();
    let ledger = database.init().await;
    ledger.propose(&change_set(1, 0, 0), asked(AT)).await.unwrap();
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
    assert!(matches!(ledger.propose(&change_set(1, 0, 0), asked(AT)).await, Err(LedgerError::Failed(_))));
    // Readers do not wait, and see the previous state.
    assert!(snapshot(&ledger).await.open.is_empty());
    sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
    ledger.propose(&change_set(1, 0, 0), asked(AT)).await.unwrap();
}

#[tokio::test]
async fn why_and_when_change_sets_ended_is_kept() {
    let database = Database::new();
    let ledger = database.init().await;
    let superseded = ledger.propose(&change_set(1, 0, 1), asked(AT)).await.unwrap();
    let dropped = ledger.propose(&change_set(1, 0, 2), asked(later(1))).await.unwrap();
    ledger.commit(&dropped, asked(later(2))).await.unwrap();
    ledger.abandon(&dropped, &"x".repeat(5_000), asked(later(3))).await.unwrap();
    ledger.abandon(&dropped, "again", asked(later(4))).await.unwrap();
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
async fn a_dead_server_holds_nothing_at_once() {
    let database = Database::new();
    let (one, other) = (database.init().await, database.open().await);
    let held = take(&one, "lane", server(1)).await;
    assert_eq!(other.lease("lane").await, Ok(held), "it lives");
    drop(one);
    let nobodys = keyplane_model::Lease { holder: None, ..held };
    assert_eq!(other.lease("lane").await, Ok(nobodys));
    assert_eq!(other.lease("lane").await, Ok(nobodys), "the first look removed the proof");
    assert_eq!(take(&other, "lane", server(2)).await.fence, held.fence + 1);
    assert_eq!(locks(&database), [server(2).to_string()], "nothing of it is left");
}

#[tokio::test]
async fn a_server_that_gave_back_its_leases_leaves_no_lock_behind() {
    let database = Database::new();
    let (one, other) = (database.init().await, database.open().await);
    let held = [take(&one, "lane", server(1)).await, take(&one, "another", server(1)).await];
    assert_eq!(one.put_lease("lane", &held[0], &held[0].released(), asked(AT)).await, Ok(true));
    assert_eq!(other.lease("another").await, Ok(held[1]), "it has another lane");
    assert_eq!(one.put_lease("another", &held[1], &held[1].released(), asked(AT)).await, Ok(true));
    assert_eq!(locks(&database), [server(1).to_string()]);
    drop(one);
    assert_eq!(locks(&database), <[String; 0]>::default());
}

/// A database and two other names of it: one through a link to its folder, one through a link to its file.
fn names(database: &Database, links: &tempfile::TempDir) -> [String; 3] {
    use std::os::unix::fs::symlink;
    symlink(database.folder.path(), links.path().join("folder")).unwrap();
    symlink(database.file(), links.path().join("another-name.db")).unwrap();
    let linked = ["folder/ledger.db", "another-name.db"].map(|name| format!("sqlite:{}", links.path().join(name).display()));
    let [folder, file] = linked;
    [database.url.clone(), folder, file]
}

#[tokio::test]
async fn a_living_server_is_not_taken_for_dead_by_any_name_of_the_database() {
    let (database, links) = (Database::new(), tempfile::tempdir().unwrap());
    database.init().await;
    let names = names(&database, &links);
    for (number, holders) in (1..).zip(&names) {
        let holder = SqlLedger::open(holders).await.unwrap();
        let held = take(&holder, "lane", server(number)).await;
        for others in &names {
            let other = SqlLedger::open(others).await.unwrap();
            assert_eq!(other.lease("lane").await, Ok(held), "opened as {holders}, looked at as {others}");
        }
        drop(holder);
        for others in &names {
            let other = SqlLedger::open(others).await.unwrap();
            assert_eq!(other.lease("lane").await.unwrap().holder, None, "opened as {holders}, looked at as {others}");
        }
    }
    assert_eq!(std::fs::read_dir(links.path()).unwrap().count(), 2, "locks lie beside the database, not beside its links");
}

/// The database is reached by a mount of its file alone, or its folder was restored from a backup.
#[tokio::test]
async fn a_server_whose_lock_is_not_there_or_is_a_copy_is_not_taken_for_dead() {
    let database = Database::new();
    let (one, other) = (database.init().await, database.open().await);
    let folder = database.folder.path().join("ledger.db.servers");
    let (lock, elsewhere) = (folder.join(server(1).to_string()), database.folder.path().join("elsewhere"));
    let held = take(&one, "lane", server(1)).await;
    std::fs::rename(&folder, &elsewhere).unwrap();
    assert_eq!(other.lease("lane").await, Ok(held), "there is no folder");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(other.lease("lane").await, Ok(held), "there is no file");
    std::fs::write(&lock, "").unwrap();
    assert_eq!(other.lease("lane").await, Ok(held), "the file says nothing");
    std::fs::copy(elsewhere.join(server(1).to_string()), &lock).unwrap();
    assert_eq!(other.lease("lane").await, Ok(held), "the file is a copy");
    // Nor is the copy removed as a dead server's file.
    take(&other, "another", server(2)).await;
    other
        .put_lease("another", &other.lease("another").await.unwrap(), &other.lease("another").await.unwrap().released(), asked(AT))
        .await
        .unwrap();
    assert!(lock.exists());
    drop(one);
    assert_eq!(other.lease("lane").await, Ok(held), "a copy proves nothing, whether the server lives or not");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&elsewhere, &folder).unwrap();
    assert_eq!(other.lease("lane").await.unwrap().holder, None, "the file that it locked is back");
}

fn locks(database: &Database) -> Vec<String> {
    let folder = std::fs::read_dir(database.folder.path().join("ledger.db.servers")).unwrap();
    let mut names: Vec<_> = folder.map(|lock| lock.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
