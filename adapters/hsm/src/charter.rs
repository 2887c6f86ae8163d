//! The token's record of the charter that was adopted last. With it the custodian refuses an older charter, which may name fewer approvers,
//! even from a server or database that was taken over.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use keyplane_model::{Charter, Digest, EpochId, SealedCharter};
use serde::{Deserialize, Serialize};

use crate::root::Root;
use crate::token::Token;
use crate::{HsmError, seal};

const LABEL: &[u8] = b"keyplane/charter";

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
    /// [`HsmError::Doubled`] if two charters have the highest serial number. See [`Self::write`].
    pub(crate) fn read(token: &Token) -> Result<Option<Self>, HsmError> {
        let records = records(token)?;
        let newest = records.iter().map(|(_, record)| *record).max_by_key(|record| record.serial);
        match newest {
            Some(newest) if newest.has_rival(&records) => Err(HsmError::Doubled { label: newest.name(), count: 2 }),
            newest => Ok(newest),
        }
    }

    /// Writes the new record before it removes the old ones, so that the token always holds one.
    ///
    /// Another process may adopt another charter under the same serial number at the same moment, and PKCS#11 has no compare-and-swap. So
    /// whoever finds another record of that number beside its own takes its own back: at most one of them succeeds. If both are killed
    /// before they looked, both records stay, and neither charter counts: nothing says which of them was meant to.
    ///
    /// # Errors
    /// [`HsmError::CharterChanged`] if another charter has this serial number, [`HsmError::Doubled`] if this one has it too, and had it
    /// before.
    pub(crate) fn write(self, token: &Token) -> Result<(), HsmError> {
        let before = records(token)?;
        if before.iter().any(|(_, record)| *record == self) {
            if self.has_rival(&before) {
                return Err(HsmError::Doubled { label: self.name(), count: 2 });
            }
        } else {
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
            if self.has_rival(&records(token)?) {
                token.session().destroy_object(own).map_err(HsmError::token("taking the record of the charter back"))?;
                return Err(HsmError::CharterChanged);
            }
        }
        for (handle, record) in before {
            if record.serial < self.serial {
                token.session().destroy_object(handle).map_err(HsmError::token("removing the record of the charter before"))?;
            }
        }
        Ok(())
    }

    /// Whether one of these is of another charter with this serial number.
    fn has_rival(self, records: &[(ObjectHandle, Self)]) -> bool {
        records.iter().any(|(_, record)| record.serial == self.serial && *record != self)
    }

    fn name(self) -> String {
        format!("{} {}", String::from_utf8_lossy(LABEL), self.serial)
    }
}

fn records(token: &Token) -> Result<Vec<(ObjectHandle, Adopted)>, HsmError> {
    // A private object can only have been made by a user who was logged in. A public one under this label is not ours.
    let search = [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Private(true), Attribute::Label(LABEL.to_vec())];
    let found = token.session().find_objects(&search).map_err(HsmError::token("looking for the adopted charter"))?;
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
