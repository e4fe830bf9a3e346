//! What is JSON, and what is taken for it.

use super::*;

fn unescaped(raw: &str) -> Result<String, Stop> {
    let mut bytes = Vec::new();
    let text = Text { raw: raw.as_bytes(), escaped: true };
    unescape(text, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn escapes() {
    assert_eq!(unescaped(r#"a\"\\\/\b\f\n\r\t\u00e9z"#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\t\u{e9}z");
    for wrong in [r"\x", r"\", r"\u12", r"\u12g4", r"\ud83d\u12"] {
        assert!(matches!(unescaped(wrong), Err(Stop::Malformed)), "{wrong}");
    }
}

#[test]
fn half_a_pair_is_a_replacement_character() {
    for (raw, meant) in [
        (r"\ud83e\udd80", "\u{1f980}"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        // As the collector reads it: the second one is not tried as the beginning of a pair.
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(unescaped(raw).unwrap(), meant, "{raw}");
    }
}

#[test]
fn whatever_is_well_formed_is_stepped_over() {
    let deep = |depth: usize| format!("{}{}", "[{\"a\":".repeat(depth / 2) + "1", "}]".repeat(depth / 2));
    let taken =
        ["1", "-0.5e+3", "\"\\\"\"", "[]", "{}", "[1,[2],{\"a\":{}}]", "{\"a\":[],\"b\":null}", " [ true , false ] "];
    for text in taken.map(str::to_owned).into_iter().chain([deep(MAX_SKIPPED_DEPTH)]) {
        let mut reader = Reader::new(text.as_bytes());
        assert!(reader.skip().is_ok() && reader.ends(), "{text:.40}");
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{text:.40}");
    }
    let refused = [
        "",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "tru",
        "nul",
        "\"\\x\"",
        "[",
        "[1",
        "[1,]",
        "[,1]",
        "[1}",
        "{]",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "\u{feff}1",
        "[1 2]",
        "'a'",
    ];
    for text in refused.map(str::to_owned).into_iter().chain([deep(MAX_SKIPPED_DEPTH + 2)]) {
        let mut reader = Reader::new(text.as_bytes());
        assert!(reader.skip().is_err() || !reader.ends(), "{text:.40}");
    }
}
