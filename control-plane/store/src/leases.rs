//! Leases from and to rows.

use std::collections::BTreeSet;

use keyplane_model::{Lease, ServerId, Span};
use keyplane_port::LedgerError;

use crate::db::Transaction;
use crate::row::{Cell, Table};

const LEASES: Table = Table { name: "leases", id_columns: 1 };

/// A lane that was never held has no row, and the default lease.
pub(crate) async fn one(transaction: &mut Transaction, lane: &str) -> Result<Lease, LedgerError> {
    let sql = "SELECT lane, holder, fence, beat, span FROM leases WHERE lane = $1";
    let rows = transaction.rows(LEASES, sql, &[lane.into()]).await?;
    let Some(row) = rows.first() else { return Ok(Lease::default()) };
    Ok(Lease {
        holder: row.maybe_word("holder")?,
        fence: row.number("fence")?,
        beat: row.number("beat")?,
        span: Span::from_micros(row.number("span")?).ok_or_else(|| row.broken("its span is negative"))?,
    })
}

pub(crate) async fn holders(transaction: &mut Transaction) -> Result<BTreeSet<ServerId>, LedgerError> {
    let sql = "SELECT lane, holder FROM leases WHERE holder IS NOT NULL";
    transaction.rows(LEASES, sql, &[]).await?.iter().map(|row| row.word("holder")).collect()
}

pub(crate) async fn put(transaction: &mut Transaction, lane: &str, lease: &Lease) -> Result<(), LedgerError> {
    let span = Cell::Number(Some(lease.span.micros()));
    let row = [lane.into(), Cell::word(&lease.holder)?, Cell::number(lease.fence)?, Cell::number(lease.beat)?, span];
    let sql = "INSERT INTO leases (lane, holder, fence, beat, span) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (lane) DO UPDATE \
               SET holder = excluded.holder, fence = excluded.fence, beat = excluded.beat, span = excluded.span";
    transaction.execute(sql, &row).await.map(drop)
}
