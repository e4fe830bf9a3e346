//! The table of `docs/clients.md`.

use crate::catalogue::{Client, Variant};
use crate::scenario::{Outcome, Scenario};

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
