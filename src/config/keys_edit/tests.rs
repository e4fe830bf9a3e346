use std::time::Duration;

use super::super::testing::{Fake, cut, spoiled};
use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const NEW: [u8; 32] = [0xCC; 32];
const CC: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

fn until() -> SystemTime {
    let time: jiff::Timestamp = "2999-01-02T03:04:05Z".parse().unwrap();
    SystemTime::from(time) + Duration::from_millis(7)
}

#[track_caller]
fn edit(text: &str, change: impl FnOnce(&KeysText<'_>) -> Result<String, EditError>) -> Result<String, EditError> {
    let fake = Fake::new();
    change(&KeysText::read(Path::new("/o/keys.yaml"), text, &fake)?)
}

fn rotated(text: &str, name: &str) -> Result<String, EditError> {
    edit(text, |keys| keys.with_rotated(name, NEW, until()).map(|(text, _)| text))
}

#[test]
fn a_change_is_what_was_asked_for_and_nothing_else() {
    let text = format!(
        "# Who may send.\nkeys:   # in this order\n  - name: ä # first\n\n    sha256: {A}  # made in May\n    \
         limits: {{ requests_per_second: 5 }} # slow\n    # enabled: false\n\n  # the second\n  -   name: 'two'\n      \
         value: \"${{env:TWO}}\" # elsewhere\n      expires: 2998-01-01T00:00:00Z\n# the end\n"
    )
    .replace('ä', "one");
    let revoked = edit(&text, |keys| keys.with_disabled("one")).unwrap();
    assert_eq!(revoked, text.replace("one # first\n", "one # first\n    enabled: false\n"));
    let added = edit(&text, |keys| keys.with_new("three", NEW)).unwrap();
    let after = "expires: 2998-01-01T00:00:00Z\n";
    assert_eq!(added, text.replace(after, &format!("{after}  - name: three\n    sha256: \"{CC}\"\n")));

    let one = rotated(&text, "one").unwrap();
    let copy = format!(
        "    # enabled: false\n  - name: one.old-1 # first\n    expires: 2999-01-02T03:04:05Z\n\n    sha256: {A}  # made in \
         May\n    limits: {{ requests_per_second: 5 }} # slow\n"
    );
    let expected = text.replacen(A, &format!("\"{CC}\""), 1).replace("    # enabled: false\n", &copy);
    assert_eq!(one, expected);
    // An end that comes sooner stays, for both.
    let two = rotated(&text, "two").unwrap();
    let copy = "expires: 2998-01-01T00:00:00Z\n  -   name: two.old-1\n      value: \"${env:TWO}\" # elsewhere\n      \
                expires: 2998-01-01T00:00:00Z\n";
    let expected = text.replace("value: \"${env:TWO}\"", &format!("sha256: \"{CC}\"")).replace(after, copy);
    assert_eq!(two, expected);
    let again = rotated(&one.replace(CC, B), "one").unwrap();
    assert!(again.contains("one.old-1 ") && again.contains("one.old-2 "), "{again}");
}

#[test]
fn brackets_line_ends_and_missing_ends_are_kept() {
    for (text, added) in [
        ("keys: []\n".to_owned(), format!("keys:\n  - name: new\n    sha256: \"{CC}\"\n")),
        (
            format!("keys: [ {{name: a, sha256: {A}}} ] # all\n"),
            format!("keys: [ {{name: a, sha256: {A}}}, {{ name: new, sha256: \"{CC}\" }} ] # all\n"),
        ),
        (
            format!("keys:\r\n- name: a\r\n  sha256: {A}"),
            format!("keys:\r\n- name: a\r\n  sha256: {A}\r\n- name: new\r\n  sha256: \"{CC}\""),
        ),
        (
            format!("keys:\n  -\n    name: ü\n    sha256: {A}\n").replace('ü', "u"),
            format!("keys:\n  -\n    name: u\n    sha256: {A}\n  - name: new\n    sha256: \"{CC}\"\n"),
        ),
        (
            format!("# ünïcödé\nkeys:\n  - {{ name: a, sha256: {A} }}\n"),
            format!("# ünïcödé\nkeys:\n  - {{ name: a, sha256: {A} }}\n  - name: new\n    sha256: \"{CC}\"\n"),
        ),
    ] {
        assert_eq!(edit(&text, |keys| keys.with_new("new", NEW)).unwrap(), added);
    }
    let flow = format!("keys: [{{ sha256: \"{A}\", name: a, enabled: true }}]\n");
    let revoked = edit(&flow, |keys| keys.with_disabled("a")).unwrap();
    assert_eq!(revoked, flow.replace("true", "false"));
    let two = rotated(&flow, "a").unwrap();
    let copy = format!("{{ sha256: \"{A}\", name: a.old-1, expires: 2999-01-02T03:04:05Z, enabled: true }}");
    assert_eq!(two, format!("keys: [{{ sha256: \"{CC}\", name: a, enabled: true }}, {copy}]\n"));
    let item = format!("keys:\n  - {{ name: a, sha256: {A} }} # a\n");
    let two = rotated(&item, "a").unwrap();
    let copy = format!("{{ name: a.old-1, expires: 2999-01-02T03:04:05Z, sha256: {A} }}");
    assert_eq!(two, format!("keys:\n  - {{ name: a, sha256: \"{CC}\" }} # a\n  - {copy}\n"));
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let text =
        format!("keys:\n  - {{ name: a, sha256: {A}, enabled: false }}\n  - {{ name: '${{env:B}}', sha256: {B} }}\n");
    assert!(matches!(edit(&text, |keys| keys.with_disabled("c")), Err(EditError::Unknown(_))));
    assert!(matches!(edit(&text, |keys| keys.with_new("a", NEW)), Err(EditError::Taken(_))));
    assert!(matches!(rotated(&text, "a"), Err(EditError::Over(_))));
    assert!(matches!(rotated(&text, "variable-B-unknown-here"), Err(EditError::Form(_))));
    let odd = format!("keys:\n  - name: a\n    enabled:\n    sha256: {A}\n");
    assert!(matches!(edit(&odd, |keys| keys.with_disabled("a")), Err(EditError::Mistakes(_) | EditError::Form(_))));
    for wrong in ["", "keys:\n", "kees: []\n", "keys: [{ name: a }]\n"] {
        assert!(edit(wrong, |keys| keys.with_new("new", NEW)).is_err(), "{wrong}");
    }
    let certificate = "keys: [{ name: till, certificate: 'DNS:till.example' }]\n";
    assert!(matches!(rotated(certificate, "till"), Err(EditError::Certificate(_))));
    assert!(edit(certificate, |keys| keys.with_disabled("till")).is_ok());
    let same = |keys: &KeysText<'_>| keys.with_new("new", [0xAA; 32]);
    assert!(matches!(edit(&text, same), Err(EditError::Form(_))));
}

proptest::proptest! {
    /// Whatever somebody made of a file, a change to it says what was asked for or is refused, and ends nothing.
    #[test]
    fn no_text_panics(cuts in proptest::collection::vec(cut(), 0..5)) {
        let text = spoiled(include_str!("../../../keys.example.yaml"), &cuts);
        let _ = edit(&text, |keys| keys.with_disabled("checkout"));
        let _ = edit(&text, |keys| keys.with_new("new", NEW));
        let _ = rotated(&text, "checkout");
    }
}
