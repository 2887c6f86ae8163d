//! The transactions of [`Ledger`], in SQL.
//!
//! [`Subject`] and [`Opening`] decide what a transition of a change set demands and changes, as for [`keyplane_port::MemoryLedger`].
//! `tests/ledger/suite.rs` runs against both.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use keyplane_model::{
    Approval, Asked, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, CharterChange, CharterId, CharterProposal, Class,
    Context, DestinationName, Digest, EventKind, Fence, InstallationId, Intent, Inventory, Key, KeyId, KeyName, KeyRecord, Lease,
    LedgerEvent, Opening, Receipt, Refusal, Revision, SealedCharter, Subject, Subjects, Timestamp, Transition, Wrap,
};
use keyplane_port::{Commitment, IntentRevision, KeyState, Ledger, LedgerError, OpenChangeSet};

use crate::db::{Db, Location, Mode, Transaction};
use crate::row::{Cell, IdRange, Row, Table};
use crate::schema::{self, Migrated};
use crate::{change_sets, charter_proposals, events, keys, leases};

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

    /// Whose database this is, whatever schema it has.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when it was never initialised.
    pub async fn installation_of(url: &str) -> Result<InstallationId, LedgerError> {
        let location = Location::parse(url)?;
        let db = Db::connect(&location).await?;
        let mut transaction = db.begin(Mode::Read).await?;
        schema::found(&mut transaction).await?.ok_or_else(|| LedgerError::Missing(location.shown()))?;
        read_installation(&mut transaction).await
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

    /// Makes a transition, and writes what it leaves. `None`: it was made before.
    async fn change(
        &self,
        digest: &Digest,
        transition: &Transition<'_>,
        fence: Option<&Fence>,
        asked: Asked<'_>,
        reason: Option<&str>,
    ) -> Result<Option<Subject>, LedgerError> {
        let mut in_database = self.begin(Mode::Write).await?;
        let change_set = change_sets::one(&mut in_database, digest).await?.ok_or(Refusal::NoChangeSet(*digest))?;
        let ChangeSet { key: name, key_id, .. } = &change_set.change_set;
        let key = keys::one(&mut in_database, *key_id).await?;
        if key.is_none() && change_set.state == ChangeSetState::Committed {
            return Err(LedgerError::Broken(format!("change set {digest} is committed and its key `{name}` is not there")));
        }
        let context = Context {
            is_name_taken: keys::is_name_taken(&mut in_database, name, *key_id).await?,
            fence: match fence {
                Some(fence) => Some((fence, leases::one(&mut in_database, &fence.lane).await?)),
                None => None,
            },
        };
        let before = Subject { change_set, key };
        let Some(after) = before.after(transition, &context)? else { return Ok(None) };
        if let Some(key) = after.key.as_ref().filter(|key| before.key.as_ref() != Some(key)) {
            keys::write(&mut in_database, before.key.as_ref(), key).await?;
        }
        change_sets::write(&mut in_database, Some(&before.change_set), &after.change_set, reason, asked.at).await?;
        let (what, about) = after.event(transition);
        events::tell(&mut in_database, asked, what, about, reason).await?;
        in_database.commit().await?;
        Ok(Some(after))
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

    async fn put_intent(&self, intent: &Intent, source: &str, asked: Asked<'_>) -> Result<IntentRevision, LedgerError> {
        let body = Cell::document(intent)?;
        let digest = intent.digest().map_err(|error| LedgerError::Broken(error.to_string()))?;
        let mut transaction = self.begin(Mode::Write).await?;
        let newest = newest_intent(&mut transaction).await?.map(|row| revision(&row)).transpose()?;
        if let Some(newest) = newest.clone().filter(|newest| newest.digest == digest) {
            return Ok(newest);
        }
        let number = newest.map_or(Revision(0), |newest| newest.revision).next();
        let sql = "INSERT INTO intents (revision, digest, author, source, taken_at, body) VALUES ($1, $2, $3, $4, $5, $6)";
        let row = [Cell::number(number.0)?, Cell::word(&digest)?, Cell::word(asked.by)?, source.into(), asked.at.into(), body];
        transaction.execute(sql, &row).await?;
        let revision = IntentRevision { revision: number, digest, author: asked.by.clone(), source: source.to_owned(), at: asked.at };
        events::tell(&mut transaction, asked, revision.taken(), Subjects::default(), None).await?;
        transaction.commit().await?;
        Ok(revision)
    }

    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let Some(row) = newest_intent(&mut transaction).await? else { return Ok(None) };
        let (_, intent) = row.sealed_document()?;
        Ok(Some((revision(&row)?, intent)))
    }

    async fn intent_revision(&self) -> Result<Option<IntentRevision>, LedgerError> {
        newest_revision(&mut self.begin(Mode::Read).await?).await
    }

    async fn wanted(&self, keys: &BTreeSet<KeyName>) -> Result<Option<(IntentRevision, BTreeMap<KeyName, Key>)>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let Some(revision) = newest_revision(&mut transaction).await? else { return Ok(None) };
        let rows = transaction.wanted(INTENTS, Cell::number(revision.revision.0)?, Cell::document(keys)?).await?;
        let wanted = rows.iter().map(|row| Ok((row.word("name")?, row.document("body")?))).collect::<Result<_, LedgerError>>()?;
        Ok(Some((revision, wanted)))
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        keys::one(&mut transaction, id).await
    }

    async fn page_of_keys(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyState>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let mut ids: BTreeSet<KeyId> = keys::ids(&mut transaction, after, limit).await?.into_iter().collect();
        ids.extend(change_sets::open(&mut transaction, after, limit).await?.into_iter().map(|open| open.key));
        let ids: Vec<KeyId> = ids.into_iter().take(limit as usize).collect();
        // A page that is not full reads to the end, so that rows without their key are noticed.
        let last = ids.last().copied().filter(|_| ids.len() == limit as usize);
        let range = IdRange { after, last };
        let mut records = keys::range(&mut transaction, range).await?;
        let mut open = change_sets::open_in(&mut transaction, range).await?;
        Ok(ids.into_iter().map(|id| KeyState { id, record: records.remove(&id), open: open.remove(&id) }).collect())
    }

    async fn page_of_open(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        change_sets::open(&mut transaction, after, limit).await
    }

    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError> {
        let digest = change_set.digest().map_err(|error| LedgerError::Broken(error.to_string()))?;
        let mut transaction = self.begin(Mode::Write).await?;
        let opening = Opening {
            installation: self.installation,
            key: keys::one(&mut transaction, change_set.key_id).await?,
            is_name_taken: keys::is_name_taken(&mut transaction, &change_set.key, change_set.key_id).await?,
            open: match change_sets::open_of(&mut transaction, change_set.key_id).await? {
                Some(open) => change_sets::one(&mut transaction, &open).await?,
                None => None,
            },
            earlier: change_sets::one(&mut transaction, &digest).await?.map(|record| record.state),
        };
        let Some(opened) = opening.propose(change_set, digest, asked.at)? else { return Ok(digest) };
        if let (Some(before), Some(after)) = (&opening.open, &opened.superseded) {
            let reason = format!("superseded by {digest}");
            change_sets::write(&mut transaction, Some(before), after, Some(&reason), asked.at).await?;
        }
        change_sets::write(&mut transaction, None, &opened.change_set, None, asked.at).await?;
        for (what, about) in opened.events() {
            events::tell(&mut transaction, asked, what, about, None).await?;
        }
        transaction.commit().await?;
        Ok(digest)
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        change_sets::one(&mut transaction, digest).await
    }

    async fn approve(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Approve(approval), None, asked, None).await.map(drop)
    }

    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError> {
        self.change(digest, &Transition::Commit, None, asked, None).await.map(Commitment::of)
    }

    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Wrap(wrap), fence, asked, None).await.map(drop)
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Attempt(attempt), fence, asked, None).await.map(drop)
    }

    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Refuse { attempt, class }, None, asked, None).await.map(drop)
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Receive(receipt), fence, asked, None).await.map(drop)
    }

    async fn complete(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Complete { at: asked.at }, None, asked, None).await.map(drop)
    }

    async fn end(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::End, None, asked, None).await.map(drop)
    }

    async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Withdraw, None, asked, Some(reason)).await.map(drop)
    }

    async fn abandon(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Abandon, None, asked, Some(reason)).await.map(drop)
    }

    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let lease = leases::one(&mut transaction, lane).await?;
        let dead = lease.holder.is_some_and(|holder| self.db.is_dead(holder));
        Ok(if dead { Lease { holder: None, ..lease } } else { lease })
    }

    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease, asked: Asked<'_>) -> Result<bool, LedgerError> {
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
        if let Some(what) = EventKind::of_lease(lane, &there, next) {
            events::tell(&mut transaction, asked, what, Subjects::default(), None).await?;
        }
        if let Some(before) = there.holder
            && next.holder != Some(before)
        {
            // No other server can take a lease before this transaction ends, so the list is complete.
            self.db.leases_name(&leases::holders(&mut transaction).await?, before);
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory, asked: Asked<'_>) -> Result<(), LedgerError> {
        let row = [Cell::word(destination)?, inventory.at.into(), Cell::document(inventory)?];
        let mut transaction = self.begin(Mode::Write).await?;
        let sql = "INSERT INTO inventories (destination, seen_at, body) VALUES ($1, $2, $3) \
                   ON CONFLICT (destination) DO UPDATE SET seen_at = excluded.seen_at, body = excluded.body";
        transaction.execute(sql, &row).await?;
        let what = EventKind::Surveyed { destination: destination.clone(), complete: inventory.complete };
        events::tell(&mut transaction, asked, what, Subjects::default(), None).await?;
        transaction.commit().await
    }

    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let rows = transaction.rows(INVENTORIES, "SELECT destination, body FROM inventories", &[]).await?;
        rows.iter().map(|row| Ok((row.word("destination")?, row.document("body")?))).collect()
    }

    async fn propose_charter(&self, change: &CharterChange, asked: Asked<'_>) -> Result<Digest, LedgerError> {
        let digest = change.digest().map_err(|error| LedgerError::Broken(error.to_string()))?;
        let mut transaction = self.begin(Mode::Write).await?;
        if charter_proposals::one(&mut transaction, &digest).await?.is_none() {
            charter_proposals::propose(&mut transaction, &digest, change, asked.at).await?;
            events::tell(&mut transaction, asked, EventKind::CharterProposed { digest }, Subjects::default(), None).await?;
            transaction.commit().await?;
        }
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

    async fn approve_charter(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let mut proposal = charter_proposals::one(&mut transaction, digest).await?.ok_or(Refusal::NoCharterProposal(*digest))?;
        if !proposal.approve(approval) {
            return Err(Refusal::AlreadyApproved(approval.approver.clone()).into());
        }
        charter_proposals::approve(&mut transaction, digest, approval).await?;
        let Approval { approver, signature, .. } = approval.clone();
        let what = EventKind::CharterApproved { digest: *digest, approver, signature };
        events::tell(&mut transaction, asked, what, Subjects::default(), None).await?;
        transaction.commit().await
    }

    async fn put_charter(&self, charter: &SealedCharter, approvals: &[Approval], asked: Asked<'_>) -> Result<(), LedgerError> {
        let mut transaction = self.begin(Mode::Write).await?;
        let sql = "SELECT serial, body FROM charters WHERE serial = $1";
        if let Some(row) = transaction.rows(CHARTERS, sql, &[charter.serial.into()]).await?.first() {
            let same = sealed_charter(row)? == *charter;
            return if same { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        let row = [charter.serial.into(), Cell::document(charter)?];
        transaction.execute("INSERT INTO charters (serial, body) VALUES ($1, $2)", &row).await?;
        let what = EventKind::of_charter(charter, approvals).map_err(|error| LedgerError::Broken(error.to_string()))?;
        events::tell(&mut transaction, asked, what, Subjects::default(), None).await?;
        transaction.commit().await
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        let sql = "SELECT serial, body FROM charters ORDER BY serial DESC LIMIT 1";
        transaction.rows(CHARTERS, sql, &[]).await?.first().map(sealed_charter).transpose()
    }

    async fn page_of_events(&self, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError> {
        let mut transaction = self.begin(Mode::Read).await?;
        events::page(&mut transaction, after, limit).await
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

/// The newest intent without its body.
async fn newest_revision(transaction: &mut Transaction) -> Result<Option<IntentRevision>, LedgerError> {
    let sql = "SELECT revision, digest, author, source, taken_at FROM intents ORDER BY revision DESC LIMIT 1";
    transaction.rows(INTENTS, sql, &[]).await?.pop().map(|row| revision(&row)).transpose()
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
