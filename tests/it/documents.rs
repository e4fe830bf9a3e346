//! The documents lead where they say: links, anchors and paths of the source exist, tables are whole, commands have the options that are given
//! to them, and the table of rooms is the code's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What begins like this between backquotes is a path of the repository.
const FOLDERS: [&str; 8] = ["src/", "tests/", "docs/", "dev/", "fuzz/", "benches/", "scripts/", "deploy/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file that people read, by path below the repository.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let skipped = name.starts_with('.') || ["target", "run", "run-forward", "node_modules"].contains(&name);
            match path.is_dir() {
                true if !skipped => folders.push(path),
                false if name.ends_with(".md") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close).map(|(inner, _)| inner))
}

/// A heading as GitHub names it in an address.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn leads_nowhere(document: &Path, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return false;
    }
    let (file, fragment) = link.split_once('#').map_or((link, None), |(file, fragment)| (file, Some(fragment)));
    let folder = document.parent().expect("a folder");
    let target = if file.is_empty() { document.to_owned() } else { folder.join(file) };
    let anchors = |text: String| -> BTreeSet<String> {
        prose(&text).lines().filter(|line| line.starts_with('#')).map(anchor).collect()
    };
    !target.exists()
        || fragment.is_some_and(|wanted| fs::read_to_string(&target).is_ok_and(|text| !anchors(text).contains(wanted)))
}

#[test]
fn links_and_paths_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).expect("readable"));
        let links = between(&text, "](", ')').filter(|link| leads_nowhere(&document, link));
        let paths = text.split('`').skip(1).step_by(2).filter(|path| {
            let plain = path.chars().all(|c| c.is_alphanumeric() || "/_-.".contains(c));
            plain && FOLDERS.iter().any(|folder| path.starts_with(folder)) && !root().join(path).exists()
        });
        let name = document.strip_prefix(root()).expect("below").display();
        wrong.extend(links.chain(paths).map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}

/// Rows of a table that no heading stands over: a blank line ended the table before them.
fn rows_alone(text: &str) -> Vec<String> {
    let text = prose(text);
    let lines: Vec<&str> = text.lines().collect();
    let row = |at: usize| lines.get(at).is_some_and(|line| line.starts_with('|'));
    let begins = (0..lines.len()).filter(|&at| row(at) && !(at > 0 && row(at - 1)));
    let ruled = |at: usize| lines.get(at + 1).is_some_and(|line| line.starts_with("| -") || line.starts_with("|-"));
    begins.filter(|&at| !ruled(at)).map(|at| lines[at].to_owned()).collect()
}

#[test]
fn tables_are_whole() {
    let table = "| a |\n| --- |\n| b |\n";
    assert!(rows_alone(table).is_empty());
    assert_eq!(rows_alone(&format!("{table}\n| c |\n")), ["| c |"]);
    for document in documents() {
        let alone = rows_alone(&fs::read_to_string(&document).expect("readable"));
        assert!(alone.is_empty(), "{}: {alone:?}", document.display());
    }
}

/// What a page says to type: commands of otelgate in blocks of code and between backquotes, without what a shell does around them.
fn commands(text: &str) -> BTreeSet<String> {
    let block = text.lines().filter_map(|line| line.strip_prefix("    "));
    let typed = block.map(|line| line.rsplit_once("| ").map_or(line, |(_, last)| last).trim_start_matches("$ "));
    let inline = prose(text);
    let said = typed.chain(inline.split('`').skip(1).step_by(2)).filter(|command| {
        let rest = command.strip_prefix("otelgate ");
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    });
    let ends = ["|", " #", " >", " <", " &&", " \\", " …", "\n"];
    said.map(|command| ends.iter().fold(command, |left, end| left.split(end).next().unwrap_or(left)))
        .map(|command| command.trim().replace("NUMBER", "1"))
        .collect()
}

#[test]
fn commands_have_the_options_that_pages_give_them() {
    let otelgate = stack::binary("otelgate").expect("built");
    // Options are read from left to right, and what stands before `--help` must be one.
    let wrong = |command: &str| {
        let arguments = command.split_whitespace().skip(1).chain(["--help"]);
        let output = std::process::Command::new(&otelgate).args(arguments).output().expect("it runs");
        (!output.status.success()).then(|| format!("{command}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    assert!(wrong("otelgate keys list --nowhere").is_some());
    // What changed once, and what was decided, is not what to type today.
    let past = [root().join("docs/decisions"), root().join("CHANGELOG.md")];
    let pages = documents().into_iter().filter(|page| !past.iter().any(|past| page.starts_with(past)));
    let all: BTreeSet<String> = pages.flat_map(|page| commands(&fs::read_to_string(page).expect("readable"))).collect();
    assert!(all.len() > 40, "{all:?}");
    let wrong: Vec<String> = all.iter().filter_map(|command| wrong(command)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_book() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("docs/SUMMARY.md");
    let listed: BTreeSet<PathBuf> = between(&summary, "](", ')').map(|link| docs.join(link)).collect();
    let pages = documents().into_iter().filter(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md"));
    let missing: Vec<_> = pages.filter(|page| !listed.contains(page)).collect();
    assert!(listed.len() > 20 && missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn the_table_of_rooms_is_the_codes() {
    let table = |text: &str, comment: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.strip_prefix(comment).unwrap_or(line).trim_end().to_owned());
        let inside = lines.skip_while(|line| line.trim() != "```text").skip(1);
        inside.take_while(|line| line.trim() != "```").map(|line| line.trim_start().to_owned()).collect()
    };
    let code = table(&fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs"), "//! ");
    let page = table(&fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md"), "");
    assert!(code.len() > 10, "the table in src/lib.rs was not found");
    assert_eq!(page, code);
}

#[test]
fn a_wrong_link_is_seen() {
    let document = root().join("docs/architecture.md");
    for (link, wrong) in [
        ("durability.md", false),
        ("durability.md#not-promised", false),
        ("#the-words", false),
        ("https://example.com/nowhere", false),
        ("nowhere.md", true),
        ("durability.md#nowhere", true),
    ] {
        assert_eq!(leads_nowhere(&document, link), wrong, "{link}");
    }
}
