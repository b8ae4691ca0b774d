//! Whether the files that the settings name can be used: a gateway should not learn at its first
//! connect, or at the one after a restart at night, that it cannot read its password.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Problem;
use crate::pipeline::plan::{Broker, CREDENTIAL_BYTES_MAX, Plan};

/// What is wrong with the files of a plan.
pub(super) fn problems(plan: &Plan) -> impl Iterator<Item = Problem> {
    plan.brokers().flat_map(|(key, broker)| of_broker(key, broker))
}

fn of_broker(key: &str, broker: &Broker) -> Vec<Problem> {
    let tls = &broker.tls;
    let files = [
        ("password_file", &broker.password_file, password as fn(&Path) -> Result<(), String>),
        ("tls.ca_file", &tls.ca_file, readable),
        ("tls.cert_file", &tls.cert_file, readable),
        ("tls.key_file", &tls.key_file, readable),
    ];
    let wrong = files.into_iter().filter_map(|(name, path, examine)| {
        let path = path.as_deref()?;
        let why = examine(path).err()?;
        let text = format!("{}: {why}", path.display());
        Some(Problem { key: format!("{key}.{name}"), text, variable: None })
    });
    wrong.collect()
}

/// The beginning of a file, of at most so many bytes.
fn head(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max as u64).read_to_end(&mut head));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist: create it, or correct the path".into(),
        io::ErrorKind::PermissionDenied => {
            "cannot be read: permit it to the user that the gateway runs as".into()
        }
        io::ErrorKind::IsADirectory => "is a folder: name the file in it".into(),
        _ => format!("cannot be read ({error}): name a file that can"),
    })?;
    Ok(head)
}

fn readable(path: &Path) -> Result<(), String> {
    let is_empty = head(path, 1)?.is_empty();
    if is_empty { Err("is empty: it must hold PEM".into()) } else { Ok(()) }
}

fn password(path: &Path) -> Result<(), String> {
    // One more than MQTT allows, and the line's end.
    let head = head(path, CREDENTIAL_BYTES_MAX + 3)?;
    let Ok(text) = String::from_utf8(head) else {
        return Err("is no UTF-8 text: write the password into it anew".into());
    };
    if text.trim_end_matches(['\r', '\n']).len() > CREDENTIAL_BYTES_MAX {
        let text = format!("is too long: a password has {CREDENTIAL_BYTES_MAX} bytes at most");
        return Err(text);
    }
    Ok(())
}
