//! The contents of files: working links, a consistent glossary, and no word that belongs to one machine.

use std::collections::BTreeSet;

use crate::{files, root};

/// Paths of one machine, split in two, because this file is searched too.
const MACHINE: [(&str, &str); 6] = [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/tm", "p/"), ("/Us", "ers/"), ("/mn", "t/")];

/// Registries and mirrors: which one is used depends on the machine.
const REGISTRIES: [(&str, &str); 6] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("files.python", "hosted.org"),
    ("pypi", ".org"),
    ("proxy.golang", ".org"),
    ("registry.npm", "js.org"),
];

/// Whether a path begins at `at`, and is not the middle of a longer one (`keyplane/root/1`).
fn begins_a_path(line: &str, at: usize) -> bool {
    !line[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || "_-.}/*".contains(before))
}

#[test]
fn no_file_names_a_place_on_one_machine_or_a_registry() {
    let all = files(&[]);
    assert!(all.len() > 100, "the search finds nothing");
    for (path, text) in all.iter().filter(|(path, _)| path != "Cargo.lock") {
        for (number, line) in (1..).zip(text.lines()) {
            for (front, back) in MACHINE {
                let word = format!("{front}{back}");
                let found = line.match_indices(&word).any(|(at, _)| begins_a_path(line, at));
                assert!(!found, "{path}:{number}: `{word}` is a place on one machine");
            }
            for (front, back) in REGISTRIES {
                assert!(!line.contains(&format!("{front}{back}")), "{path}:{number}: `{front}{back}` is a registry");
            }
        }
    }
}

#[test]
fn a_machine_s_place_is_found_where_it_begins() {
    assert!(begins_a_path("see /x/y", 4));
    assert!(begins_a_path("\"/x/y\"", 1));
    assert!(!begins_a_path("keyplane/x/y", 8));
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let documents = files(&["md"]);
    assert!(documents.iter().any(|(path, _)| path == "control-plane/docs/architecture.md"));
    let mut wrong = Vec::new();
    let mut links = 0;
    for (path, text) in &documents {
        let folder = root().join(path).parent().unwrap().to_path_buf();
        for target in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let place = if file.is_empty() { root().join(path) } else { folder.join(file) };
            if !place.exists() {
                wrong.push(format!("{path}: `{target}` leads nowhere"));
            } else if !anchor.is_empty() && !anchors(&std::fs::read_to_string(&place).unwrap()).contains(anchor) {
                wrong.push(format!("{path}: `{target}` leads to a heading that is not there"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(links > 0, "the search finds nothing");
}

#[test]
fn links_are_found_outside_of_code() {
    let text = "[a](b.md) and [c](d.md#e)\n```\n[x](y)\n```\n`[x](y)`\n";
    assert_eq!(targets(text), ["b.md", "d.md#e"]);
    assert!(anchors("# One, two: `three`\n").contains("one-two-three"));
}

#[test]
fn every_path_that_the_documents_name_is_there() {
    const HOUSES: [&str; 6] = ["adapters/", "control-plane/", "migrations/", "policy/", "terraform/", "tests/"];
    let mut paths = 0;
    for (path, text) in files(&["md"]).iter().filter(|(path, _)| path == "README.md" || path.starts_with("control-plane/docs/")) {
        for word in text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2)) {
            if HOUSES.iter().any(|house| word.starts_with(house)) && !word.contains(' ') {
                paths += 1;
                assert!(root().join(word).exists(), "{path}: `{word}` is not there");
            }
        }
    }
    assert!(paths > 20, "the search finds nothing");
}

#[test]
fn the_glossary_is_in_order_and_its_words_of_the_code_are_in_the_code() {
    const GLOSSARY: &str = "control-plane/docs/glossary.md";
    let text = std::fs::read_to_string(root().join(GLOSSARY)).unwrap();
    let words: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(1).collect();
    assert!(words.len() > 20, "the search finds nothing");
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    for pair in lower.windows(2) {
        assert!(pair[0] < pair[1], "{GLOSSARY}: `{}` comes before `{}`", pair[1], pair[0]);
    }
    let code = files(&["rs"]);
    for identifier in words.iter().flat_map(|word| word.split('`').skip(1).step_by(2)) {
        let used =
            code.iter().any(|(_, text)| text.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case(identifier)));
        assert!(used, "{GLOSSARY}: `{identifier}` is no word of the code");
    }
}

/// The targets of a document's links, except those in code.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in plain.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            targets.push(target.to_owned());
        }
    }
    targets
}

/// The anchors of a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
            kept.replace(' ', "-")
        })
        .collect()
}

/// The first lines of the code blocks in a file's documentation that `rustdoc` would compile: those that name no other language.
fn doc_tests(text: &str) -> Vec<&str> {
    let mut open = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some(fence) = ["//!", "///"].iter().find_map(|mark| line.strip_prefix(mark)?.trim().strip_prefix("```")) else { continue };
        open = !open;
        if open && ["", "rust", "no_run", "ignore", "should_panic", "compile_fail"].contains(&fence) {
            found.push(line);
        }
    }
    found
}

#[test]
fn no_code_stands_in_the_documentation_where_no_test_runs_it() {
    for (path, text) in files(&["rs"]) {
        assert_eq!(doc_tests(&text), Vec::<&str>::new(), "{path}: `make test` runs no doc tests: write a test");
    }
}

#[test]
fn a_doc_test_is_found() {
    assert_eq!(doc_tests("//! ```json\n//! {}\n//! ```\n/// ```\n/// f();\n/// ```"), ["/// ```"]);
    assert_eq!(doc_tests("    /// ```no_run\n    /// ```"), ["/// ```no_run"]);
}
