//! The record in the token of what the self-tests proved. A process that finds a valid record skips the self-tests.
//!
//! Owns what a proof is bound to, how its record is written, and when it is believed. A record only saves time: without a valid one the
//! caller runs the self-tests.

use std::collections::BTreeMap;

use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectClass, ObjectHandle};
use keyplane_model::{Algorithm, Digest, EpochId, WrapScheme};
use serde::{Deserialize, Serialize};

use crate::error::{NoRoute, is_refusal};
use crate::proof;
use crate::root::Root;
use crate::routes::{Kwp, Routes, Way};
use crate::token::Token;
use crate::{HsmError, seal};

const LABEL: &[u8] = b"keyplane/proof";

/// The longest record that is read, in bytes. A record of every scheme and algorithm has about 2,500. Some HSMs take no larger data
/// objects.
const MOST_BYTES: usize = 4096;

/// What the self-tests ran on. Their result holds for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Subject {
    /// [`proof::VERSION`].
    pub(crate) proof: u32,
    /// The release of this crate.
    pub(crate) release: String,
    /// SHA-256 of the PKCS#11 module's file.
    pub(crate) module: Digest,
    /// Manufacturer and version, as the module says (`CK_INFO`).
    pub(crate) library: String,
    /// The token's manufacturer, model and serial number.
    pub(crate) token: String,
    pub(crate) hardware: String,
    pub(crate) firmware: String,
    /// SHA-256 of the mechanisms that the token offers. An administrator can disable some.
    pub(crate) mechanisms: Digest,
    /// The root epoch whose wrapping key was tested.
    pub(crate) epoch: EpochId,
}

impl Subject {
    /// What self-tests would run on now. `None`: it is not certain which file the module was loaded from.
    pub(crate) fn of(token: &Token, epoch: EpochId) -> Result<Option<Self>, HsmError> {
        let (library, identity) = (token.library()?, token.identity());
        let Some(module) = library.digest else { return Ok(None) };
        Ok(Some(Self {
            proof: proof::VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            module,
            library: format!("{} {}", library.manufacturer, library.version),
            // Quoted, so that two different tokens never give the same text.
            token: format!("{:?} {:?} {:?}", identity.manufacturer, identity.model, identity.serial),
            hardware: identity.hardware_version.clone(),
            firmware: identity.firmware_version.clone(),
            mechanisms: Digest::of(&keyplane_model::canonical_bytes(&token.mechanisms()?)?),
            epoch,
        }))
    }

    /// The first difference, for the log. `None`: they are equal.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let Self { proof, release, module, library, token, hardware, firmware, mechanisms, epoch } = self;
        let parts = [
            (*proof != other.proof || *release != other.release, "another release of the proof"),
            (*module != other.module || *library != other.library, "another PKCS#11 module"),
            (*token != other.token || *hardware != other.hardware, "another token"),
            (*firmware != other.firmware, "another firmware"),
            (*mechanisms != other.mechanisms, "other mechanisms"),
            (*epoch != other.epoch, "another root epoch"),
        ];
        parts.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) routes: Routes,
    /// Whether the token allowed an operation that the negative controls expect it to refuse.
    pub(crate) lenient: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unrecorded {
    #[error("the token holds no root epoch, so nothing could seal a record")]
    NotEnrolled,
    #[error("the PKCS#11 module's file cannot be told for certain")]
    Module,
    #[error("the token holds no record")]
    Missing,
    #[error("the token holds more than one record")]
    Doubled,
    #[error("the record cannot be read")]
    Malformed,
    #[error("the record does not carry the custodian's MAC over what it says")]
    Unsealed,
    #[error("the record is of {0}")]
    Other(&'static str),
}

/// The form in the token: the record and the HSM's MAC over it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    record: Record,
    /// In hexadecimal digits.
    mac: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    on: Subject,
    kwp: Option<Kwp>,
    derives: bool,
    lenient: bool,
    ways: Vec<(WrapScheme, Algorithm, Result<Way, NoRoute>)>,
}

impl Record {
    fn of(on: Subject, proven: &Proven) -> Self {
        let Proven { routes: Routes { kwp, derives, ways }, lenient } = proven;
        let ways = ways.iter().map(|(&(scheme, algorithm), way)| (scheme, algorithm, *way)).collect();
        Self { on, kwp: *kwp, derives: *derives, lenient: *lenient, ways }
    }

    /// `None`: the record has two entries for one scheme and algorithm.
    fn proven(self) -> Option<Proven> {
        let said = self.ways.len();
        let ways: BTreeMap<_, _> = self.ways.into_iter().map(|(scheme, algorithm, way)| ((scheme, algorithm), way)).collect();
        (ways.len() == said).then_some(Proven { routes: Routes { kwp: self.kwp, derives: self.derives, ways }, lenient: self.lenient })
    }
}

/// What the record in the token says, if it was made on `now`.
///
/// INVARIANT: nothing that a record says is used before its seal was checked.
pub(crate) fn read(token: &Token, root: &Root, now: &Subject) -> Result<Result<Proven, Unrecorded>, HsmError> {
    let handle = match find(token)?[..] {
        [handle] => handle,
        [] => return Ok(Err(Unrecorded::Missing)),
        _ => return Ok(Err(Unrecorded::Doubled)),
    };
    let Some(Sealed { record, mac }) = content(token, handle)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
        return Ok(Err(Unrecorded::Malformed));
    };
    let Ok(mac) = hex::decode(mac) else { return Ok(Err(Unrecorded::Malformed)) };
    match seal::check(token, root, &seal::proof_message(&record)?, &mac, "the record of the proof") {
        Ok(()) => {}
        Err(HsmError::Unsealed(_)) => return Ok(Err(Unrecorded::Unsealed)),
        Err(error) => return Err(error),
    }
    if let Some(what) = record.on.differs(now) {
        return Ok(Err(Unrecorded::Other(what)));
    }
    Ok(record.proven().ok_or(Unrecorded::Malformed))
}

/// Replaces the record. If the token refuses it, each process runs the self-tests.
pub(crate) fn write(token: &Token, root: &Root, on: Subject, proven: &Proven) -> Result<(), HsmError> {
    let record = Record::of(on, proven);
    let mac = hex::encode(seal::seal(token, root, &seal::proof_message(&record)?)?);
    let value = keyplane_model::canonical_bytes(&Sealed { record, mac })?;
    let before = find(token)?;
    if let [handle] = before[..]
        && content(token, handle)?.as_ref() == Some(&value)
    {
        return Ok(());
    }
    // The old record goes first. A crash then leaves none, never an outdated one that says more.
    for handle in before {
        token.session().destroy_object(handle).map_err(HsmError::token("removing the record of the proof before"))?;
    }
    match token.session().create_object(&template(value)) {
        Ok(_) => Ok(()),
        Err(error) if is_refusal(&error) => {
            tracing::warn!(%error, "the token takes no record of what it was proven to do");
            Ok(())
        }
        Err(error) => Err(HsmError::token("recording the proof")(error)),
    }
}

pub(crate) fn template(value: Vec<u8>) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Label(LABEL.to_vec()),
        Attribute::Application(b"keyplane".to_vec()),
        Attribute::Value(value),
    ]
}

/// The records. A private object can only have been made by a user who was logged in; a public one under this label is ignored.
fn find(token: &Token) -> Result<Vec<ObjectHandle>, HsmError> {
    let search = [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Private(true), Attribute::Label(LABEL.to_vec())];
    token.session().find_objects(&search).map_err(HsmError::token("looking for the record of the proof"))
}

/// A record's bytes. `None`: it is too long, or has other attributes than ours.
fn content(token: &Token, handle: ObjectHandle) -> Result<Option<Vec<u8>>, HsmError> {
    let lengths = token.session().get_attribute_info(handle, &[AttributeType::Value]);
    match lengths.map_err(HsmError::token("reading the record's length"))?[..] {
        [AttributeInfo::Available(length)] if length <= MOST_BYTES => {}
        _ => return Ok(None),
    }
    let seen = token.attributes(handle, &[AttributeType::Private, AttributeType::Modifiable, AttributeType::Value])?;
    if !seen.contains(&Attribute::Private(true)) || !seen.contains(&Attribute::Modifiable(false)) {
        return Ok(None);
    }
    Ok(seen.into_iter().find_map(|attribute| if let Attribute::Value(value) = attribute { Some(value) } else { None }))
}
