//! The names, tags and key ids that we write into Azure, so that our keys are recognised again (rule 3).

use std::collections::BTreeMap;

use azure_core::http::Url;
use keyplane_model::{AttemptId, InstallationId, KeyName, Marks, PlacementId, Version};

/// The longest name of a key, in characters (`key-name` in the API's specification).
const MAX_NAME: usize = 127;

/// The longest version id that is taken, in characters. Azure's have 32 hexadecimal digits.
const MAX_VERSION: usize = 64;

/// The longest key id that is read, in bytes.
const MAX_KID: usize = 512;

/// The prefix of key exchange keys' names. Users' names cannot begin with it.
const KEK_PREFIX: &str = "keyplane-kek-";

const TAG_INSTALLATION: &str = "keyplane-installation";
const TAG_PLACEMENT: &str = "keyplane-placement";
const TAG_INCARNATION: &str = "keyplane-incarnation";
const TAG_ATTEMPT: &str = "keyplane-attempt";
const TAG_KEY: &str = "keyplane-key";
const TAG_VERSION: &str = "keyplane-version";

/// Why a name cannot be the name of a key for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a key's name has 1 to 127 characters")]
    Length,
    #[error("a key's name has letters, digits and `-` only")]
    Characters,
    #[error("a key's name does not begin with `keyplane-kek-`")]
    Reserved,
}

/// Checks that users can address a key by this name.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(NameError::Length);
    }
    // INVARIANT: a name has no character that means anything in a path, because the SDK does not escape names.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(NameError::Characters);
    }
    if is_kek(name) {
        return Err(NameError::Reserved);
    }
    Ok(())
}

/// Whether a name is that of a key exchange key of ours. Azure compares names without regard to case.
pub(crate) fn is_kek(name: &str) -> bool {
    name.get(..KEK_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(KEK_PREFIX))
}

/// The name of the key exchange key for a copy.
pub(crate) fn kek(placement: PlacementId, version: Version) -> String {
    format!("{KEK_PREFIX}{}-{version}", placement.0.simple())
}

/// A key id: the key's name, and the version that it names, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kid {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KidError {
    NotOne,
    /// A key id of another vault.
    Elsewhere,
}

impl Kid {
    /// Reads `https://{vault}/keys/{name}[/{version}]`.
    pub(crate) fn read(text: &str, vault: &str) -> Result<Self, KidError> {
        let url = Some(text).filter(|text| text.len() <= MAX_KID).and_then(|text| Url::parse(text).ok()).ok_or(KidError::NotOne)?;
        if url.scheme() != "https" || url.host_str() != Some(vault) || url.port().is_some() {
            return Err(KidError::Elsewhere);
        }
        let segments: Vec<&str> = url.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty()).collect();
        let (name, version) = match segments.as_slice() {
            ["keys", name] => (*name, None),
            ["keys", name, version] => (*name, Some(*version)),
            _ => return Err(KidError::NotOne),
        };
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let named = check_name(name).is_ok() || check_name(name) == Err(NameError::Reserved);
        if !plain || !named || !version.is_none_or(is_version) {
            return Err(KidError::NotOne);
        }
        Ok(Self { name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

/// Whether a text is a version id that can be put into a path.
pub(crate) fn is_version(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_VERSION && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The tags of a version of ours: the marks, and the key's name and version.
pub(crate) fn tags(marks: &Marks, key: &KeyName, version: Version) -> [(&'static str, String); 6] {
    [
        (TAG_INSTALLATION, marks.installation.to_string()),
        (TAG_PLACEMENT, marks.placement.to_string()),
        (TAG_INCARNATION, marks.incarnation.to_string()),
        (TAG_ATTEMPT, marks.attempt.to_string()),
        (TAG_KEY, key.to_string()),
        (TAG_VERSION, version.to_string()),
    ]
}

/// The tags of a key exchange key, for people. They are not complete marks, so it is not taken for a key of ours.
pub(crate) fn kek_tags(
    installation: InstallationId,
    placement: PlacementId,
    key: &KeyName,
    version: Version,
) -> [(&'static str, String); 4] {
    [
        (TAG_INSTALLATION, installation.to_string()),
        (TAG_PLACEMENT, placement.to_string()),
        (TAG_KEY, key.to_string()),
        (TAG_VERSION, version.to_string()),
    ]
}

/// The tags that Azure shows, by name.
pub(crate) type Tags = BTreeMap<String, String>;

/// The marks in a version's tags; `None` unless all four are there and well formed.
pub(crate) fn marks(tags: &Tags) -> Option<Marks> {
    Some(Marks {
        installation: tags.get(TAG_INSTALLATION)?.parse().ok()?,
        placement: tags.get(TAG_PLACEMENT)?.parse().ok()?,
        incarnation: tags.get(TAG_INCARNATION)?.parse().ok()?,
        attempt: tags.get(TAG_ATTEMPT)?.parse::<AttemptId>().ok()?,
    })
}

/// The version of ours that the tags of an Azure version name; `None`: the tags are not of this installation and placement.
pub(crate) fn version(tags: &Tags, installation: InstallationId, placement: PlacementId) -> Option<Version> {
    let marks = marks(tags).filter(|marks| marks.installation == installation && marks.placement == placement);
    let text = marks.and(tags.get(TAG_VERSION))?;
    let version = Version(text.parse().ok()?);
    // INVARIANT: a tag is read only as it would be written; `01` or `+1` are not ours.
    (version.to_string() == *text).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "corp-vault.vault.azure.net";

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: char) -> T {
        format!("{0}{0}{0}{0}{0}{0}{0}{0}-0000-8000-8000-000000000000", digit).parse().unwrap()
    }

    fn shown(pairs: &[(&'static str, String)]) -> Tags {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn names_that_azure_or_we_keep_are_refused() {
        for (name, error) in [
            ("", NameError::Length),
            (&"a".repeat(128), NameError::Length),
            ("a b", NameError::Characters),
            ("a/b", NameError::Characters),
            ("a_b", NameError::Characters),
            ("..", NameError::Characters),
            ("%2e", NameError::Characters),
            ("ä", NameError::Characters),
            ("keyplane-kek-x", NameError::Reserved),
            ("Keyplane-KEK-x", NameError::Reserved),
        ] {
            assert_eq!(check_name(name), Err(error), "{name:?}");
        }
        for name in ["a", "payments-db", "Team-1-db", "keyplane", "keyplane-kek", "0", &"a".repeat(127)] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn the_longest_name_of_a_key_to_wrap_under_is_one_that_azure_takes() {
        let name = kek(id('1'), Version(u32::MAX));
        assert!(name.len() <= MAX_NAME && is_kek(&name), "{name}");
        assert_eq!(kek(id('1'), Version(3)), "keyplane-kek-11111111000080008000000000000000-3");
    }

    #[test]
    fn a_key_id_is_one_of_this_vault_or_nothing() {
        let kid = |name: &str, version: Option<&str>| Ok(Kid { name: name.into(), version: version.map(str::to_owned) });
        for (text, read) in [
            ("https://corp-vault.vault.azure.net/keys/a", kid("a", None)),
            ("https://corp-vault.vault.azure.net/keys/a/", kid("a", None)),
            ("https://CORP-VAULT.vault.azure.net/keys/a/0f", kid("a", Some("0f"))),
            ("https://corp-vault.vault.azure.net/keys/keyplane-kek-1/0f", kid("keyplane-kek-1", Some("0f"))),
            ("https://other.vault.azure.net/keys/a/0f", Err(KidError::Elsewhere)),
            ("https://corp-vault.vault.azure.net.evil.example/keys/a", Err(KidError::Elsewhere)),
            ("https://corp-vault.vault.azure.net:8443/keys/a", Err(KidError::Elsewhere)),
            ("http://corp-vault.vault.azure.net/keys/a", Err(KidError::Elsewhere)),
            ("https://user@corp-vault.vault.azure.net/keys/a", Err(KidError::NotOne)),
            ("https://corp-vault.vault.azure.net/secrets/a", Err(KidError::NotOne)),
            ("https://corp-vault.vault.azure.net/keys", Err(KidError::NotOne)),
            ("https://corp-vault.vault.azure.net/keys/a/b/c", Err(KidError::NotOne)),
            ("https://corp-vault.vault.azure.net/keys/a%2fb", Err(KidError::NotOne)),
            ("https://corp-vault.vault.azure.net/keys/a/../b/0f", kid("b", Some("0f"))),
            ("https://corp-vault.vault.azure.net/keys/a?x=1", Err(KidError::NotOne)),
            ("", Err(KidError::NotOne)),
            ("nonsense", Err(KidError::NotOne)),
        ] {
            assert_eq!(Kid::read(text, VAULT), read, "{text:?}");
        }
    }

    #[test]
    fn marks_are_read_as_they_are_written_and_only_when_complete() {
        let marks_in = Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') };
        let pairs = tags(&marks_in, &"payments-db".parse().unwrap(), Version(12));
        assert_eq!(marks(&shown(&pairs)), Some(marks_in));
        assert_eq!(version(&shown(&pairs), id('1'), id('2')), Some(Version(12)));
        for missing in 0..4 {
            let mut rest = pairs.to_vec();
            rest.remove(missing);
            assert_eq!(marks(&shown(&rest)), None, "without {}", pairs[missing].0);
            assert_eq!(version(&shown(&rest), id('1'), id('2')), None, "without {}", pairs[missing].0);
        }
        let kek = kek_tags(id('1'), id('2'), &"payments-db".parse().unwrap(), Version(12));
        assert_eq!(marks(&shown(&kek)), None, "a key to wrap under is no object of ours");
    }

    #[test]
    fn a_version_is_one_of_its_own_installation_and_placement_and_written_in_one_way() {
        let marks = Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') };
        let mut tags = shown(&tags(&marks, &"payments-db".parse().unwrap(), Version(1)));
        assert_eq!(version(&tags, id('1'), id('2')), Some(Version(1)));
        assert_eq!(version(&tags, id('9'), id('2')), None);
        assert_eq!(version(&tags, id('1'), id('9')), None);
        for other in ["", "01", "+1", "1 ", "one", "4294967296"] {
            tags.insert(TAG_VERSION.into(), other.into());
            assert_eq!(version(&tags, id('1'), id('2')), None, "{other:?}");
        }
    }
}
