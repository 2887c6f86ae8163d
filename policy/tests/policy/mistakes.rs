//! Mistakes in policy files with their exact messages: `mistakes.md` holds YAML and messages. `UPDATE=1` rewrites the messages.

use crate::common::destinations;
use keyplane_model::ProblemCode;
use keyplane_policy::load;

const TRANSCRIPT: &str = include_str!("mistakes.md");

/// The documents under every case: two approvers of `security`, one of `platform`, and a profile.
const BASE: &str = include_str!("base.yaml");

#[test]
fn every_mistake_is_told_with_its_place_and_what_would_be_right() {
    let mut now = String::new();
    let mut cases = 0;
    for part in TRANSCRIPT.split_inclusive("\n```text\n") {
        // A part ends where messages begin, and starts with the messages of the case before.
        let rest = if cases == 0 { part } else { part.split_once("```\n").map_or("", |(_, rest)| rest) };
        now.push_str(rest);
        let Some((_, yaml)) = rest.split_once("```yaml\n") else { continue };
        let (yaml, _) = yaml.split_once("```\n").unwrap();
        cases += 1;
        let problems = load(&sources(yaml), Some(&destinations())).map(|policy| policy.intent.keys).unwrap_err();
        for problem in problems {
            assert!(problem.location.is_some(), "{problem} has no place");
            assert_eq!(problem.next, "keyplane validate");
            assert!(!problem.detail.ends_with('.') && !problem.detail.contains('\n'), "{problem}");
            let code = if problem.code == ProblemCode::PolicyInvalid { String::new() } else { format!(" [{}]", problem.code) };
            let key = problem.key.as_ref().map(|key| format!(" (key {key})")).unwrap_or_default();
            now.push_str(&format!("{problem}{key}{code}\n"));
        }
        now.push_str("```\n");
    }
    if std::env::var_os("UPDATE").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy/mistakes.md");
        std::fs::write(path, &now).unwrap();
    } else {
        assert_eq!(now, TRANSCRIPT, "if the new messages are better: UPDATE=1");
    }
    assert!(cases > 50, "only {cases} cases were read");
}

#[test]
fn what_the_cases_build_on_is_good() {
    assert_eq!(load(&[("base.yaml".to_owned(), BASE.to_owned())], Some(&destinations())).err(), None);
}

fn sources(yaml: &str) -> Vec<(String, String)> {
    // Tabs and control characters are invisible in editors, so the cases write them as words.
    let yaml = yaml.replace("<TAB>", "\t").replace("<NUL>", "\0");
    vec![("base.yaml".to_owned(), BASE.to_owned()), ("team.yaml".to_owned(), yaml)]
}
