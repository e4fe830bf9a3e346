//! `${env:NAME}` and `${file:PATH}` in a string. What is put in is never looked at again, and never shown.

use std::path::Path;

use super::Surroundings;

/// Replaces every reference of `written`; paths are relative to `dir`. `$${` stands for `${` itself.
/// A file's last line break does not count: editors and `echo` add one.
pub(super) fn substitute(written: &str, dir: &Path, surroundings: &dyn Surroundings) -> Result<String, String> {
    let mut resolved = String::with_capacity(written.len());
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
        let (name, after) = reference
            .split_once('}')
            .ok_or("`${` without its `}`; write ${env:NAME} or ${file:PATH}, or $${ for the characters themselves")?;
        resolved.push_str(&look_up(name, dir, surroundings)?);
        rest = after;
    }
    resolved.push_str(rest);
    Ok(resolved)
}

/// Whether `written` is one reference and nothing besides, so that no secret stands in the file.
pub(super) fn is_reference(written: &str) -> bool {
    written
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.contains(['{', '}']) && (name.starts_with("env:") || name.starts_with("file:")))
}

fn look_up(name: &str, dir: &Path, surroundings: &dyn Surroundings) -> Result<String, String> {
    match name.split_once(':') {
        Some(("env", variable)) => surroundings
            .variable(variable)
            .ok_or_else(|| format!("the environment variable {variable} is not set; set it where otelgate is started")),
        Some(("file", path)) => {
            let bytes = surroundings
                .read(&dir.join(path))
                .map_err(|error| format!("cannot read {}: {error}", dir.join(path).display()))?;
            let text =
                String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", dir.join(path).display()))?;
            Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned())
        }
        _ => Err("unknown kind of reference; write ${env:NAME} or ${file:PATH}, or $${ for the characters themselves"
            .to_owned()),
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
            .file("/etc/otelgate/pw", "secret\r\n")
            .file("/abs", "two\nlines\n");
        substitute(written, Path::new("/etc/otelgate"), &fake)
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
        ] {
            assert_eq!(try_it(written).as_deref(), Ok(resolved), "{written}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (written, named) in [
            ("${env:MISSING}", "MISSING is not set"),
            ("${file:gone}", "/etc/otelgate/gone"),
            ("${NAME}", "${env:NAME}"),
            ("${env:NAME", "without its `}`"),
        ] {
            let error = try_it(written).unwrap_err();
            assert!(error.contains(named), "{written}: {error}");
        }
    }

    #[test]
    fn a_reference_is_the_whole_string() {
        assert!(is_reference("${env:KEY}") && is_reference("${file:/run/key}"));
        for literal in ["abc", "x${env:KEY}", "${env:A}${env:B}", "$${env:A}", "${other:A}"] {
            assert!(!is_reference(literal), "{literal}");
        }
    }
}
