//! The operations, and the methods and paths that name them.

use super::refusal::{Code, Refusal};

/// Method, path and kind of each operation. In a path, `*` is a name and `?` an optional version. The names are those of the service's
/// specification.
macro_rules! operations {
    ($($variant:ident $kind:ident $method:ident $path:literal,)*) => {
        /// An operation on keys.
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

            const fn route(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => (stringify!($method), $path),)* }
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

// A path of fixed words comes before one with a name or version in the same place.
operations! {
    RestoreKey Mutates POST "keys/restore",
    GetKeys Reads GET "keys",
    CreateKey Mutates POST "keys/*/create",
    RotateKey Mutates POST "keys/*/rotate",
    BackupKey Reads POST "keys/*/backup",
    GetKeyVersions Reads GET "keys/*/versions",
    GetKeyRotationPolicy Reads GET "keys/*/rotationpolicy",
    UpdateKeyRotationPolicy Mutates PUT "keys/*/rotationpolicy",
    GetKeyAttestation Reads GET "keys/*/?/attestation",
    Encrypt Computes POST "keys/*/?/encrypt",
    Decrypt Computes POST "keys/*/?/decrypt",
    WrapKey Computes POST "keys/*/?/wrapkey",
    UnwrapKey Computes POST "keys/*/?/unwrapkey",
    Sign Computes POST "keys/*/?/sign",
    Verify Computes POST "keys/*/?/verify",
    Release Computes POST "keys/*/?/release",
    ImportKey Mutates PUT "keys/*",
    DeleteKey Mutates DELETE "keys/*",
    UpdateKey Mutates PATCH "keys/*/?",
    GetKey Reads GET "keys/*/?",
    GetDeletedKeys Reads GET "deletedkeys",
    GetDeletedKey Reads GET "deletedkeys/*",
    PurgeDeletedKey Mutates DELETE "deletedkeys/*",
    RecoverDeletedKey Mutates POST "deletedkeys/*/recover",
    GetRandomBytes Computes POST "rng",
}

impl Operation {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Whether the operation can change what others see.
    pub fn is_mutating(self) -> bool {
        self.kind() == Kind::Mutates
    }

    /// Whether the operation uses a key.
    pub(super) fn computes(self) -> bool {
        self.kind() == Kind::Computes
    }

    /// Its name in messages: `wrapKey` for [`Operation::WrapKey`].
    pub(super) fn word(self) -> String {
        let mut letters = self.name().chars();
        letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) operation: Operation,
    /// Empty if the operation names no key.
    pub(super) name: String,
    /// `None`: the newest.
    pub(super) version: Option<String>,
}

impl Target {
    /// Reads method and path. Empty segments are ignored: clients ask for the newest version with a slash at the end, or with two in the
    /// middle.
    // contract: azure.latest
    pub(super) fn read(method: &str, path: &str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let fitting = |operation: &&Operation| operation.route().0 == method && fit(operation.route().1, &segments).is_some();
        let Some(operation) = Operation::ALL.iter().find(fitting).copied() else {
            let known = Operation::ALL.iter().any(|operation| fit(operation.route().1, &segments).is_some());
            let code = if known { Code::MethodNotAllowed } else { Code::NotFound };
            return Err(code.because(format!("`{method} {path}` is no operation on keys")));
        };
        let (name, version) = fit(operation.route().1, &segments).unwrap_or_default();
        let (name, version) = (name.to_owned(), version.map(str::to_owned));
        Ok(Self { operation, name, version })
    }
}

/// Name and version of a path that fits the pattern.
fn fit<'p>(pattern: &str, segments: &[&'p str]) -> Option<(&'p str, Option<&'p str>)> {
    let (mut name, mut version) = ("", None);
    let mut segments = segments.iter().copied().peekable();
    let mut words = pattern.split('/').peekable();
    while let Some(word) = words.next() {
        match word {
            "*" => name = segments.next()?,
            // Left out if the next word of the pattern, or nothing, is in its place.
            "?" if segments.peek() == words.peek() => {}
            "?" => version = Some(segments.next()?),
            _ => segments.next_if(|segment| segment.eq_ignore_ascii_case(word)).map(|_| ())?,
        }
    }
    segments.next().is_none().then_some((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_path_is_understood() {
        for (request, operation, name, version) in [
            ("GET /keys", Operation::GetKeys, "", None),
            ("GET /keys/", Operation::GetKeys, "", None),
            ("GET /keys/a", Operation::GetKey, "a", None),
            ("GET /keys/a/", Operation::GetKey, "a", None),
            ("GET /keys/a/7", Operation::GetKey, "a", Some("7")),
            ("GET /keys/versions/versions", Operation::GetKeyVersions, "versions", None),
            ("POST /keys/restore", Operation::RestoreKey, "", None),
            ("POST /keys/restore/create", Operation::CreateKey, "restore", None),
            ("GET /keys/a//attestation", Operation::GetKeyAttestation, "a", None),
            ("GET /keys/a/7/attestation", Operation::GetKeyAttestation, "a", Some("7")),
            ("POST /keys/a//wrapkey", Operation::WrapKey, "a", None),
            ("POST /keys/a/7/wrapKey/", Operation::WrapKey, "a", Some("7")),
            ("PATCH /keys/a/", Operation::UpdateKey, "a", None),
            ("DELETE /keys/a", Operation::DeleteKey, "a", None),
            ("DELETE /deletedkeys/a", Operation::PurgeDeletedKey, "a", None),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            let target = Target { operation, name: name.into(), version: version.map(str::to_owned) };
            assert_eq!(Target::read(method, path), Ok(target), "{request}");
        }
        for (request, code) in [
            ("GET /secrets/a", Code::NotFound),
            ("GET /", Code::NotFound),
            ("POST /keys/a/7/sing", Code::NotFound),
            ("DELETE /keys", Code::MethodNotAllowed),
            ("PATCH /rng", Code::MethodNotAllowed),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(Target::read(method, path).map_err(|refusal| refusal.code), Err(code), "{request}");
        }
    }
}
