//! Evidence that somebody proposes: refused, or attributed without a panic, each word paid at most once.

use protocol::evidence::{Answer, Evidence, attribute};

/// The first byte says how many bytes of text follow; the rest is the evidence.
pub(super) fn run(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first() else { return };
    let (text, bytes) = bytes.split_at(usize::from(*length).min(bytes.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (Ok(answer), Ok(evidence)) = (Answer::new(text), Evidence::from_bytes(bytes)) else { return };
    assert_eq!(evidence.to_bytes(), bytes);
    if evidence.check(&answer).is_ok() {
        let attribution = attribute(&answer, &evidence);
        assert!(attribution.covered_words <= attribution.total_words);
        assert!(attribution.paid.is_sorted_by(|a, b| a.span.end <= b.span.start));
    }
}
