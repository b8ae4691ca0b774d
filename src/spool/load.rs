//! Opens a database and counts its entries; translates the storage engine's errors.

use std::io;

use super::file::{DatabaseFile, guarded};
use super::tables::{self, FORMAT, Tables};
use super::{Error, Held};

/// Opens a database and counts its entries.
pub(super) fn load(place: &dyn DatabaseFile) -> Result<(Tables, u64, Held), Error> {
    let opened = guarded(|| {
        let opened = Tables::open(place.open()?)?;
        let held = match &opened {
            tables::Opened::Tables(tables, next) => {
                let mut last = 0;
                let held = tables.scan(&mut |key, _| last = key)?;
                if last >= *next {
                    // An append would overwrite it.
                    return Err(redb::Error::Corrupted(format!("entry {last} is beyond {next}")));
                }
                held
            }
            _ => Held::default(),
        };
        Ok((opened, held))
    });
    let path = place.path().to_owned();
    match opened.map_err(|error| error_of(place, error))? {
        (tables::Opened::Tables(tables, next), held) => Ok((tables, next, held)),
        (tables::Opened::Foreign(found), _) => Err(Error::Foreign { path, found }),
        (tables::Opened::Newer(found, batches), _) => {
            Err(Error::Newer { path, found, known: FORMAT, batches })
        }
    }
}

/// Translates an error of the storage engine.
pub(super) fn error_of(place: &dyn DatabaseFile, error: redb::Error) -> Error {
    let path = place.path().to_owned();
    let damaged = |what| Error::Damaged { path: path.clone(), what };
    match error {
        redb::Error::Corrupted(what) => damaged(what),
        // A file that was opened has our tables, and is as long as its header says.
        redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => damaged(error.to_string()),
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged(error.to_string())
        }
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Error::Foreign { path, found: error.to_string() }
        }
        redb::Error::UpgradeRequired(_) => Error::Foreign { path, found: error.to_string() },
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            Error::Locked { path }
        }
        redb::Error::Io(error) => Error::Disk(error),
        other => Error::Disk(io::Error::other(other)),
    }
}
