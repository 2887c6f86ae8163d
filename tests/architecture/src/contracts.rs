//! Every row of the contracts is cited by a test, or says why not.

use std::collections::{BTreeMap, BTreeSet};

use crate::{files, root};

const DOCUMENT: &str = "tests/emulators/contracts.md";

/// The states of a row, besides [`HELD`], that explain why no test cites it yet.
const REASONS: [&str; 2] = ["another key kind", "adapter of CloudHSM"];

const HELD: &str = "held";

/// How a citation begins, in Rust and in Python. Split in two, because this file is searched too.
const MARKS: [&str; 2] = [concat!("// ", "contract:"), concat!("# ", "contract:")];

/// A row of a table: its id and its state.
type Row = (String, String);

/// The rows of a document's tables that begin with an id.
fn rows(document: &str) -> Vec<Row> {
    let cells = |line: &str| line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let lines = document.lines().filter(|line| line.starts_with("| `")).map(cells);
    lines.map(|cells| (cells[0].trim_matches('`').to_owned(), cells[cells.len() - 1].clone())).collect()
}

/// The ids that a file cites.
fn citations(text: &str) -> impl Iterator<Item = &str> {
    let cited = text.lines().filter_map(|line| MARKS.iter().find_map(|mark| line.split_once(mark)).map(|(_, ids)| ids));
    cited.flat_map(|ids| ids.split(',').map(str::trim))
}

/// Folders in `tests/` whose sources are not tests: emulated behaviour has to be tested by others.
const SHOWN_BY_OTHERS: [&str; 4] = ["tests/emulators/", "tests/lab/", "tests/simulation/", "tests/token/"];

/// Whether a file is a test, as far as its path tells. Tests inside of code files are not recognised.
fn is_test(path: &str) -> bool {
    let inner = SHOWN_BY_OTHERS.iter().find_map(|room| path.strip_prefix(room)).unwrap_or(path);
    inner.split('/').rev().skip(1).any(|folder| folder == "tests")
}

/// The differences between a document's rows and the files that cite them.
fn complaints(rows: &[Row], files: &[(String, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut states = BTreeMap::new();
    for (id, state) in rows {
        if states.insert(id.as_str(), state.as_str()).is_some() {
            wrong.push(format!("`{id}` stands in the document twice"));
        }
        if state != HELD && !REASONS.contains(&state.as_str()) {
            wrong.push(format!("`{id}` has the state `{state}`, which is none"));
        }
    }
    let mut shown = BTreeSet::new();
    for (path, text) in files {
        for id in citations(text) {
            match states.get(id) {
                None => wrong.push(format!("{path}: `{id}` is cited, and is not in the document")),
                Some(&state) if is_test(path) => {
                    shown.insert(id);
                    if REASONS.contains(&state) {
                        wrong.push(format!("{path}: `{id}` is cited, so its state is not `{state}` any more"));
                    }
                }
                Some(_) => {}
            }
        }
    }
    let missing = states.iter().filter(|(id, state)| **state == HELD && !shown.contains(*id));
    wrong.extend(missing.map(|(id, _)| format!("`{id}` is held, and no test cites it")));
    wrong
}

#[test]
fn every_held_row_of_the_contracts_is_cited_by_a_test() {
    let rows = rows(&std::fs::read_to_string(root().join(DOCUMENT)).unwrap());
    assert!(rows.len() > 20, "the search finds nothing");
    let wrong = complaints(&rows, &files(&["rs", "py"]));
    assert!(wrong.is_empty(), "{DOCUMENT}:\n{}", wrong.join("\n"));
}

#[test]
fn each_way_in_which_rows_and_citations_part_is_found() {
    let row = |id: &str, state: &str| (id.to_owned(), state.to_owned());
    let file = |path: &str, ids: &str| (path.to_owned(), format!("fn f() {{}} {} {ids}\n", MARKS[0]));
    let rows = [row("aws.a.b", HELD), row("gcp.c.d", REASONS[0])];
    let find = |files: &[(String, String)]| complaints(&rows, files);
    assert_eq!(find(&[file("x/tests/a.rs", "aws.a.b")]), [""; 0]);
    assert_eq!(find(&[file("x/src/tests/a.rs", "aws.a.b"), file("x/src/a.rs", "gcp.c.d")]), [""; 0]);
    for path in ["x/src/tests.rs", "tests/emulators/core/src/a.rs"] {
        assert_eq!(find(&[file(path, "aws.a.b")]), ["`aws.a.b` is held, and no test cites it"], "{path}");
    }
    assert_eq!(find(&[file("tests/emulators/core/tests/a.rs", "aws.a.b")]), [""; 0]);
    assert_eq!(
        find(&[file("tests/clients/aws/a.py", "aws.a.b, aws.x")]),
        ["tests/clients/aws/a.py: `aws.x` is cited, and is not in the document"]
    );
    assert_eq!(
        find(&[file("tests/a.rs", "aws.a.b,gcp.c.d")]),
        ["tests/a.rs: `gcp.c.d` is cited, so its state is not `another key kind` any more"]
    );
    let rows = [row("azure.e.f", "soon"), row("gcp.c.d", REASONS[1]), row("gcp.c.d", REASONS[1])];
    assert_eq!(complaints(&rows, &[]), ["`azure.e.f` has the state `soon`, which is none", "`gcp.c.d` stands in the document twice"]);
}

#[test]
fn rows_are_read_from_every_table() {
    let document = "| id | rule | state |\n|---|---|---|\n| `aws.a.b` | x `y` | held |\n\n## B\n| `gcp.c.d` | z | another key kind |\n";
    let read = rows(document);
    assert_eq!(read, [("aws.a.b".to_owned(), "held".to_owned()), ("gcp.c.d".to_owned(), "another key kind".to_owned())]);
}
