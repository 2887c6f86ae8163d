//! The operations of AWS KMS that this emulator knows.

/// Name, whether it can change something, and the quota in requests per second.
///
/// Quotas: KMS Developer Guide, "Request quotas", per account and region. The cryptographic operations of symmetric keys
/// share one quota, under the name `Cryptographic`; 20,000 per second is its value in the large regions.
macro_rules! operations {
    ($($variant:ident $kind:ident $quota:literal,)*) => {
        /// An operation of AWS KMS.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation { $($variant,)* }

        impl Operation {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// In requests per second.
            pub const fn published_quota(self) -> u32 {
                match self { $(Self::$variant => $quota,)* }
            }
        }
    };
}

#[derive(PartialEq, Eq)]
enum Kind {
    Reads,
    Mutates,
    Computes,
}

// contract: aws.quota.requests
operations! {
    CancelKeyDeletion Mutates 5,
    CreateAlias Mutates 5,
    CreateGrant Mutates 50,
    CreateKey Mutates 5,
    Decrypt Computes 20_000,
    DeleteAlias Mutates 15,
    DeleteImportedKeyMaterial Mutates 15,
    DescribeKey Reads 2_000,
    DisableKey Mutates 5,
    DisableKeyRotation Mutates 5,
    EnableKey Mutates 5,
    EnableKeyRotation Mutates 15,
    Encrypt Computes 20_000,
    GenerateDataKey Computes 20_000,
    GenerateDataKeyWithoutPlaintext Computes 20_000,
    GetKeyLastUsage Reads 5,
    GetKeyPolicy Reads 1_000,
    GetKeyRotationStatus Reads 1_000,
    GetParametersForImport Reads 1,
    ImportKeyMaterial Mutates 15,
    ListAliases Reads 500,
    ListGrants Reads 100,
    ListKeyPolicies Reads 100,
    ListKeyRotations Reads 100,
    ListKeys Reads 500,
    ListResourceTags Reads 2_000,
    ListRetirableGrants Reads 100,
    PutKeyPolicy Mutates 15,
    ReEncrypt Computes 20_000,
    ReplicateKey Mutates 5,
    RetireGrant Mutates 50,
    RevokeGrant Mutates 50,
    RotateKeyOnDemand Mutates 5,
    ScheduleKeyDeletion Mutates 15,
    TagResource Mutates 10,
    UntagResource Mutates 5,
    UpdateAlias Mutates 5,
    UpdatePrimaryRegion Mutates 5,
}

impl Operation {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Whether the operation can change what others see. `GetParametersForImport` cannot: an unused token leaves no trace.
    pub fn is_mutating(self) -> bool {
        self.kind() == Kind::Mutates
    }

    /// The name of the quota that the operation draws from.
    pub fn quota(self) -> &'static str {
        match self.kind() {
            Kind::Computes => "Cryptographic",
            Kind::Reads | Kind::Mutates => self.name(),
        }
    }
}
