//! The placement of most tests: its target, marks, import and record.

use keyplane_model::{Algorithm, CheckValue, CopyCoordinates, CopyRecord, EpochId, Marks, ObjectId, Purpose, Source, Target, Version};
use keyplane_port::{Mutation, WrappingKey};

pub(crate) fn marks() -> Marks {
    Marks {
        installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
        placement: "33333333-3333-8333-8333-333333333333".parse().unwrap(),
        incarnation: 2,
        attempt: "44444444-4444-8444-8444-444444444444".parse().unwrap(),
    }
}

pub(crate) fn target() -> Target {
    Target {
        installation: marks().installation,
        placement: marks().placement,
        incarnation: marks().incarnation,
        name: "payments_DB-1".into(),
        algorithm: Algorithm::Aes256,
        purpose: Purpose::Encrypt,
        key: "payments-db".parse().unwrap(),
    }
}

/// The import of wrapped bytes into a key.
pub(crate) fn import(object: &ObjectId, wrapping_key: WrappingKey, wrapped: Vec<u8>) -> Mutation {
    Mutation::Import {
        target: target(),
        object: Some(object.clone()),
        marks: marks(),
        again: None,
        version: Version(3),
        public_key: None,
        wrapping_key,
        wrapped,
    }
}

/// The record of a first import.
pub(crate) fn copy(check_value: Option<CheckValue>) -> CopyRecord {
    CopyRecord {
        coordinates: CopyCoordinates {
            installation: target().installation,
            key: "55555555-5555-8555-8555-555555555555".parse().unwrap(),
            version: Version(1),
            placement: target().placement,
            algorithm: target().algorithm,
            source: Source::Derived,
            epoch: EpochId(1),
            profile: "standard".parse().unwrap(),
            approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
        },
        bytes_of: None,
        check_value,
        blob: None,
        public_key: None,
        material: Some("1".into()),
        wrapped_under: None,
        imported: None,
    }
}
