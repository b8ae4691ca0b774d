//! The JSON Schema of the configuration (draft 2020-12), made from the settings' own types and comments.
//!
//! The program refuses every file that the schema refuses. Only the program knows the relations between keys.
//! Each place has its whole schema without references, so an editor shows the text of a key.

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
    // An absent section has its defaults, and any key may come from the environment.
    schema.remove("required");
    schema.to_value()
}

/// Removes `null`, which stands for an absent key in other formats than TOML, and the line breaks of comments.
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
