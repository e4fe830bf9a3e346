//! Which day a time lies on, in a time zone: what ClickHouse's `toDate` says, and so which part a row belongs to.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A day and its bounds. A row that lies within them costs two compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    /// Days since 1970-01-01.
    pub(super) number: i32,
    /// Its first nanosecond since 1970.
    start: i128,
    /// The first nanosecond after it.
    end: i128,
}

impl Day {
    /// The day of this moment in this zone.
    pub(super) fn of(nanos: i64, zone: &TimeZone) -> Day {
        let whole = |nanos: i128| Day {
            number: i32::try_from(nanos.div_euclid(86_400_000_000_000)).unwrap_or(0),
            start: nanos,
            end: nanos + 1,
        };
        let nanos = i128::from(nanos);
        let bounds = || {
            let date = Timestamp::from_nanosecond(nanos).ok()?.to_zoned(zone.clone()).date();
            let start = date.to_zoned(zone.clone()).ok()?.timestamp();
            let next = date.checked_add(1.day()).ok()?;
            let end = next.to_zoned(zone.clone()).ok()?.timestamp();
            let epoch = jiff::civil::date(1970, 1, 1);
            let number = (date - epoch).get_days();
            Some(Day { number, start: start.as_nanosecond(), end: end.as_nanosecond() })
        };
        // Every 64-bit count of nanoseconds is a date that jiff knows.
        bounds().unwrap_or_else(|| whole(nanos))
    }

    /// Whether the day has begun at this moment.
    pub(super) fn has_begun(&self, nanos: i64) -> bool {
        self.start <= i128::from(nanos)
    }

    /// Whether the moment lies on this day.
    #[inline]
    pub(super) fn contains(&self, nanos: i64) -> bool {
        (self.start..self.end).contains(&i128::from(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn a_day_begins_at_local_midnight_and_may_have_23_hours() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // 2026-03-29 01:00 in Berlin; the clocks go forward an hour later.
        let moment = 1_774_742_400_000_000_000;
        let day = Day::of(moment, &berlin);
        assert_eq!(day.number, 20_541);
        assert!(day.contains(moment - HOUR) && !day.contains(moment - HOUR - 1));
        assert!(day.contains(moment + 22 * HOUR - 1) && !day.contains(moment + 22 * HOUR));
    }

    #[test]
    fn every_time_has_a_day() {
        for nanos in [i64::MIN, -1, 0, i64::MAX] {
            assert!(Day::of(nanos, &TimeZone::UTC).contains(nanos));
        }
        assert_eq!(Day::of(-1, &TimeZone::UTC).number, -1);
    }
}
