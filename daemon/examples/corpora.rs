//! Fetches the demo's texts, and prints how many there are and three answers made from them.
//!
//! `cargo run --release -p tributary-daemon --example corpora [-- model]`; with `model`, the small
//! language model is fetched too, and answers one question.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use attribution::model::{Generator, Options, Prompt};
use daemon::corpora::answers::{Answer, Maker};
use daemon::corpora::{self, Document, fetch};

/// Any number; the same one prints the same answers.
const SEED: u64 = 1787;

fn main() -> anyhow::Result<()> {
    let cache = fetch::default_cache().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let start = Instant::now();
    let corpora = corpora::load(&cache)?;
    println!("three corpora in {:.2} s", start.elapsed().as_secs_f64());
    for corpus in &corpora {
        println!("\n{} ({}): {}", corpus.title, corpus.name, corpus.description);
        print_authors("published", &corpus.documents);
        print_authors("held back", &corpus.held_back);
    }
    let mut maker = Maker::new(&corpora, SEED)?;
    for answer in maker.answers(3) {
        print_answer(&answer);
    }
    if std::env::args().any(|argument| argument == "model") {
        let model = fetch::SMOLLM2.fetch(&cache)?;
        let generator = Generator::load(&model.path(fetch::SMOLLM2_CHECKPOINT))?;
        let question = maker.question();
        let start = Instant::now();
        let options = Options { max_tokens: 200, temperature: 0.7, seed: SEED, ..Options::default() };
        let said = generator.generate(&Prompt { system: None, user: &question.prompt }, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("\nthe model read {} tokens and wrote {} in {seconds:.1} s", said.tokens_in, said.tokens_out);
        match question.answered(&said.text) {
            Some(answer) => print_answer(&answer),
            None => println!("its answer is too short for a receipt: {}", said.text),
        }
    }
    Ok(())
}

fn print_authors(what: &str, documents: &[Document]) {
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for document in documents {
        let (count, bytes) = sums.entry(&document.author).or_default();
        *count += 1;
        *bytes += document.text.len();
    }
    for (author, (count, bytes)) in sums {
        println!("  {what}  {count:>3} documents {bytes:>8} bytes  {author}");
    }
}

fn print_answer(answer: &Answer) {
    println!("\n--- {} ({}), {} bytes", answer.kind.as_str(), answer.corpora.join(", "), answer.text.len());
    println!("Q: {}\nA: {}", answer.prompt, answer.text);
    for quoted in &answer.quoted {
        println!("   bytes {:?} are by {} ({})", quoted.at, quoted.author, quoted.title);
    }
}
