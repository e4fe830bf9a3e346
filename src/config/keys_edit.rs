//! Changes to the text of keys.yaml that leave everything else in it as a person wrote it: comments, order, quotes, line ends.
//!
//! Invariant: what comes out was read again, and says exactly what was asked for and nothing else; a text whose form defeats that is refused, not
//! guessed at.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use data_encoding::HEXLOWER;

use super::keys_file;
use super::remark::Mistakes;
use super::yaml::{self, Field, Kind, Node};
use super::{AllowedOrigins, KeyEntry, KeyRules, Largest, Surroundings, rules};

/// Why a text stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// What is there already has mistakes.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// No entry has this name.
    #[error("no key is named {0} in this file")]
    Unknown(String),
    /// An entry has this name already.
    #[error("a key is named {0} already; choose another name, or give it a new key with `otelgate keys rotate {0}`")]
    Taken(String),
    /// The key is no longer valid, so there is nothing that a new one could take over from.
    #[error("{0} is disabled or expired; make a new key with `otelgate keys new`")]
    Over(String),
    /// The entry has no key.
    #[error("{0} belongs to a client certificate; a new certificate with the same name needs no change here")]
    Certificate(String),
    /// The text is valid, and of a form that cannot be changed without risk.
    #[error("the file is written in a way that cannot be changed from here; change it by hand: {0}")]
    Form(String),
}

/// keys.yaml as text.
pub(crate) struct KeysText<'a> {
    file: &'a Path,
    text: String,
    surroundings: &'a dyn Surroundings,
    list: Option<Node>,
    entries: Vec<KeyEntry>,
}

/// What takes the place of some bytes.
struct Change {
    at: Range<usize>,
    with: String,
}

impl<'a> KeysText<'a> {
    /// Reads the text, which stands in `file`.
    ///
    /// # Errors
    /// [`EditError::Mistakes`]. A variable that is not set here, and a file that cannot be read here, are none.
    pub(crate) fn read(file: &'a Path, text: &str, surroundings: &'a dyn Surroundings) -> Result<Self, EditError> {
        let entries = entries(file, text, surroundings)?;
        let root = yaml::read(text).map_err(|error| EditError::Form(error.why))?;
        let list = match root.kind {
            Kind::Map(fields) => fields.into_iter().find(|field| field.name == "keys").map(|field| field.value),
            _ => None,
        };
        let text = text.to_owned();
        Ok(KeysText { file, text, surroundings, list, entries })
    }

    /// Its entries, as far as variables and files could be read here; limits that are not written are the defaults.
    pub(crate) fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// The text with one more entry at its end.
    ///
    /// # Errors
    /// [`EditError`].
    pub(crate) fn with_new(&self, name: &str, sha256: [u8; 32]) -> Result<String, EditError> {
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err(EditError::Taken(name.to_owned()));
        }
        let fields = [format!("name: {name}"), format!("sha256: \"{}\"", HEXLOWER.encode(&sha256))];
        let [first, second] = &fields;
        let change = match self.list.as_ref().map(|list| (list, &list.kind)) {
            Some((list, Kind::List(items))) => match items.last() {
                Some(last) if self.is_flow(list) => {
                    let end = self.end(last);
                    Change { at: end..end, with: format!(", {{ {first}, {second} }}") }
                }
                Some(last) => {
                    let (dash, end) = (self.dash(last), self.end_of_entry(last));
                    let (dash, eol) = (" ".repeat(dash), self.line_end());
                    Change { at: end..end, with: format!("{eol}{dash}- {first}{eol}{dash}  {second}") }
                }
                None => {
                    let at = self.byte(list.chars.start)..self.byte(list.chars.end);
                    let spaces = self.text[..at.start].len() - self.text[..at.start].trim_end_matches(' ').len();
                    let eol = self.line_end();
                    Change { at: at.start - spaces..at.end, with: format!("{eol}  - {first}{eol}    {second}") }
                }
            },
            _ => return Err(EditError::Form("the list `keys:` is missing or empty; write `keys: []`".to_owned())),
        };
        let mut expected: Vec<(String, [u8; 32])> = self.names();
        expected.push((name.to_owned(), sha256));
        let text = self.changed(vec![change]);
        let after = self.checked(&text)?;
        let names: Vec<_> = after.iter().map(|entry| (entry.name.clone(), entry.sha256)).collect();
        let others = after.iter().zip(&self.entries).all(|(after, before)| after == before);
        if names == expected && others { Ok(text) } else { Err(defeated()) }
    }

    /// The text with this entry disabled.
    ///
    /// # Errors
    /// [`EditError`].
    pub(crate) fn with_disabled(&self, name: &str) -> Result<String, EditError> {
        let (at, node) = self.find(name)?;
        let changes = self.set(node, &[("enabled", "false".to_owned())]);
        let mut expected = self.entries.clone();
        expected[at].enabled = false;
        self.expecting(changes, &expected)
    }

    /// The text in which this entry has a new key, and the old key an entry of its own behind it, the same but for its name, and good until then at
    /// most. The name that it has is returned too.
    ///
    /// # Errors
    /// [`EditError`].
    pub(crate) fn with_rotated(
        &self,
        name: &str,
        sha256: [u8; 32],
        until: SystemTime,
    ) -> Result<(String, KeyEntry), EditError> {
        let (at, node) = self.find(name)?;
        let old = &self.entries[at];
        if old.certificate.is_some() {
            return Err(EditError::Certificate(name.to_owned()));
        }
        if !old.enabled || old.expires.is_some_and(|expires| expires <= SystemTime::now()) {
            return Err(EditError::Over(name.to_owned()));
        }
        // Written in whole seconds.
        let second = jiff::Timestamp::try_from(until).map_err(|error| EditError::Form(error.to_string()))?.as_second();
        let second = jiff::Timestamp::from_second(second).map_err(|error| EditError::Form(error.to_string()))?;
        let until = old.expires.map_or(second.into(), |expires| expires.min(second.into()));
        let retired = KeyEntry { name: self.retired(name), expires: Some(until), ..old.clone() };
        let mut settings = vec![("name", retired.name.clone())];
        if old.expires != Some(until) {
            settings.push(("expires", second.to_string()));
        }
        let copy = self.copy(node, &settings);
        let mut changes = self.set_key(node, sha256);
        let end = if self.is_flow_item() { self.end(node) } else { self.end_of_entry(node) };
        changes.push(Change { at: end..end, with: copy });
        let mut expected = self.entries.clone();
        expected[at].sha256 = sha256;
        expected.insert(at + 1, retired.clone());
        Ok((self.expecting(changes, &expected)?, retired))
    }

    fn names(&self) -> Vec<(String, [u8; 32])> {
        self.entries.iter().map(|entry| (entry.name.clone(), entry.sha256)).collect()
    }

    /// The shortest free name that says whose old key it is.
    fn retired(&self, name: &str) -> String {
        let numbers = 1..=self.entries.len() + 1;
        let mut names = numbers.map(|number| {
            let suffix = format!(".old-{number}");
            let kept = name.len().min(64 - suffix.len());
            format!("{}{suffix}", &name[..kept])
        });
        let free = names.find(|free| self.entries.iter().all(|entry| entry.name != *free));
        free.unwrap_or_else(|| name.to_owned())
    }

    fn find(&self, name: &str) -> Result<(usize, &Node), EditError> {
        let unknown = || EditError::Unknown(name.to_owned());
        let at = self.entries.iter().position(|entry| entry.name == name).ok_or_else(unknown)?;
        let Some(Kind::List(items)) = self.list.as_ref().map(|list| &list.kind) else { return Err(unknown()) };
        let named = |item: &&Node| {
            field(item, "name").is_some_and(|field| matches!(&field.value.kind, Kind::Scalar(text) if text == name))
        };
        let node =
            items.iter().find(named).ok_or_else(|| EditError::Form("the entry's name is a reference".to_owned()));
        Ok((at, node?))
    }

    /// Sets fields of an entry, in the place of what stands there or behind its name.
    fn set(&self, entry: &Node, settings: &[(&'static str, String)]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, value) in settings {
            let change = match (field(entry, name), field(entry, "name")) {
                (Some(field), _) => {
                    Change { at: self.byte(field.value.chars.start)..self.end(&field.value), with: value.clone() }
                }
                (None, Some(first)) if self.is_flow(entry) => {
                    let end = self.end(&first.value);
                    Change { at: end..end, with: format!(", {name}: {value}") }
                }
                (None, Some(first)) => {
                    let end = self.end_of_line(self.end(&first.value));
                    let indent = " ".repeat(first.mark.column - 1);
                    Change { at: end..end, with: format!("{}{indent}{name}: {value}", self.line_end()) }
                }
                (None, None) => continue,
            };
            changes.push(change);
        }
        changes
    }

    /// The digest in the place of the old one, or of where the old key was found.
    fn set_key(&self, entry: &Node, sha256: [u8; 32]) -> Vec<Change> {
        let digest = format!("\"{}\"", HEXLOWER.encode(&sha256));
        match field(entry, "value") {
            Some(field) => {
                let at = self.byte(field.chars.start)..self.end(&field.value);
                vec![Change { at, with: format!("sha256: {digest}") }]
            }
            None => self.set(entry, &[("sha256", digest)]),
        }
    }

    /// An entry's text once more, with these fields, as it stands behind it.
    fn copy(&self, entry: &Node, settings: &[(&'static str, String)]) -> String {
        let start = self.byte(entry.chars.start);
        let end = match self.is_flow(entry) {
            true => self.end(entry),
            false => self.end_of_line(self.end(entry)),
        };
        let within = self.set(entry, settings).into_iter();
        let within = within.map(|change| Change { at: change.at.start - start..change.at.end - start, ..change });
        let copy = applied(&self.text[start..end], within.collect());
        if self.is_flow_item() {
            return format!(", {copy}");
        }
        let dash = self.dash(entry);
        let space = " ".repeat((entry.mark.column - 1).saturating_sub(dash + 1).max(1));
        format!("{}{}-{space}{copy}", self.line_end(), " ".repeat(dash))
    }

    fn expecting(&self, changes: Vec<Change>, expected: &[KeyEntry]) -> Result<String, EditError> {
        let text = self.changed(changes);
        if self.checked(&text)? == expected { Ok(text) } else { Err(defeated()) }
    }

    fn changed(&self, changes: Vec<Change>) -> String {
        applied(&self.text, changes)
    }

    fn checked(&self, text: &str) -> Result<Vec<KeyEntry>, EditError> {
        entries(self.file, text, self.surroundings).map_err(|_| defeated())
    }

    /// Whether a list or section is written in brackets.
    fn is_flow(&self, node: &Node) -> bool {
        self.text[self.byte(node.chars.start)..].starts_with(['[', '{'])
    }

    /// Whether the entries stand in brackets.
    fn is_flow_item(&self) -> bool {
        self.list.as_ref().is_some_and(|list| self.is_flow(list))
    }

    /// How far an entry's dash is indented.
    fn dash(&self, entry: &Node) -> usize {
        let start = self.byte(entry.chars.start);
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let before = &self.text[line..start];
        match before.trim_start().starts_with('-') {
            true => before.len() - before.trim_start().len(),
            // The dash stands alone on a line above.
            false => before.len().saturating_sub(2),
        }
    }

    /// Behind an entry's last line, and the comments below it that are indented as if they belonged to it.
    fn end_of_entry(&self, entry: &Node) -> usize {
        let dash = self.dash(entry);
        let mut end = self.end_of_line(self.end(entry));
        while let Some(rest) = self.text[end..].strip_prefix("\r\n").or_else(|| self.text[end..].strip_prefix('\n')) {
            let line = rest.lines().next().unwrap_or_default();
            let indent = line.len() - line.trim_start().len();
            if indent <= dash || !line.trim_start().starts_with('#') {
                break;
            }
            end = self.text.len() - rest.len() + line.len();
        }
        end
    }

    fn end_of_line(&self, from: usize) -> usize {
        let end = self.text[from..].find('\n').map_or(self.text.len(), |at| from + at);
        if self.text[..end].ends_with('\r') { end - 1 } else { end }
    }

    fn line_end(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// Behind a node's last byte.
    fn end(&self, node: &Node) -> usize {
        let (start, end) = (self.byte(node.chars.start), self.byte(node.chars.end));
        let text = &self.text[start..end];
        let last = match &node.kind {
            Kind::Scalar(_) => text,
            Kind::Map(fields) if !self.is_flow(node) => {
                return fields.last().map_or(end, |field| self.end(&field.value));
            }
            Kind::List(items) if !self.is_flow(node) => return items.last().map_or(end, |item| self.end(item)),
            _ => return end,
        };
        let quoted = |quote: char| {
            let mut escaped = false;
            last.char_indices().skip(1).find(|(_, char)| {
                let closes = !escaped && *char == quote;
                escaped = quote == '"' && !escaped && *char == '\\';
                closes
            })
        };
        let closing = match last.chars().next() {
            // A quote that is written twice is one of the text, which no value here has.
            Some(quote @ ('"' | '\'')) => quoted(quote).map(|(at, _)| at + 1),
            _ => Some(last.trim_end().len()),
        };
        start + closing.unwrap_or(last.len())
    }

    fn byte(&self, char: usize) -> usize {
        self.text.char_indices().nth(char).map_or(self.text.len(), |(at, _)| at)
    }
}

fn field<'n>(entry: &'n Node, name: &str) -> Option<&'n Field> {
    match &entry.kind {
        Kind::Map(fields) => fields.iter().find(|field| field.name == name),
        _ => None,
    }
}

fn applied(text: &str, mut changes: Vec<Change>) -> String {
    // Those at one place stay in their order.
    changes.sort_by_key(|change| change.at.start);
    let (mut changed, mut from) = (String::with_capacity(text.len() + 256), 0);
    for Change { at, with } in changes {
        changed.push_str(&text[from..at.start]);
        changed.push_str(&with);
        from = at.end;
    }
    changed.push_str(&text[from..]);
    changed
}

fn defeated() -> EditError {
    EditError::Form("the change would say something else than what was asked for".to_owned())
}

fn entries(file: &Path, text: &str, surroundings: &dyn Surroundings) -> Result<Vec<KeyEntry>, Mistakes> {
    let largest = Largest::default();
    let rules = KeyRules { limits: rules::DEFAULT_LIMITS, largest, pages: AllowedOrigins::Any };
    let (entries, _) = keys_file::read_keys(file, &rules, &Elsewhere { file, text, surroundings })?;
    Ok(entries)
}

/// Who changes the file need not have what otelgate has where it runs: a variable that is not set here, or a file that cannot be read here, stands for
/// something of its own.
struct Elsewhere<'a> {
    file: &'a Path,
    text: &'a str,
    surroundings: &'a dyn Surroundings,
}

impl Surroundings for Elsewhere<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        Some(self.surroundings.variable(name).unwrap_or_else(|| format!("variable-{name}-unknown-here")))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.file {
            return Ok(self.text.as_bytes().to_vec());
        }
        let unknown = || format!("file-{}-unknown-here", HEXLOWER.encode(path.as_os_str().as_encoded_bytes()));
        Ok(self.surroundings.read(path).unwrap_or_else(|_| unknown().into_bytes()))
    }

    fn readable_by_others(&self, path: &Path) -> bool {
        self.surroundings.readable_by_others(path)
    }
}

#[cfg(test)]
mod tests;
