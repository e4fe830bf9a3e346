//! Reads fields out of a file's tree, and collects every mistake on the way instead of ending at the first.
//!
//! Invariants: a field that nobody asked for is a mistake (a [`Section`] closes itself after its reader ran, and what
//! was asked for is what is known); a value that is wrong is reported and its default goes on, so that all later checks
//! run too; no message shows what a reference was replaced by.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Surroundings;
use super::remark::{Remark, Remarks};
use super::substitute::{may_be_absent, substitute};
use super::yaml::{self, Field, Kind, Mark, Node};

/// One file while it is read.
pub(super) struct Reader<'w> {
    file: PathBuf,
    dir: PathBuf,
    pub(super) surroundings: &'w dyn Surroundings,
    remarks: RefCell<Remarks>,
}

impl<'w> Reader<'w> {
    /// `file` is for the messages, and its folder is where relative paths in it begin.
    pub(super) fn new(file: &Path, surroundings: &'w dyn Surroundings) -> Self {
        Reader {
            file: file.to_owned(),
            dir: file.parent().map(Path::to_owned).unwrap_or_default(),
            surroundings,
            remarks: RefCell::default(),
        }
    }

    /// Reads the file, or `None` after the one mistake that keeps it from being read at all; `remedy` is for a file
    /// that is not there.
    pub(super) fn document<T>(&self, remedy: &str, read: impl FnOnce(&Section<'_>) -> T) -> Option<T> {
        let top = Mark { line: 1, column: 1 };
        let root = match self.surroundings.read(&self.file).map(String::from_utf8) {
            Ok(Ok(text)) => yaml::read(&text).map_err(|error| (error.mark, error.why)),
            Ok(Err(_)) => Err((top, "is not UTF-8 text".to_owned())),
            Err(error) => Err((top, format!("cannot be read: {error}{remedy}"))),
        };
        let root = root.map_err(|(mark, message)| self.mistake(mark, "", message)).ok()?;
        let section = Section::open(self, String::new(), root.mark, Some(&root));
        let value = read(&section);
        section.close();
        Some(value)
    }

    /// A path as it was written, from the file's folder.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        Ok(self.dir.join(super::value::word(text)?))
    }

    /// Whether every user of the machine can read this file.
    pub(super) fn is_readable_by_others(&self) -> bool {
        self.surroundings.readable_by_others(&self.file)
    }

    /// What was found, in the order of the lines.
    pub(super) fn into_remarks(self) -> Remarks {
        let mut remarks = self.remarks.into_inner();
        remarks.mistakes.sort_by_key(|remark| remark.mark);
        remarks.faults.sort_by_key(|remark| remark.mark);
        remarks.warnings.sort_by_key(|remark| remark.mark);
        remarks
    }

    fn remark(&self, mark: Mark, path: &str, message: String) -> Remark {
        Remark { file: self.file.display().to_string(), mark, path: path.to_owned(), message }
    }

    fn mistake(&self, mark: Mark, path: &str, message: String) {
        let remark = self.remark(mark, path, message);
        self.remarks.borrow_mut().mistakes.push(remark);
    }
}

/// A map of the file, or nothing where an optional one was not written.
pub(super) struct Section<'r> {
    pub(super) reader: &'r Reader<'r>,
    path: String,
    mark: Mark,
    fields: &'r [Field],
    asked: RefCell<Vec<&'static str>>,
}

/// A value's text: as it stands in the file, and with its references replaced.
pub(super) struct Text {
    pub(super) written: String,
    /// It may be a secret: it is wiped when it is dropped.
    pub(super) resolved: Zeroizing<String>,
}

impl<'r> Section<'r> {
    fn open(reader: &'r Reader<'r>, path: String, mark: Mark, node: Option<&'r Node>) -> Self {
        let fields: &[Field] = match node.map(|node| (&node.kind, node.mark)) {
            None | Some((Kind::Null, _)) => &[],
            Some((Kind::Map(fields), _)) => fields,
            Some((kind, mark)) => {
                reader.mistake(
                    mark,
                    &path,
                    format!("expected a section of `name: value` fields, found {}", kind.name()),
                );
                &[]
            }
        };
        Section { reader, path, mark, fields, asked: RefCell::default() }
    }

    /// Reports every field that is not known, or there twice.
    fn close(&self) {
        let known = self.asked.borrow();
        for (at, field) in self.fields.iter().enumerate() {
            let first = self.fields[..at].iter().find(|other| other.name == field.name);
            if let Some(first) = first {
                let message = format!("is there twice, first in line {}; keep one", first.mark.line);
                self.reader.mistake(field.mark, &self.path_of(&field.name), message);
            } else if !known.contains(&field.name.as_str()) {
                let (path, message) = self.unknown(&field.name, &known);
                self.reader.mistake(field.mark, &path, message);
            }
        }
    }

    /// A long or strange name is not shown: it may be a key that was put where a name belongs.
    fn unknown(&self, name: &str, known: &[&str]) -> (String, String) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.len() > 32 || !name.chars().all(plain) {
            return (self.path.clone(), "a field with a name that is not known here".to_owned());
        }
        let nearest = known
            .iter()
            .map(|known| (strsim::osa_distance(name, known), known))
            .min()
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4);
        let message = match nearest {
            Some((_, nearest)) => format!("unknown field; did you mean `{nearest}`?"),
            None => format!("unknown field; known here: {}", known.join(", ")),
        };
        (self.path_of(name), message)
    }

    fn field(&self, name: &'static str) -> Option<&'r Field> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&name) {
            asked.push(name);
        }
        self.fields.iter().find(|field| field.name == name)
    }

    fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// Whether the field was written, with a value or without.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.field(name).is_some()
    }

    /// Whether the field is a reference that says by its default of nothing that it may be absent, and is: `${env:NAME:-}`.
    pub(super) fn is_absent(&self, name: &'static str) -> bool {
        let written = match self.field(name).map(|field| &field.value.kind) {
            Some(Kind::Scalar(written)) if may_be_absent(written) => written,
            _ => return false,
        };
        substitute(written, &self.reader.dir, self.reader.surroundings).is_ok_and(|resolved| resolved.is_empty())
    }

    /// Whether the field is this one word, in the place of a section.
    pub(super) fn is(&self, name: &'static str, word: &str) -> bool {
        self.field(name).is_some_and(|field| matches!(&field.value.kind, Kind::Scalar(text) if text == word))
    }

    /// Reports a mistake at the field, or at the section where the field was not written.
    pub(super) fn mistake(&self, name: &'static str, message: impl Into<String>) {
        let mark = self.place(name);
        self.reader.mistake(mark, &self.path_of(name), message.into());
    }

    /// Where the section begins.
    pub(super) fn line(&self) -> usize {
        self.mark.line
    }

    /// Reports a mistake of the section as a whole.
    pub(super) fn mistake_here(&self, message: impl Into<String>) {
        self.reader.mistake(self.mark, &self.path, message.into());
    }

    /// As [`Self::mistake`], for what is wrong now and may be right at another time: it keeps nothing from starting.
    pub(super) fn fault(&self, name: &'static str, message: impl Into<String>) {
        let remark = self.reader.remark(self.place(name), &self.path_of(name), message.into());
        self.reader.remarks.borrow_mut().faults.push(remark);
    }

    /// As [`Self::mistake`], for what works and is not wise.
    pub(super) fn warning(&self, name: &'static str, message: impl Into<String>) {
        let remark = self.reader.remark(self.place(name), &self.path_of(name), message.into());
        self.reader.remarks.borrow_mut().warnings.push(remark);
    }

    fn place(&self, name: &str) -> Mark {
        self.fields.iter().find(|field| field.name == name).map_or(self.mark, |field| field.value.mark)
    }

    /// Reads a section in this one; an absent one is empty, so that all its defaults hold.
    pub(super) fn section<T>(&self, name: &'static str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let node = self.field(name);
        let mark = node.map_or(self.mark, |field| field.mark);
        let section = Section::open(self.reader, self.path_of(name), mark, node.map(|field| &field.value));
        let value = read(&section);
        section.close();
        value
    }

    /// Reads a list of sections; an absent list is empty.
    pub(super) fn sections<T>(&self, name: &'static str, mut read: impl FnMut(&Section<'_>) -> T) -> Vec<T> {
        let Some(field) = self.field(name) else {
            return Vec::new();
        };
        let path = self.path_of(name);
        let items = match &field.value.kind {
            Kind::Null => return Vec::new(),
            Kind::List(items) => items,
            other => {
                let message = format!("expected a list, each entry after a `- `, found {}", other.name());
                self.reader.mistake(field.value.mark, &path, message);
                return Vec::new();
            }
        };
        let each = items.iter().enumerate().map(|(at, item)| {
            let section = Section::open(self.reader, format!("{path}[{at}]"), item.mark, Some(item));
            let value = read(&section);
            section.close();
            value
        });
        each.collect()
    }

    /// A list of sections, or one without a list. A single value stands for a section with the field `short`.
    pub(super) fn entries<T>(
        &self,
        name: &'static str,
        short: &str,
        mut read: impl FnMut(&Section<'_>) -> T,
    ) -> Vec<T> {
        let field = self.field(name);
        field.map_or_else(Vec::new, |field| self.entries_of(&field.value, &self.path_of(name), short, &mut read))
    }

    /// A list of what [`Self::entries`] reads.
    pub(super) fn groups<T>(
        &self,
        name: &'static str,
        short: &str,
        mut read: impl FnMut(&Section<'_>) -> T,
    ) -> Vec<Vec<T>> {
        let Some(field) = self.field(name) else { return Vec::new() };
        let groups = self.items(&field.value, &self.path_of(name));
        groups.into_iter().map(|(group, path)| self.entries_of(group, &path, short, &mut read)).collect()
    }

    /// What is listed here, or what is here without a list, each with its path.
    fn items(&self, node: &'r Node, path: &str) -> Vec<(&'r Node, String)> {
        let Kind::List(items) = &node.kind else { return vec![(node, path.to_owned())] };
        if items.is_empty() {
            self.reader.mistake(node.mark, path, "is an empty list".to_owned());
        }
        items.iter().enumerate().map(|(at, item)| (item, format!("{path}[{at}]"))).collect()
    }

    fn entries_of<T>(
        &self,
        node: &'r Node,
        path: &str,
        short: &str,
        read: &mut impl FnMut(&Section<'_>) -> T,
    ) -> Vec<T> {
        let each = self.items(node, path).into_iter().map(|(item, path)| {
            let (mark, chars, value) = (item.mark, item.chars.clone(), item.clone());
            let field = Field { name: short.to_owned(), mark, chars: chars.clone(), value };
            let of_one = Node { mark, chars, kind: Kind::Map(vec![field]) };
            let item = if matches!(item.kind, Kind::Scalar(_)) { &of_one } else { item };
            let section = Section::open(self.reader, path, item.mark, Some(item));
            let value = read(&section);
            section.close();
            value
        });
        each.collect()
    }

    /// A section whose names are free: each with its text. Names that are there twice are reported.
    pub(super) fn texts(&self, name: &'static str) -> Vec<(String, String)> {
        let Some(field) = self.field(name) else {
            return Vec::new();
        };
        let path = self.path_of(name);
        let section = Section::open(self.reader, path, field.mark, Some(&field.value));
        let text = |(at, field): (usize, &Field)| {
            let path = section.path_of(&field.name);
            if section.fields[..at].iter().any(|other| other.name == field.name) {
                self.reader.mistake(field.mark, &path, "is there twice; keep one".to_owned());
            }
            Some((field.name.clone(), section.text_of(&field.value, &path)?.resolved.to_string()))
        };
        section.fields.iter().enumerate().filter_map(text).collect()
    }

    /// The text of a single value; `None` when it is absent or was reported.
    pub(super) fn text(&self, name: &'static str) -> Option<Text> {
        let field = self.field(name)?;
        self.text_of(&field.value, &self.path_of(name))
    }

    fn text_of(&self, node: &Node, path: &str) -> Option<Text> {
        let Kind::Scalar(written) = &node.kind else {
            let message = format!("expected a single value, found {}", node.kind.name());
            self.reader.mistake(node.mark, path, message);
            return None;
        };
        match substitute(written, &self.reader.dir, self.reader.surroundings) {
            Ok(resolved) => Some(Text { written: written.clone(), resolved }),
            Err(message) => {
                self.reader.mistake(node.mark, path, message);
                None
            }
        }
    }

    /// A single value, read by `parse`; `None` when it is absent or was reported.
    pub(super) fn optional<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let field = self.field(name)?;
        self.parsed(&field.value, &self.path_of(name), &parse)
    }

    fn parsed<T>(&self, node: &Node, path: &str, parse: &impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text_of(node, path)?;
        parse(&text.resolved)
            .map_err(|wrong| {
                let message = format!("`{}` {wrong}", text.written);
                self.reader.mistake(node.mark, path, message);
            })
            .ok()
    }

    /// As [`Self::optional`], with a default.
    pub(super) fn or<T>(&self, name: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    /// As [`Self::optional`], and absent is a mistake with `remedy`.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        remedy: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.field(name).is_none() {
            self.mistake(name, format!("is missing; {remedy}"));
        }
        self.optional(name, parse)
    }

    /// A list, or a single value as a list of one; `None` when absent. An empty list is a mistake.
    pub(super) fn list<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let field = self.field(name)?;
        let path = self.path_of(name);
        match &field.value.kind {
            Kind::List(items) if items.is_empty() => {
                self.reader.mistake(field.value.mark, &path, "is an empty list".to_owned());
                None
            }
            Kind::List(items) => {
                let each = items.iter().enumerate();
                Some(each.filter_map(|(at, item)| self.parsed(item, &format!("{path}[{at}]"), &parse)).collect())
            }
            _ => Some(self.parsed(&field.value, &path, &parse)?).map(|value| vec![value]),
        }
    }
}
