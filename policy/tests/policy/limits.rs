//! Limits, and what may surround the documents of a text.

use keyplane_model::Problem;
use keyplane_policy::{MAX_BYTES, MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_FILES, Policy, load};

fn read(text: &str) -> Result<Policy, Vec<Problem>> {
    load(&[("base.yaml".to_owned(), include_str!("base.yaml").to_owned()), ("team.yaml".to_owned(), text.to_owned())], None)
}

fn messages(text: &str) -> Vec<String> {
    read(text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn key(name: &str) -> String {
    let placement = format!("{{ destination: prod-us-east-1, alias: {name}, algorithm: aes-256 }}");
    format!("key: {name}\nprofile: standard\npurpose: encrypt\nplacements: [{{ aws: {placement} }}]\n")
}

#[test]
fn a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused() {
    let mut text = key("db");
    text.push('#');
    text.push_str(&"x".repeat(MAX_FILE_BYTES - text.len()));
    assert_eq!(read(&text).map(|policy| policy.intent.keys.len()), Ok(2));
    text.push('x');
    assert_eq!(messages(&text), [format!("team.yaml:1:1: the file has {} bytes, more than 1048576: make several of it", text.len())]);
}

#[test]
fn as_many_documents_as_allowed_are_counted_and_one_more_is_refused() {
    let text = "--- x\n".repeat(MAX_DOCUMENTS);
    assert_eq!(messages(&text).len(), MAX_DOCUMENTS);
    assert_eq!(messages(&format!("{text}--- x\n")), ["team.yaml:1:1: the file has 10001 documents, more than 10000: make several of it"]);
}

#[test]
fn too_many_files_are_refused() {
    let files = vec![("a.yaml".to_owned(), String::new()); MAX_FILES + 1];
    let problems = load(&files, None).unwrap_err();
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.yaml:1:1: there are 1001 policy files, more than 1000"]);
}

#[test]
fn files_that_are_too_much_together_are_refused() {
    let comment = format!("#{}", "x".repeat(MAX_FILE_BYTES - 1));
    let files = |count| (0..count).map(|number| (format!("{number:02}.yaml"), comment.clone())).collect::<Vec<_>>();
    let most = MAX_BYTES / MAX_FILE_BYTES;
    assert!(load(&files(most), None).is_ok());
    let problems = load(&files(most + 1), None).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["12.yaml:1:1: the policy files have more than 12582912 bytes together, counted up to this one"]);
}

#[test]
fn nothing_is_a_policy_that_wants_nothing() {
    for text in ["", "\n\n", "# only a comment", "---\n---\n...\n", "---\n# a comment\n---\n\n", "\u{feff}", "~\n", "--- null\n"] {
        let policy = load(&[("empty.yaml".to_owned(), text.to_owned())], None).unwrap();
        assert_eq!((policy.intent.keys.len(), policy.warnings.len()), (0, 0), "{text:?}");
    }
}

#[test]
fn documents_are_told_apart_by_their_markers_and_keep_their_lines() {
    let (one, two) = (key("one"), key("two"));
    for text in [
        format!("{one}---\n{two}"),
        format!("---\n{one}...\n---\n{two}...\n"),
        format!("%YAML 1.2\n---\n{one}---\n{two}"),
        format!("# who\n---\n# what\n{one}\n--- # next\n{two}"),
        format!("\u{feff}{one}---\r\n{}", two.replace('\n', "\r\n")),
    ] {
        let policy = read(&text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let line = |name: &str| policy.explain(&name.parse().unwrap()).unwrap().location.line;
        let expected = |name: &str| 1 + text.lines().position(|row| row.ends_with(&format!("key: {name}"))).unwrap();
        assert_eq!((line("one") as usize, line("two") as usize), (expected("one"), expected("two")), "{text}");
    }
}

#[test]
fn a_marker_inside_of_a_document_is_none() {
    let text = key("db").replace("key: db", "key: &name\n  db # --- not here\n ...");
    assert_eq!(messages(&text).len(), 1, "an indented `...` ends no document: it belongs to the text before it");
    let text = key("db").replace("alias: db", "alias: 'db---db'");
    assert_eq!(read(&text).map(|policy| policy.intent.keys.len()), Ok(2));
}

#[test]
fn an_alias_stands_for_its_anchor_and_is_placed_where_it_is_used() {
    let with = |destination: &str| {
        let anchored = format!("locations: [&home {destination}]\n");
        key("db").replace("destination: prod-us-east-1", "destination: *home").replace("placements", &format!("{anchored}placements"))
    };
    assert_eq!(read(&with("prod-us-east-1")).map(|policy| policy.intent.keys.len()), Ok(2));
    let problems = messages(&with("prod-us-east-1").replace("*home", "*home, owner: me"));
    assert!(matches!(problems.as_slice(), [only] if only.starts_with("team.yaml:5:43: ")), "{problems:?}");
    let problems = messages(&with("NOWHERE"));
    assert!(matches!(problems.as_slice(), [_, used] if used.starts_with("team.yaml:5:36: ")), "{problems:?}");
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let text = key("db").replace("prod-us-east-1", "\"ärger\"").replace("aes-256", "aes-265");
    let columns: Vec<u32> = read(&text).unwrap_err().iter().map(|problem| problem.location.as_ref().unwrap().column).collect();
    assert_eq!(columns, [36, 67]);
}

#[test]
fn a_chain_of_profiles_may_be_long() {
    let mut text = String::from("profile: p0\nextends: standard\n");
    for number in 1..5_000 {
        text.push_str(&format!("---\nprofile: p{number}\nextends: p{}\n", number - 1));
    }
    assert_eq!(read(&text).map(|policy| policy.intent.profiles.len()), Ok(5_002));
}

/// A link in the policy folder can lead to any file. Messages go into logs and to whoever runs a pipeline.
#[test]
fn nothing_of_a_text_that_is_no_policy_is_quoted() {
    for text in [
        "48151623\n",
        "0x48151623\n",
        "-48151623\n",
        "4.8151623\n",
        "\"48151623\"\n",
        "wJalr48151623EXAMPLEKEY\n",
        "'48151623",
        "@48151623\n",
        "!48151623 text\n",
        "&48151623 text\n",
        "*48151623\n",
        "[48151623\n",
        "[48151623]\n",
        "48151623: value\n",
        "48151623\nname: value\n",
        "{ 48151623: 1, 48151623: 2 }\n",
        "{ \"private_key\": \"48151623\", \"type\": \"service_account\" }\n",
        "[default]\naws_secret_access_key = 48151623\n",
        "password: 48151623\npassword: 48151623\n",
        "? [48151623]\n: x\n",
        "%48151623 x\n--- x\n",
        "%YAML 48151623\n--- x\n",
        "%TAG 48151623 x\n--- x\n",
        "<<: { 48151623: x }\n",
        "!!int 48151623x\n",
        "-----BEGIN PRIVATE KEY-----\n48151623\n-----END PRIVATE KEY-----\n",
        "\"\\48151623\"\n",
        "root:x:48151623:0::/:\n",
        "\t48151623\n",
        "\u{7}48151623\n",
        "--- |\n 48151623\n",
        "key: db\n---\n48151623\n",
    ] {
        let told = messages(text);
        assert!(told.iter().all(|message| !message.contains("8151623")), "{text:?} is quoted: {told:?}");
    }
}

#[test]
fn a_private_key_is_never_shown() {
    let text = "approver: carol\ngroups: [security]\nkeys:\n  - |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    b3BlbnNzaC1rZXk\n";
    assert!(messages(text).iter().all(|message| !message.contains("b3BlbnNzaC1rZXk")), "{:?}", messages(text));
}
