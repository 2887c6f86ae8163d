//! Proposed changes of the charter with their approvals, from and to rows.

use keyplane_model::{Approval, CharterChange, CharterId, CharterProposal, Digest, Timestamp};
use keyplane_port::LedgerError;

use crate::db::Transaction;
use crate::row::{Cell, Row, Table};

const PROPOSALS: Table = Table { name: "charter_proposals", id_columns: 1 };
const APPROVALS: Table = Table { name: "charter_approvals", id_columns: 2 };

pub(crate) async fn propose(
    transaction: &mut Transaction,
    digest: &Digest,
    change: &CharterChange,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO charter_proposals (digest, serial, proposed_at, body) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING";
    let row = [Cell::word(digest)?, change.before.serial.into(), at.into(), Cell::document(change)?];
    transaction.execute(sql, &row).await.map(drop)
}

pub(crate) async fn one(transaction: &mut Transaction, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError> {
    let sql = "SELECT digest, serial, proposed_at, body FROM charter_proposals WHERE digest = $1";
    let rows = transaction.rows(PROPOSALS, sql, &[Cell::word(digest)?]).await?;
    match rows.first() {
        Some(row) => proposal(transaction, row).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn of(transaction: &mut Transaction, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError> {
    let sql = "SELECT digest, serial, proposed_at, body FROM charter_proposals WHERE serial = $1";
    let mut found = Vec::new();
    for row in transaction.rows(PROPOSALS, sql, &[before.serial.into()]).await? {
        let proposal = proposal(transaction, &row).await?;
        if proposal.change.before == *before {
            found.push(proposal);
        }
    }
    found.sort_by_key(|proposal| (proposal.proposed, proposal.digest));
    Ok(found)
}

/// Adds an approval, in place of an earlier one by the same approver.
pub(crate) async fn approve(transaction: &mut Transaction, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
    let sql = "INSERT INTO charter_approvals (proposal, approver, signature, given_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (proposal, approver) DO UPDATE SET signature = excluded.signature, given_at = excluded.given_at";
    let row = [Cell::word(digest)?, Cell::word(&approval.approver)?, approval.signature.as_str().into(), approval.at.into()];
    transaction.execute(sql, &row).await.map(drop)
}

async fn proposal(transaction: &mut Transaction, row: &Row) -> Result<CharterProposal, LedgerError> {
    let (digest, change): (_, CharterChange) = row.sealed_document()?;
    if row.number::<u32>("serial")? != change.before.serial {
        return Err(row.broken("its body follows another charter"));
    }
    let sql = "SELECT proposal, approver, signature, given_at FROM charter_approvals WHERE proposal = $1";
    let rows = transaction.rows(APPROVALS, sql, &[Cell::word(&digest)?]).await?;
    let mut approvals = rows.iter().map(approval).collect::<Result<Vec<_>, _>>()?;
    approvals.sort_by(|a, b| a.approver.cmp(&b.approver));
    Ok(CharterProposal { digest, change, proposed: row.time("proposed_at")?, approvals })
}

fn approval(row: &Row) -> Result<Approval, LedgerError> {
    Ok(Approval { approver: row.word("approver")?, signature: row.text("signature")?.to_owned(), at: row.time("given_at")? })
}
