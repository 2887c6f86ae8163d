//! A lab's policy files.

/// The example company without its approvers.
const EXAMPLE: [(&str, &str); 6] = [
    ("analytics.yaml", include_str!("../../../policy/examples/analytics.yaml")),
    ("backups.yaml", include_str!("../../../policy/examples/backups.yaml")),
    ("code-signing.yaml", include_str!("../../../policy/examples/code-signing.yaml")),
    ("documents.yaml", include_str!("../../../policy/examples/documents.yaml")),
    ("payments.yaml", include_str!("../../../policy/examples/payments.yaml")),
    ("profiles.yaml", include_str!("../../../policy/examples/profiles.yaml")),
];

pub(crate) const APPROVERS: &str = "approvers.yaml";

#[derive(Clone, Debug)]
pub enum Policy {
    /// The example company of `policy/examples`, with the lab's approvers instead of its own.
    Example,
    /// These files, as name and text. The lab's approvers ([`Lab::approver_key`](crate::Lab::approver_key)) have these groups: `alice`
    /// (security), `bob` (platform), `carol` (security and release), and [`OPERATOR`](crate::OPERATOR) (all three), who runs `keyplane` and
    /// so is the proposer.
    Files(Vec<(String, String)>),
}

impl Policy {
    /// Name and text of each file, without that of the approvers.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let (example, files): (&[_], &[_]) = match self {
            Self::Example => (&EXAMPLE, &[]),
            Self::Files(files) => (&[], files),
        };
        example.iter().copied().chain(files.iter().map(|(name, text): &(String, String)| (name.as_str(), text.as_str())))
    }

    /// All files as one text.
    pub(crate) fn text(&self) -> String {
        self.files().map(|(name, text)| format!("{name}\n{text}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_example_is_the_whole_folder_of_examples() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/examples");
        let mut there: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        there.retain(|name| name != APPROVERS);
        there.sort();
        assert_eq!(there, EXAMPLE.map(|(name, _)| name));
    }
}
