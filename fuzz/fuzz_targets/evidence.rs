//! Evidence that somebody proposes: refused, or attributed without a panic, each word paid at most once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::evidence::{Answer, Evidence, attribute};

fuzz_target!(|input: (&str, &[u8])| {
    let (text, bytes) = input;
    let (Ok(answer), Ok(evidence)) = (Answer::new(text), Evidence::from_bytes(bytes)) else { return };
    assert_eq!(evidence.to_bytes(), bytes);
    if evidence.check(&answer).is_ok() {
        let attribution = attribute(&answer, &evidence);
        assert!(attribution.covered_words <= attribution.total_words);
        assert!(attribution.paid.is_sorted_by(|a, b| a.span.end <= b.span.start));
    }
});
