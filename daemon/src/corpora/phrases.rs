//! Sentences of our own for [`answers`](super::answers): prompts, and what stands between quotations.

/// Prompts for which a held-back passage is the answer; `{title}` is its document's.
pub(super) const HELD_BACK_PROMPTS: &[&str] = &[
    "Write a passage in the manner of {title}.",
    "Continue {title} with text that has not been seen before.",
    "Give me a page that could stand in {title}.",
    "How might the author of {title} go on from here?",
    "Draft a new section for {title}.",
    "Invent a scene or an argument that would suit {title}.",
];

/// Prompts for which quotations are the answer; `{title}` is the first one's document.
pub(super) const QUOTATION_PROMPTS: &[&str] = &[
    "Which passages of {title} should I read first?",
    "Quote something memorable from {title} and say why it matters.",
    "What does {title} have to say that still holds today?",
    "Give me a quotation from {title} for a talk.",
    "I remember a line from {title}. Which one could it be?",
    "Compare {title} with another text in its own words.",
    "Show with quotations how {title} is written.",
    "What would a reader underline in {title}?",
];

/// Prompts for a language model; `{passage}` is published text from `{title}`.
pub(super) const QUESTIONS: &[&str] = &[
    "Here is a passage from {title}:\n\n{passage}\n\nExplain in several sentences what it says, and quote its most important words.",
    "Read this passage:\n\n{passage}\n\nRepeat its main sentence word for word, then say in your own words what it means.",
    "{passage}\n\nWho could have written this, and about what? Answer in a paragraph.",
    "Continue this text in the same style for a few sentences:\n\n{passage}",
];

/// How an answer with quotations begins.
pub(super) const OPENINGS: &[&str] = &[
    "There is a place that speaks to this directly, and it loses nothing by being read slowly.",
    "I would start with these words, because everything that follows in the text leans on them.",
    "Readers usually remember one passage above the rest.",
    "A short extract says more about this than any summary of mine could.",
    "The clearest statement comes early, and I give it in full.",
    "Two things stand out here, and the first is best left in the original wording.",
    "It depends on what you are looking for, but this is the part most people come back to.",
    "Let me answer with the text itself before adding anything.",
    "You may be thinking of the following lines.",
    "The tone is easier to hear than to describe, so here is a sample.",
    "What you ask about is treated in passing, yet the wording is worth having.",
    "Among the candidates I would choose this one.",
];

/// What stands between two quotations.
pub(super) const BRIDGES: &[&str] = &[
    "Elsewhere the same concern returns in quite another key.",
    "Set beside it a second passage, which pulls in the opposite direction.",
    "For comparison, consider how differently the next extract goes about it.",
    "That is only half of the picture; the other half reads like this.",
    "A reader who stops there would miss what comes from another hand.",
    "The contrast with the following could hardly be greater.",
    "Another page makes a related point with less ceremony.",
    "It helps to hold that against a plainer specimen.",
];

/// How an answer with quotations ends.
pub(super) const CLOSINGS: &[&str] = &[
    "Taken together, these words give a fair idea of the whole, though the surrounding pages soften them a little.",
    "I would not read more into this than the wording bears, but it is a good place to begin.",
    "Notice how much is left for the reader to supply; that restraint is part of the effect.",
    "If you want to go further, the paragraphs on either side are the natural next step.",
    "Whether one agrees or not, the sentence has a shape that is hard to forget.",
    "My own view is that the rhythm matters here at least as much as the meaning.",
    "Scholars have argued about the details, and nothing above is meant to settle the matter.",
    "That should be enough for your purpose; ask again if you need the context.",
    "Anything beyond this would be guesswork on my part, so I stop at the quotation.",
    "In short, the original says it better than a paraphrase would.",
];
