//! Content files: addressed by hash, complete or not there, within a quota, checked where read.

use protocol::crypto::document_hash;
use protocol::ids::{Hash32, to_hex};
use protocol::slice::{Grain, Sliced, open, outboard_bytes};
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
    // What is uploaded leaves room to what is fetched.
    let (_folder, own) = fresh(10);
    let uploads = own.leaving(4);
    let hash = uploads.put(b"sixsix").unwrap();
    assert!(matches!(uploads.put(b"x"), Err(BlobError::Quota { needed: 1, used: 6, quota: 6 })));
    assert_eq!(uploads.put(b"sixsix").unwrap(), hash, "what is here needs no room");
    let mut fetched = uploads.resume(document_hash(b"four"), 4).unwrap();
    fetched.write(b"four").and_then(|()| fetched.finish()).unwrap();
    assert_eq!(own.used(), 10);
    // What is here already needs no room.
    blobs.put(b"1234").unwrap();
    blobs.put(b"a").unwrap();
    drop(incoming);
    blobs.put(b"ab").unwrap();
    assert_eq!(blobs.used(), 7);
}

#[test]
fn damage_is_found_where_the_whole_is_read_and_what_is_damaged_is_missing_then() {
    let (folder, blobs) = fresh(30);
    let aside = |hash: &Hash32| folder.path().join("blobs/partial").join(format!("{hash}.damaged"));
    for damaged in ["a tale of two citieS", "a tale", "", "a tale of two cities and more"] {
        for check in [false, true] {
            let hash = blobs.put(b"a tale of two cities").unwrap();
            assert_eq!((blobs.check(&hash).unwrap(), blobs.settle(&hash).unwrap(), blobs.used()), (true, Some(20), 20));
            fs::write(place(&folder, &hash), damaged).unwrap();
            let error = if check { blobs.check(&hash).unwrap_err() } else { blobs.get(&hash).unwrap_err() };
            assert!(matches!(&error, BlobError::Damaged { path, .. } if *path == place(&folder, &hash)), "{error}");
            assert_eq!((blobs.get(&hash).unwrap(), blobs.check(&hash).unwrap()), (None, false));
            assert_eq!((blobs.settle(&hash).unwrap(), blobs.used()), (None, 0), "it can be brought again");
            assert_eq!(fs::read_to_string(aside(&hash)).unwrap(), damaged, "a person may look at it");
        }
    }
    let hash = blobs.put(b"a tale of two cities").unwrap();
    fs::write(place(&folder, &hash), "a tale").unwrap();
    let blobs = BlobStore::open(&folder.path().join("blobs"), 30).unwrap();
    assert_eq!((blobs.used(), blobs.strays()), (6, &[format!("partial/{hash}.damaged")][..]));
    assert_eq!(blobs.put(b"a tale of two cities").unwrap(), hash);
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"a tale of two cities");
    assert_eq!(blobs.used(), 20);
}

#[test]
fn what_was_left_incomplete_is_removed_and_what_is_foreign_is_left_alone() {
    let (folder, blobs) = fresh(1000);
    let hash = blobs.put(b"here").unwrap();
    fs::write(folder.path().join("blobs/partial").join(to_hex(&[7; 32])), "half").unwrap();
    let blobs = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap();
    assert_eq!((partial_files(&folder), blobs.used()), (0, 4));

    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(BlobStore::open(&file, 1000), Err(BlobError::Foreign { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    for name in ["lost+found", "zz", "aa", "AA"] {
        let foreign = folder.path().join("blobs").join(name);
        fs::create_dir_all(&foreign).unwrap();
        fs::write(foreign.join("note"), "mine").unwrap();
    }
    fs::write(folder.path().join("blobs/partial/note"), "mine").unwrap();
    let blobs = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap();
    let mut strays = blobs.strays().to_vec();
    strays.sort();
    assert_eq!((strays.join(" ").as_str(), blobs.used()), ("AA aa/note lost+found partial/note zz", 4));
    for name in ["lost+found", "zz", "aa", "AA", "partial"] {
        assert_eq!(fs::read(folder.path().join("blobs").join(name).join("note")).unwrap(), b"mine");
    }
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

/// Slices are cut from the hash tree beside a blob; what was damaged of either is found out.
#[test]
fn slices_need_only_their_part_and_prove_themselves() {
    let (folder, blobs) = fresh(1 << 20);
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let (hash, size) = (blobs.put(&bytes).unwrap(), bytes.len() as u64);
    let tree = place(&folder, &hash)
        .strip_prefix(folder.path().join("blobs"))
        .map(|name| folder.path().join("blobs/outboard").join(name));
    let tree = tree.expect("it lies there");
    let whole = Sliced::new(&bytes, Grain::Transfer);
    let check = |blobs: &BlobStore, range: std::ops::Range<u64>| {
        let slice = blobs.slice(&hash, size, range.clone()).unwrap().expect("it is here");
        assert_eq!(slice, whole.cut(range.clone()).unwrap());
        let index = |at: u64| usize::try_from(at).unwrap();
        let opened = open(&hash, size, range.clone(), &slice, Grain::Transfer).unwrap();
        assert_eq!(opened, &bytes[index(range.start)..index(range.end)]);
    };
    assert_eq!(fs::read(&tree).unwrap().len() as u64, outboard_bytes(size), "it was made with the blob");
    // No slice reads the whole: the root's pair, the first group and the pairs above it are enough.
    let (good, far) = (fs::read(&tree).unwrap(), bytes.len() - 1);
    let mut elsewhere = good.clone();
    *elsewhere.last_mut().unwrap() ^= 1;
    fs::write(&tree, &elsewhere).unwrap();
    let mut damaged = bytes.clone();
    damaged[far] ^= 1;
    fs::write(place(&folder, &hash), &damaged).unwrap();
    check(&blobs, 0..1);
    assert_eq!(fs::read(&tree).unwrap(), elsewhere, "only what lies above the slice was read");
    fs::write(place(&folder, &hash), &bytes).unwrap();
    fs::write(&tree, &good).unwrap();
    check(&blobs, 16_383..16_385);
    check(&blobs, 100_000..size);
    check(&blobs, 0..size);
    assert_eq!((blobs.used(), partial_files(&folder)), (size, 0));
    // Beside a restart, the trees stay and are no blobs.
    let blobs = BlobStore::open(&folder.path().join("blobs"), 1 << 20).unwrap();
    assert_eq!(blobs.used(), size);
    check(&blobs, 70_000..80_000);

    // A tree that is cut short, altered or gone is made again.
    for wrong in [good[1..].to_vec(), good.iter().map(|byte| !byte).collect(), Vec::new()] {
        fs::write(&tree, wrong).unwrap();
        check(&blobs, 50_000..60_000);
        assert_eq!(fs::read(&tree).unwrap(), good);
    }
    // The tree serves slices without the rest of the blob: damage elsewhere does not show, damage within does.
    let mut damaged = bytes.clone();
    damaged[190_000] ^= 1;
    fs::write(place(&folder, &hash), &damaged).unwrap();
    check(&blobs, 0..100_000);
    assert!(matches!(blobs.slice(&hash, size, 180_000..size), Err(BlobError::Damaged { .. })));
    assert_eq!(blobs.slice(&hash, size, 0..100).unwrap(), None, "others are asked for it from now on");
    assert_eq!(blobs.put(&bytes).unwrap(), hash);

    // Bounds, other sizes, small blobs, absent blobs.
    for range in [0..0, std::ops::Range { start: 5, end: 3 }, 0..size + 1, size..size + 1] {
        assert!(matches!(blobs.slice(&hash, size, range), Err(BlobError::Range { .. })));
    }
    assert_eq!(blobs.slice(&hash, size + 1, 0..1).unwrap(), None);
    assert_eq!(blobs.slice(&Hash32([1; 32]), 10, 0..1).unwrap(), None);
    let small = blobs.put(b"a tale").unwrap();
    let slice = blobs.slice(&small, 6, 2..6).unwrap().expect("it is here");
    assert_eq!(open(&small, 6, 2..6, &slice, Grain::Transfer).unwrap(), b"tale");
    assert_eq!(fs::read_dir(folder.path().join("blobs/outboard")).unwrap().count(), 1, "small ones need no tree");
}

#[test]
fn verified_pieces_stay_when_a_transfer_breaks_off() {
    let (folder, blobs) = fresh(10);
    let (hash, other) = (document_hash(b"abcdef"), document_hash(b"abcdefgh"));
    let mut incoming = blobs.resume(hash, 6).unwrap();
    assert_eq!(incoming.written(), 0);
    drop(incoming);
    assert_eq!((blobs.used(), partial_files(&folder)), (0, 0), "nothing came, nothing stays");
    incoming = blobs.resume(hash, 6).unwrap();
    incoming.write(b"abc").unwrap();
    assert!(matches!(blobs.resume(hash, 6), Err(BlobError::Busy { .. })));
    drop(incoming);
    assert_eq!((blobs.used(), partial_files(&folder)), (3, 1));

    let blobs = BlobStore::open(&folder.path().join("blobs"), 10).unwrap();
    assert_eq!(blobs.used(), 3, "over a restart too");
    let mut incoming = blobs.resume(hash, 6).unwrap();
    assert_eq!((incoming.written(), blobs.used()), (3, 6));
    incoming.write(b"def").unwrap();
    incoming.finish().unwrap();
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"abcdef");
    assert_eq!((blobs.used(), partial_files(&folder)), (6, 0));

    // What does not have the hash in the end is begun anew, and so is what is longer than it may be.
    let blobs = BlobStore::open(&folder.path().join("others"), 10).unwrap();
    let partial = folder.path().join("others/partial").join(format!("{hash}.begun"));
    for wrong in ["abd", "abcdefg"] {
        fs::write(&partial, wrong).unwrap();
        let mut incoming = blobs.resume(hash, 6).unwrap();
        let rest = &b"abcdef"[usize::try_from(incoming.written()).unwrap()..];
        incoming.write(rest).unwrap();
        let finished = incoming.finish();
        assert_eq!(finished.is_ok(), wrong.len() > 6, "{finished:?}");
        assert!(!partial.exists());
    }

    // Its room is given to what is written now; what is refused takes nothing away.
    let blobs = BlobStore::open(&folder.path().join("third"), 10).unwrap();
    let mut incoming = blobs.resume(hash, 6).unwrap();
    incoming.write(b"abc").unwrap();
    drop(incoming);
    blobs.put(b"1234567").unwrap();
    assert_eq!(blobs.used(), 10);
    assert!(matches!(blobs.resume(hash, 6), Err(BlobError::Quota { needed: 6, used: 7, quota: 10 })));
    assert_eq!(blobs.resume(document_hash(b"abc"), 3).unwrap().written(), 0);
    blobs.put(b"890").unwrap();
    assert_eq!(blobs.used(), 10);
    assert!(matches!(blobs.resume(other, 8), Err(BlobError::Quota { used: 10, .. })));
}

/// A blob is never written over through a path that is another name of its file.
#[test]
fn a_blob_is_put_only_where_nothing_is() {
    let (folder, blobs) = fresh(1000);
    let hash = blobs.put(b"a tale of two cities").unwrap();
    let path = folder.path().join("checkpoint");
    assert!(!blobs.put_at(&document_hash(b"absent"), &path).unwrap());
    assert!(blobs.put_at(&hash, &path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"a tale of two cities");
    let error = blobs.put_at(&hash, &path).unwrap_err();
    assert!(matches!(&error, BlobError::Io { path: at, .. } if *at == path), "{error}");
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"a tale of two cities");
    let foreign = folder.path().join("mine");
    fs::write(&foreign, "mine").unwrap();
    assert!(blobs.put_at(&hash, &foreign).is_err());
    assert_eq!(fs::read(&foreign).unwrap(), b"mine");
}
