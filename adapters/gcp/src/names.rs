//! The ids, labels and import jobs that we write into Google Cloud, so that our keys are recognised again (rule 3).

use std::collections::BTreeMap;

use keyplane_model::{AttemptId, InstallationId, Marks, ObjectId, PlacementId, Version};

/// The longest id of a key, an import job or a key ring, in characters.
// contract: gcp.key.create
const MAX_ID: usize = 63;

/// The longest accepted number of a version, in digits: that of the largest `u32`.
const MAX_NUMBER: usize = 10;

/// The prefix of our import jobs' ids.
const JOB_PREFIX: &str = "kp-";

const LABEL_INSTALLATION: &str = "keyplane-installation";
const LABEL_PLACEMENT: &str = "keyplane-placement";
const LABEL_INCARNATION: &str = "keyplane-incarnation";
const LABEL_ATTEMPT: &str = "keyplane-attempt";

/// Why a name cannot be the id of a crypto key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the id of a key has 1 to 63 characters")]
    Length,
    #[error("the id of a key has letters, digits, `_` and `-` only")]
    Characters,
}

/// Checks that users can address a key by this name: the id of a crypto key in its key ring.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_ID {
        return Err(NameError::Length);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return Err(NameError::Characters);
    }
    Ok(())
}

/// The resource name of the approved key ring. Makes and reads the resource names of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ring(String);

impl Ring {
    pub(crate) fn new(project: &str, location: &str, key_ring: &str) -> Self {
        Self(format!("projects/{project}/locations/{location}/keyRings/{key_ring}"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The resource name of a key. The caller has checked the id.
    pub(crate) fn key(&self, id: &str) -> String {
        format!("{}/cryptoKeys/{id}", self.0)
    }

    pub(crate) fn version(&self, key: &str, number: &str) -> String {
        format!("{}/cryptoKeys/{key}/cryptoKeyVersions/{number}", self.0)
    }

    pub(crate) fn job(&self, id: &str) -> String {
        format!("{}/importJobs/{id}", self.0)
    }

    /// The id in a key's resource name; `None`: the key is not of this key ring.
    pub(crate) fn key_id<'a>(&self, name: &'a str) -> Option<&'a str> {
        let id = name.strip_prefix(&self.0)?.strip_prefix("/cryptoKeys/")?;
        check_name(id).is_ok().then_some(id)
    }

    /// The id in an import job's resource name; `None`: the job is not of this key ring.
    pub(crate) fn job_id<'a>(&self, name: &'a str) -> Option<&'a str> {
        let id = name.strip_prefix(&self.0)?.strip_prefix("/importJobs/")?;
        check_name(id).is_ok().then_some(id)
    }

    /// The number in a version's resource name; `None`: the version is not of this key.
    pub(crate) fn version_number<'a>(&self, key: &str, name: &'a str) -> Option<&'a str> {
        let number = name.strip_prefix(&self.0)?.strip_prefix("/cryptoKeys/")?.strip_prefix(key)?.strip_prefix("/cryptoKeyVersions/")?;
        is_version_number(number).then_some(number)
    }
}

/// Whether a text is a version's number: counted from 1, without leading zeros.
pub(crate) fn is_version_number(number: &str) -> bool {
    (1..=MAX_NUMBER).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0')
}

/// The labels of a key of ours, which are its marks.
// contract: gcp.key.labels
pub(crate) fn labels(marks: &Marks) -> BTreeMap<String, String> {
    [
        (LABEL_INSTALLATION, marks.installation.to_string()),
        (LABEL_PLACEMENT, marks.placement.to_string()),
        (LABEL_INCARNATION, marks.incarnation.to_string()),
        (LABEL_ATTEMPT, marks.attempt.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The marks in a key's labels; `None` unless all four are there and well formed.
pub(crate) fn marks<'a>(label: impl Fn(&str) -> Option<&'a String>) -> Option<Marks> {
    Some(Marks {
        installation: label(LABEL_INSTALLATION)?.parse::<InstallationId>().ok()?,
        placement: label(LABEL_PLACEMENT)?.parse::<PlacementId>().ok()?,
        incarnation: label(LABEL_INCARNATION)?.parse().ok()?,
        attempt: label(LABEL_ATTEMPT)?.parse::<AttemptId>().ok()?,
    })
}

/// The id of the `n`th import job for a copy, at most 57 characters long. A job serves one copy, so a material's job tells its version.
pub(crate) fn job_id(placement: PlacementId, version: Version, n: u32) -> ObjectId {
    ObjectId(format!("{JOB_PREFIX}{}-v{version}-{n}", simple(placement)))
}

/// The version that an import job was made for; `None`: the job is not ours, or not for this placement.
pub(crate) fn job_version(placement: PlacementId, id: &str) -> Option<Version> {
    let rest = id.strip_prefix(JOB_PREFIX)?.strip_prefix(simple(placement).as_str())?.strip_prefix("-v")?;
    let (version, n) = rest.split_once('-')?;
    let (version, n) = (version.parse().ok()?, n.parse().ok()?);
    // INVARIANT: an id is read only as it would be written.
    (job_id(placement, Version(version), n).0 == id).then_some(Version(version))
}

/// A placement's id without dashes, to fit into a job's id.
fn simple(placement: PlacementId) -> String {
    placement.to_string().replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: char) -> T {
        format!("{digit}{digit}{digit}{digit}{digit}{digit}{digit}{digit}-1111-8111-8111-111111111111").parse().unwrap()
    }

    #[test]
    fn a_name_is_an_id_of_google_cloud() {
        for (name, error) in [
            ("", NameError::Length),
            (&"a".repeat(64), NameError::Length),
            ("a b", NameError::Characters),
            ("a/b", NameError::Characters),
            ("a.b", NameError::Characters),
            ("..", NameError::Characters),
            ("a%2Fb", NameError::Characters),
            ("ä", NameError::Characters),
        ] {
            assert_eq!(check_name(name), Err(error), "{name:?}");
        }
        for name in ["a", "payments-db", "Team_1", "-", "7", &"a".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn marks_are_read_as_they_are_written_and_only_when_complete() {
        let marks_in = Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') };
        let pairs = labels(&marks_in);
        for (key, value) in &pairs {
            // Google's rule for labels: lower-case letters, digits, `_` and `-`, in a key first a letter, at most 63 of each.
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
            assert!(plain(key) && plain(value) && key.len() <= 63 && value.len() <= 63, "{key}: {value}");
        }
        assert_eq!(marks(|key| pairs.get(key)), Some(marks_in));
        for missing in pairs.keys() {
            let mut rest = pairs.clone();
            rest.remove(missing);
            assert_eq!(marks(|key| rest.get(key)), None, "without {missing}");
        }
        let mut garbled = pairs;
        garbled.insert(LABEL_INCARNATION.into(), "three".into());
        assert_eq!(marks(|key| garbled.get(key)), None);
    }

    #[test]
    fn a_job_names_one_version_of_one_placement() {
        let placement: PlacementId = id('2');
        let job = job_id(placement, Version(12), 3);
        assert_eq!(job.0, "kp-22222222111181118111111111111111-v12-3");
        assert_eq!(job_version(placement, &job.0), Some(Version(12)));
        assert_eq!(job_version(id('3'), &job.0), None);
        assert_eq!(check_name(&job_id(placement, Version(u32::MAX), u32::MAX).0), Ok(()));
        for other in ["", "kp-", "kp-22222222111181118111111111111111-v12", "kp-22222222111181118111111111111111-v012-3"] {
            assert_eq!(job_version(placement, other), None, "{other:?}");
        }
        assert_eq!(job_version(placement, "kp-22222222111181118111111111111111-v+1-3"), None);
    }

    #[test]
    fn only_what_is_in_the_ring_has_an_id_in_it() {
        let ring = Ring::new("acme", "europe-west3", "ring");
        assert_eq!(ring.key_id(&ring.key("a")), Some("a"));
        assert_eq!(ring.job_id(&ring.job("a")), Some("a"));
        assert_eq!(ring.version_number("a", &ring.version("a", "12")), Some("12"));
        for other in [
            Ring::new("other", "europe-west3", "ring").key("a"),
            Ring::new("acme", "europe-west3", "ring2").key("a"),
            ring.version("a", "1"),
            ring.job("a"),
            String::new(),
        ] {
            assert_eq!(ring.key_id(&other), None, "{other:?}");
        }
        for number in ["", "0", "01", "+1", "1a", "12345678901"] {
            assert_eq!(ring.version_number("a", &ring.version("a", number)), None, "{number:?}");
        }
        assert_eq!(ring.version_number("a", &ring.version("ab", "1")), None);
    }
}
