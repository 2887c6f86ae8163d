//! Migrations: the result equals a baseline, repeating them changes nothing, they only go forward, and databases of older versions are
//! upgraded or refused.
//!
//! `UPDATE=1` rewrites the baseline and the fixture of the newest version. Fixtures of released versions never change.

use std::path::PathBuf;

use keyplane_model::LedgerSnapshot;
use keyplane_port::{Ledger as _, LedgerError};
use keyplane_store::{Migrated, SqlLedger};
use sqlx::{Column as _, Row as _, SqliteConnection};

use crate::world::*;

#[tokio::test]
async fn a_fresh_database_has_the_schema_of_the_baseline() {
    let database = Database::new();
    database.init().await.close().await;
    let found = schema(&mut database.raw().await).await;
    assert_same_as_file("migrations/sqlite/schema.sql", &found);
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let database = Database::new();
    let known = SqlLedger::schema_version();
    let ledger = database.init().await;
    crate::damage::fill(&ledger).await;
    let before = (dump(&mut database.raw().await).await, schema(&mut database.raw().await).await);
    for _ in 0..2 {
        assert_eq!(SqlLedger::migrate(&database.url).await, Ok(Migrated { from: known, to: known }));
    }
    assert_eq!((dump(&mut database.raw().await).await, schema(&mut database.raw().await).await), before);
}

#[tokio::test]
async fn every_schema_that_landed_is_upgraded_or_refused_by_name() {
    let known = SqlLedger::schema_version();
    // The fixture of the newest version is dumped from a ledger with a row in every table.
    let database = Database::new();
    let ledger = database.init().await;
    crate::damage::fill(&ledger).await;
    carry_out(&ledger, &change_set(2, 0, 0)).await;
    let ending = ledger.propose(&change_set(3, 0, 0), asked(AT)).await.unwrap();
    ledger.approve(&ending, &approval("bob", "b"), asked(AT)).await.unwrap();
    ledger.end(&ending, asked(AT)).await.unwrap();
    let mut raw = database.raw().await;
    let text = format!("{}\n{}", schema(&mut raw).await, dump(&mut raw).await);
    assert_same_as_file(&format!("migrations/sqlite/fixtures/{known:04}.sql"), &text);
    let json = serde_json::to_string_pretty(&snapshot(&ledger).await).unwrap() + "\n";
    assert_same_as_file(&format!("migrations/sqlite/fixtures/{known:04}.json"), &json);

    for version in 1..=known {
        let old = Database::new();
        std::fs::write(old.file(), b"").unwrap();
        std::fs::set_permissions(old.file(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        old.tamper(&std::fs::read_to_string(root(&format!("migrations/sqlite/fixtures/{version:04}.sql"))).unwrap()).await;
        if version < known {
            assert_eq!(SqlLedger::open(&old.url).await.map(drop), Err(LedgerError::Older { found: version, known }));
        }
        if version < BOUND {
            // Its data cannot be upgraded, and stay as they are.
            let before = dump(&mut old.raw().await).await;
            let refused = SqlLedger::migrate(&old.url).await.unwrap_err().to_string();
            assert!(refused.contains(&format!("schema {version}")) && refused.contains("begin again"), "{refused}");
            assert_eq!(dump(&mut old.raw().await).await, before);
            old.tamper("DELETE FROM approvals; DELETE FROM attempts; DELETE FROM receipts; DELETE FROM change_sets; DELETE FROM copies; DELETE FROM charters;").await;
        }
        assert_eq!(SqlLedger::migrate(&old.url).await, Ok(Migrated { from: version, to: known }));
        assert_eq!(schema(&mut old.raw().await).await, schema(&mut database.raw().await).await);
        if version >= BOUND {
            let expected = std::fs::read_to_string(root(&format!("migrations/sqlite/fixtures/{version:04}.json"))).unwrap();
            let mut expected: LedgerSnapshot = serde_json::from_str(&expected).unwrap();
            if version < FORMAT_3 {
                // Its open change sets have an older format: they are dropped, and planned anew.
                assert!(!expected.open.is_empty());
                expected.open.clear();
            }
            assert_eq!(snapshot(&old.open().await).await, expected);
        }
    }
}

/// The first version that binds copies to the approvals they were made under.
const BOUND: i64 = 4;

/// The first version whose open change sets have format 3.
const FORMAT_3: i64 = 6;

#[tokio::test]
async fn a_newer_schema_is_refused_even_by_a_ledger_that_is_open() {
    let database = Database::new();
    let ledger = database.init().await;
    let known = SqlLedger::schema_version();
    database.tamper(&format!("INSERT INTO keyplane_schema (version) VALUES ({})", known + 1)).await;
    let newer = LedgerError::Newer { found: known + 1, known };
    assert_eq!(SqlLedger::open(&database.url).await.map(drop), Err(newer.clone()));
    assert_eq!(SqlLedger::migrate(&database.url).await.map(drop), Err(newer.clone()));
    assert_eq!(SqlLedger::init(&database.url, installation(), AT).await.map(drop), Err(newer.clone()));
    assert_eq!(ledger.snapshot().await, Err(newer.clone()));
    assert_eq!(ledger.propose(&change_set(1, 0, 0), asked(AT)).await, Err(newer));
}

#[tokio::test]
async fn an_older_schema_is_refused() {
    let database = Database::new();
    database.init().await;
    let known = SqlLedger::schema_version();
    database
        .tamper(&format!("DELETE FROM keyplane_schema WHERE version > 0; INSERT INTO keyplane_schema (version) VALUES ({})", known - 1))
        .await;
    let older = LedgerError::Older { found: known - 1, known };
    assert_eq!(SqlLedger::open(&database.url).await.map(drop), Err(older.clone()));
    assert_eq!(SqlLedger::init(&database.url, installation(), AT).await.map(drop), Err(older));
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let database = Database::new();
    database.init().await.close().await;
    // The first migration fails, because its tables exist.
    database.tamper("DELETE FROM keyplane_schema WHERE version > 1; UPDATE keyplane_schema SET version = 0; DROP TABLE charters").await;
    let before = schema(&mut database.raw().await).await;
    assert!(matches!(SqlLedger::migrate(&database.url).await, Err(LedgerError::Broken(_))));
    assert_eq!(schema(&mut database.raw().await).await, before);
}

/// The statements that created the database's schema, in order.
async fn schema(raw: &mut SqliteConnection) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
    let rows = sqlx::query(sql).fetch_all(raw).await.unwrap();
    rows.iter().map(|row| format!("{};\n", row.get::<String, _>(0).split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

/// The rows of a database, as INSERT statements.
async fn dump(raw: &mut SqliteConnection) -> String {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid";
    let mut text = String::new();
    for table in sqlx::query(tables).fetch_all(&mut *raw).await.unwrap() {
        let table: String = table.get(0);
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM {table} ORDER BY rowid")));
        for row in rows.fetch_all(&mut *raw).await.unwrap() {
            let cells: Vec<String> = row
                .columns()
                .iter()
                .map(|column| match row.try_get::<Option<i64>, _>(column.ordinal()) {
                    Ok(number) => number.map_or("NULL".to_owned(), |number| number.to_string()),
                    Err(_) => format!("'{}'", row.get::<String, _>(column.ordinal()).replace('\'', "''")),
                })
                .collect();
            text += &format!("INSERT INTO {table} VALUES ({});\n", cells.join(", "));
        }
    }
    text
}

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[track_caller]
fn assert_same_as_file(path: &str, text: &str) {
    let path = root(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "`{}` is another one; UPDATE=1 writes it anew", path.display());
}
