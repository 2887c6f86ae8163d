//! Change sets with their approvals, wraps, attempts and receipts, from and to rows.

use std::collections::BTreeMap;

use keyplane_model::{
    Approval, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, Digest, KeyId, LedgerEvent, Receipt, StepNo, Timestamp, Wrap,
};
use keyplane_port::{LedgerError, OpenChangeSet};

use crate::db::Transaction;
use crate::row::{Cell, IdRange, Row, Table};

const CHANGE_SETS: Table = Table { name: "change_sets", id_columns: 1 };
const APPROVALS: Table = Table { name: "approvals", id_columns: 2 };
const WRAPS: Table = Table { name: "wraps", id_columns: 3 };
const ATTEMPTS: Table = Table { name: "attempts", id_columns: 2 };
const RECEIPTS: Table = Table { name: "receipts", id_columns: 2 };

pub(crate) async fn one(transaction: &mut Transaction, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
    Ok(read(transaction, &ONE, &[Cell::word(digest)?]).await?.remove(digest))
}

/// The first open change sets of keys after `after`, in order of the keys' ids. A key has at most one.
pub(crate) async fn open(transaction: &mut Transaction, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError> {
    let sql = "SELECT digest, key_id, state FROM change_sets WHERE state IN ('proposed', 'ending', 'committed') AND key_id > $1 \
               ORDER BY key_id LIMIT $2";
    let rows = transaction.rows(CHANGE_SETS, sql, &[Cell::after(after)?, limit.into()]).await?;
    let open = |row: &Row| Ok(OpenChangeSet { key: row.word("key_id")?, digest: row.word("digest")?, state: row.word("state")? });
    rows.iter().map(open).collect()
}

/// The open change sets of these keys, by key.
pub(crate) async fn open_in(transaction: &mut Transaction, range: IdRange) -> Result<BTreeMap<KeyId, ChangeSetRecord>, LedgerError> {
    let open = read(transaction, &OPEN, &range.cells()?).await?;
    Ok(open.into_values().map(|record| (record.change_set.key_id, record)).collect())
}

/// The key's open change set.
pub(crate) async fn open_of(transaction: &mut Transaction, key: KeyId) -> Result<Option<Digest>, LedgerError> {
    let sql = "SELECT digest FROM change_sets WHERE key_id = $1 AND state IN ('proposed', 'ending', 'committed')";
    let rows = transaction.rows(CHANGE_SETS, sql, &[Cell::word(&key)?]).await?;
    rows.first().map(|row| row.word("digest")).transpose()
}

/// Writes the differences between two records of a change set. `before` is `None` for a new one. `reason`: why it was dropped.
///
/// # Assumptions
/// Records only grow: no transition removes an approval, a wrap, an attempt or a receipt, or changes the order of wraps or attempts.
pub(crate) async fn write(
    transaction: &mut Transaction,
    before: Option<&ChangeSetRecord>,
    after: &ChangeSetRecord,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let digest = &after.digest;
    if before.is_none_or(|before| before.state != after.state) {
        match after.state {
            ChangeSetState::Proposed => write_proposed(transaction, after).await?,
            ChangeSetState::Ending => write_ending(transaction, digest).await?,
            ChangeSetState::Committed => write_committed(transaction, digest, at).await?,
            ChangeSetState::Done | ChangeSetState::Dropped => write_ended(transaction, after, reason, at).await?,
        }
    }
    for approval in &after.approvals {
        if before.is_none_or(|before| !before.approvals.contains(approval)) {
            write_approval(transaction, digest, approval).await?;
        }
    }
    for (place, wrap) in (0..).zip(&after.wraps).skip(before.map_or(0, |before| before.wraps.len())) {
        write_wrap(transaction, digest, place, wrap).await?;
    }
    for (place, attempt) in (0..).zip(&after.attempts) {
        match before.and_then(|before| before.attempts.get(place)) {
            None => write_attempt(transaction, digest, place, attempt).await?,
            Some(before) if before != attempt => write_refused(transaction, attempt).await?,
            Some(_) => {}
        }
    }
    for (step, receipt) in &after.receipts {
        if before.is_none_or(|before| !before.receipts.contains_key(step)) {
            write_receipt(transaction, digest, receipt).await?;
        }
    }
    Ok(())
}

async fn write_proposed(transaction: &mut Transaction, record: &ChangeSetRecord) -> Result<(), LedgerError> {
    let sql = "INSERT INTO change_sets (digest, key_id, state, proposed_at, body) VALUES ($1, $2, 'proposed', $3, $4)";
    let ChangeSetRecord { digest, change_set, proposed, .. } = record;
    let row = [Cell::word(digest)?, Cell::word(&change_set.key_id)?, (*proposed).into(), Cell::document(change_set)?];
    transaction.execute(sql, &row).await.map(drop)
}

async fn write_ending(transaction: &mut Transaction, digest: &Digest) -> Result<(), LedgerError> {
    let sql = "UPDATE change_sets SET state = 'ending' WHERE digest = $1";
    transaction.execute(sql, &[Cell::word(digest)?]).await.map(drop)
}

async fn write_committed(transaction: &mut Transaction, digest: &Digest, at: Timestamp) -> Result<(), LedgerError> {
    let sql = "UPDATE change_sets SET state = 'committed', committed_at = $2 WHERE digest = $1";
    transaction.execute(sql, &[Cell::word(digest)?, at.into()]).await.map(drop)
}

async fn write_ended(
    transaction: &mut Transaction,
    record: &ChangeSetRecord,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let sql = "UPDATE change_sets SET state = $2, end_reason = $3, ended_at = $4 WHERE digest = $1";
    let reason: Option<String> = reason.map(|reason| reason.chars().take(LedgerEvent::REASON_LIMIT).collect());
    let row = [Cell::word(&record.digest)?, Cell::word(&record.state)?, Cell::Text(reason), at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

/// In place of an earlier approval by the same approver.
async fn write_approval(transaction: &mut Transaction, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
    let sql = "INSERT INTO approvals (change_set, approver, signature, given_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (change_set, approver) DO UPDATE SET signature = excluded.signature, given_at = excluded.given_at";
    let row = [Cell::word(digest)?, Cell::word(&approval.approver)?, approval.signature.as_str().into(), approval.at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

/// `place`: how many wraps of the change set came before.
async fn write_wrap(transaction: &mut Transaction, digest: &Digest, place: usize, wrap: &Wrap) -> Result<(), LedgerError> {
    let sql = "INSERT INTO wraps (change_set, step, wrapped_under, place, at) VALUES ($1, $2, $3, $4, $5)";
    let row = [Cell::word(digest)?, wrap.step.0.into(), Cell::word(&wrap.wrapped_under)?, Cell::number(place as u64)?, wrap.at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

/// `place`: how many attempts of the change set came before.
async fn write_attempt(transaction: &mut Transaction, digest: &Digest, place: usize, attempt: &Attempt) -> Result<(), LedgerError> {
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

/// Nothing but the class of a refusal is ever added to an attempt.
async fn write_refused(transaction: &mut Transaction, attempt: &Attempt) -> Result<(), LedgerError> {
    let sql = "UPDATE attempts SET refused = $2 WHERE id = $1";
    transaction.execute(sql, &[Cell::word(&attempt.id)?, Cell::word(&attempt.refused)?]).await.map(drop)
}

async fn write_receipt(transaction: &mut Transaction, digest: &Digest, receipt: &Receipt) -> Result<(), LedgerError> {
    let sql = "INSERT INTO receipts (change_set, step, attempt, outcome, received_at) VALUES ($1, $2, $3, $4, $5)";
    let row =
        [Cell::word(digest)?, receipt.step.0.into(), Cell::word(&receipt.attempt)?, Cell::document(&receipt.outcome)?, receipt.at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

/// The queries that read change sets together with their approvals, wraps, attempts and receipts.
struct Selection {
    change_sets: &'static str,
    approvals: &'static str,
    wraps: &'static str,
    attempts: &'static str,
    receipts: &'static str,
}

macro_rules! selection {
    ($of_change_sets:literal, $of_the_rest:literal) => {
        Selection {
            change_sets: concat!("SELECT digest, key_id, state, proposed_at, body FROM change_sets WHERE ", $of_change_sets),
            approvals: concat!("SELECT change_set, approver, signature, given_at FROM approvals WHERE change_set ", $of_the_rest),
            wraps: concat!(
                "SELECT change_set, step, wrapped_under, place, at FROM wraps WHERE change_set ",
                $of_the_rest,
                " ORDER BY place"
            ),
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
    "state IN ('proposed', 'ending', 'committed') AND key_id > $1 AND key_id <= $2",
    "IN (SELECT digest FROM change_sets WHERE state IN ('proposed', 'ending', 'committed') AND key_id > $1 AND key_id <= $2)"
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
    for row in transaction.rows(WRAPS, selection.wraps, of).await? {
        let wrap = wrap(&row)?;
        owner(&mut records, &row)?.wraps.push(wrap);
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
        wraps: Vec::new(),
        receipts: BTreeMap::new(),
    })
}

fn approval(row: &Row) -> Result<Approval, LedgerError> {
    Ok(Approval { approver: row.word("approver")?, signature: row.text("signature")?.to_owned(), at: row.time("given_at")? })
}

fn wrap(row: &Row) -> Result<Wrap, LedgerError> {
    Ok(Wrap { step: StepNo(row.number("step")?), wrapped_under: row.word("wrapped_under")?, at: row.time("at")? })
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
