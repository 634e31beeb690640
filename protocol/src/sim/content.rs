//! What people wrote, and the evidence that an index of it would find: by plain search, word by word.

use crate::evidence::answer::Word;
use crate::evidence::{Answer, Evidence, Frequencies, Holder, Partial, Span};
use crate::fold::fold;
use crate::ids::{DataNetId, Hash32, ManifestId, ReceiptId};
use crate::ledger::records::Admission;
use crate::ledger::{Read as _, State};
use crate::words::words;
use std::collections::{BTreeMap, BTreeSet};

/// Documents, and the evidence that was found in them.
#[derive(Debug, Default)]
pub struct Content {
    /// Documents by their hash.
    pub documents: BTreeMap<Hash32, String>,
    /// Evidence found before: every honest node finds the same.
    found: BTreeMap<(ReceiptId, Vec<ManifestId>), Evidence>,
}

/// A document, and where it stands.
struct Source {
    holder: Holder,
    /// Folded.
    text: String,
    bounds: BTreeSet<usize>,
    words: Vec<String>,
}

impl Content {
    /// The evidence for receipts in a DataNet's manifests, as a ledger knows their contributions.
    pub fn evidence(
        &mut self,
        state: &State,
        datanet: &DataNetId,
        receipts: &[ReceiptId],
        manifests: &[ManifestId],
    ) -> Vec<(ReceiptId, Evidence)> {
        let missing: Vec<ReceiptId> =
            receipts.iter().copied().filter(|id| !self.found.contains_key(&(*id, manifests.to_vec()))).collect();
        if !missing.is_empty() {
            let sources = self.sources(state, manifests);
            let search = |id: &ReceiptId| {
                let text = state.answer(id).unwrap_or_default();
                ((*id, manifests.to_vec()), search(&text, &sources, datanet))
            };
            let found: Vec<_> = missing.iter().map(search).collect();
            drop(sources);
            self.found.extend(found);
        }
        let found = |id: &ReceiptId| (*id, self.found.get(&(*id, manifests.to_vec())).cloned().unwrap_or_default());
        receipts.iter().map(found).collect()
    }

    /// The documents of manifests, earliest admitted first.
    fn sources(&self, state: &State, manifests: &[ManifestId]) -> Vec<Source> {
        let mut sources = Vec::new();
        for contribution in manifests.iter().filter_map(|id| state.manifest(id)).flat_map(|record| record.added) {
            let admission = state.admission(&contribution).map(|record| record.state);
            let (Some(Admission::Admitted { order, .. }), Some(record)) =
                (admission, state.contribution(&contribution))
            else {
                continue;
            };
            for (document, described) in (0_u32..).zip(&record.documents) {
                let Some(text) = self.documents.get(&described.hash) else { continue };
                let (text, _) = fold(text).into_parts();
                let bounds = words(&text).flat_map(|word| [word.start, word.end]).collect();
                let words = words(&text).map(|word| text[word].to_owned()).collect();
                let holder = Holder { order, contribution, document, offset: 0 };
                sources.push(Source { holder, text, bounds, words });
            }
        }
        sources.sort_by_key(|source| source.holder);
        sources
    }
}

impl Source {
    /// Where a passage stands in this document, from a word's start to a word's end.
    fn find(&self, passage: &str) -> Option<Holder> {
        let at_words = |at: &usize| self.bounds.contains(at) && self.bounds.contains(&(at + passage.len()));
        let at = self.text.match_indices(passage).map(|(at, _)| at).find(at_words)?;
        Some(Holder { offset: at as u64, ..self.holder })
    }
}

fn search(output: &str, sources: &[Source], datanet: &DataNetId) -> Evidence {
    let folded = fold(output);
    let Ok(answer) = Answer::of(&folded) else { return Evidence::default() };
    let text = folded.text();
    let find = |passage: &str| sources.iter().find_map(|source| source.find(passage));
    // The longest match from each word, and the first holder of the context that starts with it.
    let (mut spans, mut contexts) = (Vec::new(), Vec::new());
    for (index, first) in answer.words().iter().enumerate() {
        let span = |last: &Word| {
            let (start, end) = (first.start, last.end);
            Some(Span { start, end, holder: find(&text[start as usize..end as usize])? })
        };
        spans.extend(answer.words()[index..].iter().map_while(span).last());
        contexts.extend(first.context_end.and_then(|end| span(&answer.words()[end as usize - 1])));
    }
    let mut counts = vec![0; answer.distinct_words()];
    for word in answer.words() {
        let spelled = &text[word.start as usize..word.end as usize];
        let count = |source: &Source| source.words.iter().filter(|other| other.as_str() == spelled).count() as u64;
        counts[word.distinct as usize] = sources.iter().map(count).sum();
    }
    let all = sources.iter().map(|source| source.words.len() as u64).sum();
    Partial::new(&answer, spans, &contexts, Frequencies { words: all, counts }).into_evidence(&answer, *datanet)
}
