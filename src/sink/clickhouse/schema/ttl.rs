//! What a table's TTL says of when its rows go, as far as that can be understood for sure.
//!
//! Understood is what ClickStack and otelgate write, and what ClickHouse makes of it: a column, or its second or day, and a period after that. A clause that
//! goes by more than a row's time (`DELETE WHERE`, `GROUP BY`) or by another function is named, and counted as if it were not there. Pure.

use std::fmt;

/// The clauses of a table that end its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ttl {
    /// A row goes by the first of them that is over.
    pub(crate) rules: Vec<Rule>,
    /// What moves or recompresses rows, and ends none.
    pub(crate) moves: Vec<String>,
    /// What may end rows too, and is not understood.
    pub(crate) unclear: Vec<String>,
}

/// Rows go a period after the time in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The column's name.
    pub(crate) column: String,
    /// What of it counts.
    pub(crate) from: From,
    /// How long after that.
    pub(crate) period: Period,
}

/// What the time to live is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The column as it is.
    Column,
    /// Its second, which 32 bits have to hold.
    Second,
    /// The start of its day.
    Day,
}

/// A time on the calendar and the clock, as `toIntervalDay(30)` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Period {
    /// Calendar months.
    pub(crate) months: i32,
    /// Calendar days.
    pub(crate) days: i32,
    /// Seconds.
    pub(crate) seconds: i64,
}

impl Ttl {
    /// Reads what stands between `TTL` and `SETTINGS`.
    pub(crate) fn of(clause: &str) -> Ttl {
        let mut ttl = Ttl::default();
        // Behind GROUP BY a comma says nothing any more.
        let (plain, grouped) = split_word(clause, "GROUP BY").unwrap_or((clause, ""));
        let mut parts = top_level(plain, ',');
        if !grouped.is_empty() {
            let last = parts.pop().unwrap_or_default().trim();
            ttl.unclear.push(format!("{last} GROUP BY …"));
        }
        for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
            let moves = ["TO DISK", "TO VOLUME", "RECOMPRESS"].iter().any(|word| split_word(part, word).is_some());
            let expression = part.strip_suffix("DELETE").map_or(part, str::trim_end);
            match Rule::of(expression) {
                _ if moves => ttl.moves.push(part.to_owned()),
                Some(rule) => ttl.rules.push(rule),
                None => ttl.unclear.push(part.to_owned()),
            }
        }
        ttl
    }

    /// How long rows stay, where one rule alone says so; `None` for ever.
    ///
    /// # Errors
    /// It is not that simple.
    pub(crate) fn period(&self) -> Result<Option<Period>, ()> {
        match (self.rules.as_slice(), self.unclear.as_slice()) {
            ([], []) => Ok(None),
            ([rule], []) => Ok(Some(rule.period)),
            _ => Err(()),
        }
    }
}

/// The TTL clause in a table's whole definition; empty when it has none.
pub(crate) fn clause(definition: &str) -> &str {
    let Some((_, rest)) = split_word(definition, "TTL") else { return "" };
    split_word(rest, "SETTINGS").map_or(rest, |(clause, _)| clause).trim()
}

impl Rule {
    /// `base + period`, in any order, or more than one period.
    fn of(expression: &str) -> Option<Rule> {
        let mut base = None;
        let mut period = Period::default();
        for term in top_level(expression, '+') {
            match Period::of(term.trim()) {
                Some(more) => period = period.and(more)?,
                None if base.is_none() => base = Some(column(term.trim())?),
                None => return None,
            }
        }
        let (column, from) = base?;
        Some(Rule { column, from, period })
    }
}

/// `name`, `toDateTime(name)` or `toDate(name)`.
fn column(base: &str) -> Option<(String, From)> {
    let inner = |function: &str| base.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')');
    let (name, from) = match (inner("toDateTime"), inner("toDate").or_else(|| inner("toStartOfDay"))) {
        (Some(name), _) => (name, From::Second),
        (_, Some(name)) => (name, From::Day),
        _ => (base, From::Column),
    };
    Some((plain_name(name.trim())?, from))
}

/// A name that may be quoted.
fn plain_name(name: &str) -> Option<String> {
    let unquoted = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or(name);
    let plain = |c: char| c.is_alphanumeric() || c == '_' || (unquoted.len() < name.len() && c == '.');
    let starts = unquoted.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (starts && unquoted.chars().all(plain)).then(|| unquoted.to_owned())
}

impl Period {
    /// `toIntervalDay(30)`, or `INTERVAL 30 DAY`.
    fn of(text: &str) -> Option<Period> {
        let (number, unit) = match text.strip_prefix("toInterval") {
            Some(rest) => {
                let (unit, number) = rest.strip_suffix(')')?.split_once('(')?;
                (number, unit)
            }
            None => text.strip_prefix("INTERVAL ")?.trim().split_once(' ')?,
        };
        let number: i32 = number.trim().trim_matches('\'').parse().ok().filter(|number| *number >= 0)?;
        let unit = unit.trim().to_ascii_lowercase();
        let months = |each: i32| Some(Period { months: number.checked_mul(each)?, ..Period::default() });
        let days = |each: i32| Some(Period { days: number.checked_mul(each)?, ..Period::default() });
        let seconds = |each: i64| Some(Period { seconds: i64::from(number) * each, ..Period::default() });
        match unit.trim_end_matches('s') {
            "second" => seconds(1),
            "minute" => seconds(60),
            "hour" => seconds(3600),
            "day" => days(1),
            "week" => days(7),
            "month" => months(1),
            "quarter" => months(3),
            "year" => months(12),
            _ => None,
        }
    }

    fn and(self, more: Period) -> Option<Period> {
        Some(Period {
            months: self.months.checked_add(more.months)?,
            days: self.days.checked_add(more.days)?,
            seconds: self.seconds.checked_add(more.seconds)?,
        })
    }

    /// Whether it is as long, a day being 24 hours.
    pub(crate) fn equals(self, other: Period) -> bool {
        (self.months, self.whole_seconds()) == (other.months, other.whole_seconds())
    }

    /// What of it is no months.
    fn whole_seconds(self) -> i64 {
        i64::from(self.days).saturating_mul(86_400).saturating_add(self.seconds)
    }

    /// No shorter than it ever is, in seconds.
    pub(crate) fn longest_seconds(self) -> i64 {
        i64::from(self.months).saturating_mul(31 * 86_400).saturating_add(self.whole_seconds())
    }
}

impl fmt::Display for Period {
    /// `30 days`, `1 hour`, `3 months and 12 hours`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |number: i64, unit: &str| match number {
            1 => format!("1 {unit}"),
            _ => format!("{number} {unit}s"),
        };
        let mut parts = Vec::new();
        if self.months > 0 {
            parts.push(some(i64::from(self.months), "month"));
        }
        let seconds = self.whole_seconds();
        let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
        let unit = units.into_iter().find(|(each, _)| seconds % each == 0);
        if let Some((each, unit)) = unit.filter(|_| seconds > 0 || parts.is_empty()) {
            parts.push(some(seconds / each, unit));
        }
        f.write_str(&parts.join(" and "))
    }
}

/// Cut at each of these characters that stands in no parentheses and no quotes.
pub(super) fn top_level(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (place, c) in outside(text) {
        if c == at {
            parts.push(&text[start..place]);
            start = place + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// What stands before and behind the first of these words that stands in no parentheses and no quotes.
pub(super) fn split_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let place = outside(text).map(|(place, _)| place).find(|place| {
        let (before, rest) = text.split_at(*place);
        let behind = rest.strip_prefix(word);
        behind.is_some_and(|behind| !behind.starts_with(is_part)) && !before.ends_with(is_part)
    })?;
    Some((&text[..place], &text[place + word.len()..]))
}

/// The characters that stand in no parentheses and no quotes, with their places.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    text.char_indices().filter(move |(_, c)| {
        if let Some(end) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if *c == end => quote = None,
                _ => {}
            }
            return false;
        }
        match c {
            '\'' | '`' | '"' => quote = Some(*c),
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS_30: Period = Period { months: 0, days: 30, seconds: 0 };

    fn rule(column: &str, from: From, period: Period) -> Rule {
        Rule { column: column.to_owned(), from, period }
    }

    #[test]
    fn what_clickstack_and_otelgate_write_is_understood() {
        let hours = |hours: i64| Period { seconds: hours * 3600, ..Period::default() };
        for (clause, expected) in [
            ("toDateTime(Timestamp) + toIntervalDay(30)", rule("Timestamp", From::Second, DAYS_30)),
            ("toDate(Timestamp) + toIntervalDay(30)", rule("Timestamp", From::Day, DAYS_30)),
            ("TimestampTime + INTERVAL 30 DAY", rule("TimestampTime", From::Column, DAYS_30)),
            ("TimestampTime + INTERVAL '720' HOUR DELETE", rule("TimestampTime", From::Column, hours(720))),
            (
                "toDateTime(`TimeUnix`) + toIntervalSecond(5400)",
                rule("TimeUnix", From::Second, Period { seconds: 5400, ..Period::default() }),
            ),
            ("toIntervalWeek(2) + toDate(t)", rule("t", From::Day, Period { days: 14, ..Period::default() })),
            (
                "`a.b` + toIntervalYear(1) + toIntervalHour(12)",
                rule("a.b", From::Column, Period { months: 12, days: 0, seconds: 43_200 }),
            ),
        ] {
            assert_eq!(Ttl::of(clause), Ttl { rules: vec![expected], ..Ttl::default() }, "{clause}");
        }
        assert_eq!(Ttl::of(""), Ttl::default());
    }

    #[test]
    fn what_is_not_sure_is_named_and_not_guessed() {
        for unclear in [
            "toDateTime(Timestamp) + toIntervalDay(30) DELETE WHERE SeverityNumber < 9",
            "toDateTime(Timestamp) + toIntervalDay(30) WHERE ServiceName = 'a, b'",
            "toStartOfMonth(Timestamp) + toIntervalMonth(1)",
            "toDateTime(Timestamp) + toIntervalDay(days)",
            "toDateTime(Timestamp) - toIntervalDay(30)",
            "toDateTime(Timestamp) + toIntervalDay(-30)",
            "if(ServiceName = 'a', toDateTime(Timestamp), now()) + toIntervalDay(30)",
            "a + b + toIntervalDay(30)",
            "toDateTime(Timestamp, 'UTC') + toIntervalDay(30)",
            "toIntervalDay(30)",
            "toDateTime(Timestamp) + toIntervalDay(99999999999)",
        ] {
            assert_eq!(Ttl::of(unclear), Ttl { unclear: vec![unclear.to_owned()], ..Ttl::default() });
        }
        let grouped = Ttl::of("a + toIntervalDay(1), b + toIntervalDay(2) GROUP BY x, c + toIntervalDay(3)");
        assert_eq!(grouped.rules, [rule("a", From::Column, Period { days: 1, ..Period::default() })]);
        assert_eq!(grouped.unclear, ["b + toIntervalDay(2) GROUP BY …"]);
    }

    #[test]
    fn what_moves_rows_ends_none() {
        let both = "toDate(t) + toIntervalDay(7) TO VOLUME 'cold', toDate(t) + toIntervalDay(30), t + toIntervalDay(1) RECOMPRESS CODEC(ZSTD(9))";
        assert_eq!(Ttl::of(both).rules, [rule("t", From::Day, DAYS_30)]);
        assert_eq!((Ttl::of(both).moves.len(), Ttl::of(both).unclear.len()), (2, 0));
        assert!(Ttl::of(both).period().unwrap().unwrap().equals(Period { seconds: 30 * 86_400, ..Period::default() }));
    }

    #[test]
    fn the_clause_is_found_in_a_definition() {
        let definition = "MergeTree PARTITION BY toDate(`my TTL `) ORDER BY (f(' TTL '), TTLs) TTL toDate(t) + toIntervalDay(30) SETTINGS a = 1";
        assert_eq!(clause(definition), "toDate(t) + toIntervalDay(30)");
        assert_eq!(clause("MergeTree ORDER BY t SETTINGS a = 1"), "");
        assert_eq!(clause("MergeTree ORDER BY t TTL t + toIntervalDay(1)"), "t + toIntervalDay(1)");
    }

    #[test]
    fn periods_are_said_in_the_largest_unit() {
        let of = |months, days, seconds| Period { months, days, seconds }.to_string();
        assert_eq!(of(0, 30, 0), "30 days");
        assert_eq!(of(0, 0, 86_400), "1 day");
        assert_eq!(of(0, 1, 3600), "25 hours");
        assert_eq!(of(0, 0, 5400), "90 minutes");
        assert_eq!(of(3, 0, 0), "3 months");
        assert_eq!(of(12, 0, 61), "12 months and 61 seconds");
        assert_eq!(of(0, 0, 0), "0 days");
    }
}
