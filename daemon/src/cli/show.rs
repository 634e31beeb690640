//! Views for people.

use crate::api::types::Explained;
use crate::output::Paint;
use std::collections::BTreeMap;

/// An answer with its paid passages marked by contributor, a legend, and the sums. The demo shows it too.
pub fn paint_answer(explained: &Explained, paint: Paint) -> String {
    let number: BTreeMap<&str, usize> =
        explained.contributions.iter().zip(0..).map(|(share, n)| (share.contribution.as_str(), n)).collect();
    let (mut text, mut at) = (String::new(), 0);
    for span in &explained.spans {
        let (start, end) = (span.start as usize, span.end as usize);
        let n = number.get(span.contribution.as_str()).copied().unwrap_or(0);
        text += explained.output.get(at..start).unwrap_or_default();
        text += &paint.nth(n, format!("[{}: {}]", n + 1, span.text));
        at = end;
    }
    text += explained.output.get(at..).unwrap_or_default();
    text += "\n\n";
    for (n, share) in explained.contributions.iter().enumerate() {
        let line = format!(
            "[{}] {} ({}): {} passages, {} bits, {} drops",
            n + 1,
            share.credit,
            share.datanet_name,
            share.spans,
            share.bits,
            share.drops
        );
        text += &format!("{}\n", paint.nth(n, line));
    }
    let sums = &explained.sums;
    text += &format!(
        "{} of {} words are nobody's here\nfee {} = data {} + base {} + model {} + serving {} + validators {} + treasury {}\n",
        explained.uncovered_words,
        explained.total_words,
        sums.fee,
        sums.data,
        sums.base,
        sums.model,
        sums.serving,
        sums.validators,
        sums.treasury
    );
    text
}
