//! A log record's severity, from what its producer or its text says.

use std::borrow::Cow;

use super::super::value::AnyValue;
use super::list::List;
use crate::otlp::steps;

/// A severity's text and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Severity<'a> {
    pub(in super::super) text: Cow<'a, [u8]>,
    pub(in super::super) number: i32,
}

/// A severity's number and name, and the words that mean it.
struct Class {
    number: i32,
    name: &'static [u8],
    words: &'static [&'static [u8]],
}

const fn class(number: i32, name: &'static [u8], words: &'static [&'static [u8]]) -> Class {
    Class { number, name, words }
}

/// A level attribute is of the last class with a word in it.
const CLASSES: [Class; 6] = [
    class(21, b"fatal", &[b"alert", b"crit", b"emerg", b"fatal"]),
    class(17, b"error", &[b"error", b"err"]),
    class(13, b"warn", &[b"warn", b"notice"]),
    class(INFO, b"info", &[b"info"]),
    class(5, b"debug", &[b"debug", b"dbug"]),
    class(1, b"trace", &[b"trace"]),
];
const INFO: i32 = 9;

/// Attributes that name a level, the first that does counts.
const LEVELS: [&[u8]; 7] = [b"level", b"Level", b"LEVEL", b"severity", b"Severity", b"SEVERITY", b"log.level"];

/// What a byte can be in a body that is searched for a word: one of a word's bytes, the first letter of a word that names a severity, the
/// second one of such a word.
const IN_WORD: u8 = 1;
const FIRST: u8 = 2;
const SECOND: u8 = 4;

const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            bytes[at] |= IN_WORD;
        }
        if matches!(byte.to_ascii_lowercase(), b'a' | b'c' | b'd' | b'e' | b'f' | b'n' | b't' | b'w') {
            bytes[at] |= FIRST;
        }
        if matches!(byte.to_ascii_lowercase(), b'a' | b'b' | b'e' | b'l' | b'm' | b'o' | b'r') {
            bytes[at] |= SECOND;
        }
        at += 1;
    }
    bytes
};

/// How much of a body is searched for a word.
const SEARCHED: usize = 256;

impl<'a> Severity<'a> {
    /// Whether the producer set one.
    pub(in super::super) fn is_set(&self) -> bool {
        self.number != 0 || !self.text.is_empty()
    }

    /// The severity that an attribute names.
    pub(in super::super) fn from_attributes(attributes: List<'a, '_>) -> Option<Severity<'a>> {
        let mut seen = [false; LEVELS.len()];
        let mut found: Option<(usize, Cow<'a, [u8]>)> = None;
        // Of equal keys the last counts.
        for at in (0..attributes.len()).rev() {
            let key = attributes.key(at);
            let rank = if matches!(key.len(), 5 | 8 | 9) { LEVELS.iter().position(|name| key == *name) } else { None };
            let Some(rank) = rank else { continue };
            let first = !std::mem::replace(&mut seen[rank], true);
            if let AnyValue::Text(text) = attributes.value(at)
                && first
                && !text.is_empty()
                && found.as_ref().is_none_or(|(best, _)| rank < *best)
            {
                found = Some((rank, text));
            }
        }
        let (_, text) = found?;
        let number = level_of(&text);
        Some(Severity { text, number })
    }

    /// The severity that the first such word in the beginning of the body names, `info` when there is none.
    pub(in super::super) fn from_body(body: &[u8]) -> Severity<'static> {
        let body = &body[..body.len().min(SEARCHED)];
        let (mut begun, mut last) = (false, 0);
        for (at, byte) in body.iter().enumerate() {
            let this = BYTES[usize::from(*byte)];
            if begun & (this & SECOND != 0)
                && let Some(severity) = body.get(at - 1..).and_then(Severity::of_word)
            {
                return severity;
            }
            begun = (this & FIRST != 0) & (last & IN_WORD == 0);
            last = this;
        }
        Severity { text: Cow::Borrowed(b"info"), number: INFO }
    }

    /// The severity of the word that the text begins with; `info` is none of them.
    fn of_word(text: &[u8]) -> Option<Severity<'static>> {
        let two = text.first_chunk::<2>()?.map(|byte| byte.to_ascii_lowercase());
        let begins = |word: &&[u8]| {
            word.first_chunk() == Some(&two)
                && text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        let class = CLASSES.iter().find(|class| class.number != INFO && class.words.iter().any(begins))?;
        Some(Severity { text: Cow::Borrowed(class.name), number: class.number })
    }

    /// Lower-cases the text, letter by letter.
    pub(in super::super) fn lower(&mut self) {
        if self.text.is_ascii() {
            if self.text.iter().any(u8::is_ascii_uppercase) {
                if let Some(class) = CLASSES.iter().find(|class| class.name.eq_ignore_ascii_case(&self.text)) {
                    self.text = Cow::Borrowed(class.name);
                    return;
                }
                self.text.to_mut().make_ascii_lowercase();
            }
            return;
        }
        let mut lower = String::new();
        for chunk in self.text.utf8_chunks() {
            lower.extend(chunk.valid().chars().map(|char| {
                // The one letter whose lower case has two characters; Go keeps the first.
                char.to_lowercase().next().unwrap_or(char)
            }));
            lower.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        self.text = Cow::Owned(lower.into_bytes());
    }
}

/// The number of the last class that has a word in the text, wherever in it. One walk: a text may be long.
fn level_of(text: &[u8]) -> i32 {
    steps::count(text.len());
    let mut last = None;
    for at in 0..text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let letter = rest.first().map(u8::to_ascii_lowercase);
        if !matches!(letter, Some(b'a' | b'c' | b'd' | b'e' | b'f' | b'i' | b'n' | b't' | b'w')) {
            continue;
        }
        let begins = |word: &&[u8]| {
            word.first().copied() == letter
                && rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        // Only those behind the last one can change anything.
        let from = last.map_or(0, |class| class + 1);
        let found = CLASSES.iter().skip(from).rposition(|class| class.words.iter().any(begins));
        last = found.map(|class| from + class).or(last);
        if last == Some(CLASSES.len() - 1) {
            break;
        }
    }
    last.and_then(|class| CLASSES.get(class)).map_or(INFO, |class| class.number)
}

#[cfg(test)]
mod tests {
    use super::super::super::value::Attribute;
    use super::*;

    #[test]
    fn the_first_word_of_a_body_counts() {
        for (body, text, number) in [
            ("all is well", "info", 9),
            ("an ERROR, then a warning", "error", 17),
            ("terror is no word, warned is", "warn", 13),
            ("x_error 1err", "info", 9),
            ("critical", "fatal", 21),
            ("é-notice", "warn", 13),
            ("DBUG", "debug", 5),
            ("traceback", "trace", 1),
            ("info: nothing", "info", 9),
            ("", "info", 9),
        ] {
            let severity = Severity::from_body(body.as_bytes());
            assert_eq!((&*severity.text, severity.number), (text.as_bytes(), number), "{body}");
        }
        let late = format!("{}error", " ".repeat(252));
        assert_eq!(Severity::from_body(late.as_bytes()).number, 17, "err is within 256 bytes");
        assert_eq!(Severity::from_body(format!("  {late}").as_bytes()).number, 9);
    }

    #[test]
    fn a_level_attribute_is_of_the_last_class_that_it_names() {
        for (level, number) in [("INFO", 9), ("Warning", 13), ("error in trace", 1), ("verbose", 9), ("EMERGENCY", 21)]
        {
            let attribute =
                Attribute { key: Cow::Borrowed(b"Severity"), value: AnyValue::Text(Cow::Borrowed(level.as_bytes())) };
            assert_eq!(
                Severity::from_attributes(List::own(&[attribute])).map(|severity| severity.number),
                Some(number),
                "{level}"
            );
        }
        assert_eq!(Severity::from_attributes(List::own(&[])), None);
    }

    #[test]
    fn texts_are_lower_cased_as_go_does() {
        for (text, lower) in [("WARN", "warn"), ("ÄÖΣ", "äöσ"), ("İ", "i"), ("ok", "ok")] {
            let mut severity = Severity { text: Cow::Borrowed(text.as_bytes()), number: 0 };
            severity.lower();
            assert_eq!(severity.text, lower.as_bytes());
        }
    }
}
