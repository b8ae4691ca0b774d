//! The configuration file's text, and whether the files that it names can be used: a gateway should not
//! learn at its first connect, or at the one after a restart at night, that it cannot read its password.
//!
//! Of each file no more is read than it may have. What is made of a text is larger: at worst 600 times,
//! where each two bytes are a table, so a file of [`FILE_BYTES_MAX`] can take 600 MiB for a moment; one
//! full of entries takes 100 MiB (`tests/fuzz.rs` measures it). There is no bound at all where a text can
//! name a part of itself again and again, as YAML can: that is refused.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use yaml_rust2::parser::{Event, Parser};

use super::{Error, Problem};
use crate::mqtt::options::CREDENTIAL_BYTES_MAX;
use crate::mqtt::{self, tls};
use crate::pipeline::plan::{Broker, Plan};

/// Bytes of a configuration file. As many entries as there may be take less.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The text of a configuration file.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let unreadable = |error| Error::Unreadable { path: path.to_owned(), error };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// The deepest nesting of a YAML text: the library that reads it recurses.
const YAML_DEPTH_MAX: usize = 64;

/// The first line of a YAML text that cannot be read in bounded memory, and what is to be done about it.
pub(super) fn beyond_bounds(text: &str) -> Option<(usize, &'static str)> {
    let mut parser = Parser::new_from_str(text);
    let mut depth: usize = 0;
    loop {
        // What is no YAML is told by whoever reads it.
        let (event, place) = parser.next_token().ok()?;
        match event {
            Event::Alias(_) => {
                return Some((place.line(), "names another value (*name): write the value itself"));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if depth == YAML_DEPTH_MAX => {
                return Some((place.line(), "is nested too deeply"));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            Event::StreamEnd => return None,
            _ => {}
        }
    }
}

/// What is wrong with the files of a plan.
pub(super) fn problems(plan: &Plan) -> impl Iterator<Item = Problem> {
    plan.brokers().flat_map(|(key, broker)| of_broker(key, broker))
}

fn of_broker(key: &str, broker: &Broker) -> Vec<Problem> {
    let unusable = |name: &str, path: &str, why: &str| {
        let text = format!("{path}: {why}");
        Problem { key: format!("{key}.{name}"), text, variable: None }
    };
    let secret = broker.password_file.as_deref().and_then(|path| {
        let why = password(path).err()?;
        Some(unusable("password_file", &path.display().to_string(), &why))
    });
    let of_tls = tls::problems(&broker.tls).into_iter().map(|error| match error {
        mqtt::Error::Credentials { what, path, problem } => {
            unusable(&format!("tls.{what}"), &path, &problem)
        }
        error => Problem { key: format!("{key}.tls"), text: error.to_string(), variable: None },
    });
    secret.into_iter().chain(of_tls).collect()
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
