//! The store of fingerprints against a naive search, through any history of it; the guarantee of winnowing; crashes and
//! damage.

use attribution::near::{
    AddError, FileError, Fingerprint, GRAM_WEIGHT, HOLDERS, Known, MAX_REPEATS, OpenError, Repeat, Store, StrikeError,
    WINDOW, exceeds, fingerprints,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use protocol::ids::ContributionId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn contribution(order: u64) -> ContributionId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&order.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ContributionId(id)
}

fn refs(documents: &[String]) -> Vec<&str> {
    documents.iter().map(String::as_str).collect()
}

/// In memory, where there is such a folder: these tests sync ten thousand times.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path()).expect("a store")
}

/// Words in one form and what they weigh, by their definition, for the code points that these tests use.
fn naive_words(text: &str) -> Vec<(String, usize)> {
    let han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    let thai = |c: char| ('\u{e01}'..='\u{e3a}').contains(&c);
    let mut list = vec![String::new()];
    for c in text.chars() {
        if !c.is_alphanumeric() || han(c) || thai(c) {
            list.push(String::new());
        }
        if c.is_alphanumeric() || thai(c) {
            list.last_mut().expect("one at least").extend(c.to_lowercase());
        }
        if han(c) || thai(c) {
            list.push(String::new());
        }
    }
    list.retain(|word| !word.is_empty());
    let weigh = |word: String| match word.chars().all(han) {
        true => (word, 2),
        false => (word.clone(), word.chars().count().min(3)),
    };
    list.into_iter().map(weigh).collect()
}

/// A gram: its first word, the word behind its last one, its hash.
type Gram = (usize, usize, u64);

fn naive_grams(words: &[(String, usize)]) -> Vec<Gram> {
    let key = blake3::derive_key("tributary v1 near gram", b"");
    let gram = |start: usize| {
        let weighs = |end: &usize| words[start..*end].iter().map(|word| word.1).sum::<usize>() >= 24;
        let end = (start..=words.len()).find(weighs)?;
        let bytes: Vec<u8> = words[start..end].iter().flat_map(|word| [word.0.as_bytes(), b"\xff"].concat()).collect();
        let hash = blake3::keyed_hash(&key, &bytes);
        Some((start, end, u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"))))
    };
    (0..words.len()).filter_map(gram).collect()
}

/// First and last gram, and for every window its least one: the one chosen before if it is one of several, else the
/// rightmost.
fn naive_fingerprints(words: &[(String, usize)]) -> Vec<Gram> {
    let grams = naive_grams(words);
    let Some(first) = grams.first() else { return Vec::new() };
    let mut chosen = vec![*first];
    for window in grams.windows(8) {
        let least = window.iter().map(|gram| gram.2).min().expect("eight grams");
        let before = *chosen.last().expect("the first");
        if !(window.contains(&before) && before.2 == least) {
            chosen.extend(window.iter().rfind(|gram| gram.2 == least));
        }
    }
    if chosen.last() != grams.last() {
        chosen.extend(grams.last());
    }
    chosen
}

/// All that was ever added, and who is struck: what a store knows, whatever happened to it.
#[derive(Clone, Default)]
struct Naive {
    contributions: BTreeMap<u64, Vec<String>>,
    struck: BTreeSet<u64>,
}

impl Naive {
    fn measure(&self, documents: &[String], order: u64) -> Known {
        // Each fingerprint with its holders: orders, each with the first document.
        let mut held: BTreeMap<u64, BTreeMap<u64, u32>> = BTreeMap::new();
        for (order, documents) in &self.contributions {
            let counts = documents.iter().map(|text| naive_words(text).len());
            let document_of: Vec<u32> = (0..).zip(counts).flat_map(|(d, count)| vec![d; count]).collect();
            let words: Vec<_> = documents.iter().flat_map(|text| naive_words(text)).collect();
            for (start, _, hash) in naive_fingerprints(&words) {
                held.entry(hash).or_default().entry(*order).or_insert(document_of[start]);
            }
        }
        let words: Vec<_> = documents.iter().flat_map(|text| naive_words(text)).collect();
        let mut known = BTreeSet::new();
        let mut by_document: BTreeMap<(u64, u32), BTreeSet<usize>> = BTreeMap::new();
        let mut known_fingerprints = 0;
        let all = naive_fingerprints(&words);
        for (start, end, hash) in &all {
            let holders = held.get(hash).into_iter().flatten().take(HOLDERS);
            let counting: Vec<_> = holders.filter(|(o, _)| **o < order && !self.struck.contains(o)).collect();
            for (order, document) in &counting {
                by_document.entry((**order, **document)).or_default().extend(*start..*end);
            }
            if !counting.is_empty() {
                known_fingerprints += 1;
                known.extend(*start..*end);
            }
        }
        let mut repeats: Vec<Repeat> = by_document
            .iter()
            .map(|(&(order, document), words)| Repeat {
                order,
                contribution: contribution(order),
                document,
                words: words.len() as u64,
            })
            .collect();
        repeats.sort_by_key(|repeat| (u64::MAX - repeat.words, repeat.order, repeat.document));
        repeats.truncate(MAX_REPEATS);
        Known {
            words: words.len() as u64,
            known_words: known.len() as u64,
            fingerprints: all.len() as u64,
            known_fingerprints,
            repeated_documents: by_document.len() as u64,
            repeats,
        }
    }
}

/// Few words, so that passages repeat: of all weights, of scripts with and without spaces, with cases of all kinds.
const WORDS: [&str; 16] =
    ["the", "of", "a", "Whale", "CALL", "me", "Éclair", "Ωμέγα", "Жизнь", "日", "本", "ก", "ข", "7", "ishmael", "sea"];

/// So many words of one text, from which all others copy: a fixed shuffle of the words.
fn book(from: usize, length: usize) -> Vec<&'static str> {
    (from..from + length).map(|at| WORDS[(at * at + at / 7 + at / 3 * 5) % 16]).collect()
}

/// Words with what stands behind each.
type Spaced = Vec<(&'static str, &'static str)>;

fn spaced(words: Vec<&'static str>) -> impl Strategy<Value = Spaced> {
    let separator = select(vec![" ", " ", " ", "\n", ", ", " — ", "。", "...\t", " 😀 "]);
    prop::collection::vec(separator, words.len())
        .prop_map(move |separators| words.iter().copied().zip(separators).collect())
}

fn own_words(max: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(WORDS.to_vec()), 0..max)
}

fn written(words: &Spaced) -> String {
    words.iter().map(|(word, behind)| format!("{word}{behind}")).collect()
}

fn any_document() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        own_words(12),
        (0_usize..60, 4_usize..60).prop_map(|(from, length)| book(from, length)),
        (own_words(5), 1_usize..20).prop_map(|(unit, times)| unit.repeat(times)),
    ];
    prop::collection::vec(piece.prop_flat_map(spaced), 0..4)
        .prop_map(|pieces| pieces.iter().map(written).collect::<String>())
}

fn any_documents() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any_document(), 0..4)
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, Vec<String>),
    Strike(Index),
    Compact,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..40, any_documents()).prop_map(|(order, documents)| Step::Add(order, documents)),
        2 => any::<Index>().prop_map(Step::Strike),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

fn carry_out(step: Step, mut store: Store, naive: &mut Naive, folder: &TempDir) -> Store {
    match step {
        Step::Add(order, documents) => match store.add(order, contribution(order), &refs(&documents)) {
            Ok(()) => assert!(naive.contributions.insert(order, documents).is_none(), "added twice"),
            Err(AddError::Taken { order, holder }) => {
                assert!(holder == contribution(order) && naive.contributions.contains_key(&order));
            }
            Err(error) => panic!("{error}"),
        },
        Step::Strike(which) => {
            let orders: Vec<u64> = naive.contributions.keys().copied().collect();
            if !orders.is_empty() {
                store.strike(*which.get(&orders)).expect("it was added");
                naive.struck.insert(*which.get(&orders));
            }
        }
        Step::Compact => store.compact().expect("merged"),
        Step::Reopen => {
            drop(store);
            store = open(folder);
        }
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fingerprints_are_those_of_the_definition(documents in any_documents()) {
        let words: Vec<_> = documents.iter().flat_map(|text| naive_words(text)).collect();
        let refs = refs(&documents);
        let found: Vec<Gram> = fingerprints(&refs)
            .map(|Fingerprint { value, words, .. }| {
                (usize::try_from(words.start).unwrap(), usize::try_from(words.end).unwrap(), value)
            })
            .collect();
        prop_assert_eq!(found, naive_fingerprints(&words));
    }

    /// Contributions are added in any order, struck, merged, the store closed and opened: the answer is always that
    /// of a search through everything, which knows of no order, no runs and no merges.
    #[test]
    fn whatever_happened_to_a_store_it_knows_what_a_naive_search_knows(
        steps in prop::collection::vec(any_step(), 1..24), asked in any_documents(), order in 0_u64..50,
    ) {
        let folder = folder();
        let (mut store, mut naive) = (open(&folder), Naive::default());
        for step in steps {
            store = carry_out(step, store, &mut naive, &folder);
            let known = store.snapshot().measure(&refs(&asked), order).unwrap();
            prop_assert_eq!(&known, &naive.measure(&asked, order));
        }
        for (order, documents) in &naive.contributions {
            prop_assert_eq!(store.snapshot().contribution(*order).unwrap(), Some(contribution(*order)));
            let known = store.snapshot().measure(&refs(documents), order + 1).unwrap();
            prop_assert_eq!(&known, &naive.measure(documents, order + 1));
        }
        prop_assert_eq!(store.snapshot().contribution(99).unwrap(), None);
    }

    /// The guarantee, in its own arithmetic: a shared run of words that weighs a gram without its first W - 1 words
    /// shares a fingerprint, whatever stands around it and however it is spaced and capitalised. Of such a run no
    /// more is left out than W - 1 words at its start, and at its end less than a gram weighs.
    #[test]
    fn a_long_enough_shared_run_is_always_found(
        run in prop_oneof![own_words(50), (0_usize..60, 8_usize..50).prop_map(|(from, length)| book(from, length))],
        around in prop::array::uniform4(own_words(30)),
        separators in prop::collection::vec(select(vec![" ", "; ", "\n\n", "。"]), 50),
        upper in prop::collection::vec(any::<bool>(), 50),
    ) {
        let weigh = |words: &[&str]| words.iter().map(|word| naive_words(word)[0].1).sum::<usize>();
        prop_assume!(run.len() >= WINDOW && weigh(&run[WINDOW - 1..]) >= GRAM_WEIGHT as usize);
        let plain = run.join(" ");
        let edited: String = run.iter().zip(separators).zip(upper).map(|((word, separator), upper)| {
            let word = if upper { word.to_uppercase() } else { word.to_lowercase() };
            word + separator
        }).collect();
        let [a, b, c, d] = around.map(|words| words.join(" "));
        let (first, second) = (format!("{a} {plain} {b}"), format!("{c}. {edited}! {d}"));
        let known: BTreeSet<u64> = fingerprints(&[&first]).map(|found| found.value).collect();
        let start = naive_words(&c).len();
        let end = start + run.len();
        let covered: BTreeSet<usize> = fingerprints(&[&second])
            .filter(|found| known.contains(&found.value))
            .flat_map(|found| usize::try_from(found.words.start).unwrap()..usize::try_from(found.words.end).unwrap())
            .filter(|word| (start..end).contains(word))
            .collect();
        prop_assert!(!covered.is_empty(), "nothing found");
        let (from, to) = (*covered.first().unwrap(), *covered.last().unwrap() + 1);
        prop_assert_eq!(covered.len(), to - from, "a gap");
        prop_assert!(from - start < WINDOW);
        prop_assert!(weigh(&run[to - start..]) < GRAM_WEIGHT as usize);
    }

    /// Whoever adds a whole contribution again, in other documents, other letters and other spaces, is known in full.
    #[test]
    fn a_copy_is_known_in_full(words in own_words(80), cut in any::<Index>(), order in 1_u64..9) {
        let (folder, original) = (folder(), words.join(" "));
        let (left, right) = words.split_at(cut.index(words.len() + 1));
        let copy = [left.join("-- ").to_uppercase(), right.join("\n").to_lowercase()];
        let mut store = open(&folder);
        store.add(order, contribution(order), &[&original]).unwrap();
        let known = store.snapshot().measure(&refs(&copy), order + 1).unwrap();
        // The words that no gram reaches: one or two letters at the end.
        let reached = naive_grams(&naive_words(&original)).last().map_or(0, |gram| gram.1);
        prop_assert_eq!(known.known_words, reached as u64);
        prop_assert!(reached == 0 || words[reached..].concat().chars().count() <= 2);
        // Before it, and at its own place, nothing is known.
        prop_assert_eq!(store.snapshot().measure(&refs(&copy), order).unwrap().known_words, 0);
    }
}

/// A text of different words.
fn prose(seed: u32, words: u32) -> String {
    let word = |at: u32| format!("w{:x}x", (seed * 1_000_000 + at).wrapping_mul(0x9E37_79B1));
    (0..words).map(|at| word(at) + " ").collect()
}

/// A story that a reader can check.
#[test]
fn a_copy_is_shown_with_what_it_repeats() {
    let folder = folder();
    let mut store = open(&folder);
    let (whale, times, own) = (prose(1, 300), prose(2, 100), prose(3, 100));
    store.add(5, contribution(5), &["nothing of interest here", &whale]).unwrap();
    store.add(3, contribution(3), &[&times]).unwrap();
    store.add(8, contribution(8), &[&times]).unwrap();
    // 300 words of one document, 100 of another that two have, and 100 of his own.
    let known = store.snapshot().measure(&[&whale, &own, &times.to_uppercase()], 9).unwrap();
    assert_eq!(known.words, 500);
    assert!((386..=400).contains(&known.known_words), "{known:?}");
    let shown: Vec<_> = known.repeats.iter().map(|repeat| (repeat.order, repeat.document)).collect();
    assert_eq!(shown, [(5, 1), (3, 0), (8, 0)]);
    assert_eq!((known.repeated_documents, known.repeats[0].contribution), (3, contribution(5)));
    assert!(exceeds(&known, 7_000) && !exceeds(&known, 8_000));
    assert!(!exceeds(&known, known.share_basis_points()) && exceeds(&known, known.share_basis_points() - 1));
    // Before the place 8 only two are there; without contribution 5 little is left.
    assert_eq!(store.snapshot().measure(&[&times], 8).unwrap().repeats.len(), 1);
    let old = store.snapshot().clone();
    store.strike(5).unwrap();
    assert!(store.snapshot().measure(&[&whale, &own, &times], 9).unwrap().known_words <= 100);
    assert!(old.measure(&[&whale], 9).unwrap().known_words > 285, "a snapshot stays as it is");
    // A text of nothing, and one that repeats itself.
    assert_eq!(store.snapshot().measure(&[], 9).unwrap(), Known::default());
    assert_eq!(store.snapshot().measure(&["", " ,"], 9).unwrap().share_basis_points(), 0);
    assert_eq!(store.snapshot().measure(&[&own, &own, &own], 9).unwrap().known_words, 0);
}

/// The rule of the earliest holders, with its price.
#[test]
fn who_is_struck_keeps_his_place_among_the_earliest() {
    let passage = prose(1, 60);
    for compact in [false, true] {
        let folder = folder();
        let mut store = open(&folder);
        for order in [4, 0, 3, 1, 2] {
            store.add(order, contribution(order), &[&passage]).unwrap();
            assert!(store.snapshot().fingerprints() > 0);
        }
        let holders = |store: &Store| {
            let known = store.snapshot().measure(&[&passage], 9).unwrap();
            known.repeats.iter().map(|repeat| repeat.order).collect::<Vec<_>>()
        };
        assert_eq!(holders(&store), [0, 1, 2, 3]);
        store.strike(0).unwrap();
        store.strike(2).unwrap();
        if compact {
            store.compact().unwrap();
        }
        assert_eq!(holders(&store), [1, 3]);
        // Added later, but admitted earlier: the places go to the earliest.
        store.strike(1).unwrap();
        store.strike(3).unwrap();
        if compact {
            store.compact().unwrap();
        }
        assert_eq!(holders(&store), [] as [u64; 0], "the fifth was not kept");
        assert!(matches!(store.strike(7), Err(StrikeError::Missing { order: 7 })));
    }
}

#[test]
fn texts_of_numbers_and_of_thai_letters_are_no_grams_too_soon() {
    let grams = |text: &str| fingerprints(&[text]).count();
    for (text, words) in [("123 ", 8), ("1 ", 24), ("日", 12), ("ก", 24), ("of ", 12), ("ああ ", 6)] {
        assert_eq!(grams(&text.repeat(words)), 1, "{text}");
        assert_eq!(grams(&text.repeat(words - 1)), 0, "{text}");
    }
}

/// Texts made to be slow. What took the square of their length would not end here.
#[test]
fn a_million_words_that_repeat_are_few_fingerprints() {
    let folder = folder();
    let mut store = open(&folder);
    for (order, (unit, fingerprints, kept)) in
        (1..).zip([("a ", 1 << 17, 1), ("abc ", 1 << 17, 1), ("one two three four five six seven ", 1 << 17, 8)])
    {
        let text = unit.repeat((1 << 20) / unit.matches(' ').count());
        let before = store.snapshot().fingerprints();
        store.add(order, contribution(order), &[&text]).unwrap();
        assert!(store.snapshot().fingerprints() - before <= kept);
        let known = store.snapshot().measure(&[&text], 9).unwrap();
        assert!(known.fingerprints.abs_diff(fingerprints) < 1 << 16, "{known:?}");
        assert_eq!((known.words, known.known_words), ((text.matches(' ').count()) as u64, known.words));
    }
    // One word of 16 MB, in the grams of eight words.
    let long = "ab ".repeat(20) + &"x".repeat(1 << 24) + &" ab".repeat(20);
    assert!(fingerprints(&[&long]).count() > 2);
}

/// More fingerprints than wait in memory: written in parts, which become one run.
#[test]
fn a_large_contribution_is_one_run() {
    let folder = folder();
    let mut store = open(&folder);
    let text = prose(0, 1_400_000);
    store.add(1, contribution(1), &[&text]).unwrap();
    let distinct: BTreeSet<u64> = fingerprints(&[&text]).map(|found| found.value).collect();
    let snapshot = store.snapshot();
    assert_eq!((snapshot.runs(), snapshot.fingerprints()), (1, distinct.len() as u64));
    assert_eq!(names(folder.path()).iter().filter(|name| name.ends_with(".run")).count(), 1);
    let known = snapshot.measure(&[&text], 2).unwrap();
    assert_eq!((known.known_words, known.repeats[0].words), (1_400_000, 1_400_000));
    // Eight bytes of memory for four kilobytes of disk.
    assert!(snapshot.memory_bytes() as u64 <= snapshot.disk_bytes() / 512);
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_keys().collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("a file")))
        .collect()
}

fn folder_of(files: &BTreeMap<String, Vec<u8>>) -> TempDir {
    let folder = folder();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    folder
}

/// At every moment of every operation the folder holds the version before or the one after, all files of that one, and
/// perhaps files that are not complete.
#[test]
fn a_crash_leaves_the_version_before_or_the_one_after() {
    let home = folder();
    let texts: Vec<String> = (0..9).map(|seed| prose(seed, 400) + &prose(seed / 2, 40)).collect();
    let asked = refs(&texts);
    let mut store = open(&home);
    for step in 0..27_u64 {
        let before = (files(home.path()), store.snapshot().measure(&asked, 99).unwrap());
        match step % 9 {
            7 => store.strike(step - 2).unwrap(),
            8 => store.compact().unwrap(),
            kind => store.add(step, contribution(step), &[asked[usize::try_from(kind).unwrap()]]).unwrap(),
        }
        let after = (files(home.path()), store.snapshot().measure(&asked, 99).unwrap());
        for (version, other, torn) in
            [(&before, &after, false), (&before, &after, true), (&after, &before, false), (&after, &before, true)]
        {
            let mut left = version.0.clone();
            for (name, bytes) in &other.0 {
                let bytes = if torn { &bytes[..bytes.len() / 2] } else { bytes };
                left.entry(name.clone()).or_insert_with(|| bytes.to_vec());
            }
            left.insert("version.new".to_owned(), other.0["version"][..if torn { 11 } else { 40 }].to_vec());
            let crashed = folder_of(&left);
            let mut found = open(&crashed);
            assert_eq!(found.snapshot().measure(&asked, 99).unwrap(), version.1, "step {step}");
            assert_eq!(files(crashed.path()), version.0, "step {step}: what was left over is gone");
            found.add(77, contribution(77), &["it goes on from here"]).unwrap();
        }
    }
    // Before the first version is complete there is only a lock, and perhaps half a version.
    let crashed = folder_of(&BTreeMap::from([("lock".to_owned(), vec![]), ("version.new".to_owned(), vec![1])]));
    assert_eq!(open(&crashed).snapshot().runs(), 0);
}

/// A version that cannot be written: the operation fails, and store and folder are as they were.
#[test]
fn what_fails_changes_nothing() {
    let home = folder();
    let mut store = open(&home);
    let texts: Vec<String> = (0..5).map(|seed| prose(seed, 200)).collect();
    let asked = refs(&texts);
    for (order, text) in (0..).zip(&asked[..4]) {
        store.add(order, contribution(order), &[text]).unwrap();
    }
    let before = store.snapshot().measure(&asked, 9).unwrap();
    assert_eq!((store.snapshot().runs(), before.repeats.len()), (4, 4));
    fs::create_dir(home.path().join("version.new")).unwrap();
    // The first one fails while it merges what is there.
    assert!(matches!(store.add(4, contribution(4), &[asked[4]]), Err(AddError::File(FileError::Io { .. }))));
    assert!(matches!(store.strike(1), Err(StrikeError::File(FileError::Io { .. }))));
    assert!(matches!(store.compact(), Err(FileError::Io { .. })));
    assert_eq!(store.snapshot().measure(&asked, 9).unwrap(), before);
    fs::remove_dir(home.path().join("version.new")).unwrap();
    drop(store);
    let mut store = open(&home);
    assert_eq!(store.snapshot().measure(&asked, 9).unwrap(), before);
    store.add(4, contribution(4), &[asked[4]]).unwrap();
    assert_eq!(store.snapshot().measure(&asked, 9).unwrap().repeats.len(), 5);
}

/// Two runs that hold different things, the files of their store, and what is known from it.
fn sample() -> (BTreeMap<String, Vec<u8>>, String, Known) {
    let home = folder();
    let mut store = open(&home);
    let texts = [prose(1, 3_000), prose(2, 600), prose(3, 300)];
    store.add(1, contribution(1), &[&texts[0]]).expect("added");
    store.add(2, contribution(2), &[&texts[1]]).expect("added");
    store.add(3, contribution(3), &[&texts[2]]).expect("added");
    store.strike(2).expect("struck");
    let asked = texts.concat();
    let known = store.snapshot().measure(&[&asked], 9).expect("measured");
    assert!(known.known_words > 3_200);
    (files(home.path()), asked, known)
}

fn use_all(folder: &TempDir, asked: &str) -> Result<Known, OpenError> {
    let mut store = Store::open(folder.path())?;
    let known = store.snapshot().measure(&[asked], 9)?;
    store.compact()?;
    assert_eq!(store.snapshot().measure(&[asked], 9)?, known, "merging changed something");
    Ok(known)
}

#[test]
fn damage_is_found_when_it_is_met() {
    let (files, asked, known) = sample();
    assert_eq!(use_all(&folder_of(&files), &asked).unwrap(), known);
    let refused = |name: &str, bytes: &[u8]| {
        let mut damaged = files.clone();
        damaged.insert(name.to_owned(), bytes.to_vec());
        match use_all(&folder_of(&damaged), &asked) {
            Err(OpenError::File(error @ (FileError::Damaged { .. } | FileError::Format { .. }))) => {
                assert!(error.to_string().contains(name), "{error}");
            }
            other => panic!("{name} of {} bytes: {other:?}", bytes.len()),
        }
    };
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "lock") {
        // A prime step, so that it meets every kind of byte.
        for at in (0..bytes.len()).step_by(if bytes.len() > 4096 { 89 } else { 1 }) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            refused(name, &altered);
        }
        for length in [0, 7, 12, 4095, 4096, 8192, bytes.len().saturating_sub(4096), bytes.len() - 1] {
            if length < bytes.len() {
                refused(name, &bytes[..length]);
            }
        }
        refused(name, &[bytes, &[0][..]].concat());
    }
    // A run in another's place, and a block in another's place.
    let runs: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".run")).collect();
    refused(runs[0].0, runs[1].1);
    let mut swapped = runs[0].1.clone();
    let (first, second) = swapped[4096..].split_at_mut(4096);
    first.swap_with_slice(&mut second[..4096]);
    refused(runs[0].0, &swapped);
    // A file that is gone.
    let mut gone = files.clone();
    gone.remove(runs[0].0);
    assert!(matches!(use_all(&folder_of(&gone), &asked), Err(OpenError::File(FileError::Damaged { .. }))));
    let mut gone = files.clone();
    gone.remove("version");
    assert!(matches!(use_all(&folder_of(&gone), &asked), Err(OpenError::File(FileError::Damaged { .. }))));
}

#[test]
fn one_store_at_a_time_and_in_its_own_folder() {
    let home = folder();
    let store = open(&home);
    assert!(matches!(Store::open(home.path()), Err(OpenError::Locked { .. })));
    drop(store);
    open(&home);
    for name in ["notes.txt", "x.run", "007.run", "-1.run"] {
        let foreign = folder();
        fs::write(foreign.path().join(name), "mine").unwrap();
        match Store::open(foreign.path()) {
            Err(OpenError::Foreign { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
        assert_eq!(names(foreign.path()), [name], "nothing is put there and nothing removed");
    }
    let file = home.path().join("version");
    assert!(matches!(Store::open(&file), Err(OpenError::File(FileError::Io { .. }))));
}

/// The fingerprints and the bytes on disk are those of format 2. Whatever changes them needs a new format.
#[test]
fn format_2_is_frozen() {
    let text = "Call me Ishmael. Some years ago—never mind how long precisely—having little or no money in my purse, \
                Жил да БЫЛ ΛΟΓΟΣ; 吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。 ครั้งหนึ่งนานมาแล้วมีกระต่ายตัวหนึ่งอาศัยอยู่ในป่า";
    let found: Vec<_> = fingerprints(&[text]).map(|found| (found.words.start, found.words.end, found.value)).collect();
    let shown = [found[0], found[7], found[17]];
    assert_eq!(found.len(), 18);
    assert_eq!(
        shown,
        [(0, 9, 0x877c_db79_74e9_7f1d), (24, 36, 0x06b6_e527_aacc_6613), (79, 103, 0x8b2e_ce5d_812b_5c42)]
    );

    let home = folder();
    let mut store = open(&home);
    store.add(300, contribution(300), &["two", text]).unwrap();
    store.add(7, contribution(7), &[text]).unwrap();
    store.strike(300).unwrap();
    store.compact().unwrap();
    store.strike(7).unwrap();
    let hashes =
        files(home.path()).into_iter().map(|(name, bytes)| (name, blake3::hash(&bytes).to_hex()[..16].to_owned()));
    let hashes: Vec<_> = hashes.collect();
    let hashes: Vec<_> = hashes.iter().map(|(name, hash)| (name.as_str(), hash.as_str())).collect();
    assert_eq!(hashes, [("2.run", "8805c84d2a5c076c"), ("lock", "af1349b9f5f9a1a6"), ("version", "109188fea68be968")]);
}
