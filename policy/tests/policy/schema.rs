//! The JSON Schema in the repository is the one that the types generate. `tests/clients/schema` has it judged by a validator.

use std::path::Path;

use keyplane_policy::json_schema;

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
