//! The transactions of [`Ledger`], in SQL.
//!
//! Each checks in the same order as [`keyplane_port::MemoryLedger`]: whether it is already done, whether the change set's state allows it,
//! whether it fits the key. `tests/ledger/suite.rs` runs against both.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, CharterChange, CharterId, CharterProposal, Class,
    DestinationName, Digest, Fence, Generation, InstallationId, Intent, Inventory, KeyRecord, Lease, LedgerSnapshot, Receipt, Revision,
    SealedCharter, SettleError, Timestamp,
};
use keyplane_port::{Commitment, IntentRevision, Ledger, LedgerError, Refusal};

use crate::db::{Db, Location, Mode, Transaction};
use crate::row::{Cell, Row, Table};
use crate::schema::{self, Migrated};
use crate::{change_sets, charter_proposals, keys, leases};

const INSTALLATION: Table = Table { name: "installation", id_columns: 1 };
const INTENTS: Table = Table { name: "intents", id_columns: 1 };
const INVENTORIES: Table = Table { name: "inventories", id_columns: 1 };
const CHARTERS: Table = Table { name: "charters", id_columns: 1 };

/// The ledger in a database.
///
/// # Guarantees
/// - When a method returns, its changes are on disk. Several processes may have the same database open.
/// - Every transaction refuses a schema that is not this program's.
#[derive(Clone, Debug)]
pub struct SqlLedger {
    db: Db,
    installation: InstallationId,
}

impl SqlLedger {
    /// Makes the database at `sqlite:PATH`, with an empty ledger. The folder has to exist. Only the file's owner can read the file.
    /// Repeating it changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Contradiction`] when the database is another installation's, [`LedgerError::Older`] and
    /// [`LedgerError::Newer`] when it has another schema, [`LedgerError::Broken`] when it is another program's.
    pub async fn init(url: &str, installation: InstallationId, at: Timestamp) -> Result<Self, LedgerError> {
        let location = Location::parse(url)?;
        location.create()?;
        let db = Db::connect(&location).await?;
        let mut transaction = db.begin(Mode::Write).await?;
        match schema::found(&mut transaction).await? {
            Some(found) => {
                schema::check(found)?;
                if read_installation(&mut transaction).await? != installation {
                    return Err(Refusal::Contradiction.into());
                }
            }
            None => {
                schema::apply(&mut transaction, 0).await?;
                let sql = "INSERT INTO installation (place, id, created_at) VALUES (1, $1, $2)";
                transaction.execute(sql, &[Cell::word(&installation)?, at.into()]).await?;
                transaction.commit().await?;
            }
        }
        Ok(Self { db, installation })
    }

    /// Upgrades the database at `sqlite:PATH` to the schema of this program, unless it already has that.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when it was never initialised, [`LedgerError::Newer`] when it has a schema that this
    /// program does not know.
    pub async fn migrate(url: &str) -> Result<Migrated, LedgerError> {
        schema::migrate(&Location::parse(url)?).await
    }

    /// Opens the database at `sqlite:PATH`.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when it was never initialised, [`LedgerError::Older`] and [`LedgerError::Newer`] when it has
    /// another schema than this program's.
    pub async fn open(url: &str) -> Result<Self, LedgerError> {
        let location = Location::parse(url)?;
        let db = Db::connect(&location).await?;
        let mut transaction = db.begin(Mode::Read).await?;
        let found = schema::found(&mut transaction).await?.ok_or_else(|| LedgerError::Missing(location.shown()))?;
        schema::check(found)?;
        let installation = read_installation(&mut transaction).await?;
        drop(transaction);
        Ok(Self { db, installation })
    }

    #[must_use]
    pub fn schema_version() -> i64 {
        schema::KNOWN
    }

    /// Waits for open transactions and closes every connection. Durability does not depend on it.
    pub async fn close(&self) {
        self.db.close().await;
    }

    async fn begin(&self, mode: Mode) -> Result<Transaction, LedgerError> {
        let mut transaction = self.db.begin(mode).await?;
        schema::guard(&mut transaction).await?;
        Ok(transaction)
    }
}

#[async_trait]
impl Ledger for SqlLedger {
    async fn installation(&self) -> Result<InstallationId, LedgerError> {
        Ok(self.installation)
    }

    async fn put_intent(&self, intent: &Intent, author: &Actor, source: &str, at: Timestamp) -> Result<IntentRevision, LedgerError> {
        let body = Cell::document(intent)?;
        let digest = intent.digest().map_err(|error| LedgerError::Broken(error.to_string()))?;
        let mut transaction = self.begin(Mode::Write).await?;
        let newest = newest_intent(&mut transaction).await?.map(|row| revision(&row)).transpose()?;
        if let Some(newest) = newest.clone().filter(|newest| newest.digest == digest) {
            return Ok(newest);
        }
        let number = newest.map_or(Revision(0), |newest| newest.revision).next();
        let sql = "INSERT INTO intents (revision, digest, author, source, taken_at, body) VALUES ($1, $2, $3, $4, $5, $6)";
        let row = [Cell::number(number.0)?, Cell::word(&digest)?, Cell::word(author)?, source.into(), at.into(), body];
        transaction.execute(sql, &row).await?;
        transaction.commit().await?;
        Ok(IntentRevision { revision: number, digest, author: author.clone(), source: source.to_owned(), at })
    }

    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let Some(row) = newest_intent(&mut transaction).await? else { return Ok(None) };
        let (_, intent) = row.sealed_document()?;
        Ok(Some((revision(&row)?, intent)))
    }

    async fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let keys = keys::all(&mut transaction).await?;
        let open = change_sets::open(&mut transaction).await?;
        Ok(LedgerSnapshot { installation: self.installation, keys: keys.into_values().map(|key| (key.name.clone(), key)).collect(), open })
    }

    async fn propose(&self, change_set: &ChangeSet, at: Timestamp) -> Result<Digest, LedgerError> {
        let digest = change_set.digest().map_err(|error| LedgerError::Broken(error.to_string()))?;
        let mut transaction = self.begin(Mode::Write).await?;
        let open = change_sets::open_of(&mut transaction, change_set.key_id).await?;
        if open.is_some_and(|(open, _)| open == digest) {
            return Ok(digest);
        }
        if change_set.installation != self.installation {
            return Err(Refusal::State("for another installation").into());
        }
        let key = keys::one(&mut transaction, change_set.key_id).await?;
        match open {
            Some((open, ChangeSetState::Committed)) => {
                let key =
                    change_sets::one(&mut transaction, &open).await?.map_or_else(|| change_set.key.clone(), |record| record.change_set.key);
                return Err(Refusal::KeyBusy { key, open }.into());
            }
            Some(_) | None => check_name(&mut transaction, change_set).await?,
        }
        let found = key.map_or(Generation(0), |key| key.generation);
        if found != change_set.generation {
            return Err(Refusal::Settle(SettleError::Generation { planned: change_set.generation, found }).into());
        }
        if let Some((superseded, _)) = open {
            let reason = format!("superseded by {digest}");
            change_sets::end(&mut transaction, &superseded, ChangeSetState::Dropped, Some(&reason), at).await?;
        }
        change_sets::propose(&mut transaction, digest, change_set, at).await?;
        transaction.commit().await?;
        Ok(digest)
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        change_sets::one(&mut transaction, digest).await
    }

    async fn approve(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        must_be(&record, ChangeSetState::Proposed)?;
        if record.approvals.iter().any(|given| given.approver == approval.approver && given.signature == approval.signature) {
            return Err(Refusal::AlreadyApproved(approval.approver.clone()).into());
        }
        change_sets::approve(&mut transaction, digest, approval).await?;
        transaction.commit().await
    }

    async fn commit(&self, digest: &Digest, at: Timestamp) -> Result<Commitment, LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        match record.state {
            ChangeSetState::Committed | ChangeSetState::Done => return Ok(Commitment::Already),
            ChangeSetState::Proposed | ChangeSetState::Dropped => must_be(&record, ChangeSetState::Proposed)?,
        }
        check_name(&mut transaction, &record.change_set).await?;
        let before = keys::one(&mut transaction, record.change_set.key_id).await?;
        let after = KeyRecord::committed(before.as_ref(), &record.change_set).map_err(Refusal::Settle)?;
        keys::write(&mut transaction, before.as_ref(), &after).await?;
        change_sets::commit(&mut transaction, digest, at).await?;
        transaction.commit().await?;
        Ok(Commitment::Committed(after.generation))
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        if let Some(there) = record.attempts.iter().find(|there| there.id == attempt.id) {
            let same = Attempt { refused: attempt.refused, ..there.clone() } == *attempt;
            return if same { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        must_be(&record, ChangeSetState::Committed)?;
        leases::check(&mut transaction, fence).await?;
        if record.change_set.step(attempt.step).is_none() {
            return Err(Refusal::Settle(SettleError::NoStep(attempt.step)).into());
        }
        let last = record.attempts_of(attempt.step).map(|there| there.ordinal).max().unwrap_or(0);
        if attempt.ordinal != last + 1
            || attempt.id != AttemptId::of(digest, attempt.step.0, attempt.ordinal)
            || record.receipts.contains_key(&attempt.step)
        {
            return Err(Refusal::Contradiction.into());
        }
        change_sets::attempt(&mut transaction, digest, record.attempts.len(), attempt).await?;
        transaction.commit().await
    }

    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        let there = record.attempts.iter().find(|there| there.id == attempt);
        if there.is_some_and(|there| there.refused == Some(class)) {
            return Ok(());
        }
        must_be(&record, ChangeSetState::Committed)?;
        let acted = record.receipts.values().any(|receipt| receipt.attempt == Some(attempt));
        if acted || there.is_none_or(|there| there.refused.is_some()) {
            return Err(Refusal::Contradiction.into());
        }
        change_sets::refuse(&mut transaction, attempt, class).await?;
        transaction.commit().await
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        if let Some(there) = record.receipts.get(&receipt.step) {
            return if there == receipt { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        must_be(&record, ChangeSetState::Committed)?;
        leases::check(&mut transaction, fence).await?;
        let before = committed_key(&mut transaction, &record).await?;
        let mut after = before.clone();
        after.settle(&record.change_set, receipt).map_err(Refusal::Settle)?;
        if let Some(by) = receipt.attempt
            && !record.attempts_of(receipt.step).any(|attempt| attempt.id == by && attempt.refused.is_none())
        {
            return Err(Refusal::Contradiction.into());
        }
        keys::write(&mut transaction, Some(&before), &after).await?;
        change_sets::receive(&mut transaction, digest, receipt).await?;
        transaction.commit().await
    }

    async fn complete(&self, digest: &Digest, at: Timestamp) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        if record.state == ChangeSetState::Done {
            return Ok(());
        }
        must_be(&record, ChangeSetState::Committed)?;
        if !record.is_finished() {
            return Err(Refusal::State("not finished: a step has no receipt").into());
        }
        let before = committed_key(&mut transaction, &record).await?;
        let mut after = before.clone();
        after.complete(at);
        keys::write(&mut transaction, Some(&before), &after).await?;
        change_sets::end(&mut transaction, digest, ChangeSetState::Done, None, at).await?;
        transaction.commit().await
    }

    async fn withdraw(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let record = record(&mut transaction, digest).await?;
        if record.state == ChangeSetState::Dropped {
            return Ok(());
        }
        must_be(&record, ChangeSetState::Proposed)?;
        change_sets::end(&mut transaction, digest, ChangeSetState::Dropped, Some(reason), at).await?;
        transaction.commit().await
    }

    async fn abandon(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        match record(&mut transaction, digest).await?.state {
            ChangeSetState::Dropped => Ok(()),
            ChangeSetState::Done => Err(Refusal::State(word(ChangeSetState::Done)).into()),
            ChangeSetState::Proposed | ChangeSetState::Committed => {
                change_sets::end(&mut transaction, digest, ChangeSetState::Dropped, Some(reason), at).await?;
                transaction.commit().await
            }
        }
    }

    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let lease = leases::one(&mut transaction, lane).await?;
        let dead = lease.holder.is_some_and(|holder| self.db.is_dead(holder));
        Ok(if dead { Lease { holder: None, ..lease } } else { lease })
    }

    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease) -> Result<bool, LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let there = leases::one(&mut transaction, lane).await?;
        if (there.fence, there.beat) != (seen.fence, seen.beat) {
            return Ok(false);
        }
        if !next.follows(seen) {
            return Err(Refusal::Contradiction.into());
        }
        // INVARIANT: a server that a lease names holds its liveness lock, or is dead.
        if let Some(holder) = next.holder {
            self.db.hold_liveness_lock(holder)?;
        }
        leases::put(&mut transaction, lane, next).await?;
        if let Some(before) = there.holder
            && next.holder != Some(before)
        {
            // No other server can take a lease before this transaction ends, so the list is complete.
            self.db.leases_name(&leases::holders(&mut transaction).await?, before);
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory) -> Result<(), LedgerError> {
        let row = [Cell::word(destination)?, inventory.at.into(), Cell::document(inventory)?];
        let mut transaction = self.begin(Mode::Write).await?;
        let sql = "INSERT INTO inventories (destination, seen_at, body) VALUES ($1, $2, $3) \
                   ON CONFLICT (destination) DO UPDATE SET seen_at = excluded.seen_at, body = excluded.body";
        transaction.execute(sql, &row).await?;
        transaction.commit().await
    }

    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let rows = transaction.rows(INVENTORIES, "SELECT destination, body FROM inventories", &[]).await?;
        rows.iter().map(|row| Ok((row.word("destination")?, row.document("body")?))).collect()
    }

    async fn propose_charter(&self, change: &CharterChange, at: Timestamp) -> Result<Digest, LedgerError> {
        let digest = change.digest().map_err(|error| LedgerError::Broken(error.to_string()))?;
        let mut transaction = self.begin(Mode::Write).await?;
        charter_proposals::propose(&mut transaction, &digest, change, at).await?;
        transaction.commit().await?;
        Ok(digest)
    }

    async fn charter_proposals(&self, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        charter_proposals::of(&mut transaction, before).await
    }

    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        charter_proposals::one(&mut transaction, digest).await
    }

    async fn approve_charter(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let proposal = charter_proposals::one(&mut transaction, digest).await?.ok_or(Refusal::NoCharterProposal(*digest))?;
        if proposal.approvals.iter().any(|given| given.approver == approval.approver && given.signature == approval.signature) {
            return Err(Refusal::AlreadyApproved(approval.approver.clone()).into());
        }
        charter_proposals::approve(&mut transaction, digest, approval).await?;
        transaction.commit().await
    }

    async fn put_charter(&self, charter: &SealedCharter) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let sql = "SELECT serial, body FROM charters WHERE serial = $1";
        if let Some(row) = transaction.rows(CHARTERS, sql, &[charter.serial.into()]).await?.first() {
            let same = sealed_charter(row)? == *charter;
            return if same { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        let row = [charter.serial.into(), Cell::document(charter)?];
        transaction.execute("INSERT INTO charters (serial, body) VALUES ($1, $2)", &row).await?;
        transaction.commit().await
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let sql = "SELECT serial, body FROM charters ORDER BY serial DESC LIMIT 1";
        transaction.rows(CHARTERS, sql, &[]).await?.first().map(sealed_charter).transpose()
    }
}

async fn read_installation(transaction: &mut Transaction) -> Result<InstallationId, LedgerError> {
    let rows = transaction.rows(INSTALLATION, "SELECT place, id FROM installation", &[]).await?;
    rows.first().ok_or_else(|| LedgerError::Broken("table `installation` is empty".to_owned()))?.word("id")
}

async fn newest_intent(transaction: &mut Transaction) -> Result<Option<Row>, LedgerError> {
    let sql = "SELECT revision, digest, author, source, taken_at, body FROM intents ORDER BY revision DESC LIMIT 1";
    Ok(transaction.rows(INTENTS, sql, &[]).await?.pop())
}

fn revision(row: &Row) -> Result<IntentRevision, LedgerError> {
    Ok(IntentRevision {
        revision: Revision(row.number("revision")?),
        digest: row.word("digest")?,
        author: row.word("author")?,
        source: row.text("source")?.to_owned(),
        at: row.time("taken_at")?,
    })
}

fn sealed_charter(row: &Row) -> Result<SealedCharter, LedgerError> {
    let charter: SealedCharter = row.document("body")?;
    if charter.serial == row.number::<u32>("serial")? { Ok(charter) } else { Err(row.broken("its body has another serial")) }
}

async fn record(transaction: &mut Transaction, digest: &Digest) -> Result<ChangeSetRecord, LedgerError> {
    Ok(change_sets::one(transaction, digest).await?.ok_or(Refusal::NoChangeSet(*digest))?)
}

/// The record of a committed change set's key. The commit made it.
async fn committed_key(transaction: &mut Transaction, record: &ChangeSetRecord) -> Result<KeyRecord, LedgerError> {
    let key = keys::one(transaction, record.change_set.key_id).await?;
    key.ok_or_else(|| LedgerError::Broken(format!("change set {} is committed and its key is not there", record.digest)))
}

// INVARIANT: two keys never have the same name.
async fn check_name(transaction: &mut Transaction, change_set: &ChangeSet) -> Result<(), LedgerError> {
    if keys::is_name_taken(transaction, &change_set.key, change_set.key_id).await? { Err(Refusal::Contradiction.into()) } else { Ok(()) }
}

fn must_be(record: &ChangeSetRecord, state: ChangeSetState) -> Result<(), Refusal> {
    if record.state == state { Ok(()) } else { Err(Refusal::State(word(record.state))) }
}

fn word(state: ChangeSetState) -> &'static str {
    match state {
        ChangeSetState::Proposed => "proposed",
        ChangeSetState::Committed => "committed",
        ChangeSetState::Done => "done",
        ChangeSetState::Dropped => "dropped",
    }
}
