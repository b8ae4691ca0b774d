//! The text of the configuration file, and checks of the files that it names. A gateway should not learn at its
//! first connect, or at a restart at night, that it cannot read its password.
//!
//! No file is read beyond its limit. The parsed value is larger than the text: at worst 600 times, if each two
//! bytes are a table. So a file of [`FILE_BYTES_MAX`] can take 600 MiB for a moment; one full of entries takes
//! 100 MiB (`tests/fuzz.rs` measures it). Neither TOML nor JSON can refer to a part of itself, so nothing grows
//! more.

use std::io::{self, Read};
use std::path::Path;

use super::{Error, Problem};
use crate::mqtt::options::{BYTE_ORDER_MARK, CREDENTIAL_BYTES_MAX, open_file};
use crate::mqtt::{self, tls};
use crate::plan::token::Token;
use crate::plan::{Broker, Plan};
use crate::sink;

/// Bytes of a configuration file. The largest number of entries takes less.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The text of a configuration file.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let unreadable = |error| Error::Unreadable { path: path.to_owned(), error };
    let mut text = String::new();
    let file = open_file(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok(text.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(text))
}

/// Bytes of the file with the prefix of the client ids.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// Reads the prefixes of the client ids from their files into the plan; returns the problems of those files.
pub(super) fn take_client_ids(plan: &mut Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let output = if let sink::Kind::Mqtt(settings) = &mut plan.output.sink {
        settings.broker.as_deref_mut()
    } else {
        None
    };
    let output = output.map(|it| ("output.mqtt.broker", it));
    for (key, broker) in std::iter::once(("broker", &mut plan.broker)).chain(output) {
        let Some(path) = &broker.client_id_file else { continue };
        match client_id(path) {
            Ok(id) => broker.client_id = Some(id),
            Err(why) => {
                let text = format!("{}: {why}", path.display());
                problems.push(Problem {
                    key: format!("{key}.client_id_file"),
                    text,
                    ..Problem::default()
                });
            }
        }
    }
    problems
}

fn client_id(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(head(path, CLIENT_ID_BYTES_MAX + 1)?);
    let text = text.ok().filter(|it| it.len() <= CLIENT_ID_BYTES_MAX);
    let id = text.as_ref().map(|it| it.trim_start_matches(BYTE_ORDER_MARK).trim());
    let printable = |c: char| !c.is_control() && !c.is_whitespace();
    match id.filter(|it| !it.is_empty() && it.chars().all(printable)) {
        Some(id) => Ok(id.to_owned()),
        None => Err(format!(
            "is no client id: write one word of up to {CLIENT_ID_BYTES_MAX} bytes into it"
        )),
    }
}

/// The problems of the files that a plan names.
pub(super) fn problems(plan: &Plan) -> impl Iterator<Item = Problem> {
    let (sink, kind) = (plan.output.sink.declared(), plan.output.sink.name());
    let output = sink.unusable().into_iter().map(move |(key, text)| Problem {
        key: format!("output.{kind}.{key}"),
        text,
        ..Problem::default()
    });
    let brokers = plan.brokers().flat_map(|(key, broker)| of_broker(key, broker));
    brokers.chain(output).chain(of_token(plan))
}

/// Without its token HTTP would refuse everyone.
fn of_token(plan: &Plan) -> Option<Problem> {
    let path = plan.http.token_file.as_deref()?;
    let text = match head(path, 1) {
        Ok(_) => Token::read(path).err()?,
        Err(why) => format!("{}: {why}", path.display()),
    };
    Some(Problem { key: "http.token_file".into(), text, ..Problem::default() })
}

fn of_broker(key: &str, broker: &Broker) -> Vec<Problem> {
    let unusable = |name: &str, path: &str, why: &str| {
        let text = format!("{path}: {why}");
        Problem { key: format!("{key}.{name}"), text, ..Problem::default() }
    };
    let secret = broker.password_file.as_deref().and_then(|path| {
        let why = password(path).err()?;
        Some(unusable("password_file", &path.display().to_string(), &why))
    });
    let of_tls = tls::problems(&broker.tls).into_iter().map(|error| match error {
        mqtt::Error::Credentials { what, path, problem } => {
            unusable(&format!("tls.{what}"), &path, &problem)
        }
        error => {
            Problem { key: format!("{key}.tls"), text: error.to_string(), ..Problem::default() }
        }
    });
    secret.into_iter().chain(of_tls).collect()
}

/// The beginning of a file, of at most `bytes_max`.
fn head(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    let read = open_file(path).and_then(|file| file.take(bytes_max as u64).read_to_end(&mut head));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist: create it, or correct the path".into(),
        io::ErrorKind::PermissionDenied => {
            "cannot be read: permit it to the user that the gateway runs as".into()
        }
        io::ErrorKind::IsADirectory => "is a folder: name the file in it".into(),
        io::ErrorKind::InvalidInput => {
            "is a pipe, a socket or a device: name a file, which is read again at each connect"
                .into()
        }
        _ => format!("cannot be read ({error}): name a file that can"),
    })?;
    Ok(head)
}

fn password(path: &Path) -> Result<(), String> {
    // One byte more than MQTT allows, and what some editors write before and behind it.
    let head = head(path, CREDENTIAL_BYTES_MAX + 3 + BYTE_ORDER_MARK.len_utf8())?;
    let Ok(text) = String::from_utf8(head) else {
        return Err("is no UTF-8 text: write the password into it anew".into());
    };
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
    if text.trim_end_matches(['\r', '\n']).len() > CREDENTIAL_BYTES_MAX {
        let text = format!("is too long: a password has {CREDENTIAL_BYTES_MAX} bytes at most");
        return Err(text);
    }
    Ok(())
}
