//! The JSON Schema of policy files, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use crate::wire::Document;

/// The JSON Schema (draft 2020-12) of one document of a policy file.
///
/// Caveats: a schema cannot check the order of fields, names in other documents, or whether a rule is stricter. `load` does.
#[must_use]
pub fn json_schema() -> Value {
    SchemaSettings::draft2020_12().with_transform(AbsentIsNotNull).into_generator().into_root_schema_for::<Document>().into()
}

/// Removes the `null` that schemars adds for an `Option`: a field may be left out, but must not be `null`.
#[derive(Clone)]
struct AbsentIsNotNull;

impl Transform for AbsentIsNotNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                for (word, value) in only {
                    object.entry(word).or_insert(value);
                }
            }
        }
    }
}
