//! Change sets with their approvals, attempts and receipts, from and to rows.

use std::collections::BTreeMap;

use keyplane_model::{
    Approval, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, Class, Digest, KeyId, Receipt, StepNo, Timestamp,
};
use keyplane_port::{LedgerError, OpenChangeSet};

use crate::db::Transaction;
use crate::row::{Cell, IdRange, Row, Table};

const CHANGE_SETS: Table = Table { name: "change_sets", id_columns: 1 };
const APPROVALS: Table = Table { name: "approvals", id_columns: 2 };
const ATTEMPTS: Table = Table { name: "attempts", id_columns: 2 };
const RECEIPTS: Table = Table { name: "receipts", id_columns: 2 };

/// The longest reason that is kept, in characters. The rest is cut off; reasons are only for people.
const REASON_LIMIT: usize = 1_000;

pub(crate) async fn one(transaction: &mut Transaction, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
    Ok(read(transaction, &ONE, &[Cell::word(digest)?]).await?.remove(digest))
}

/// The first open change sets of keys after `after`, in order of the keys' ids. A key has at most one.
pub(crate) async fn open(transaction: &mut Transaction, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError> {
    let sql =
        "SELECT digest, key_id, state FROM change_sets WHERE state IN ('proposed', 'committed') AND key_id > $1 ORDER BY key_id LIMIT $2";
    let rows = transaction.rows(CHANGE_SETS, sql, &[Cell::after(after)?, limit.into()]).await?;
    let open = |row: &Row| Ok(OpenChangeSet { key: row.word("key_id")?, digest: row.word("digest")?, state: row.word("state")? });
    rows.iter().map(open).collect()
}

/// The open change sets of these keys, by key.
pub(crate) async fn open_in(transaction: &mut Transaction, range: IdRange) -> Result<BTreeMap<KeyId, ChangeSetRecord>, LedgerError> {
    let open = read(transaction, &OPEN, &range.cells()?).await?;
    Ok(open.into_values().map(|record| (record.change_set.key_id, record)).collect())
}

pub(crate) async fn open_of(transaction: &mut Transaction, key: KeyId) -> Result<Option<(Digest, ChangeSetState)>, LedgerError> {
    let sql = "SELECT digest, state FROM change_sets WHERE key_id = $1 AND state IN ('proposed', 'committed')";
    let rows = transaction.rows(CHANGE_SETS, sql, &[Cell::word(&key)?]).await?;
    rows.first().map(|row| Ok((row.word("digest")?, row.word("state")?))).transpose()
}

/// Proposes a change set. One that was dropped before its commit becomes proposed again.
pub(crate) async fn propose(
    transaction: &mut Transaction,
    digest: Digest,
    change_set: &ChangeSet,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO change_sets (digest, key_id, state, proposed_at, body) VALUES ($1, $2, 'proposed', $3, $4) \
               ON CONFLICT (digest) DO UPDATE SET state = excluded.state, proposed_at = excluded.proposed_at, ended_at = NULL, end_reason = NULL";
    let row = [Cell::word(&digest)?, Cell::word(&change_set.key_id)?, at.into(), Cell::document(change_set)?];
    transaction.execute(sql, &row).await.map(drop)
}

pub(crate) async fn commit(transaction: &mut Transaction, digest: &Digest, at: Timestamp) -> Result<(), LedgerError> {
    let sql = "UPDATE change_sets SET state = 'committed', committed_at = $2 WHERE digest = $1";
    transaction.execute(sql, &[Cell::word(digest)?, at.into()]).await.map(drop)
}

/// Ends a change set in the state `Done` or `Dropped`.
pub(crate) async fn end(
    transaction: &mut Transaction,
    digest: &Digest,
    state: ChangeSetState,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let sql = "UPDATE change_sets SET state = $2, end_reason = $3, ended_at = $4 WHERE digest = $1";
    let reason: Option<String> = reason.map(|reason| reason.chars().take(REASON_LIMIT).collect());
    transaction.execute(sql, &[Cell::word(digest)?, Cell::word(&state)?, Cell::Text(reason), at.into()]).await.map(drop)
}

/// Adds an approval, in place of an earlier one by the same approver.
pub(crate) async fn approve(transaction: &mut Transaction, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
    let sql = "INSERT INTO approvals (change_set, approver, signature, given_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (change_set, approver) DO UPDATE SET signature = excluded.signature, given_at = excluded.given_at";
    let row = [Cell::word(digest)?, Cell::word(&approval.approver)?, approval.signature.as_str().into(), approval.at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

/// `place`: how many attempts the change set already has.
pub(crate) async fn attempt(transaction: &mut Transaction, digest: &Digest, place: usize, attempt: &Attempt) -> Result<(), LedgerError> {
    let sql = "INSERT INTO attempts (id, change_set, place, step, ordinal, begun_at, wrapped_under, refused) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let row = [
        Cell::word(&attempt.id)?,
        Cell::word(digest)?,
        Cell::number(place as u64)?,
        attempt.step.0.into(),
        attempt.ordinal.into(),
        attempt.at.into(),
        Cell::word(&attempt.wrapped_under)?,
        Cell::word(&attempt.refused)?,
    ];
    transaction.execute(sql, &row).await.map(drop)
}

/// Records that an attempt certainly had no effect.
pub(crate) async fn refuse(transaction: &mut Transaction, attempt: AttemptId, class: Class) -> Result<(), LedgerError> {
    let sql = "UPDATE attempts SET refused = $2 WHERE id = $1";
    transaction.execute(sql, &[Cell::word(&attempt)?, Cell::word(&class)?]).await.map(drop)
}

pub(crate) async fn receive(transaction: &mut Transaction, digest: &Digest, receipt: &Receipt) -> Result<(), LedgerError> {
    let sql = "INSERT INTO receipts (change_set, step, attempt, outcome, received_at) VALUES ($1, $2, $3, $4, $5)";
    let row =
        [Cell::word(digest)?, receipt.step.0.into(), Cell::word(&receipt.attempt)?, Cell::document(&receipt.outcome)?, receipt.at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

/// The queries that read change sets together with their approvals, attempts and receipts.
struct Selection {
    change_sets: &'static str,
    approvals: &'static str,
    attempts: &'static str,
    receipts: &'static str,
}

macro_rules! selection {
    ($of_change_sets:literal, $of_the_rest:literal) => {
        Selection {
            change_sets: concat!("SELECT digest, key_id, state, proposed_at, body FROM change_sets WHERE ", $of_change_sets),
            approvals: concat!("SELECT change_set, approver, signature, given_at FROM approvals WHERE change_set ", $of_the_rest),
            attempts: concat!(
                "SELECT change_set, id, place, step, ordinal, begun_at, wrapped_under, refused FROM attempts WHERE change_set ",
                $of_the_rest,
                " ORDER BY place"
            ),
            receipts: concat!("SELECT change_set, step, attempt, outcome, received_at FROM receipts WHERE change_set ", $of_the_rest),
        }
    };
}

const ONE: Selection = selection!("digest = $1", "= $1");
const OPEN: Selection = selection!(
    "state IN ('proposed', 'committed') AND key_id > $1 AND key_id <= $2",
    "IN (SELECT digest FROM change_sets WHERE state IN ('proposed', 'committed') AND key_id > $1 AND key_id <= $2)"
);

async fn read(transaction: &mut Transaction, selection: &Selection, of: &[Cell]) -> Result<BTreeMap<Digest, ChangeSetRecord>, LedgerError> {
    let mut records = BTreeMap::new();
    for row in transaction.rows(CHANGE_SETS, selection.change_sets, of).await? {
        let record = record(&row)?;
        records.insert(record.digest, record);
    }
    for row in transaction.rows(APPROVALS, selection.approvals, of).await? {
        owner(&mut records, &row)?.approvals.push(approval(&row)?);
    }
    for row in transaction.rows(ATTEMPTS, selection.attempts, of).await? {
        let record = owner(&mut records, &row)?;
        record.attempts.push(attempt_of(&row, &record.digest)?);
    }
    for row in transaction.rows(RECEIPTS, selection.receipts, of).await? {
        let receipt = receipt(&row)?;
        owner(&mut records, &row)?.receipts.insert(receipt.step, receipt);
    }
    for record in records.values_mut() {
        record.approvals.sort_by(|a, b| a.approver.cmp(&b.approver));
    }
    Ok(records)
}

fn owner<'r>(records: &'r mut BTreeMap<Digest, ChangeSetRecord>, row: &Row) -> Result<&'r mut ChangeSetRecord, LedgerError> {
    records.get_mut(&row.word("change_set")?).ok_or_else(|| row.broken("its change set is not there"))
}

fn record(row: &Row) -> Result<ChangeSetRecord, LedgerError> {
    let (digest, change_set): (_, ChangeSet) = row.sealed_document()?;
    if row.word::<KeyId>("key_id")? != change_set.key_id {
        return Err(row.broken("its body is for another key"));
    }
    Ok(ChangeSetRecord {
        digest,
        change_set,
        state: row.word("state")?,
        proposed: row.time("proposed_at")?,
        approvals: Vec::new(),
        attempts: Vec::new(),
        receipts: BTreeMap::new(),
    })
}

fn approval(row: &Row) -> Result<Approval, LedgerError> {
    Ok(Approval { approver: row.word("approver")?, signature: row.text("signature")?.to_owned(), at: row.time("given_at")? })
}

fn attempt_of(row: &Row, change_set: &Digest) -> Result<Attempt, LedgerError> {
    let attempt = Attempt {
        id: row.word("id")?,
        step: StepNo(row.number("step")?),
        ordinal: row.number("ordinal")?,
        at: row.time("begun_at")?,
        wrapped_under: row.maybe_word("wrapped_under")?,
        refused: row.maybe_word("refused")?,
    };
    if attempt.id == AttemptId::of(change_set, attempt.step.0, attempt.ordinal) {
        Ok(attempt)
    } else {
        Err(row.broken("its id is not that of its step and ordinal"))
    }
}

fn receipt(row: &Row) -> Result<Receipt, LedgerError> {
    Ok(Receipt {
        step: StepNo(row.number("step")?),
        attempt: row.maybe_word("attempt")?,
        outcome: row.document("outcome")?,
        at: row.time("received_at")?,
    })
}
