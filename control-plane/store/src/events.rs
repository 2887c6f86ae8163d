//! Events to rows and back. The database itself refuses to change or remove one.

use keyplane_model::{Asked, EventKind, LedgerEvent, Subjects};
use keyplane_port::LedgerError;

use crate::db::Transaction;
use crate::row::{Cell, Row, Table};

const EVENTS: Table = Table { name: "events", id_columns: 1 };

/// Adds an event. It is there once the transaction is committed.
pub(crate) async fn tell(
    transaction: &mut Transaction,
    asked: Asked<'_>,
    what: EventKind,
    about: Subjects,
    reason: Option<&str>,
) -> Result<(), LedgerError> {
    // A transaction that writes is the only writer, so no other event gets this number.
    let last = transaction.rows(EVENTS, "SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1", &[]).await?;
    let last = last.first().map_or(Ok(0), |row| row.number("sequence"))?;
    let event = LedgerEvent::new(last, asked, what, about, reason);
    let sql = "INSERT INTO events (sequence, at, actor, what, body, key_id, change_set, placement_id, reason) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let row = [
        Cell::number(event.sequence)?,
        event.at.into(),
        Cell::word(&event.actor)?,
        event.what.word().into(),
        Cell::document(&event.what)?,
        Cell::word(&event.about.key)?,
        Cell::word(&event.about.change_set)?,
        Cell::word(&event.about.placement)?,
        event.reason.as_deref().into(),
    ];
    transaction.execute(sql, &row).await.map(drop)
}

/// The first events after `after`, in order.
pub(crate) async fn page(transaction: &mut Transaction, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError> {
    let sql = "SELECT sequence, at, actor, what, body, key_id, change_set, placement_id, reason FROM events \
               WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    let rows = transaction.rows(EVENTS, sql, &[Cell::number(after)?, limit.into()]).await?;
    rows.iter().map(event).collect()
}

fn event(row: &Row) -> Result<LedgerEvent, LedgerError> {
    let what: EventKind = row.document("body")?;
    if row.text("what")? != what.word() {
        return Err(row.broken("its body is of another kind"));
    }
    Ok(LedgerEvent {
        sequence: row.number("sequence")?,
        at: row.time("at")?,
        actor: row.word("actor")?,
        what,
        about: Subjects {
            key: row.maybe_word("key_id")?,
            change_set: row.maybe_word("change_set")?,
            placement: row.maybe_word("placement_id")?,
        },
        reason: row.maybe_text("reason")?.map(str::to_owned),
    })
}
