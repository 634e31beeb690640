//! Content files: addressed by hash, complete or not there, within a quota, checked where read.

use protocol::crypto::document_hash;
use protocol::ids::{Hash32, to_hex};
use std::fs;
use std::path::PathBuf;
use storage::{BlobError, BlobStore};
use tempfile::TempDir;

fn fresh(quota: u64) -> (TempDir, BlobStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = BlobStore::open(&folder.path().join("blobs"), quota).expect("a store");
    (folder, blobs)
}

fn place(folder: &TempDir, hash: &Hash32) -> PathBuf {
    let hex = to_hex(&hash.0);
    folder.path().join("blobs").join(&hex[..2]).join(&hex[2..])
}

fn partial_files(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join("blobs/partial")).expect("a folder").count()
}

#[test]
fn content_is_found_by_its_hash_also_after_a_restart() {
    let (folder, blobs) = fresh(1000);
    let hash = blobs.put(b"a tale of two cities").unwrap();
    assert_eq!(hash, document_hash(b"a tale of two cities"));
    assert_eq!(blobs.put(b"a tale of two cities").unwrap(), hash);
    let empty = blobs.put(b"").unwrap();
    assert_eq!(blobs.used(), 20);
    assert!(place(&folder, &hash).is_file());

    let blobs = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap();
    assert_eq!(blobs.used(), 20);
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"a tale of two cities");
    assert_eq!(blobs.get(&empty).unwrap().unwrap(), b"");
    assert_eq!((blobs.len(&hash).unwrap(), blobs.contains(&hash).unwrap()), (Some(20), true));
    assert_eq!(blobs.read_range(&hash, 2, 4).unwrap().unwrap(), b"tale");
    assert_eq!(blobs.read_range(&hash, 20, 0).unwrap().unwrap(), b"");
    for (offset, len) in [(20, 1), (0, 21), (u64::MAX, 1), (1, u64::MAX)] {
        assert!(matches!(blobs.read_range(&hash, offset, len), Err(BlobError::Range { bytes: 20, .. })));
    }

    let absent = Hash32([1; 32]);
    assert_eq!(blobs.get(&absent).unwrap(), None);
    assert_eq!(blobs.read_range(&absent, 0, 1).unwrap(), None);
    assert_eq!((blobs.len(&absent).unwrap(), blobs.contains(&absent).unwrap()), (None, false));
}

#[test]
fn content_in_pieces_counts_only_when_it_is_whole_and_right() {
    let (folder, blobs) = fresh(100);
    let hash = document_hash(b"abcdef");

    let mut incoming = blobs.begin(hash, 6).unwrap();
    assert!(matches!(blobs.begin(hash, 6), Err(BlobError::Busy { .. })));
    incoming.write(b"abc").unwrap();
    assert_eq!((blobs.contains(&hash).unwrap(), blobs.used(), partial_files(&folder)), (false, 6, 1));
    assert!(matches!(incoming.write(b"defg"), Err(BlobError::Length { expected: 6, got: 7, .. })));
    incoming.write(b"def").unwrap();
    incoming.finish().unwrap();
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"abcdef");
    assert_eq!((blobs.used(), partial_files(&folder)), (6, 0));

    let other = document_hash(b"other");
    let mut wrong = blobs.begin(other, 5).unwrap();
    wrong.write(b"ohter").unwrap();
    let error = wrong.finish().unwrap_err();
    assert!(matches!(error, BlobError::Mismatch { expected, .. } if expected == other), "{error}");
    let mut short = blobs.begin(other, 5).unwrap();
    short.write(b"oth").unwrap();
    assert!(matches!(short.finish(), Err(BlobError::Length { expected: 5, got: 3, .. })));
    let dropped = blobs.begin(other, 5).unwrap();
    drop(dropped);
    assert_eq!((blobs.contains(&other).unwrap(), blobs.used(), partial_files(&folder)), (false, 6, 0));
}

#[test]
fn the_quota_holds_also_for_what_is_being_written() {
    let (_folder, blobs) = fresh(10);
    blobs.put(b"1234").unwrap();
    let incoming = blobs.begin(document_hash(b"12345"), 5).unwrap();
    let error = blobs.put(b"ab").unwrap_err();
    assert!(matches!(error, BlobError::Quota { needed: 2, used: 9, quota: 10 }), "{error}");
    assert!(matches!(blobs.begin(Hash32([1; 32]), u64::MAX), Err(BlobError::Quota { .. })));
    // What is here already needs no room.
    blobs.put(b"1234").unwrap();
    blobs.put(b"a").unwrap();
    drop(incoming);
    blobs.put(b"ab").unwrap();
    assert_eq!(blobs.used(), 7);
}

#[test]
fn damage_is_found_where_the_whole_is_read_and_healed_by_writing_anew() {
    let (folder, blobs) = fresh(30);
    let hash = blobs.put(b"a tale of two cities").unwrap();
    for damaged in ["a tale of two citieS", "a tale", "", "a tale of two cities and more"] {
        fs::write(place(&folder, &hash), damaged).unwrap();
        let error = blobs.get(&hash).unwrap_err();
        assert!(matches!(&error, BlobError::Damaged { path, .. } if *path == place(&folder, &hash)), "{error}");
    }
    fs::write(place(&folder, &hash), "a tale").unwrap();
    let blobs = BlobStore::open(&folder.path().join("blobs"), 30).unwrap();
    assert_eq!(blobs.used(), 6);
    assert_eq!(blobs.put(b"a tale of two cities").unwrap(), hash);
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"a tale of two cities");
    assert_eq!(blobs.used(), 20);
}

#[test]
fn what_was_left_incomplete_is_removed_and_what_is_foreign_is_refused() {
    let (folder, blobs) = fresh(1000);
    let hash = blobs.put(b"here").unwrap();
    fs::write(folder.path().join("blobs/partial").join(to_hex(&[7; 32])), "half").unwrap();
    let blobs = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap();
    assert_eq!((partial_files(&folder), blobs.used()), (0, 4));

    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(BlobStore::open(&file, 1000), Err(BlobError::Foreign { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    for name in ["blobs/thesis.txt", "blobs/zz", "blobs/aa"] {
        let foreign = folder.path().join(name);
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("note"), "mine").unwrap();
        let error = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap_err();
        assert!(matches!(error, BlobError::Foreign { .. }), "{error}");
        fs::remove_dir_all(&foreign).unwrap();
    }
    let blobs = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap();
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"here");
}

#[test]
fn many_threads_write_at_once() {
    let (_folder, blobs) = fresh(1_000_000);
    let contents: Vec<Vec<u8>> = (0..40_u8).map(|seed| vec![seed; 1000]).collect();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (blobs, contents) = (&blobs, &contents);
            scope.spawn(move || {
                for content in contents.iter().skip(worker).step_by(4) {
                    blobs.put(content).unwrap();
                }
            });
        }
    });
    assert_eq!(blobs.used(), 40_000);
    for content in contents {
        assert_eq!(blobs.get(&document_hash(&content)).unwrap().unwrap(), content);
    }
}
