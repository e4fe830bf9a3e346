//! The table of `docs/clients.md`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::catalogue::{Client, Variant};
use crate::scenario::{Outcome, Scenario};

const BEGIN: &str = "<!-- made by `make test-clients`: begin -->";
const END: &str = "<!-- made by `make test-clients`: end -->";

/// A line of the table: what one client did in each scenario.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) client: &'static Client,
    pub(crate) variant: Variant,
    pub(crate) outcomes: Vec<(Scenario, Outcome)>,
}

/// The table as Markdown.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut text = "| client | protocol | compression |".to_owned();
    for scenario in Scenario::ALL {
        text += &format!(" {} |", scenario.title());
    }
    text += &format!("\n|{}\n", " --- |".repeat(3 + Scenario::ALL.len()));
    for Line { client, variant, outcomes } in lines {
        text += &format!("| {} | {} | {} |", client.name, variant.protocol, variant.compression);
        for scenario in Scenario::ALL {
            let outcome = outcomes.iter().find(|(of, _)| *of == scenario);
            text += &format!(" {} |", outcome.map_or("–", |(_, outcome)| &outcome.text));
        }
        text.push('\n');
    }
    text
}

/// Puts the table into the page, between its marks.
///
/// # Errors
/// The page has no marks, or cannot be written.
pub(crate) fn write(page: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no {BEGIN} in {}", page.display()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END} in {}", page.display()))?;
    Ok(std::fs::write(page, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))?)
}

#[cfg(test)]
mod tests {
    use crate::program::{SETTINGS, WITH_CERTIFICATE};

    #[test]
    fn the_page_shows_the_settings_that_the_clients_run_with() {
        let page = include_str!("../../../docs/clients.md");
        for name in SETTINGS.iter().chain(WITH_CERTIFICATE) {
            assert!(page.contains(&format!("export {name}=")), "{name}");
        }
    }
}
