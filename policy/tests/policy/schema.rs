//! The JSON Schema in the repository is the one that the types generate.

use std::path::Path;

use keyplane_policy::json_schema;

use crate::common::examples;

#[test]
fn the_schema_in_the_repository_is_the_one_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let mut now = serde_json::to_string_pretty(&json_schema()).unwrap();
    now.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    assert_eq!(now, std::fs::read_to_string(&path).unwrap(), "UPDATE=1 writes it anew");
}

#[test]
fn the_schema_is_of_the_draft_that_editors_know() {
    assert_eq!(json_schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn every_field_says_in_the_schema_what_it_is() {
    let schema = json_schema();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{field} has no description");
        }
        if name.ends_with("Document") {
            assert_eq!(definition["additionalProperties"], false, "{name}");
        }
    }
}

/// The documents as an editor sees them: JSON values, one by one.
fn values(text: &str) -> Vec<serde_json::Value> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options(text, options).unwrap_or_default()
}

#[test]
fn the_schema_takes_every_document_of_the_example_company() {
    let schema = jsonschema::draft202012::new(&json_schema()).unwrap();
    let documents: Vec<_> = examples().iter().flat_map(|(_, text)| values(text)).collect();
    assert!(documents.len() > 20, "only {} documents", documents.len());
    for document in documents {
        let complaint = schema.iter_errors(&document).next().map(|error| error.to_string());
        assert_eq!(complaint, None, "{document}");
    }
}

#[test]
fn the_schema_refuses_the_mistakes_that_one_document_shows() {
    let schema = jsonschema::draft202012::new(&json_schema()).unwrap();
    let transcript = include_str!("mistakes.md");
    let section = |title: &str| {
        let (_, rest) = transcript.split_once(&format!("\n## {title}\n")).unwrap();
        rest.split_once("\n## ").map_or(rest, |(section, _)| section).to_owned()
    };
    let mut taken = Vec::new();
    for case in [section("Documents"), section("Fields and values")].join("\n").split("```yaml\n").skip(1) {
        let (yaml, _) = case.split_once("```\n").unwrap();
        if values(yaml).iter().all(|document| schema.is_valid(document)) {
            taken.push(yaml.to_owned());
        }
    }
    // A pattern cannot express that a span of zero is refused.
    assert!(matches!(taken.as_slice(), [only] if only.contains("0d")), "{taken:#?}");
}
