//! The token's record of the charter that was adopted last. With it the custodian refuses an older charter, which may name fewer approvers,
//! even from a server or database that was taken over.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use keyplane_model::{Charter, Digest, EpochId, SealedCharter};
use serde::{Deserialize, Serialize};

use crate::root::Root;
use crate::token::Token;
use crate::{HsmError, seal};

const LABEL: &[u8] = b"keyplane/charter";

/// An object in the token, and what it says.
pub(crate) type Record = (ObjectHandle, Adopted);

/// The serial number and digest of the charter that was adopted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adopted {
    pub(crate) serial: u32,
    pub(crate) digest: Digest,
}

impl Adopted {
    /// The newest record. A crash during an adoption may leave the previous record behind: the higher serial number counts.
    ///
    /// # Errors
    /// [`HsmError::CharterDoubled`] if two charters have the highest serial number. See [`Self::write`].
    pub(crate) fn read(token: &Token) -> Result<Option<Self>, HsmError> {
        let records = records(token)?;
        let newest = records.iter().map(|(_, record)| *record).max_by_key(|record| record.serial);
        match newest {
            Some(newest) => newest.check_alone(&records).map(|()| Some(newest)),
            None => Ok(None),
        }
    }

    /// Writes the new record before it removes the old ones, so that the token always holds one.
    ///
    /// Another process may adopt another charter under the same serial number at the same moment, and PKCS#11 has no compare-and-swap. So
    /// whoever finds another record of that number beside its own, or cannot look for one, takes its own back: at most one of them succeeds.
    /// If both are killed before they looked, both records stay, and neither charter counts: nothing says which of them was meant to.
    ///
    /// # Errors
    /// [`HsmError::CharterChanged`] if another charter has this serial number or a higher one, [`HsmError::CharterDoubled`] if this one has
    /// it too, and had it before.
    pub(crate) fn write(self, token: &Token) -> Result<(), HsmError> {
        self.write_beside(token, records(token)?)
    }

    /// Writes beside the records that were there `before`.
    pub(crate) fn write_beside(self, token: &Token, before: Vec<Record>) -> Result<(), HsmError> {
        if before.iter().any(|(_, record)| *record == self) {
            self.check_alone(&before)?;
        } else {
            if before.iter().any(|(_, record)| record.serial >= self.serial) {
                return Err(HsmError::CharterChanged);
            }
            let template = [
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Label(LABEL.to_vec()),
                Attribute::Application(b"keyplane".to_vec()),
                Attribute::Value(serde_json::to_vec(&self)?),
            ];
            let own = token.session().create_object(&template).map_err(HsmError::token("recording the charter"))?;
            let alone = records(token).and_then(|records| self.check_alone(&records));
            // A session that was lost takes nothing back. The caller tries again in a new one, and finds the record there.
            alone.map_err(|error| if error.lost_session() { error } else { self.taken_back(token, own, error) })?;
        }
        for (handle, record) in before {
            if record.serial < self.serial {
                token.session().destroy_object(handle).map_err(HsmError::token("removing the record of the charter before"))?;
            }
        }
        Ok(())
    }

    /// Checks that none of these records is of another charter with this serial number.
    fn check_alone(self, records: &[Record]) -> Result<(), HsmError> {
        match records.iter().find(|(_, record)| record.serial == self.serial && *record != self) {
            Some((_, rival)) => Err(HsmError::CharterDoubled { serial: self.serial, digests: [self.digest, rival.digest] }),
            None => Ok(()),
        }
    }

    /// Removes the record that was just made, and returns why.
    fn taken_back(self, token: &Token, own: ObjectHandle, why: HsmError) -> HsmError {
        match (token.session().destroy_object(own), why) {
            (Ok(()), HsmError::CharterDoubled { .. }) => HsmError::CharterChanged,
            (Ok(()), why) => why,
            (Err(source), why) => HsmError::CharterLeft { serial: self.serial, digest: self.digest, why: why.to_string(), source },
        }
    }
}

pub(crate) fn records(token: &Token) -> Result<Vec<Record>, HsmError> {
    // A private object can only have been made by a user who was logged in. A public one under this label is not ours.
    let search = [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Private(true), Attribute::Label(LABEL.to_vec())];
    let found = token.find(&search).map_err(HsmError::token("looking for the adopted charter"))?;
    let read = |handle| match &token.attributes(handle, &[AttributeType::Value])?[..] {
        [Attribute::Value(value)] => serde_json::from_slice(value).map(|record| (handle, record)).map_err(|_| HsmError::CharterRecord),
        _ => Err(HsmError::CharterRecord),
    };
    found.into_iter().map(read).collect()
}

pub(crate) fn seal(token: &Token, root: &Root, charter: &Charter, serial: u32, epoch: EpochId) -> Result<SealedCharter, HsmError> {
    let mac = seal::seal(token, root, &seal::charter_message(charter, serial, epoch)?)?;
    Ok(SealedCharter { charter: charter.clone(), serial, epoch, mac })
}

/// Checks that this HSM sealed a charter.
pub(crate) fn check(token: &Token, sealed: &SealedCharter) -> Result<(), HsmError> {
    let root = Root::open(token, sealed.epoch)?;
    let message = seal::charter_message(&sealed.charter, sealed.serial, sealed.epoch)?;
    seal::check(token, &root, &message, &sealed.mac, "the charter")
}
