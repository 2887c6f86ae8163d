//! Keys with their placements, versions and copies, from and to rows.

use std::collections::BTreeMap;

use keyplane_model::{
    CopyCoordinates, CopyRecord, Generation, KeyId, KeyName, KeyRecord, PlacementId, PlacementRecord, Version, VersionRecord,
};
use keyplane_port::LedgerError;

use crate::db::Transaction;
use crate::row::{Cell, IdRange, Row, Table};

const KEYS: Table = Table { name: "keys", id_columns: 1 };
const PLACEMENTS: Table = Table { name: "placements", id_columns: 2 };
const VERSIONS: Table = Table { name: "versions", id_columns: 2 };
const COPIES: Table = Table { name: "copies", id_columns: 3 };

/// The first ids after `after`, in order.
pub(crate) async fn ids(transaction: &mut Transaction, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyId>, LedgerError> {
    let sql = "SELECT id FROM keys WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = transaction.rows(KEYS, sql, &[Cell::after(after)?, limit.into()]).await?;
    rows.iter().map(|row| row.word("id")).collect()
}

pub(crate) async fn range(transaction: &mut Transaction, range: IdRange) -> Result<BTreeMap<KeyId, KeyRecord>, LedgerError> {
    read(transaction, &RANGE, &range.cells()?).await
}

/// `None`: no change set for the key was committed yet.
pub(crate) async fn one(transaction: &mut Transaction, id: KeyId) -> Result<Option<KeyRecord>, LedgerError> {
    Ok(read(transaction, &ONE, &[Cell::word(&id)?]).await?.remove(&id))
}

pub(crate) async fn is_name_taken(transaction: &mut Transaction, name: &KeyName, by_other_than: KeyId) -> Result<bool, LedgerError> {
    let sql = "SELECT id FROM keys WHERE name = $1 AND id <> $2";
    Ok(!transaction.rows(KEYS, sql, &[Cell::word(name)?, Cell::word(&by_other_than)?]).await?.is_empty())
}

/// Writes the differences between two records of a key. `before` is `None` for a new key.
///
/// # Assumptions
/// Records only grow: no function of [`KeyRecord`] removes a placement, a version or a copy.
pub(crate) async fn write(transaction: &mut Transaction, before: Option<&KeyRecord>, after: &KeyRecord) -> Result<(), LedgerError> {
    write_key(transaction, before.map_or(Generation(0), |key| key.generation), after).await?;
    for (id, placement) in &after.placements {
        if before.and_then(|key| key.placements.get(id)) != Some(placement) {
            write_placement(transaction, after.id, *id, placement).await?;
        }
    }
    for (number, version) in &after.versions {
        if before.and_then(|key| key.versions.get(number)) != Some(version) {
            write_version(transaction, after.id, *number, version).await?;
        }
    }
    for copy in &after.copies {
        if before.and_then(|key| key.copy(copy.coordinates.version, copy.coordinates.placement)) != Some(copy) {
            write_copy(transaction, copy).await?;
        }
    }
    Ok(())
}

/// The queries that read keys together with their placements, versions and copies.
struct Selection {
    keys: &'static str,
    placements: &'static str,
    versions: &'static str,
    copies: &'static str,
}

macro_rules! selection {
    ($of_keys:literal, $of_the_rest:literal) => {
        Selection {
            keys: concat!("SELECT id, name, profile, generation FROM keys", $of_keys),
            placements: concat!(
                "SELECT key_id, id, destination, fingerprint, cloud, name, algorithm, purpose, incarnation, object, claimed, \
                 published FROM placements",
                $of_the_rest
            ),
            versions: concat!("SELECT key_id, version, state, created_at, activated_at FROM versions", $of_the_rest),
            copies: concat!(
                "SELECT key_id, version, placement_id, installation, algorithm, source, epoch, check_value, blob, public_key, bytes_of, \
                 material, wrapped_under, imported_at, profile, approvals FROM copies",
                $of_the_rest
            ),
        }
    };
}

const RANGE: Selection = selection!(" WHERE id > $1 AND id <= $2", " WHERE key_id > $1 AND key_id <= $2");
const ONE: Selection = selection!(" WHERE id = $1", " WHERE key_id = $1");

async fn read(transaction: &mut Transaction, selection: &Selection, of: &[Cell]) -> Result<BTreeMap<KeyId, KeyRecord>, LedgerError> {
    let mut keys = BTreeMap::new();
    for row in transaction.rows(KEYS, selection.keys, of).await? {
        let key = key(&row)?;
        keys.insert(key.id, key);
    }
    for row in transaction.rows(PLACEMENTS, selection.placements, of).await? {
        owner(&mut keys, &row)?.placements.insert(row.word("id")?, placement(&row)?);
    }
    for row in transaction.rows(VERSIONS, selection.versions, of).await? {
        owner(&mut keys, &row)?.versions.insert(Version(row.number("version")?), version(&row)?);
    }
    for row in transaction.rows(COPIES, selection.copies, of).await? {
        owner(&mut keys, &row)?.copies.push(copy(&row)?);
    }
    for key in keys.values_mut() {
        key.copies.sort_by_key(|copy| (copy.coordinates.version, copy.coordinates.placement));
    }
    Ok(keys)
}

fn owner<'k>(keys: &'k mut BTreeMap<KeyId, KeyRecord>, row: &Row) -> Result<&'k mut KeyRecord, LedgerError> {
    keys.get_mut(&row.word("key_id")?).ok_or_else(|| row.broken("its key is not there"))
}

fn key(row: &Row) -> Result<KeyRecord, LedgerError> {
    Ok(KeyRecord {
        id: row.word("id")?,
        name: row.word("name")?,
        profile: row.word("profile")?,
        generation: Generation(row.number("generation")?),
        placements: BTreeMap::new(),
        versions: BTreeMap::new(),
        copies: Vec::new(),
    })
}

fn placement(row: &Row) -> Result<PlacementRecord, LedgerError> {
    Ok(PlacementRecord {
        destination: row.word("destination")?,
        fingerprint: row.word("fingerprint")?,
        cloud: row.word("cloud")?,
        name: row.text("name")?.to_owned(),
        algorithm: row.word("algorithm")?,
        purpose: row.word("purpose")?,
        incarnation: row.number("incarnation")?,
        object: row.maybe_word("object")?,
        claimed: row.flag("claimed")?,
        published: row.flag("published")?,
    })
}

fn version(row: &Row) -> Result<VersionRecord, LedgerError> {
    Ok(VersionRecord { state: row.word("state")?, created: row.time("created_at")?, activated: row.maybe_time("activated_at")? })
}

fn copy(row: &Row) -> Result<CopyRecord, LedgerError> {
    Ok(CopyRecord {
        coordinates: CopyCoordinates {
            installation: row.word("installation")?,
            key: row.word("key_id")?,
            version: Version(row.number("version")?),
            placement: row.word("placement_id")?,
            algorithm: row.word("algorithm")?,
            source: row.word("source")?,
            epoch: keyplane_model::EpochId(row.number("epoch")?),
            profile: row.word("profile")?,
            approvals: row.document("approvals")?,
        },
        check_value: row.maybe_word("check_value")?,
        blob: row.maybe_document("blob")?,
        public_key: row.maybe_word("public_key")?,
        bytes_of: row.maybe_word("bytes_of")?,
        material: row.maybe_text("material")?.map(str::to_owned),
        wrapped_under: row.maybe_word("wrapped_under")?,
        imported: row.maybe_time("imported_at")?,
    })
}

async fn write_key(transaction: &mut Transaction, before: Generation, key: &KeyRecord) -> Result<(), LedgerError> {
    // INVARIANT: the generation is compared and swapped in one statement, so this holds at any isolation level.
    let sql = "INSERT INTO keys (id, name, profile, generation) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, profile = excluded.profile, generation = excluded.generation \
               WHERE keys.generation = $5";
    let row =
        [Cell::word(&key.id)?, Cell::word(&key.name)?, Cell::word(&key.profile)?, Cell::number(key.generation.0)?, Cell::number(before.0)?];
    match transaction.execute(sql, &row).await? {
        1 => Ok(()),
        _ => Err(LedgerError::Failed(format!("key `{}` was changed by somebody else meanwhile", key.name))),
    }
}

async fn write_placement(
    transaction: &mut Transaction,
    key: KeyId,
    id: PlacementId,
    placement: &PlacementRecord,
) -> Result<(), LedgerError> {
    let sql = "INSERT INTO placements \
               (key_id, id, destination, fingerprint, cloud, name, algorithm, purpose, incarnation, object, claimed, published) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
               ON CONFLICT (key_id, id) DO UPDATE SET destination = excluded.destination, fingerprint = excluded.fingerprint, \
               cloud = excluded.cloud, name = excluded.name, algorithm = excluded.algorithm, purpose = excluded.purpose, incarnation = excluded.incarnation, \
               object = excluded.object, claimed = excluded.claimed, published = excluded.published";
    let row = [
        Cell::word(&key)?,
        Cell::word(&id)?,
        Cell::word(&placement.destination)?,
        Cell::word(&placement.fingerprint)?,
        Cell::word(&placement.cloud)?,
        placement.name.as_str().into(),
        Cell::word(&placement.algorithm)?,
        Cell::word(&placement.purpose)?,
        placement.incarnation.into(),
        Cell::word(&placement.object)?,
        placement.claimed.into(),
        placement.published.into(),
    ];
    transaction.execute(sql, &row).await.map(drop)
}

async fn write_version(transaction: &mut Transaction, key: KeyId, number: Version, version: &VersionRecord) -> Result<(), LedgerError> {
    let sql = "INSERT INTO versions (key_id, version, state, created_at, activated_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (key_id, version) DO UPDATE SET state = excluded.state, activated_at = excluded.activated_at";
    let row = [Cell::word(&key)?, number.0.into(), Cell::word(&version.state)?, version.created.into(), version.activated.into()];
    transaction.execute(sql, &row).await.map(drop)
}

async fn write_copy(transaction: &mut Transaction, copy: &CopyRecord) -> Result<(), LedgerError> {
    // INVARIANT: the columns that determine a copy's bytes are written once and never updated (rule 2).
    let sql = "INSERT INTO copies (key_id, version, placement_id, installation, algorithm, source, epoch, check_value, blob, \
               public_key, bytes_of, material, wrapped_under, imported_at, profile, approvals) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
               ON CONFLICT (key_id, version, placement_id) DO UPDATE SET material = excluded.material, \
               wrapped_under = excluded.wrapped_under, imported_at = excluded.imported_at";
    let coordinates = &copy.coordinates;
    let row = [
        Cell::word(&coordinates.key)?,
        coordinates.version.0.into(),
        Cell::word(&coordinates.placement)?,
        Cell::word(&coordinates.installation)?,
        Cell::word(&coordinates.algorithm)?,
        Cell::word(&coordinates.source)?,
        coordinates.epoch.0.into(),
        Cell::word(&copy.check_value)?,
        copy.blob.as_ref().map_or(Ok(Cell::Text(None)), Cell::document)?,
        Cell::word(&copy.public_key)?,
        Cell::word(&copy.bytes_of)?,
        copy.material.as_deref().into(),
        Cell::word(&copy.wrapped_under)?,
        copy.imported.into(),
        Cell::word(&coordinates.profile)?,
        Cell::document(&coordinates.approvals)?,
    ];
    transaction.execute(sql, &row).await.map(drop)
}
