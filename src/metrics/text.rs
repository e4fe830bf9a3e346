//! Reads the text that `/metrics` shows, for who shows it otherwise: own telemetry, and `otelgate top`.

/// A value with its name and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// As it stands there.
    pub name: &'a str,
    /// In their order.
    pub labels: Vec<(&'a str, String)>,
    /// The value.
    pub number: f64,
}

impl<'a> Sample<'a> {
    /// A line: `name{label="value",…} number`; `None` for comments and what cannot be read.
    pub fn read(line: &'a str) -> Option<Sample<'a>> {
        let end = line.find(['{', ' ']).filter(|_| !line.starts_with('#'))?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = unquote(after)?;
                labels.push((label.trim_start_matches(','), value));
                rest = after;
            }
            rest = rest.strip_prefix('}')?;
        }
        Some(Sample { name, labels, number: rest.split_whitespace().next()?.parse().ok()? })
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// What stands before the closing quotation mark, and the rest after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in text.char_indices() {
        match (std::mem::take(&mut escaped), letter) {
            (false, '"') => return Some((value, text.get(at + 1..)?)),
            (false, '\\') => escaped = true,
            (true, 'n') => value.push('\n'),
            (_, other) => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_what_is_escaped_in_them() {
        let sample = Sample::read(r#"otelgate_rows{key="a\"b\\c\nd,e}=\"",state="stored"} 1.5"#).unwrap();
        assert_eq!((sample.name, sample.number), ("otelgate_rows", 1.5));
        assert_eq!((sample.label("key"), sample.label("state")), (Some("a\"b\\c\nd,e}=\""), Some("stored")));
        assert_eq!(Sample::read("otelgate_spool_bytes 7 123").map(|sample| sample.number), Some(7.0));
        for wrong in ["# TYPE otelgate_rows gauge", "# EOF", "", "name", "name{a=\"b} 1", "name{a} 1", "name x"] {
            assert_eq!(Sample::read(wrong), None, "{wrong}");
        }
    }
}
