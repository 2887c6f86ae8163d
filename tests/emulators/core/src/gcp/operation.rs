//! The operations of Cloud KMS that this emulator knows, and their paths.
//!
//! Paths: googleapis, `google/cloud/kms/v1/service.proto`, the `google.api.http` options.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

/// Name, class, and the permission that is needed.
macro_rules! operations {
    ($($variant:ident $kind:ident $permission:literal,)*) => {
        /// An operation of Cloud KMS.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation { $($variant,)* }

        impl Operation {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of its RPC.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Which quota the operation draws from, and whether it mutates.
            pub(super) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// The permission that is needed (Cloud KMS documentation, "Permissions and roles").
            pub(super) const fn permission(self) -> &'static str {
                match self { $(Self::$variant => concat!("cloudkms.", $permission),)* }
            }
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reads,
    Writes,
    /// The operation uses a key. The class of its quota is the key's protection level.
    Computes,
}

operations! {
    CreateKeyRing Writes "keyRings.create",
    GetKeyRing Reads "keyRings.get",
    ListKeyRings Reads "keyRings.list",
    CreateCryptoKey Writes "cryptoKeys.create",
    GetCryptoKey Reads "cryptoKeys.get",
    ListCryptoKeys Reads "cryptoKeys.list",
    UpdateCryptoKey Writes "cryptoKeys.update",
    UpdateCryptoKeyPrimaryVersion Writes "cryptoKeys.update",
    DeleteCryptoKey Writes "cryptoKeys.delete",
    CreateCryptoKeyVersion Writes "cryptoKeyVersions.create",
    ImportCryptoKeyVersion Writes "importJobs.useToImport",
    GetCryptoKeyVersion Reads "cryptoKeyVersions.get",
    ListCryptoKeyVersions Reads "cryptoKeyVersions.list",
    UpdateCryptoKeyVersion Writes "cryptoKeyVersions.update",
    DestroyCryptoKeyVersion Writes "cryptoKeyVersions.destroy",
    RestoreCryptoKeyVersion Writes "cryptoKeyVersions.restore",
    DeleteCryptoKeyVersion Writes "cryptoKeyVersions.delete",
    GetPublicKey Computes "cryptoKeyVersions.viewPublicKey",
    CreateImportJob Writes "importJobs.create",
    GetImportJob Reads "importJobs.get",
    ListImportJobs Reads "importJobs.list",
    GetRetiredResource Reads "retiredResources.get",
    ListRetiredResources Reads "retiredResources.list",
    Encrypt Computes "cryptoKeyVersions.useToEncrypt",
    Decrypt Computes "cryptoKeyVersions.useToDecrypt",
    RawEncrypt Computes "cryptoKeyVersions.manageRawAesKeys",
    RawDecrypt Computes "cryptoKeyVersions.manageRawAesKeys",
    AsymmetricSign Computes "cryptoKeyVersions.useToSign",
    AsymmetricDecrypt Computes "cryptoKeyVersions.useToDecrypt",
    MacSign Computes "cryptoKeyVersions.useToSign",
    MacVerify Computes "cryptoKeyVersions.useToVerify",
}

impl Operation {
    /// Whether the operation can change what others see.
    pub fn is_mutating(self) -> bool {
        self.kind() == Kind::Writes
    }
}

/// The meaning of a method and a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub(super) operation: Operation,
    /// The resource in the path: the object itself, or the parent of what is created or listed.
    pub(super) name: &'a str,
    pub(super) project: &'a str,
    pub(super) location: &'a str,
}

impl<'a> Route<'a> {
    /// Reads a path without its host, `/v1/…`; `None`: it is that of no operation.
    pub(super) fn read(method: Method, path: &'a str) -> Option<Self> {
        use Method::{Delete, Get, Patch, Post};
        use Operation as O;

        let resource = path.strip_prefix("/v1/")?;
        let last = resource.rfind('/').map_or(0, |slash| slash + 1);
        let (resource, verb) = match resource[last..].find(':') {
            Some(colon) => (&resource[..last + colon], Some(&resource[last + colon + 1..])),
            None => (resource, None),
        };
        let parts: Vec<&str> = resource.split('/').collect();
        let ["projects", project, "locations", location, rest @ ..] = parts.as_slice() else {
            return None;
        };
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let operation = match (method, rest, verb) {
            (Post, ["keyRings"], None) => O::CreateKeyRing,
            (Get, ["keyRings"], None) => O::ListKeyRings,
            (Get, ["retiredResources"], None) => O::ListRetiredResources,
            (Get, ["retiredResources", _], None) => O::GetRetiredResource,
            (Get, ["keyRings", _], None) => O::GetKeyRing,
            (Post, ["keyRings", _, "cryptoKeys"], None) => O::CreateCryptoKey,
            (Get, ["keyRings", _, "cryptoKeys"], None) => O::ListCryptoKeys,
            (Post, ["keyRings", _, "importJobs"], None) => O::CreateImportJob,
            (Get, ["keyRings", _, "importJobs"], None) => O::ListImportJobs,
            (Get, ["keyRings", _, "importJobs", _], None) => O::GetImportJob,
            (method, ["keyRings", _, "cryptoKeys", _], verb) => match (method, verb) {
                (Get, None) => O::GetCryptoKey,
                (Patch, None) => O::UpdateCryptoKey,
                (Delete, None) => O::DeleteCryptoKey,
                (Post, Some("updatePrimaryVersion")) => O::UpdateCryptoKeyPrimaryVersion,
                (Post, Some("encrypt")) => O::Encrypt,
                (Post, Some("decrypt")) => O::Decrypt,
                _ => return None,
            },
            (Post, ["keyRings", _, "cryptoKeys", _, "cryptoKeyVersions"], None) => O::CreateCryptoKeyVersion,
            (Post, ["keyRings", _, "cryptoKeys", _, "cryptoKeyVersions"], Some("import")) => O::ImportCryptoKeyVersion,
            (Get, ["keyRings", _, "cryptoKeys", _, "cryptoKeyVersions"], None) => O::ListCryptoKeyVersions,
            (Get, ["keyRings", _, "cryptoKeys", _, "cryptoKeyVersions", _, "publicKey"], None) => O::GetPublicKey,
            (method, ["keyRings", _, "cryptoKeys", _, "cryptoKeyVersions", _], verb) => match (method, verb) {
                (Get, None) => O::GetCryptoKeyVersion,
                (Patch, None) => O::UpdateCryptoKeyVersion,
                (Delete, None) => O::DeleteCryptoKeyVersion,
                (Post, Some("destroy")) => O::DestroyCryptoKeyVersion,
                (Post, Some("restore")) => O::RestoreCryptoKeyVersion,
                (Post, Some("encrypt")) => O::Encrypt,
                (Post, Some("rawEncrypt")) => O::RawEncrypt,
                (Post, Some("rawDecrypt")) => O::RawDecrypt,
                (Post, Some("asymmetricSign")) => O::AsymmetricSign,
                (Post, Some("asymmetricDecrypt")) => O::AsymmetricDecrypt,
                (Post, Some("macSign")) => O::MacSign,
                (Post, Some("macVerify")) => O::MacVerify,
                _ => return None,
            },
            _ => return None,
        };
        // A collection's name, and the suffix `publicKey`, are not part of the resource's name.
        let name = if operation == O::GetPublicKey || rest.len() % 2 == 1 {
            resource.rsplit_once('/').map_or(resource, |(parent, _)| parent)
        } else {
            resource
        };
        Some(Self { operation, name, project, location })
    }
}

/// The id of a child of `parent` in this collection; `None`: `name` is another resource.
pub(super) fn child<'a>(name: &'a str, parent: &str, collection: &str) -> Option<&'a str> {
    let id = name.strip_prefix(parent)?.strip_prefix('/')?.strip_prefix(collection)?.strip_prefix('/')?;
    Some(id).filter(|id| !id.is_empty() && !id.contains('/'))
}

/// The name of the parent, two parts shorter.
pub(super) fn parent(name: &str) -> &str {
    let shorter = |name: &'_ str| name.rfind('/').unwrap_or(0);
    let collection = &name[..shorter(name)];
    &name[..shorter(collection)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: &str = "projects/p/locations/l/keyRings/r";

    fn route(method: Method, path: &str) -> Option<(Operation, &str)> {
        Route::read(method, path).map(|route| (route.operation, route.name))
    }

    #[test]
    fn a_path_names_the_object_or_the_parent_of_a_collection() {
        assert_eq!(route(Method::Post, "/v1/projects/p/locations/l/keyRings"), Some((Operation::CreateKeyRing, "projects/p/locations/l")));
        let key = format!("/v1/{RING}/cryptoKeys/k");
        assert_eq!(route(Method::Get, &key), Some((Operation::GetCryptoKey, &key[4..])));
        let import = format!("{key}/cryptoKeyVersions:import");
        assert_eq!(route(Method::Post, &import), Some((Operation::ImportCryptoKeyVersion, &key[4..])));
        let version = format!("{key}/cryptoKeyVersions/1");
        for (method, suffix, operation) in [
            (Method::Post, ":destroy", Operation::DestroyCryptoKeyVersion),
            (Method::Get, "/publicKey", Operation::GetPublicKey),
            (Method::Post, ":encrypt", Operation::Encrypt),
        ] {
            let path = format!("{version}{suffix}");
            assert_eq!(route(method, &path), Some((operation, &version[4..])));
        }
    }

    #[test]
    fn what_means_nothing_is_nothing() {
        for path in ["/", "/v1/", "/v1/projects/p", "/v1/projects/p/locations/l/keyRings/", "/v2/projects/p/locations/l/keyRings"] {
            assert_eq!(route(Method::Get, path), None, "{path}");
        }
        assert_eq!(route(Method::Post, &format!("/v1/{RING}/cryptoKeys/k:destroy")), None);
        assert_eq!(route(Method::Delete, &format!("/v1/{RING}")), None);
    }

    #[test]
    fn children_and_parents_are_told_by_their_names() {
        let key = format!("{RING}/cryptoKeys/k");
        assert_eq!(child(&key, RING, "cryptoKeys"), Some("k"));
        assert_eq!(child(&key, RING, "importJobs"), None);
        assert_eq!(child(&format!("{key}/cryptoKeyVersions/1"), RING, "cryptoKeys"), None);
        assert_eq!(parent(&key), RING);
    }
}
