//! `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` in a string. What is put in is never looked at again, and never shown.
//!
//! A default is taken where the variable is not set, and not where it is empty, as the collector does; references in it are replaced too, since they
//! stand in the file.

use std::path::Path;

use zeroize::Zeroizing;

use super::Surroundings;

/// References within defaults within defaults: more is nobody's configuration.
const MAX_DEPTH: usize = 8;

const KINDS: &str = "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}, or $${ for the characters themselves";

/// What makes a file that is not there, where it is one of systemd's: a credential of a unit, below `/run/credentials` (systemd.exec(5), `LoadCredential=`).
pub(super) fn credential_remedy(file: &Path) -> Option<&'static str> {
    let remedy = "systemd makes it, while a service with this LoadCredential runs (docs/deploy.md)";
    file.starts_with("/run/credentials").then_some(remedy)
}

/// Replaces every reference of `written`; paths are relative to `dir`. `$${` stands for `${` itself.
/// A file's last line break does not count: editors and `echo` add one.
pub(super) fn substitute(
    written: &str,
    dir: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Zeroizing<String>, String> {
    replaced(written, dir, surroundings, MAX_DEPTH)
}

fn replaced(
    written: &str,
    dir: &Path,
    surroundings: &dyn Surroundings,
    depth: usize,
) -> Result<Zeroizing<String>, String> {
    let mut resolved = Zeroizing::new(String::with_capacity(written.len()));
    let mut rest = written;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        let reference = &reference[2..];
        if let Some(before) = before.strip_suffix('$') {
            resolved.push_str(before);
            resolved.push_str("${");
            rest = reference;
            continue;
        }
        resolved.push_str(before);
        let (name, after) = split_reference(reference).ok_or_else(|| format!("`${{` without its `}}`; {KINDS}"))?;
        resolved.push_str(&look_up(name, dir, surroundings, depth)?);
        rest = after;
    }
    resolved.push_str(rest);
    Ok(resolved)
}

/// What stands before the `}` that closes a reference, and what after it. References within have a `}` of their own.
fn split_reference(reference: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    let mut at = 0;
    while let Some(found) = reference[at..].find(['$', '}']) {
        at += found;
        match &reference[at..] {
            text if text.starts_with("${") => (open, at) = (open + 1, at + 2),
            text if text.starts_with('$') => at += 1,
            _ if open > 0 => (open, at) = (open - 1, at + 1),
            _ => return Some((&reference[..at], &reference[at + 1..])),
        }
    }
    None
}

/// Whether `written` is one reference and nothing besides, so that no secret stands in the file: not as a default either.
pub(super) fn is_reference(written: &str) -> bool {
    if written.matches("${").count() > MAX_DEPTH {
        return false;
    }
    let Some((name, "")) = written.strip_prefix("${").and_then(split_reference) else { return false };
    match (name.strip_prefix("env:").map(|name| name.split_once(":-")), name.starts_with("file:")) {
        (Some(Some((name, default))), _) => plain(name) && (default.is_empty() || is_reference(default)),
        (Some(None), _) | (None, true) => plain(name),
        (None, false) => false,
    }
}

/// Whether what is put in may be text that stands in the file.
pub(super) fn has_default(written: &str) -> bool {
    written.split("${env:").skip(1).any(|rest| {
        let reference = rest.split('}').next().and_then(|reference| reference.split_once(":-"));
        reference.is_some_and(|(_, default)| !default.is_empty() && !default.starts_with("${"))
    })
}

/// Whether the value itself may be `""`, said by a default of nothing: what is not set is then not there.
pub(super) fn may_be_absent(written: &str) -> bool {
    written.starts_with("${env:") && written.trim_end_matches('}').ends_with(":-") && is_reference(written)
}

fn plain(name: &str) -> bool {
    !name.contains(['{', '}'])
}

fn look_up(name: &str, dir: &Path, surroundings: &dyn Surroundings, depth: usize) -> Result<Zeroizing<String>, String> {
    match name.split_once(':') {
        Some(("env", variable)) => {
            let (variable, default) = match variable.split_once(":-") {
                Some((variable, default)) => (variable, Some(default)),
                None => (variable, None),
            };
            if let Some(value) = surroundings.variable(variable) {
                return Ok(value.into());
            }
            let default = default.ok_or_else(|| {
                format!("the environment variable {variable} is not set; set it where otelgate is started")
            })?;
            let depth = depth.checked_sub(1).ok_or("references are nested too deeply")?;
            replaced(default, dir, surroundings, depth)
        }
        Some(("file", path)) => {
            let path = dir.join(path);
            let bytes = surroundings.read(&path).map_err(|error| {
                let remedy = credential_remedy(&path).map(|remedy| format!("; {remedy}"));
                format!("cannot read {}: {error}{}", path.display(), remedy.unwrap_or_default())
            })?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
            let text = Zeroizing::new(text);
            let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
            Ok(line.to_owned().into())
        }
        _ => Err(format!("unknown kind of reference; {KINDS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Fake;

    fn try_it(written: &str) -> Result<String, String> {
        let fake = Fake::new()
            .variable("NAME", "value")
            .variable("NESTED", "${env:NAME}")
            .variable("EMPTY", "")
            .file("/etc/otelgate/pw", "secret\r\n")
            .file("/abs", "two\nlines\n");
        substitute(written, Path::new("/etc/otelgate"), &fake).map(|text| text.to_string())
    }

    #[test]
    fn references_are_replaced_once() {
        for (written, resolved) in [
            ("plain", "plain"),
            ("a ${env:NAME} b ${env:NAME}", "a value b value"),
            ("${env:NESTED}", "${env:NAME}"),
            ("${file:pw}", "secret"),
            ("${file:/abs}", "two\nlines"),
            ("$${env:NAME} $5", "${env:NAME} $5"),
            ("${env:NAME:-other}", "value"),
            ("${env:EMPTY:-other}", ""),
            ("${env:MISSING:-http://a:1/b?c=d} x", "http://a:1/b?c=d x"),
            ("${env:MISSING:-}", ""),
            ("${env:MISSING:-${env:NONE:-${file:pw}}}!", "secret!"),
            ("${env:MISSING:-a:-b$}}", "a:-b$}"),
            ("${env:MISSING:-${env:NESTED}}", "${env:NAME}"),
        ] {
            assert_eq!(try_it(written).as_deref(), Ok(resolved), "{written}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (written, named) in [
            ("${env:MISSING}", "MISSING is not set"),
            ("${file:gone}", "/etc/otelgate/gone"),
            ("${file:/run/credentials/otelgate.service/password}", "systemd makes it"),
            ("${NAME}", "${env:NAME}"),
            ("${env:NAME", "without its `}`"),
            ("${env:MISSING:-${env:NAME}", "without its `}`"),
            ("${env:MISSING:-${env:NONE}}", "NONE is not set"),
            (&"${env:MISSING:-".repeat(100_000), "without its `}`"),
            (&format!("{}{}", "${env:MISSING:-".repeat(20), "}".repeat(20)), "too deeply"),
        ] {
            let error = try_it(written).unwrap_err();
            assert!(error.contains(named), "{written}: {error}");
        }
    }

    #[test]
    fn a_reference_is_the_whole_string() {
        for reference in ["${env:KEY}", "${file:/run/key}", "${env:KEY:-}", "${env:KEY:-${file:/run/key}}"] {
            assert!(is_reference(reference), "{reference}");
        }
        for literal in [
            "abc",
            "x${env:KEY}",
            "${env:A}${env:B}",
            "$${env:A}",
            "${other:A}",
            "${env:A:-key}",
            "${env:A:-${env:B:-key}}",
        ] {
            assert!(!is_reference(literal), "{literal}");
        }
        for (written, absent) in [
            ("${env:A:-}", true),
            ("${env:A:-${env:B:-}}", true),
            ("${env:A}", false),
            ("${env:A:-x}", false),
            ("${env:A:-}x", false),
        ] {
            assert_eq!(may_be_absent(written), absent, "{written}");
        }
        assert!(has_default("Bearer ${env:A:-x}") && has_default("${env:A:-${env:B:-x}}"));
        assert!(!has_default("${env:A}") && !has_default("${env:A:-${env:B:-}}"));
    }
}
