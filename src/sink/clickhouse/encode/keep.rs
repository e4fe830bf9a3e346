//! Which times a table keeps: those that it can hold, and of these the ones that are within its time to live when they arrive. ClickHouse stores another time
//! instead of the former's others, and drops the latter's within the second; a row of either kind is not written, and its client is told.
//!
//! Now is what ClickHouse's [clock](super::clock) says.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

use super::clock::ServerClock;
use super::plan::{Plans, TablePlan, ValueFormat};
use super::table::TableKind;
use crate::chunk::Unkept;
use crate::sink::clickhouse::schema::ttl::{From, Period, Rule};
use crate::sink::clickhouse::schema::{ServerSchema, Table, Ttl};

/// What was computed goes on being true for so long.
const LASTS: Duration = Duration::from_secs(1);

const SECOND: u64 = 1_000_000_000;

/// How long each table keeps its rows, as far as that is understood. By default for ever.
#[derive(Debug, Clone, Default)]
pub struct Keeps {
    clock: ServerClock,
    /// One entry a table, by [`TableKind::index`].
    rules: [Vec<Keep>; TableKind::ALL.len()],
}

/// A row goes so long after its time.
#[derive(Debug, Clone)]
struct Keep {
    /// Counted from the start of its day.
    by_day: bool,
    /// The moment at which it goes has to fit in 32 bits of seconds.
    narrow: bool,
    period: Period,
    zone: TimeZone,
    /// Days of a column with a time zone of its own may begin so much earlier than the server's.
    margin: Span,
}

impl Keeps {
    /// As the server's tables say; what of it is not understood is said, a line a clause.
    pub(crate) fn of(
        schema: &ServerSchema,
        plans: &Plans,
        zone: &TimeZone,
        clock: &ServerClock,
    ) -> (Keeps, Vec<String>) {
        let mut keeps = Keeps { clock: clock.clone(), ..Keeps::default() };
        let mut unclear = Vec::new();
        for kind in TableKind::ALL {
            let Some(table) = schema.tables.get(kind.table()) else { continue };
            let ttl = Ttl::of(&table.ttl);
            unclear.extend(ttl.unclear.iter().map(|clause| format!("{}: TTL {clause}", kind.table())));
            for rule in &ttl.rules {
                match Keep::of(rule, table, plans.get(kind), zone) {
                    Some(keep) => keeps.rules[kind.index()].push(keep),
                    None => unclear.push(format!("{}: TTL by {}", kind.table(), rule.column)),
                }
            }
        }
        (keeps, unclear)
    }

    /// Rows were refused by what is known of the tables: it is looked whether that is still so.
    pub(super) fn refused(&self) {
        self.clock.ask_when_old();
    }

    /// What the tables keep now.
    pub(super) fn bounds(&self, plans: &Plans) -> AllBounds {
        let now = self.clock.now();
        AllBounds {
            each: TableKind::ALL.map(|kind| {
                let mut bounds = Bounds::of_column(plans.get(kind));
                self.rules[kind.index()].iter().for_each(|keep| keep.narrow(&mut bounds, now));
                bounds
            }),
            until: Instant::now() + LASTS,
        }
    }
}

impl Keep {
    /// `None` when the column that it goes by does not follow from the row's time alone.
    fn of(rule: &Rule, table: &Table, plan: &TablePlan, zone: &TimeZone) -> Option<Keep> {
        let time = plan.time_column();
        let column = table.columns.iter().find(|column| column.name == rule.column)?;
        let from = if column.name == time {
            rule.from
        } else {
            let computed = |function: &str| column.default_expression == format!("{function}({time})");
            match rule.from {
                _ if column.default_kind.is_empty() => return None,
                From::Day if computed("toDateTime") || computed("toDate") => From::Day,
                From::Column | From::Second if computed("toDateTime") => From::Second,
                From::Column | From::Second if computed("toDate") => From::Day,
                _ => return None,
            }
        };
        let own_zone = plan.time_zone();
        Some(Keep {
            by_day: from == From::Day,
            narrow: from != From::Column || !column.type_name.starts_with("DateTime64"),
            period: rule.period,
            zone: own_zone.unwrap_or(zone).clone(),
            margin: if own_zone.is_some_and(|own| own != zone) { 1.day() } else { Span::new() },
        })
    }

    fn narrow(&self, bounds: &mut Bounds, now: Option<Timestamp>) {
        if self.narrow {
            let last = i64::from(u32::MAX).saturating_sub(self.period.longest_seconds());
            let last = u64::try_from(last).unwrap_or(0).saturating_mul(SECOND);
            if last < bounds.last {
                (bounds.last, bounds.by_ttl) = (last, true);
            }
        }
        let first = now.and_then(|now| self.first(now)).and_then(|first| u64::try_from(first.as_nanosecond()).ok());
        if let Some(first) = first.filter(|first| *first > bounds.first) {
            bounds.first = first;
            bounds.keeps = Some((self.period, self.by_day));
        }
    }

    /// The first moment whose rows may still be there at `now`.
    fn first(&self, now: Timestamp) -> Option<Timestamp> {
        let Period { months, days, seconds } = self.period;
        let span = Span::new().try_months(months).ok()?.try_days(days).ok()?.try_seconds(seconds).ok()?;
        let since = now.to_zoned(self.zone.clone()).checked_sub(span).ok()?;
        let first = if self.by_day { since.tomorrow().ok()?.start_of_day().ok()? } else { since };
        Some(first.checked_sub(self.margin).ok()?.timestamp())
    }
}

/// What each table keeps.
#[derive(Debug)]
pub(super) struct AllBounds {
    each: [Bounds; TableKind::ALL.len()],
    until: Instant,
}

impl AllBounds {
    /// Whether they have to be computed anew.
    pub(super) fn are_over(&self) -> bool {
        self.until <= Instant::now()
    }

    #[inline]
    pub(super) fn of(&self, kind: TableKind) -> &Bounds {
        &self.each[kind.index()]
    }
}

/// The times that a table keeps, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    first: u64,
    last: u64,
    /// What is before `first` is older than this; whether days count from their start.
    keeps: Option<(Period, bool)>,
    /// It is the time to live that cannot be counted after `last`.
    by_ttl: bool,
}

impl Bounds {
    /// All that the table's column of times holds. OTLP's times are not before 1970; beyond 2^63 they would be taken for such.
    fn of_column(plan: &TablePlan) -> Bounds {
        let last = match plan.time_format() {
            Some(ValueFormat::Seconds { .. }) => u64::from(u32::MAX) * SECOND + (SECOND - 1),
            _ => i64::MAX.cast_unsigned(),
        };
        Bounds { first: 0, last, keeps: None, by_ttl: false }
    }

    /// Why a row of this time is not kept.
    #[inline]
    pub(super) fn refuse(&self, nanos: u64) -> Option<Why> {
        // One compare for both ends.
        if nanos.wrapping_sub(self.first) <= self.last.saturating_sub(self.first) {
            return None;
        }
        Some(if nanos < self.first { Why::TooOld } else { Why::TooLate })
    }
}

/// Why a row is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    TooOld,
    TooLate,
}

/// How many records of a request are not kept, by table.
#[derive(Debug, Default)]
pub(super) struct Tally([[u64; 2]; TableKind::ALL.len()]);

impl Tally {
    #[cold]
    pub(super) fn count(&mut self, kind: TableKind, why: Why) {
        self.0[kind.index()][why as usize] += 1;
    }

    /// In words.
    pub(super) fn told(&self, bounds: &AllBounds) -> Vec<Unkept> {
        let mut told = Vec::new();
        for kind in TableKind::ALL {
            for why in [Why::TooOld, Why::TooLate] {
                let records = self.0[kind.index()][why as usize];
                if records > 0 {
                    told.push(unkept(kind, why, records, bounds.of(kind)));
                }
            }
        }
        told
    }
}

fn unkept(kind: TableKind, why: Why, records: u64, bounds: &Bounds) -> Unkept {
    let noun = match (kind, records) {
        (TableKind::Traces, 1) => "span",
        (TableKind::Traces, _) => "spans",
        (TableKind::Logs | TableKind::Sessions, 1) => "log record",
        (TableKind::Logs | TableKind::Sessions, _) => "log records",
        (_, 1) => "data point",
        _ => "data points",
    };
    let table = kind.table();
    let (reason, limit) = match why {
        Why::TooOld => ("too_old", format!("older than {}, which {table} keeps", Older(bounds.keeps))),
        Why::TooLate => {
            let last = Timestamp::from_second(i64::try_from(bounds.last / SECOND).unwrap_or(0)).unwrap_or_default();
            let with = if bounds.by_ttl { " with its TTL" } else { "" };
            ("too_late", format!("later than {last}, which {table} cannot hold{with}"))
        }
    };
    Unkept { table, reason, records, why: format!("{records} {noun} {limit}") }
}

struct Older(Option<(Period, bool)>);

impl fmt::Display for Older {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((period, true)) => write!(f, "{period} (from the start of their day)"),
            Some((period, false)) => write!(f, "{period}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::clickhouse::schema::facts::Column;

    const DAY: u64 = 86_400 * SECOND;
    /// 2026-11-29 23:40 in UTC.
    const NOW: u32 = 1_795_995_600;

    fn column(name: &str, type_name: &str, default_expression: &str) -> Column {
        let default_kind = if default_expression.is_empty() { "" } else { "DEFAULT" };
        let [name, type_name, default_kind, default_expression] =
            [name, type_name, default_kind, default_expression].map(str::to_owned);
        Column { name, type_name, default_kind, default_expression }
    }

    /// What `otel_logs` keeps at [`NOW`] with this clause, and what is not understood of it.
    fn logs(ttl: &str, zone: &str) -> (Bounds, Vec<String>) {
        let columns = vec![
            column("Timestamp", "DateTime64(9)", ""),
            column("TimestampTime", "DateTime", "toDateTime(Timestamp)"),
            column("Day", "Date", "toDate(Timestamp)"),
            column("Other", "DateTime", "now()"),
            column("Sent", "DateTime", ""),
        ];
        let mut schema = ServerSchema::default();
        schema.tables.insert("otel_logs".to_owned(), Table { ttl: ttl.to_owned(), columns, ..Table::default() });
        let plans = Plans::clickstack().unwrap();
        let clock = ServerClock::default();
        let (keeps, unclear) = Keeps::of(&schema, &plans, &TimeZone::get(zone).unwrap(), &clock);
        assert_eq!(keeps.bounds(&plans).of(TableKind::Logs).first, 0, "nobody knows what time it is");
        clock.set(NOW);
        (*keeps.bounds(&plans).of(TableKind::Logs), unclear)
    }

    #[test]
    fn rows_go_when_clickhouse_says_so() {
        let (now, midnight) = (u64::from(NOW) * SECOND, u64::from(NOW - NOW % 86_400) * SECOND);
        for (ttl, zone, first) in [
            ("toDateTime(Timestamp) + toIntervalDay(30)", "UTC", now - 30 * DAY),
            ("TimestampTime + toIntervalSecond(5400)", "UTC", now - 5400 * SECOND),
            ("toDate(Timestamp) + toIntervalDay(30)", "UTC", midnight - 29 * DAY),
            ("Day + toIntervalDay(1)", "UTC", midnight),
            ("toDate(TimestampTime) + toIntervalDay(1)", "UTC", midnight),
            // There it is tomorrow already, and was an hour more from UTC in summer.
            ("toDate(Timestamp) + toIntervalDay(1)", "Europe/Berlin", midnight + DAY - 3600 * SECOND),
            ("toDate(Timestamp) + toIntervalMonth(3)", "Europe/Berlin", midnight - 91 * DAY + 22 * 3600 * SECOND),
            ("toDateTime(Timestamp) + toIntervalMonth(1)", "UTC", now - 31 * DAY),
            ("toDateTime(Timestamp) + toIntervalDay(30), Timestamp + toIntervalDay(7)", "UTC", now - 7 * DAY),
        ] {
            let (bounds, unclear) = logs(ttl, zone);
            // A second may begin while this runs.
            let late = bounds.first.wrapping_sub(first);
            assert!(late <= 60 * SECOND, "{ttl} {zone}: {} {first}", bounds.first);
            assert_eq!(unclear, [""; 0], "{ttl}");
            assert_eq!(bounds.refuse(bounds.first), None);
            assert_eq!(bounds.refuse(bounds.first - 1), Some(Why::TooOld), "{ttl}");
            assert_eq!(bounds.refuse(0), Some(Why::TooOld), "{ttl}");
        }
    }

    #[test]
    fn what_does_not_follow_from_the_rows_time_ends_no_row() {
        for ttl in [
            "Other + toIntervalDay(1)",
            "Sent + toIntervalDay(1)",
            "Gone + toIntervalDay(1)",
            "toStartOfMonth(Timestamp)",
        ] {
            let (bounds, unclear) = logs(ttl, "UTC");
            assert_eq!((bounds.refuse(0), unclear.len()), (None, 1), "{ttl}");
        }
        assert_eq!(logs("", "UTC").1, [""; 0]);
    }

    #[test]
    fn a_time_that_would_become_another_one_is_refused() {
        let (bounds, _) = logs("", "UTC");
        assert_eq!(bounds.refuse(i64::MAX as u64), None);
        for late in [1 << 63, u64::MAX] {
            assert_eq!(bounds.refuse(late), Some(Why::TooLate));
        }
        let (bounds, _) = logs("toDateTime(Timestamp) + toIntervalDay(30)", "UTC");
        let ends = (u64::from(u32::MAX) - 30 * 86_400) * SECOND;
        assert_eq!((bounds.refuse(ends), bounds.refuse(ends + 1)), (None, Some(Why::TooLate)));
        let plans = Plans::clickstack().unwrap();
        let gauge = *Keeps::default().bounds(&plans).of(TableKind::Gauge);
        assert_eq!(gauge.refuse(4_294_967_295_999_999_999), None);
        assert_eq!(gauge.refuse(4_294_967_296_000_000_000), Some(Why::TooLate));
        assert_eq!(gauge.refuse(0), None);
    }

    #[test]
    fn it_is_said_in_words() {
        let told = |kind, ttl: &str, why, records| unkept(kind, why, records, &logs(ttl, "UTC").0).why;
        let by_second = "toDateTime(Timestamp) + toIntervalDay(30)";
        assert_eq!(
            told(TableKind::Logs, by_second, Why::TooOld, 1),
            "1 log record older than 30 days, which otel_logs keeps"
        );
        assert_eq!(
            told(TableKind::Traces, "toDate(Timestamp) + toIntervalDay(30)", Why::TooOld, 3),
            "3 spans older than 30 days (from the start of their day), which otel_traces keeps"
        );
        assert_eq!(
            told(TableKind::Logs, by_second, Why::TooLate, 2),
            "2 log records later than 2106-01-08T06:28:15Z, which otel_logs cannot hold with its TTL"
        );
        assert_eq!(
            told(TableKind::Logs, "", Why::TooLate, 2),
            "2 log records later than 2262-04-11T23:47:16Z, which otel_logs cannot hold"
        );
    }
}
