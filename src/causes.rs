//! What others say, in words for people, for every client alike: errors of the network, of which the outermost alone seldom says what is
//! wrong, and the texts of servers, which may be of any length.

use std::error::Error;

/// Longest text of a server that is passed on, in characters.
const MAX_TEXT: usize = 300;

/// An error and what caused it, in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// A server's text in one line of a readable length.
pub(crate) fn readable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut short: String = text.trim().chars().take(MAX_TEXT).collect();
    if text.trim().chars().nth(MAX_TEXT).is_some() {
        short.push('…');
    }
    short.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_one_line_of_a_readable_length() {
        assert_eq!(readable(b" short \n"), "short");
        assert_eq!(readable(b"two\nlines"), "two lines");
        assert_eq!(readable("é".repeat(400).as_bytes()).chars().count(), MAX_TEXT + 1);
    }
}
