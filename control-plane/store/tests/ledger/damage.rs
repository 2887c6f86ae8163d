//! Damaged rows are detected when they are read, and the error names them.

use keyplane_port::{Ledger as _, LedgerError};

use crate::world::*;

/// Statements that damage the database, each with the table and the beginning of the row id that the error has to name.
const DAMAGE: &[(&str, &str, &str)] = &[
    ("UPDATE keys SET name = 'Upper'", "keys", "00000002-"),
    ("UPDATE keys SET id = replace(id, '-', '')", "keys", "00000002"),
    ("UPDATE keys SET generation = -1", "keys", "00000002-"),
    ("UPDATE placements SET cloud = 'moon'", "placements", "00000002-"),
    ("UPDATE placements SET algorithm = 'rot-13'", "placements", "00000002-"),
    ("UPDATE placements SET fingerprint = 'sha256:00'", "placements", "00000002-"),
    ("UPDATE placements SET claimed = 2", "placements", "00000002-"),
    ("UPDATE placements SET incarnation = 4294967296", "placements", "00000002-"),
    ("UPDATE placements SET key_id = '00000002-0000-8000-8000-0000000000ff'", "placements", "00000002-"),
    ("UPDATE versions SET state = 'gone'", "versions", "00000002-"),
    ("UPDATE copies SET source = 'found'", "copies", "00000002-"),
    ("UPDATE copies SET check_value = 'xyz'", "copies", "00000002-"),
    ("UPDATE copies SET blob = '{}'", "copies", "00000002-"),
    ("UPDATE change_sets SET state = 'gone' WHERE state = 'committed'; UPDATE change_sets SET body = '{}'", "change_sets", "sha256:"),
    ("UPDATE change_sets SET body = replace(body, 'alice', 'mallory')", "change_sets", "sha256:"),
    ("UPDATE change_sets SET body = body || ' '", "change_sets", "sha256:"),
    ("UPDATE change_sets SET key_id = '00000002-0000-8000-8000-0000000000ff'", "change_sets", "sha256:"),
    ("UPDATE approvals SET approver = 'Bob'", "approvals", "sha256:"),
    ("DROP TRIGGER wraps_are_not_changed; UPDATE wraps SET wrapped_under = 'nothing'", "wraps", "sha256:"),
    ("DROP TRIGGER wraps_are_not_changed; UPDATE wraps SET step = -1", "wraps", "sha256:"),
    ("UPDATE attempts SET ordinal = 7 WHERE ordinal = 2", "attempts", "sha256:"),
    ("UPDATE attempts SET refused = 'bored'", "attempts", "sha256:"),
    ("UPDATE receipts SET outcome = '{\"vanished\":{}}'", "receipts", "sha256:"),
    ("UPDATE receipts SET attempt = 'nobody'", "receipts", "sha256:"),
    ("DROP TRIGGER events_are_not_changed; UPDATE events SET what = 'withdrawn' WHERE what = 'committed'", "events", ""),
    ("DROP TRIGGER events_are_not_changed; UPDATE events SET body = '{\"proposed\":{}}' WHERE sequence = 5", "events", "5"),
    ("UPDATE intents SET body = replace(body, 'login', 'logon')", "intents", "1"),
    ("UPDATE intents SET digest = (SELECT digest FROM change_sets LIMIT 1)", "intents", "1"),
    ("UPDATE inventories SET body = '{}'", "inventories", "destination-1"),
    ("UPDATE charter_proposals SET body = replace(body, 'alice', 'mallory')", "charter_proposals", "sha256:"),
    ("UPDATE charter_proposals SET serial = 7", "charter_proposals", "sha256:"),
    ("UPDATE charter_approvals SET approver = 'Bob'", "charter_approvals", "sha256:"),
    ("UPDATE charters SET body = replace(body, '\"serial\":1', '\"serial\":2')", "charters", "1"),
];

#[tokio::test]
async fn damaged_rows_are_broken_and_named() {
    for (damage, table, row) in DAMAGE {
        let database = lived_in().await;
        let digest = change_set(1, 0, 0).digest().unwrap();
        database.tamper(damage).await;
        let ledger = database.open().await;
        let results = [
            ledger.snapshot().await.map(drop),
            ledger.intent().await.map(drop),
            ledger.inventories().await.map(drop),
            ledger.charter().await.map(drop),
            ledger.change_set(&digest).await.map(drop),
            ledger.page_of_events(0, 100).await.map(drop),
            ledger.charter_proposal(&charter_change(1, "alice").digest().unwrap()).await.map(drop),
        ];
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(!errors.is_empty(), "nobody noticed `{damage}`");
        for error in errors {
            let LedgerError::Broken(message) = &error else { unreachable!("`{damage}`: {error:?}") };
            assert!(message.contains(&format!("table `{table}`, row `{row}")), "`{damage}`: {message}");
        }
    }
}

#[tokio::test]
async fn a_damaged_installation_is_broken() {
    for damage in ["DELETE FROM installation", "UPDATE installation SET id = 'ours'", "DROP TABLE installation"] {
        let database = lived_in().await;
        database.tamper(damage).await;
        let error = keyplane_store::SqlLedger::open(&database.url).await.unwrap_err();
        assert!(matches!(error, LedgerError::Broken(_)), "`{damage}`: {error:?}");
    }
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_open_change_set_of_a_key() {
    let database = lived_in().await;
    let mut raw = database.raw().await;
    let second = "INSERT INTO change_sets SELECT 'sha256:00', key_id, 'proposed', 0, NULL, NULL, NULL, '{}' FROM change_sets WHERE state = 'committed'";
    let error = sqlx::raw_sql(second).execute(&mut raw).await.unwrap_err();
    assert!(error.as_database_error().unwrap().is_unique_violation(), "{error}");
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_or_remove_an_event() {
    let database = lived_in().await;
    let before = events(&database.open().await).await;
    for sql in ["UPDATE events SET actor = 'mallory'", "DELETE FROM events", "DELETE FROM events WHERE sequence = 1"] {
        let error = sqlx::raw_sql(sql).execute(&mut database.raw().await).await.unwrap_err();
        assert!(error.to_string().contains("events are only ever added"), "`{sql}`: {error}");
    }
    assert_eq!(events(&database.open().await).await, before);
}

/// A wrap that is missing is told as one that somebody else asked for, so no bug may lose one.
#[tokio::test]
async fn the_database_itself_refuses_to_change_or_remove_a_wrap() {
    let database = lived_in().await;
    let before = snapshot(&database.open().await).await;
    assert!(before.open.values().any(|record| !record.wraps.is_empty()));
    for sql in ["UPDATE wraps SET at = 0", "DELETE FROM wraps"] {
        let error = sqlx::raw_sql(sql).execute(&mut database.raw().await).await.unwrap_err();
        assert!(error.to_string().contains("wraps are only ever added"), "`{sql}`: {error}");
    }
    assert_eq!(snapshot(&database.open().await).await, before);
}

async fn lived_in() -> Database {
    let database = Database::new();
    let ledger = database.init().await;
    fill(&ledger).await;
    ledger.close().await;
    database
}

/// Puts a row into every table, with a half-done change set for key 1.
pub(crate) async fn fill(ledger: &dyn keyplane_port::Ledger) {
    ledger.put_intent(&intent("login"), "files", asked(AT)).await.unwrap();
    ledger.put_charter(&sealed_charter(1, 0), &[], asked(AT)).await.unwrap();
    let proposed = ledger.propose_charter(&charter_change(1, "alice"), asked(AT)).await.unwrap();
    ledger.approve_charter(&proposed, &approval("bob", "b"), asked(AT)).await.unwrap();
    let inventory = keyplane_model::Inventory { at: AT, complete: true, ours: Default::default(), placements: Default::default() };
    ledger.put_inventory(&parse("destination-1"), &inventory, asked(AT)).await.unwrap();
    take(ledger, "account/region", server(1)).await;
    let planned = change_set(1, 0, 0);
    let digest = ledger.propose(&planned, asked(AT)).await.unwrap();
    ledger.approve(&digest, &approval("bob", "b"), asked(AT)).await.unwrap();
    ledger.commit(&digest, asked(later(1))).await.unwrap();
    ledger.receive(&digest, &receipt(&planned, 0, None), None, asked(AT)).await.unwrap();
    ledger.wrap(&digest, &wrap(3, 1), None, asked(AT)).await.unwrap();
    for ordinal in [1, 2] {
        ledger.attempt(&digest, &attempt(&digest, 1, ordinal), None, asked(AT)).await.unwrap();
        if ordinal == 1 {
            ledger.refused(&digest, attempt(&digest, 1, 1).id, keyplane_model::Class::Throttled, asked(AT)).await.unwrap();
        }
    }
    ledger.receive(&digest, &receipt(&planned, 1, Some(attempt(&digest, 1, 2).id)), None, asked(AT)).await.unwrap();
}
