//! Builds a span index of a text file and searches it: `span_bench FILE [ANSWERS]`.
//!
//! The file is cut into documents of about 64 KiB. Half of the answers are stitched from its passages (60 % copied),
//! the other half are its own words in another order. Prints build time, memory and the times of searches.

use attribution::span::{DocumentRef, SegmentBuilder};
use protocol::evidence::{Answer, attribute};
use protocol::ids::{ContributionId, DataNetId};
use protocol::words::words;
use std::time::{Duration, Instant};

const DOCUMENT_BYTES: usize = 64 * 1024;
const ANSWER_BYTES: usize = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: span_bench FILE [ANSWERS]")?;
    let answers: usize = arguments.next().map_or(Ok(100), |number| number.parse())?;
    let text = std::fs::read_to_string(path)?;

    let mut builder = SegmentBuilder::new();
    let start = Instant::now();
    for (document, text) in (0..).zip(documents(&text)) {
        // One contribution for every 16 documents.
        let order = u64::from(document / 16);
        let mut id = [0; 32];
        id[..8].copy_from_slice(&order.to_le_bytes());
        builder.add(DocumentRef {
            order,
            contribution: ContributionId(id),
            document: document % 16,
            contributor: id,
            name: "",
            contributor_name: "",
            text,
            origins: &[],
        })?;
    }
    let taken_in = start.elapsed();
    let memory = builder.memory_bytes();
    let segment = builder.finish()?.into_segment()?;
    let took = start.elapsed();
    println!(
        "{} bytes, {} words, {} documents: taken in after {taken_in:?}, built after {took:?}, {memory} bytes of memory \
         for it, {} bytes of segment ({:.3} for each of text)",
        text.len(),
        segment.words(),
        segment.documents(),
        segment.bytes(),
        segment.bytes() as f64 / text.len() as f64
    );

    let mut random = Random(1);
    for (name, make) in [("stitched", stitched as fn(&str, &mut Random) -> String), ("shuffled", shuffled)] {
        let mut times = Vec::new();
        let (mut spans, mut covered, mut total) = (0, 0, 0);
        for _ in 0..answers {
            let made = make(&text, &mut random);
            let start = Instant::now();
            let answer = Answer::new(&made)?;
            let evidence = segment.evidence(&answer)?.into_evidence(&answer, DataNetId::default());
            times.push(start.elapsed());
            let attribution = attribute(&answer, &evidence);
            spans += evidence.spans.len();
            covered += attribution.covered_words;
            total += attribution.total_words;
        }
        times.sort();
        let mean = times.iter().sum::<Duration>() / u32::try_from(times.len())?;
        println!(
            "{name}: mean {mean:?}, p50 {:?}, p95 {:?}; {spans} spans, {covered} of {total} words covered",
            times[times.len() / 2],
            times[times.len() * 95 / 100]
        );
    }
    Ok(())
}

/// The text in pieces of about [`DOCUMENT_BYTES`], cut at code points.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = (DOCUMENT_BYTES..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (document, later) = rest.split_at(end);
        rest = later;
        (!document.is_empty()).then_some(document)
    })
}

/// Four times 300 bytes of the text and 200 bytes of shuffled words.
fn stitched(text: &str, random: &mut Random) -> String {
    let mut answer = String::new();
    while answer.len() < ANSWER_BYTES {
        let start = random.below(text.len());
        let cut = |from: usize| (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        answer.push_str(&text[cut(start)..cut(start + 300)]);
        answer.push(' ');
        answer.push_str(&shuffled(text, random)[..].chars().take(200).collect::<String>());
    }
    answer
}

/// Words of the text, each from another place.
fn shuffled(text: &str, random: &mut Random) -> String {
    let mut answer = String::new();
    while answer.len() < ANSWER_BYTES {
        let start = random.below(text.len());
        let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        if let Some(word) = words(&text[start..]).nth(1) {
            answer.push_str(&text[start..][word]);
            answer.push(' ');
        }
    }
    answer
}

/// Splitmix64: the same answers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or(0)
    }
}
