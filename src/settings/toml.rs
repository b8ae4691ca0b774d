//! Settings as a file that would give them.

use serde_json::{Map, Value};

use super::{SECTIONS, Settings};

impl Settings {
    /// The effective configuration as TOML, without any secret: a password is only ever named by
    /// its file.
    pub fn to_toml(&self) -> String {
        let section = |name: &str, value: Value| (name.to_owned(), value);
        let json = |value: serde_json::Result<Value>| value.unwrap_or(Value::Null);
        let plan = &self.plan;
        let sections = Map::from_iter([
            section("gateway", json(serde_json::to_value(&plan.gateway))),
            section("broker", json(serde_json::to_value(&plan.broker))),
            section("sensors", json(serde_json::to_value(&plan.sensors))),
            section("queue", json(serde_json::to_value(plan.queue))),
            section("batch", json(serde_json::to_value(plan.batch))),
            section("output", json(serde_json::to_value(&plan.output))),
            section("spool", json(serde_json::to_value(&plan.spool))),
            section("http", json(serde_json::to_value(plan.http))),
            section("log", json(serde_json::to_value(&self.log))),
        ]);
        let mut out = String::new();
        for name in SECTIONS {
            if let Some(Value::Object(table)) = sections.get(name) {
                write_table(&mut out, name, table);
            }
        }
        out
    }
}

/// Writes a table: its own values first, then the tables in it.
fn write_table(out: &mut String, name: &str, table: &Map<String, Value>) {
    let values = table.iter().filter(|(_, value)| !value.is_object() && !value.is_null());
    let lines: Vec<String> = values.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let tables = table.iter().filter_map(|(key, value)| Some((key, value.as_object()?)));
    if !lines.is_empty() || table.is_empty() && name.contains('.') {
        out.extend(["[", name, "]\n", &lines.concat(), "\n"]);
    }
    for (key, inner) in tables {
        write_table(out, &format!("{name}.{key}"), inner);
    }
}
