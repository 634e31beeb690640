//! Answers a prompt: `cargo run --release -p tributary-attribution --example generate -- MODEL.gguf PROMPT…`

use std::path::Path;
use std::time::Instant;

use attribution::model::{Generator, Options, Prompt};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: generate MODEL.gguf PROMPT…")?;
    let user = arguments.collect::<Vec<_>>().join(" ");
    let start = Instant::now();
    let generator = Generator::load(Path::new(&path))?;
    eprintln!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let answer = generator.generate(&Prompt { system: None, user: &user }, &Options::default())?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", answer.text);
    eprintln!(
        "{} tokens read, {} produced in {seconds:.2} s ({:.1} a second)",
        answer.tokens_in,
        answer.tokens_out,
        answer.tokens_out as f64 / seconds
    );
    Ok(())
}
