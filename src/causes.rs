//! What others say, in words for people, for every client alike: errors of the network, of which the outermost alone seldom says what is
//! wrong, and the texts of servers, which may be of any length.

use std::error::Error;
use std::io;

/// Longest text of a server that is passed on, in characters: its beginning, and its end, where ClickHouse says for which view it was.
const BEGINNING: usize = 200;
const END: usize = 160;

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

/// What TLS said, where an error comes from there.
pub(crate) fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An I/O error's source is that of what it holds, not what it holds.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// A server's text in one line of a readable length.
pub(crate) fn readable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    let length = text.chars().count();
    let mut short: String = text.chars().take(if length > BEGINNING + END { BEGINNING } else { length }).collect();
    if length > BEGINNING + END {
        short.push('…');
        short.extend(text.chars().skip(length - END));
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
        let long = readable(format!("begins {} ends", "é".repeat(400)).as_bytes());
        assert_eq!(long.chars().count(), BEGINNING + END + 1);
        assert!(long.starts_with("begins") && long.ends_with("ends"));
    }
}
