//! Tests of the spool on a disk that works.

use super::tables::FORMAT;
use super::*;

fn entry(n: u32, bytes: usize) -> Entry {
    let body = vec![u8::try_from(n % 251).unwrap(); bytes];
    Entry { records: n, head: n.to_le_bytes().to_vec(), body: body.into() }
}

fn open(path: &Path) -> Result<(Spool, Option<PathBuf>), Error> {
    Spool::open(path, DiskSize::bytes(BYTES_MIN), Timestamp::from_millis(1_763_796_650_692))
}

#[test]
fn what_cannot_be_a_spool_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool.redb");
    let message = |path: &Path| open(path).unwrap_err().to_string();

    std::fs::write(&file, "x".repeat(400)).unwrap();
    let error = message(folder.path());
    assert!(error.contains("is not a spool (") && error.contains("move it away"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), vec![b'x'; 400]);
    assert!(message(&file).contains("is not a folder"));
    let error = message(&file.join("below"));
    assert!(error.contains("cannot use") && error.contains("another spool.path"), "{error}");

    std::fs::remove_file(&file).unwrap();
    let other = redb::TableDefinition::<u64, u64>::new("other");
    let write = redb::Database::create(&file).unwrap().begin_write().unwrap();
    write.open_table(other).unwrap();
    write.commit().unwrap();
    assert!(message(folder.path()).contains("it has a table \"other\""));

    std::fs::remove_file(&file).unwrap();
    let (mut spool, _) = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Locked { path }) if path == file));
    spool.append(&[entry(1, 10)]).unwrap();
    drop(spool);
    let write = redb::Database::open(&file).unwrap().begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().insert("format", FORMAT + 1).unwrap();
    write.commit().unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Newer { found: 2, known: 1, .. })));
    let error = message(folder.path());
    assert!(error.contains("format 2 and holds 1 batches") && error.contains("run the newer"));
}

#[test]
fn a_damaged_file_is_set_aside_under_a_name_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool.redb");
    let names = [
        "spool.corrupt-2025-11-22T07-30-50.692Z.redb",
        "spool.corrupt-2025-11-22T07-30-50.692Z-2.redb",
    ];
    for name in names {
        let (mut spool, _) = open(folder.path()).unwrap();
        spool.append(&[entry(1, 20_000)]).unwrap();
        drop(spool);
        let mut bytes = std::fs::read(&file).unwrap();
        let body = bytes.windows(100).position(|it| it == [1; 100]).unwrap();
        bytes[body + 50] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let (spool, found) = open(folder.path()).unwrap();
        let aside = folder.path().join(name);
        assert_eq!(found, Some(aside.clone()));
        assert_eq!((spool.entries(), spool.bytes()), (0, 0));
        assert_eq!(std::fs::read(aside).unwrap(), bytes);
    }
    // Cut short, and never written: damaged. Empty: new.
    for bytes in [&[b'r'; 20][..], &[0; 5000]] {
        std::fs::write(&file, bytes).unwrap();
        assert!(open(folder.path()).unwrap().1.is_some());
    }
    std::fs::write(&file, "").unwrap();
    assert_eq!(open(folder.path()).unwrap().1, None);
}

#[test]
fn a_file_that_was_exchanged_is_not_taken_for_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path()).unwrap();
    spool.append(&[entry(1, 10)]).unwrap();
    spool.tables = None;
    std::fs::remove_file(folder.path().join("spool.redb")).unwrap();
    assert!(matches!(spool.next(None), Err(Error::Damaged { .. })));
    assert!(matches!(spool.append(&[entry(1, 10)]), Err(Error::Damaged { .. })));
}

#[test]
fn a_file_that_loses_its_name_is_written_anew_with_all_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let (mut spool, _) = open(&path).unwrap();
    let keys = spool.append(&[entry(1, 10), entry(2, 3_000_000), entry(3, 0)]).unwrap();
    spool.remove(&[keys]).unwrap();
    for (n, gone) in [(4, folder.path().join("a")), (5, path.join("spool.redb"))] {
        if gone.is_dir() {
            std::fs::remove_dir_all(gone).unwrap();
        } else {
            std::fs::rename(&gone, folder.path().join("elsewhere")).unwrap();
        }
        assert_eq!(spool.append(&[entry(n, 100)]).unwrap(), keys.plus(u64::from(n) - 1));
        assert_eq!(spool.renewed(), Some(&*path.join("spool.redb")));
        assert_eq!(spool.renewed(), None);
    }
    let held = (spool.bytes(), spool.entries(), spool.records());
    drop(spool);
    let (mut spool, aside) = open(&path).unwrap();
    assert_eq!((aside, (spool.bytes(), spool.entries(), spool.records())), (None, held));
    let mut after = None;
    for (n, bytes) in [(2, 3_000_000), (3, 0), (4, 100), (5, 100)] {
        let (key, read) = spool.next(after).unwrap().unwrap();
        assert!(key == keys.plus(u64::from(n) - 1) && read == entry(n, bytes), "{key}");
        after = Some(key);
    }
    assert_eq!(spool.next(after).unwrap(), None);
}

#[test]
fn nothing_is_taken_while_another_file_has_the_name_and_that_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool.redb");
    let (mut spool, _) = open(folder.path()).unwrap();
    let first = spool.append(&[entry(1, 10)]).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "somebody's").unwrap();
    for entries in [vec![entry(2, 20), entry(3, 30)], vec![entry(2, 20)]] {
        let refused = spool.append(&entries).unwrap_err();
        assert!(matches!(&refused, Error::Adrift { path, .. } if *path == file), "{refused}");
        assert!(refused.to_string().contains("move away what is there"), "{refused}");
        assert_eq!((spool.entries(), spool.records()), (1, 1));
        assert_eq!(spool.next(None).unwrap(), Some((first, entry(1, 10))), "still read");
        assert_eq!(spool.next(Some(first)).unwrap(), None, "what was refused is not there");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"somebody's");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(spool.append(&[entry(2, 20)]).unwrap(), first.plus(1));
    drop(spool);
    let (mut spool, _) = open(folder.path()).unwrap();
    assert_eq!((spool.entries(), spool.records()), (2, 3));
    assert_eq!(spool.next(Some(first)).unwrap(), Some((first.plus(1), entry(2, 20))));
}

#[test]
fn what_does_not_fit_is_refused_and_the_disk_stays_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path()).unwrap();
    let large = entry(1, ENTRY_BYTES_MAX);
    assert!(matches!(spool.append(&[large]), Err(Error::TooLarge { .. })));
    let mut keys = std::collections::VecDeque::new();
    for round in 0..300_usize {
        let sizes = [100, 3000, 50_000, 20_000 + round * 900].map(|bytes| entry(1, bytes));
        let before = (spool.bytes(), spool.entries());
        match spool.append(&sizes) {
            Ok(first) => keys.extend((0..4).map(|n| first.plus(n))),
            Err(Error::Full { bytes, room }) => {
                assert!(bytes > room && !spool.fits(bytes));
                assert_eq!(before, (spool.bytes(), spool.entries()));
                let oldest: Vec<Key> = keys.drain(..8).collect();
                spool.remove(&oldest).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(spool.bytes() <= spool.capacity);
        let long = std::fs::metadata(folder.path().join("spool.redb")).unwrap().len();
        assert!(long <= BYTES_MIN / 16 * 17 + 65_536, "{long} in round {round}");
    }
    spool.remove(keys.make_contiguous()).unwrap();
    assert_eq!((spool.bytes(), spool.records()), (0, 0));
    let left = std::fs::metadata(folder.path().join("spool.redb")).unwrap().len();
    assert!(left < 256 << 10, "an empty spool gives its space back: {left}");
}

#[test]
fn what_is_appended_comes_out_in_order_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let open = || Spool::open(&path, DiskSize::bytes(64 << 20), Timestamp::from_millis(0)).unwrap();
    let (mut spool, found) = open();
    assert_eq!((found, spool.entries(), spool.bytes()), (None, 0, 0));
    let first = spool.append(&[entry(1, 10), entry(2, 50_000)]).unwrap();
    assert_eq!(spool.append(&[entry(3, 0)]).unwrap(), first.plus(2));
    let bytes = spool.bytes();
    drop(spool);
    let (mut spool, found) = open();
    assert_eq!((found, spool.entries(), spool.records()), (None, 3, 6));
    assert_eq!(spool.bytes(), bytes);
    let mut heads = Vec::new();
    spool.heads(|key, records, head| heads.push((key, records, head.to_vec()))).unwrap();
    assert_eq!(heads[2], (first.plus(2), 3, vec![3, 0, 0, 0]));
    assert_eq!(spool.next(None).unwrap(), Some((first, entry(1, 10))));
    assert_eq!(spool.next(Some(first)).unwrap(), Some((first.plus(1), entry(2, 50_000))));
    spool.remove(&[first, first.plus(2), first.plus(9)]).unwrap();
    assert_eq!((spool.entries(), spool.records()), (1, 2));
    assert_eq!(spool.next(Some(first.plus(1))).unwrap(), None);
    spool.remove(&[first.plus(1)]).unwrap();
    assert_eq!((spool.entries(), spool.bytes()), (0, 0));
    drop(spool);
    assert_eq!(open().0.append(&[entry(4, 4)]).unwrap(), first.plus(3), "keys are not reused");
}

/// While the file is open the engine trusts its pages: what it has not in its cache is read as it is.
#[cfg(unix)]
#[test]
fn a_body_that_changes_on_the_disk_is_told_and_not_handed_out() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path()).unwrap();
    let first = spool.append(&[entry(1, 100_000)]).unwrap();
    let more = 2 * file::CACHE_BYTES / 1_000_000;
    for n in (2..).take(more) {
        spool.append(&[entry(n, 1_000_000)]).unwrap();
    }
    let path = folder.path().join("spool.redb");
    let bytes = std::fs::read(&path).unwrap();
    let body = bytes.windows(100).position(|it| it == [1; 100]).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[7], body as u64 + 50).unwrap();
    let read = spool.next(None);
    assert!(matches!(read, Err(Error::Corrupt { key, records: 1 }) if key == first), "{read:?}");
    let (key, entry_behind) = spool.next(Some(first)).unwrap().unwrap();
    assert_eq!((key, entry_behind), (first.plus(1), entry(2, 1_000_000)), "the others are whole");
}

/// Appending would write over what is there.
#[test]
fn a_file_whose_next_key_is_behind_its_entries_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path()).unwrap();
    spool.append(&[entry(1, 10), entry(2, 10)]).unwrap();
    drop(spool);
    let file = redb::Database::open(folder.path().join("spool.redb")).unwrap();
    let write = file.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().insert("next", 2).unwrap();
    write.commit().unwrap();
    drop(file);
    let (spool, aside) = open(folder.path()).unwrap();
    assert!(aside.is_some() && spool.entries() == 0);
}

#[test]
fn an_empty_spool_gives_its_space_back_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path()).unwrap();
    for round in 0..3 {
        let keys: Vec<Key> =
            (0..5).map(|_| spool.append(&[entry(1, 1_000_000)]).unwrap()).collect();
        spool.remove(&keys).unwrap();
        let left = std::fs::metadata(folder.path().join("spool.redb")).unwrap().len();
        assert!(left < 256 << 10, "{left} in round {round}");
    }
}

#[test]
fn a_file_that_could_not_be_written_anew_leaves_its_name_free() {
    let folder = tempfile::tempdir().unwrap();
    let place = InFolder::new(folder.path()).unwrap();
    let failed = place.renew(&mut |_| Err(redb::Error::Corrupted("no".to_owned())));
    assert!(failed.is_err() && !place.path().exists());
}

#[cfg(unix)]
#[test]
fn what_is_spooled_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let (spool, _) = open(&path).unwrap();
    for (path, expected) in [(&path, 0o700), (&path.join("spool.redb"), 0o600)] {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{}", path.display());
    }
    drop(spool);
}
