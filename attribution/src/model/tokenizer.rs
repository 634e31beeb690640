//! From text to tokens and back.
//!
//! Two kinds. A checkpoint of somebody else brings its byte-level BPE. A model small enough to be
//! trained in a minute has no use for a vocabulary: its tokens are the 256 bytes, and one more that
//! ends an answer and stands between texts.
//!
//! Control tokens written out in a text are encoded as plain text, so that nobody can end a turn of
//! a chat from inside a prompt; the real ones are placed by number.

use tokenizers::Tokenizer as Bpe;
use tokenizers::models::ModelWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper as Before;
use tokenizers::processors::PostProcessorWrapper as After;

use super::error::LoadError;
use super::example::Example;

/// What to say to the model.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// How the model shall behave. Where this is absent a chat template may have a default.
    pub system: Option<&'a str>,
    /// The question.
    pub user: &'a str,
}

/// Why a text could not be turned into tokens, or tokens into text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The model has not been tuned to answer.
    #[error("the model has no chat form: it can only go on with a text")]
    NoChatForm,
    /// The tokenizer itself failed.
    #[error("the tokenizer failed")]
    Failed(#[from] tokenizers::Error),
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A token is a byte, or [`END`].
    Bytes,
    /// A vocabulary of pieces.
    Pieces {
        /// The vocabulary and its rules.
        bpe: Box<Bpe>,
        /// How a chat is written, if the model was tuned on any.
        chat: Option<Chat>,
        /// What ends a text.
        end: Option<u32>,
    },
}

/// The token after the 256 bytes.
const END: u32 = 256;
/// Tokens of the byte-level tokenizer.
const BYTE_VOCABULARY: usize = 257;

const TURN_START: &str = "<|im_start|>";
const TURN_END: &str = "<|im_end|>";

/// ChatML: each turn is a mark, a role, a new line, the text, and another mark.
#[derive(Debug, Clone)]
pub(super) struct Chat {
    turn_start: u32,
    turn_end: u32,
    /// The template, to be saved with the model again.
    pub(super) template: Option<String>,
}

impl Chat {
    /// The chat form that a template describes; without a template, ChatML where the vocabulary has
    /// its marks.
    pub(super) fn new(bpe: &Bpe, template: Option<String>) -> Result<Option<Self>, LoadError> {
        if template.as_ref().is_some_and(|text| !text.contains(TURN_START) || !text.contains(TURN_END)) {
            return Err(LoadError::ChatTemplate);
        }
        let mark = |token| bpe.token_to_id(token).ok_or(LoadError::MissingToken { token });
        match (mark(TURN_START), mark(TURN_END)) {
            (Ok(turn_start), Ok(turn_end)) => Ok(Some(Self { turn_start, turn_end, template })),
            (Err(missing), _) | (_, Err(missing)) if template.is_some() => Err(missing),
            _ => Ok(None),
        }
    }

    /// What the template says for the system where the chat says nothing: models are tuned with it.
    /// It stands in the template as a literal between the marks, with its new lines escaped or not.
    fn default_system(&self) -> Option<String> {
        let template = self.template.as_ref()?;
        let after = |lead: &str| template.split_once(lead).map(|(_, rest)| rest);
        let rest = after("<|im_start|>system\\n").or_else(|| after("<|im_start|>system\n"))?;
        let (text, _) = rest.split_once(TURN_END)?;
        // Anything but a literal, such as a place for the caller's text, is not a default.
        let literal = !text.is_empty() && !text.contains(['{', '}', '\'', '"', '+']);
        literal.then(|| text.replace("\\n", "\n"))
    }
}

impl Tokenizer {
    /// The byte-level tokenizer.
    pub const BYTES: Self = Self(Kind::Bytes);

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        match &self.0 {
            Kind::Bytes => BYTE_VOCABULARY,
            Kind::Pieces { bpe, .. } => bpe.get_vocab_size(true),
        }
    }

    /// The token that ends an answer, if there is one.
    #[must_use]
    pub fn end(&self) -> Option<u32> {
        match &self.0 {
            Kind::Bytes => Some(END),
            Kind::Pieces { chat, end, .. } => chat.as_ref().map(|chat| chat.turn_end).or(*end),
        }
    }

    /// What makes this more than byte-level BPE, if anything does. Of that alone the work and the tokens are bounded by the
    /// text, whoever made the tokenizer: at most two tokens for each byte.
    pub(crate) fn excess(&self) -> Option<&'static str> {
        let Kind::Pieces { bpe, .. } = &self.0 else { return None };
        let is_numbered = bpe.get_vocab(true).values().all(|id| (*id as usize) < bpe.get_vocab_size(true));
        let is_bpe = matches!(bpe.get_model(), ModelWrapper::BPE(model) if model.dropout.is_none());
        [
            (!is_bpe, "its model is not BPE without dropout"),
            (bpe.get_normalizer().is_some(), "it has a normalizer"),
            (
                !bpe.get_pre_tokenizer().is_some_and(is_byte_level),
                "it splits text other than by digits and GPT-2's rule",
            ),
            (bpe.get_post_processor().is_some_and(|it| !matches!(it, After::ByteLevel(_))), "it adds tokens"),
            (bpe.get_padding().is_some() || bpe.get_truncation().is_some(), "it pads or cuts texts"),
            (!is_numbered, "its tokens are not numbered without gaps"),
        ]
        .into_iter()
        .find_map(|(is_so, what)| is_so.then_some(what))
    }

    /// The tokens of a text, and nothing around it.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.0 {
            Kind::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Kind::Pieces { bpe, .. } => Ok(bpe.encode(text, false)?.get_ids().to_vec()),
        }
    }

    /// The text of tokens, without control tokens. What is not UTF-8 is replaced.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        match &self.0 {
            Kind::Bytes => {
                let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Kind::Pieces { bpe, .. } => Ok(bpe.decode(tokens, true)?),
        }
    }

    /// The tokens of a whole chat up to where the model's answer begins. The byte-level form is
    /// plain: what is said, each on a line of its own.
    ///
    /// # Errors
    /// If the model has no chat form.
    pub fn chat(&self, prompt: &Prompt<'_>) -> Result<Vec<u32>, TokenizerError> {
        let chat = match &self.0 {
            Kind::Bytes => {
                let system = prompt.system.map(|text| format!("{text}\n")).unwrap_or_default();
                return self.encode(&format!("{system}{}\n", prompt.user));
            }
            Kind::Pieces { chat, .. } => chat.as_ref().ok_or(TokenizerError::NoChatForm)?,
        };
        let mut tokens = Vec::new();
        let system = prompt.system.map(str::to_owned).or_else(|| chat.default_system());
        let turns = system.as_deref().map(|text| ("system", text));
        for (role, text) in turns.into_iter().chain([("user", prompt.user)]) {
            tokens.push(chat.turn_start);
            tokens.extend(self.encode(&format!("{role}\n{text}"))?);
            tokens.push(chat.turn_end);
            tokens.extend(self.encode("\n")?);
        }
        tokens.push(chat.turn_start);
        tokens.extend(self.encode("assistant\n")?);
        Ok(tokens)
    }

    /// An answer to a prompt as an example of which only the answer, with its end, counts.
    ///
    /// # Errors
    /// If the model has no chat form.
    pub fn answer(&self, prompt: &Prompt<'_>, answer: &str) -> Result<Example, TokenizerError> {
        Ok(Example::answer(&self.chat(prompt)?, &self.document(answer)?))
    }

    /// The tokens of a prompt as receipts have it, up to where the answer begins: in the chat form of a model that was
    /// tuned on one, else the text itself, to be gone on with.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.0 {
            Kind::Pieces { chat: Some(_), .. } => self.chat(&Prompt { system: None, user: text }),
            _ => Ok(self.end().into_iter().chain(self.encode(text)?).collect()),
        }
    }

    /// A passage of training text: what ends texts stands before it, so that its first token counts as well.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn passage(&self, text: &str) -> Result<Example, TokenizerError> {
        let tokens = self.encode(text)?;
        Ok(match self.end() {
            Some(end) => Example::answer(&[end], &tokens),
            None => Example::text(tokens),
        })
    }

    /// The tokens of a text and the token that ends it.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn document(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = self.encode(text)?;
        tokens.extend(self.end());
        Ok(tokens)
    }
}

/// Byte-level, perhaps after digits were taken apart; but once, as each time may double a text.
fn is_byte_level(rule: &Before) -> bool {
    match rule {
        Before::ByteLevel(_) => true,
        Before::Sequence(rules) => {
            matches!(rules.as_ref(), [Before::ByteLevel(_)] | [Before::Digits(_), Before::ByteLevel(_)])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_system_text_is_read_from_the_template() {
        let chat = |template: &str| Chat { turn_start: 1, turn_end: 2, template: Some(template.to_owned()) };
        let table = [
            ("{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}", Some("You help.")),
            ("{{ '<|im_start|>system\\nYou\\nhelp.<|im_end|>\\n' }}", Some("You\nhelp.")),
            ("{{ '<|im_start|>system\n' + system + '<|im_end|>' }}", None),
            ("{{ '<|im_start|>' + message['role'] + '\n' }}", None),
        ];
        for (template, wanted) in table {
            assert_eq!(chat(template).default_system().as_deref(), wanted, "{template}");
        }
    }

    #[test]
    fn bytes_survive_and_only_the_answer_counts() {
        let tokens = Tokenizer::BYTES.encode("Grüße").unwrap();
        assert_eq!(Tokenizer::BYTES.decode(&tokens).unwrap(), "Grüße");
        let example = Tokenizer::BYTES.answer(&Prompt { system: Some("s"), user: "u" }, "yes").unwrap();
        assert_eq!(example.tokens(), [115, 10, 117, 10, 121, 101, 115, END]);
        assert_eq!(example.counted(), 4);
    }
}
