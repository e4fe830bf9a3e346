//! The screen: four answers at the top, tables below, as the status page has them.

use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};
use serde_json::Value;

use super::seen::{History, Seen};

/// Points of a sparkline.
const SPARK: usize = 30;

/// A table with its title, head and rows.
struct Part {
    title: &'static str,
    head: Vec<&'static str>,
    widths: Vec<Constraint>,
    rows: Vec<Vec<String>>,
}

/// How many lines the whole takes.
pub(super) fn height(history: &History) -> u16 {
    let parts = history.last().map_or(0, |seen| parts(history, seen).iter().map(Part::height).sum());
    6 + parts
}

/// Draws what was seen last below the title.
pub(super) fn screen(frame: &mut Frame<'_>, history: &History, title: Line<'_>) {
    let Some(seen) = history.last() else {
        return frame.render_widget(title, frame.area());
    };
    let parts = parts(history, seen);
    let heights = [Constraint::Length(6)].into_iter().chain(parts.iter().map(|part| Constraint::Length(part.height())));
    let areas = Layout::vertical(heights).split(frame.area());
    let lines: Vec<Line<'_>> = [title].into_iter().chain(answers(seen)).collect();
    frame.render_widget(Paragraph::new(lines), areas[0]);
    for (part, area) in parts.into_iter().zip(areas.iter().skip(1)) {
        part.draw(frame, *area);
    }
}

impl Part {
    fn height(&self) -> u16 {
        3 + u16::try_from(self.rows.len().max(1)).unwrap_or(u16::MAX - 3)
    }

    fn draw(self, frame: &mut Frame<'_>, area: Rect) {
        let [title, table, _] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
        frame.render_widget(Line::from(self.title).bold(), title);
        let rows = if self.rows.is_empty() { vec![vec!["none".to_owned()]] } else { self.rows };
        let head = Row::new(self.head).style(Style::new().fg(Color::DarkGray));
        frame.render_widget(Table::new(rows.into_iter().map(Row::new), self.widths).header(head), table);
    }
}

/// Is data taken, is it stored, how late is it, how full is the spool: with the page's thresholds.
fn answers(seen: &Seen) -> [Line<'static>; 4] {
    let status = &seen.status;
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let taking = match status["spool"]["full"].as_str() {
        Some(full) => (Color::Red, "no".to_owned(), full.to_owned()),
        None if !seen.ready => {
            let no: Vec<_> = seen.checks.lines().filter_map(|line| line.strip_prefix("no ")).collect();
            (Color::Red, "no".to_owned(), no.join("; "))
        }
        None => {
            let (requests, rows) = (whole(number("/requests/accepted")), whole(number("/rows/accepted")));
            (Color::Green, "yes".to_owned(), format!("{requests} requests, {rows} rows so far"))
        }
    };
    let trouble = ["held", "quarantined", "lost", "dropped"].map(|of| (of, number(&format!("/rows/{of}"))));
    let trouble = trouble.iter().filter(|(_, rows)| *rows > 0).map(|(of, rows)| format!("{} {of}", whole(*rows)));
    let kept = format!("{} rows stored, {} waiting", whole(number("/rows/stored")), whole(number("/rows/waiting")));
    let why = status["sink"]["why"].as_str().map(str::to_owned);
    let said: Vec<String> = why.into_iter().chain([kept]).chain(trouble).collect();
    let (color, word) = match status["sink"]["state"].as_str() {
        Some("well") if said.len() == 1 => (Color::Green, "yes"),
        Some("well") => (Color::Yellow, "yes"),
        Some("impaired") => (Color::Yellow, "in part"),
        _ => (Color::Red, "no"),
    };
    let storing = (color, word.to_owned(), said.join("; "));
    let late = match status["spool"]["oldest_batch_seconds"].as_u64() {
        None => (Color::Green, "not at all".to_owned(), "no batch waits".to_owned()),
        Some(oldest) => {
            let text = "the oldest batch that is not known to be in".to_owned();
            (grade(oldest as f64, 60.0, 300.0), time(oldest as f64), text)
        }
    };
    let (bytes, most) = (number("/spool/bytes"), number("/spool/max_bytes"));
    let share = if most == 0 { 0.0 } else { bytes as f64 / most as f64 };
    let place = if status["spool"]["on_disk"] == true { "on disk" } else { "in memory" };
    let text = format!("{} {place}, {} batches wait", size(bytes as f64), whole(number("/spool/batches")));
    let spool = (grade(share, 0.5, 0.9), format!("{:.1} %", 100.0 * share), text);
    let line = |name: &'static str, (color, word, text): (Color, String, String)| {
        Line::from(vec![
            Span::raw(format!("{name:<14}")),
            Span::raw(format!("{word:<12}")).fg(color).bold(),
            text.into(),
        ])
    };
    [line("Taking data?", taking), line("Storing it?", storing), line("How late?", late), line("Spool", spool)]
}

fn grade(value: f64, warn: f64, bad: f64) -> Color {
    if value > bad {
        Color::Red
    } else if value > warn {
        Color::Yellow
    } else {
        Color::Green
    }
}

fn parts(history: &History, seen: &Seen) -> Vec<Part> {
    let length = Constraint::Length;
    let rates = Part {
        title: "Records a second",
        head: vec!["key", "signal", "now", "the last minutes", "since the start"],
        widths: vec![length(32), length(9), length(10), length(SPARK as u16 + 2), length(16)],
        rows: rates(history, seen),
    };
    let refusals = Part {
        title: "Refused requests",
        head: vec!["reason", "key", "a second now", "since the start"],
        widths: vec![length(32), length(32), length(14), length(16)],
        rows: refusals(history, seen),
    };
    let tables = Part {
        title: "Tables",
        head: vec!["table", "stored", "waiting", "held", "stored last", "last error"],
        widths: vec![length(32), length(14), length(10), length(10), length(14), Constraint::Fill(1)],
        rows: tables(&seen.status),
    };
    let keys = Part {
        title: "Keys",
        head: vec!["key", "state", "signals", "budget left", "rows accepted", "used last", "expires"],
        widths: vec![length(20), length(9), length(30), length(17), length(13), length(12), length(13)],
        rows: keys(&seen.status),
    };
    let certificates = Part {
        title: "Certificates",
        head: vec!["file", "ends"],
        widths: vec![length(32), length(20)],
        rows: certificates(seen),
    };
    vec![rates, refusals, tables, keys, certificates]
}

fn rates(history: &History, seen: &Seen) -> Vec<Vec<String>> {
    let name = "received_records_total";
    let row = |(labels, total): (&[(String, String)], f64)| {
        let rates = history.rates(name, labels);
        let now = rates.last().copied().unwrap_or(0.0);
        vec![label(labels, "key"), label(labels, "signal"), rate(now), spark(&rates), whole(total as u64)]
    };
    seen.named(name).map(row).collect()
}

fn refusals(history: &History, seen: &Seen) -> Vec<Vec<String>> {
    let of = |name: &'static str| {
        seen.named(name).filter(|(_, total)| *total > 0.0).map(move |(labels, total)| {
            let now = history.rates(name, labels).last().copied().unwrap_or(0.0);
            vec![label(labels, "reason"), label(labels, "key"), rate(now), whole(total as u64)]
        })
    };
    of("refusals_total").chain(of("key_refusals_total")).collect()
}

fn tables(status: &Value) -> Vec<Vec<String>> {
    let all = status["tables"].as_object().into_iter().flatten();
    let busy = all.filter(|(_, table)| {
        table.pointer("/rows/accepted").and_then(Value::as_u64) > Some(0) || table["last_error"].is_string()
    });
    let row = |(name, table): (&String, &Value)| {
        let rows = |of: &str| whole(table["rows"][of].as_u64().unwrap_or(0));
        let error = table["last_error"].as_str().map(|error| format!("{}: {error}", ago(&table["last_error_ms"])));
        let stored = ago(&table["last_stored_ms"]);
        vec![name.clone(), rows("stored"), rows("waiting"), rows("held"), stored, error.unwrap_or_default()]
    };
    busy.map(row).collect()
}

fn keys(status: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, key) in status["keys"].as_object().into_iter().flatten() {
        for entry in key["entries"].as_array().into_iter().flatten() {
            let signals = entry["signals"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let ends = entry["expires_ms"].as_u64().map(|ms| ms as f64 / 1000.0 - now());
            rows.push(vec![
                name.clone(),
                entry["state"].as_str().unwrap_or_default().to_owned(),
                signals.collect::<Vec<_>>().join(", "),
                budget(entry),
                whole(key["accepted"].as_u64().unwrap_or(0)),
                ago(&entry["last_used_ms"]),
                ends.map_or("never".to_owned(), |left| {
                    if left < 0.0 { "over".to_owned() } else { format!("in {}", time(left)) }
                }),
            ]);
        }
    }
    rows
}

/// The least share of a burst that is left, and of what.
fn budget(entry: &Value) -> String {
    let burst = entry["limits"]["burst_ms"].as_f64().unwrap_or(0.0) / 1000.0;
    let share = |of: &'static str| {
        let most = entry["limits"][format!("{of}_per_second")].as_f64().unwrap_or(0.0) * burst;
        (entry["left"][of].as_f64().unwrap_or(0.0) / most.max(1.0), of)
    };
    let least = ["requests", "bytes", "records"].map(share).into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    least.map_or(String::new(), |(share, of)| format!("{:.0} % of {of}", 100.0 * share.min(1.0)))
}

fn certificates(seen: &Seen) -> Vec<Vec<String>> {
    let row = |(labels, ends): (&[(String, String)], f64)| {
        let days = (ends - now()) / 86_400.0;
        let text = if days < 0.0 { "it is over".to_owned() } else { format!("in {} days", days.floor()) };
        vec![label(labels, "certificate"), text]
    };
    seen.named("certificate_expiry_seconds").map(row).collect()
}

fn label(labels: &[(String, String)], name: &str) -> String {
    labels.iter().find(|(label, _)| label == name).map_or("all".to_owned(), |(_, value)| value.clone())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn ago(ms: &Value) -> String {
    ms.as_f64().map_or("never".to_owned(), |ms| format!("{} ago", time((now() - ms / 1000.0).max(0.0))))
}

fn spark(rates: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = rates.get(rates.len().saturating_sub(SPARK)..).unwrap_or_default();
    let most = shown.iter().copied().fold(1e-9, f64::max);
    shown.iter().map(|rate| BARS[((7.0 * rate / most).round() as usize).min(7)]).collect()
}

fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { whole(rate.round() as u64) }
}

/// With a comma before each three digits.
fn whole(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    grouped.collect::<Vec<_>>().join(",")
}

fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit =
        units.iter().enumerate().rev().find(|(power, _)| bytes >= 1024_f64.powi(*power as i32)).unwrap_or((0, &"B"));
    format!("{:.*} {}", usize::from(unit.0 > 0), bytes / 1024_f64.powi(unit.0 as i32), unit.1)
}

fn time(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.0} s"),
        minutes if minutes < 7200.0 => format!("{:.0} min", minutes / 60.0),
        hours if hours < 172_800.0 => format!("{:.0} h", hours / 3600.0),
        days => format!("{:.0} days", (days / 86_400.0).floor()),
    }
}
