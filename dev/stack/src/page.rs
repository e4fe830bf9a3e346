//! Parts of `docs/` that a run writes.

use std::path::Path;

use anyhow::{Context, Result};

/// Puts what `command` made into the page, between its marks.
///
/// # Errors
/// The page has no marks, or cannot be written.
pub fn put(page: &Path, command: &str, made: &str) -> Result<()> {
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- made by `{command}`: {which} -->"));
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no {begin} in {}", page.display()))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end} in {}", page.display()))?;
    Ok(std::fs::write(page, format!("{before}{begin}\n\n{}\n\n{end}{after}", made.trim_end()))?)
}
