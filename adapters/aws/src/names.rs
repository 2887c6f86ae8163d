//! The aliases, tags and descriptions that we write into AWS, so that our keys are recognised again (rule 3).

use aws_sdk_kms::types::Tag;
use keyplane_model::{AttemptId, InstallationId, KeyName, Marks, PlacementId, Target, Version};

/// The longest alias name for users, in characters. AWS allows 256, including the `alias/`; we keep some in reserve.
const MAX_NAME: usize = 240;

/// The prefix that AWS reserves for itself.
const AWS_PREFIX: &str = "aws/";

/// The prefix that Keyplane reserves for claims.
const OUR_PREFIX: &str = "keyplane/";

const TAG_INSTALLATION: &str = "keyplane:installation";
const TAG_PLACEMENT: &str = "keyplane:placement";
const TAG_INCARNATION: &str = "keyplane:incarnation";
const TAG_ATTEMPT: &str = "keyplane:attempt";
const TAG_KEY: &str = "keyplane:key";

/// Why a name cannot be an alias for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("an alias name has 1 to 240 characters")]
    Length,
    #[error("an alias name has letters, digits, `/`, `_` and `-` only")]
    Characters,
    #[error("an alias name does not begin with `aws/` or `keyplane/`")]
    Reserved,
}

/// Checks that users can address a key by this name: an alias without its `alias/`.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(NameError::Length);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte)) {
        return Err(NameError::Characters);
    }
    if name.starts_with(AWS_PREFIX) || name.starts_with(OUR_PREFIX) {
        return Err(NameError::Reserved);
    }
    Ok(())
}

/// The alias that is a placement's claim. Only one key of an account and region can have it.
pub(crate) fn claim_alias(target: &Target) -> String {
    format!("alias/{OUR_PREFIX}{}/{}", target.placement, target.incarnation)
}

pub(crate) fn users_alias(target: &Target) -> Result<String, NameError> {
    check_name(&target.name)?;
    Ok(format!("alias/{}", target.name))
}

/// The tags of a key of ours: its marks, and the key's name for people.
pub(crate) fn tags(marks: &Marks, key: &KeyName) -> [(&'static str, String); 5] {
    [
        (TAG_INSTALLATION, marks.installation.to_string()),
        (TAG_PLACEMENT, marks.placement.to_string()),
        (TAG_INCARNATION, marks.incarnation.to_string()),
        (TAG_ATTEMPT, marks.attempt.to_string()),
        (TAG_KEY, key.to_string()),
    ]
}

/// The marks in a key's tags; `None` unless all four are there and well formed.
pub(crate) fn marks(tags: &[Tag]) -> Option<Marks> {
    let value = |key: &str| tags.iter().find(|tag| tag.tag_key() == key).map(Tag::tag_value);
    Some(Marks {
        installation: value(TAG_INSTALLATION)?.parse::<InstallationId>().ok()?,
        placement: value(TAG_PLACEMENT)?.parse::<PlacementId>().ok()?,
        incarnation: value(TAG_INCARNATION)?.parse().ok()?,
        attempt: value(TAG_ATTEMPT)?.parse::<AttemptId>().ok()?,
    })
}

/// For people who read it in AWS's console.
pub(crate) fn description(key: &KeyName) -> String {
    format!("keyplane {key}")
}

/// The description of a key material, by which it is recognised. AWS takes `^[a-zA-Z0-9:/_\s.-]+$`, up to 256 characters.
pub(crate) fn material_description(installation: InstallationId, version: Version) -> String {
    format!("keyplane {installation} v{version}")
}

/// The version that a key material's description names; `None`: the material is not of this installation.
pub(crate) fn material_version(installation: InstallationId, description: &str) -> Option<Version> {
    let number = description.strip_prefix("keyplane ")?.strip_prefix(&installation.to_string())?.strip_prefix(" v")?;
    let version = Version(number.parse().ok()?);
    // INVARIANT: a description is read only as it would be written; `v01` or `v+1` are not ours.
    (material_description(installation, version) == description).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: char) -> T {
        format!("{0}{0}{0}{0}{0}{0}{0}{0}-0000-8000-8000-000000000000", digit).parse().unwrap()
    }

    fn aws(pairs: &[(&str, String)]) -> Vec<Tag> {
        pairs.iter().map(|(key, value)| Tag::builder().tag_key(*key).tag_value(value).build().unwrap()).collect()
    }

    #[test]
    fn names_that_aws_or_we_keep_are_refused() {
        for (name, error) in [
            ("", NameError::Length),
            (&"a".repeat(241), NameError::Length),
            ("a b", NameError::Characters),
            ("a:b", NameError::Characters),
            ("ä", NameError::Characters),
            ("aws/s3", NameError::Reserved),
            ("keyplane/x/1", NameError::Reserved),
        ] {
            assert_eq!(check_name(name), Err(error), "{name:?}");
        }
        for name in ["a", "payments-db", "Team_1/db", "keyplane", "aws", &"a".repeat(240)] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn marks_are_read_as_they_are_written_and_only_when_complete() {
        let marks_in = Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') };
        let pairs = tags(&marks_in, &"payments-db".parse().unwrap());
        assert_eq!(marks(&aws(&pairs)), Some(marks_in));
        for missing in 0..4 {
            let mut rest = pairs.to_vec();
            rest.remove(missing);
            assert_eq!(marks(&aws(&rest)), None, "without {}", pairs[missing].0);
        }
        let mut garbled = pairs.clone();
        garbled[2].1 = "three".to_owned();
        assert_eq!(marks(&aws(&garbled)), None);
    }

    #[test]
    fn a_description_names_a_version_of_one_installation_only() {
        let ours = id::<InstallationId>('1');
        let text = material_description(ours, Version(12));
        assert_eq!(material_version(ours, &text), Some(Version(12)));
        assert_eq!(material_version(id('2'), &text), None);
        for other in [
            "",
            "keyplane",
            &format!("keyplane {ours} v"),
            &format!("keyplane {ours} v01"),
            &format!("keyplane {ours} v+1"),
            &format!("{text} "),
        ] {
            assert_eq!(material_version(ours, other), None, "{other:?}");
        }
    }
}
