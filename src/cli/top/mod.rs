//! `otelgate top`: the status page in a terminal, and once as plain text for a script.

mod draw;
mod seen;

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use otelgate::config::{self, Process, Secret};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::Stylize;
use ratatui::text::Line;

use super::Usage;
use super::admin::{self, Target};
use seen::{History, Seen};

/// How often the terminal is drawn anew, as the page is.
const EVERY: Duration = Duration::from_secs(2);
/// Between the two looks from which `--once` knows what happens a second.
const ONCE: Duration = Duration::from_secs(1);
const WHOM: &str =
    "say whom to ask: --config FILE (or OTELGATE_CONFIG), or --admin HOST:PORT for an admin listener elsewhere";
/// Columns of `--once`.
const WIDTH: u16 = 120;

/// Whom to ask, and how to show it.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// The configuration, which says where the admin listener is; its socket is tried first
    #[arg(long, value_name = "FILE", env = "OTELGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Another otelgate's admin listener: HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// The file that holds that one's admin token; needed under a name, not under an IP address
    #[arg(long, value_name = "FILE", requires = "admin")]
    token_file: Option<PathBuf>,
    /// Print it once, as plain text, and end; so it does where no terminal is
    #[arg(long)]
    once: bool,
}

pub(super) fn run(top: &Top) -> anyhow::Result<()> {
    let target = top.target()?;
    let look = async |history: &mut History| {
        history.push(Seen::ask(&target).await?);
        Ok(())
    };
    let mut history = History::default();
    if top.once || !stdout().is_terminal() || !stdin().is_terminal() {
        admin::block_on(async {
            look(&mut history).await?;
            tokio::time::sleep(ONCE).await;
            look(&mut history).await
        })?;
        return super::print(text(&history)?);
    }
    let mut terminal = ratatui::try_init().context("cannot take the terminal")?;
    let done = (|| {
        loop {
            // What goes wrong is shown, and tried again.
            let title = match admin::block_on(look(&mut history)) {
                Ok(()) => Line::from("otelgate top: q ends it").bold(),
                Err(error) => Line::from(format!("no answer: {error:#}")).red().bold(),
            };
            terminal.draw(|frame| draw::screen(frame, &history, title))?;
            if event::poll(EVERY)? && is_the_end(&event::read()?) {
                return Ok(());
            }
        }
    })();
    ratatui::restore();
    done
}

impl Top {
    fn target(&self) -> anyhow::Result<Target> {
        let Some(address) = &self.admin else {
            let file = self.config.as_ref().ok_or(Usage(WHOM.to_owned()))?;
            return Ok(Target::from(&config::load_places(file, &Process)?));
        };
        let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let token = self.token_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            anyhow::Ok(Secret::new(text.trim()))
        });
        Ok(Target { socket: None, address: address.to_owned(), token: token.transpose()? })
    }
}

fn is_the_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// The screen as text, as high as it needs to be.
fn text(history: &History) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, draw::height(history)))?;
    terminal.draw(|frame| draw::screen(frame, history, Line::from("otelgate top")))?;
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(WIDTH)).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_the_error_names_the_other_way() {
        let top = Top { config: None, admin: None, token_file: None, once: true };
        let error = run(&top).expect_err("nobody to ask").to_string();
        assert!(error.contains("--config FILE") && error.contains("--admin HOST:PORT"), "{error}");
    }

    /// What a running otelgate said, twice, 2 s apart.
    fn recorded() -> History {
        let (mut history, mut first) = (History::default(), None);
        let status = include_str!("recorded-status.json");
        for (text, seconds) in
            [(include_str!("recorded-metrics.txt"), 0), (include_str!("recorded-metrics-later.txt"), 2)]
        {
            let seen = Seen::read(status, text, (true, "ok listeners\nok sink\nok spool\n")).expect("as it was");
            let first = *first.get_or_insert(seen.at);
            history.push(Seen { at: first + Duration::from_secs(seconds), ..seen });
        }
        history
    }

    #[test]
    fn the_screen_shows_what_status_says() {
        let shown = text(&recorded()).expect("drawn");
        for line in ["Taking data?  yes", "Storing it?   yes", "How late?     not at all"] {
            assert!(shown.contains(line), "no {line} in\n{shown}");
        }
        // By key and signal: 1,500 records in 2 s.
        let rates = shown.lines().find(|line| line.contains("shop") && line.contains("logs")).unwrap_or_default();
        assert!(rates.contains("750") && rates.contains("2,734"), "{rates} in\n{shown}");
        for what in ["unauthenticated", "otel_logs", "tls.cert_file", "Keys", "never"] {
            assert!(shown.contains(what), "no {what} in\n{shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{shown}");
    }

    #[test]
    fn a_small_terminal_shows_what_fits_and_a_failure_stands_in_the_first_line() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a buffer");
            let say = || Line::from("no answer");
            terminal.draw(|frame| draw::screen(frame, &recorded(), say())).expect("drawn");
            terminal.draw(|frame| draw::screen(frame, &History::default(), say())).expect("drawn");
            let first: String =
                terminal.backend().buffer().content[..usize::from(width)].iter().map(|cell| cell.symbol()).collect();
            assert!(width < 80 || first.contains("no answer"), "{first}");
        }
    }
}
