//! The JSON Schema of the configuration (draft 2020-12), made from the settings' own types and comments.
//!
//! A file that it refuses the program refuses too; how keys relate to each other only the program knows. Each
//! place holds its whole schema, no reference, so that an editor has the text of a key at hand.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::Written;

/// The schema of a configuration file.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    let generator = settings.with_transform(RecursiveTransform(tidy)).into_generator();
    let mut schema = generator.into_root_schema_for::<Written<'_>>();
    // A section that is absent is at its defaults, and any key may come from the environment.
    schema.remove("required");
    schema.to_value()
}

/// Takes out what means an absent key in other formats than TOML, which has no `null`, and the breaks of
/// comments' lines.
fn tidy(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(mut choices)) = schema.remove("anyOf") {
        choices.retain(|it| it.get("type").is_none_or(|it| it != "null"));
        match (choices.len(), choices.pop()) {
            (1, Some(Value::Object(only))) => only.into_iter().for_each(|(key, value)| {
                schema.ensure_object().entry(key).or_insert(value);
            }),
            (_, last) => {
                choices.extend(last);
                schema.insert("anyOf".into(), choices.into());
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}
