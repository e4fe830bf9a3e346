//! Holds the code to the table of rooms in the crate's head: every path that starts with `crate` or climbs with `super` leads to a room that the
//! table allows, in tests too. Inside a room no files know each other in a circle. Also holds every Rust file of the project to a length.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Rooms that only one other room may see.
const ONLY: &[(&str, &str)] = &[("admin", "serve")];
/// What one room may see of another, when it is not all of it. Tests of it may see more.
const PARTS: &[(&str, &str, &[&str])] = &[("batch", "listen", &["Answer", "UNACKNOWLEDGED"]), ("spool", "sink", &[])];

/// Files that know each other on purpose: what one of them is cannot be said without the others.
const TOGETHER: &[&[&str]] = &[
    &["batch/bound", "batch/chunk", "batch/company", "batch/lane", "batch/open"],
    &["doctor/clickhouse", "doctor/server"],
    &["listen/acme", "listen/tls"],
    &["listen/activity", "listen/peer", "listen/registry"],
    &["listen/connection", "listen/handshake"],
    &["listen/tls/files", "listen/tls/names"],
    &["sink/clickhouse/encode/json", "sink/clickhouse/encode/value"],
];

/// Lines that a file may have: who reads it keeps all of it in mind. A file that grows past it has a seam; open it there.
const MAX_LINES: usize = 400;

/// The rooms of the table, from the top down; those on one line share a level.
struct Rooms(Vec<(String, usize)>);

/// A path in the code that the table does not allow.
#[derive(Debug, PartialEq, Eq)]
struct WrongArrow {
    file: String,
    from: String,
    to: String,
    path: String,
}

impl fmt::Display for WrongArrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {} ({})", self.file, self.from, self.to, self.path)
    }
}

impl Rooms {
    /// Reads the table out of the crate's documentation.
    fn read(documentation: &str) -> Rooms {
        let lines = documentation.lines().map(|line| line.trim_start_matches("//!").trim());
        let table = lines.skip_while(|line| *line != "```text").skip(1).take_while(|line| *line != "```");
        let mut rooms = Vec::new();
        for (level, line) in table.enumerate() {
            let names = line.split_once("  ").map_or(line, |(names, _)| names);
            rooms.extend(names.split('|').map(|name| (name.trim().to_owned(), level)));
        }
        Rooms(rooms)
    }

    /// The room in which a module lies.
    fn of(&self, module: &[&str]) -> Option<&(String, usize)> {
        let inner = module.get(..2).map(|two| two.join("/"));
        let find = |name: &str| self.0.iter().find(|(room, _)| room == name);
        inner.and_then(|inner| find(&inner)).or_else(|| module.first().and_then(|first| find(first)))
    }

    /// Whether code in one room may name what a path leads to.
    fn allows(&self, from: &(String, usize), to: &(String, usize), item: Option<&str>, test: bool) -> bool {
        let ((from, upper), (to, lower)) = (from, to);
        if from == to {
            return true;
        }
        let only = ONLY.iter().all(|(room, seer)| room != to || seer == from);
        let part = PARTS.iter().find(|(seer, room, _)| seer == from && room == to);
        upper < lower && only && (test || part.is_none_or(|(.., items)| item.is_some_and(|item| items.contains(&item))))
    }

    /// The wrong arrows of a file; `module` is its place in the crate.
    fn check(&self, file: &str, module: &[&str], text: &str) -> Vec<WrongArrow> {
        let wrong = |to: String, path: &[String]| WrongArrow {
            file: file.to_owned(),
            from: module.join("/"),
            to,
            path: path.join("::"),
        };
        let Some(from) = self.of(module) else {
            return vec![wrong("a place in the table".to_owned(), &[])];
        };
        let mut found = Vec::new();
        // The program sees the library by its name.
        let roots: &[&str] = match module.first() {
            Some(&("main" | "cli")) => &["crate::", "super::", "otelgate::"],
            _ => &["crate::", "super::"],
        };
        for path in paths(text, roots) {
            let Some(target) = target(module, &path) else { continue };
            let item = target.get(1).copied();
            match self.of(&target) {
                Some(to) if self.allows(from, to, item, path.in_test || is_test(module)) => {}
                Some((to, _)) => found.push(wrong(to.clone(), &path.segments)),
                None if target.is_empty() => {}
                None => found.push(wrong(target.join("::"), &path.segments)),
            }
        }
        found
    }
}

fn is_test(module: &[&str]) -> bool {
    module.iter().any(|name| matches!(*name, "tests" | "model" | "fake" | "testing") || name.ends_with("_tests"))
}

/// A path as it is written, and where.
struct Written {
    segments: Vec<String>,
    /// In a module inside the file, whose `super` is the file's own.
    inner: bool,
    /// In a module at the file's end that is only compiled for tests.
    in_test: bool,
}

/// Where a path leads, from the crate's root; `None` when it stays inside its own file.
fn target<'p>(module: &[&'p str], path: &'p Written) -> Option<Vec<&'p str>> {
    let segments = path.segments.iter().map(String::as_str);
    let climbs = segments.clone().take_while(|segment| *segment == "super").count();
    if climbs == 0 {
        return Some(segments.skip(1).collect());
    }
    let climbed = climbs - usize::from(path.inner);
    let kept = module.get(..module.len().checked_sub(climbed)?)?;
    Some(kept.iter().copied().chain(segments.skip(climbs)).collect())
}

/// Every path of a text that leads out of its module, one for each leaf of a `use` tree.
fn paths(text: &str, roots: &[&str]) -> Vec<Written> {
    let tests_from = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let (mut start, mut inner) = (0, false);
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        let code = if line.trim_start().starts_with("//") { "" } else { line };
        match code {
            "}\n" => inner = false,
            _ if code.contains("mod ") && code.ends_with("{\n") && !code.starts_with(' ') => inner = true,
            _ => {}
        }
        for (at, _) in roots.iter().flat_map(|root| code.match_indices(root)) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                continue;
            }
            let mut trees = Vec::new();
            tree(&text[start + at..], &mut Vec::new(), &mut trees);
            let in_test = start > tests_from;
            found.extend(trees.into_iter().map(|segments| Written { segments, inner, in_test }));
        }
        start += line.len();
    }
    found
}

/// Reads one tree of a path, `a::{b, c::d}`, and returns what follows it.
fn tree<'t>(text: &'t str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'t str {
    let before = prefix.len();
    let mut rest = text.trim_start();
    loop {
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    prefix.truncate(before);
                    return after;
                }
                let after = tree(rest, prefix, found).trim_start();
                let after = after.strip_prefix(',').unwrap_or(after);
                if after.len() == rest.len() {
                    return "";
                }
                rest = after;
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 && &rest[..end] != "self" {
            prefix.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(after) if end > 0 => rest = after,
            _ => break,
        }
    }
    found.push(prefix.clone());
    prefix.truncate(before);
    // A new name, as in `a as b`.
    let renamed =
        rest.strip_prefix(" as ").map(|name| name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
    renamed.unwrap_or(rest)
}

/// The module that a file of `src/` is.
fn module_of(file: &str) -> Vec<&str> {
    let module = file.trim_end_matches(".rs");
    module.strip_suffix("/mod").unwrap_or(module).split('/').collect()
}

/// Files that lead to each other, however far around. Looking up to a module that a file lies in is no arrow, nor is a test's.
fn circles(texts: &BTreeMap<String, String>) -> BTreeSet<Vec<&str>> {
    let sees = |file: &str| -> BTreeSet<&str> {
        let module: Vec<&str> = file.split('/').collect();
        let written = if is_test(&module) { Vec::new() } else { paths(&texts[file], &["crate::", "super::"]) };
        let seen = written.iter().filter(|path| !path.in_test).filter_map(|path| {
            let target = target(&module, path)?;
            let places = (1..=target.len()).rev().map(|len| target[..len].join("/"));
            places.into_iter().find_map(|place| texts.get_key_value(&place)).map(|(seen, _)| seen.as_str())
        });
        seen.filter(|seen| !module.starts_with(&module_of(seen))).collect()
    };
    let arrows: BTreeMap<&str, BTreeSet<&str>> = texts.keys().map(|file| (file.as_str(), sees(file))).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows.keys().map(|file| (*file, reach(&arrows, file))).collect();
    let around = |file: &str| {
        let others = reached[file].iter().copied();
        others.filter(|other| reached[other].contains(file)).collect::<Vec<_>>()
    };
    arrows.keys().map(|file| around(file)).filter(|circle| circle.len() > 1).collect()
}

fn reach<'t>(arrows: &BTreeMap<&str, BTreeSet<&'t str>>, from: &'t str) -> BTreeSet<&'t str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(arrows[file].iter().copied().filter(|file| reached.insert(*file)));
    }
    reached
}

/// Calls `read` with the name, from `root` on, and the text of every Rust file below a folder, in order; what is built or hidden is no file of ours.
fn each_file(root: &Path, folder: &Path, read: &mut impl FnMut(&str, &str)) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                each_file(root, &path, read);
            }
        } else if name.ends_with(".rs") {
            read(path.strip_prefix(root).unwrap().to_str().unwrap(), &std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn rooms() -> Rooms {
    Rooms::read(include_str!("lib.rs"))
}

#[test]
fn no_room_sees_more_than_the_table_says() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    each_file(&source, &source, &mut |file, text| {
        let module = module_of(file);
        if module != ["lib"] && module != ["rooms"] {
            found.extend(rooms().check(file, &module, text));
        }
    });
    let list: Vec<String> = found.iter().map(WrongArrow::to_string).collect();
    assert!(found.is_empty(), "arrows that the table in src/lib.rs does not allow:\n{}", list.join("\n"));
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = BTreeMap::new();
    each_file(&source, &source, &mut |file, text| drop(texts.insert(module_of(file).join("/"), text.to_owned())));
    let known = TOGETHER.iter().map(|files| files.to_vec()).collect();
    assert_eq!(circles(&texts), known, "found, and what TOGETHER says");

    let texts =
        |all: &[(&str, &str)]| all.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let planted =
        [("spool", ""), ("spool/a", "use super::b::{self, B};\n"), ("spool/b", "fn f(_: crate::spool::c::C) {}\n")];
    let around = texts(&[&planted[..], &[("spool/c", "use super::a::A;\n")]].concat());
    assert_eq!(circles(&around), [vec!["spool/a", "spool/b", "spool/c"]].into());
    let above = texts(&[&planted[..], &[("spool/c", "use super::Spool;\n")]].concat());
    assert!(circles(&above).is_empty());
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    let mut long = Vec::new();
    each_file(project, project, &mut |file, text| {
        let lines = text.lines().count();
        seen += 1;
        if lines > MAX_LINES {
            long.push(format!("{file}: {lines}"));
        }
    });
    assert!(seen > 200, "{seen} files");
    assert!(long.is_empty(), "files of more than {MAX_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    let arrows = |file: &str, text: &str| {
        let found = rooms().check(file, &module_of(file), text);
        found.into_iter().map(|arrow| arrow.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(arrows("spool/room.rs", "use crate::reply::{Away, Refusal};\nuse super::store::Store;\n"), [""; 0]);
    let upward = "use crate::{\n    config::Batch,\n    reply::{self, Away},\n    gateway::{Gateway as G},\n};\n";
    assert_eq!(arrows("spool/room.rs", upward), ["spool/room.rs: spool/room → gateway (crate::gateway::Gateway)"]);
    let inline = "fn f() {\n    crate::deliver::g();\n}\n";
    assert_eq!(arrows("spool/room.rs", inline), ["spool/room.rs: spool/room → deliver (crate::deliver::g)"]);
    let sideways = "use super::super::collector::Collector;\n";
    let found = arrows("sink/clickhouse/look.rs", sideways);
    assert_eq!(
        found,
        ["sink/clickhouse/look.rs: sink/clickhouse/look → sink/collector (super::super::collector::Collector)"]
    );
    assert_eq!(arrows("sink/clickhouse/look.rs", "use super::super::body::Pieces;\nuse crate::sink::Look;\n"), [""; 0]);
    let whole = "use crate::listen::{Answer, Listeners};\n";
    assert_eq!(arrows("batch/lane.rs", whole), ["batch/lane.rs: batch/lane → listen (crate::listen::Listeners)"]);
    assert_eq!(arrows("gateway/x.rs", "use crate::admin::router;\n").len(), 1);
    assert_eq!(arrows("cli/x.rs", "use otelgate::main;\n").len(), 1);
    let in_test = "#[cfg(test)]\nmod tests {\n    use super::super::batch::Lanes;\n    use super::*;\n}\n";
    assert_eq!(arrows("keys.rs", in_test), ["keys.rs: keys → batch (super::super::batch::Lanes)"]);
    assert_eq!(arrows("nowhere.rs", "").len(), 1);
}
