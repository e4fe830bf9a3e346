//! What a part holds on to.

use jiff::tz::TimeZone;

use super::super::keep::Keeps;
use super::super::{Compression, Plans};
use super::*;

/// At once: the next request of its table may be long in coming.
#[test]
fn a_sealed_part_holds_on_to_little() {
    let (plans, compression) = (Plans::clickstack().unwrap(), Compression::None);
    let settings =
        EncoderSettings { plans, zone: TimeZone::UTC, compression, transform_logs: true, keeps: Keeps::default() };
    let mut parts = OpenParts::new(Arc::new(settings));
    let part = parts.find(TableKind::Logs, 0);
    let is_text = |column: &Column| matches!(column.data, ColumnData::Text(_));
    let place = parts.open[part].columns.iter().position(is_text).unwrap();
    let held = |part: &OpenPart| match &part.columns[place].data {
        ColumnData::Text(strings) => strings.bytes.capacity(),
        _ => unreachable!("it is a text"),
    };
    parts.open[part].begin(0, 0, u64::MAX);
    parts.open[part].text(place, &vec![b'x'; 3 * KEEP]);
    let part = parts.open.remove(part);
    assert!(held(&part) > KEEP);
    parts.keep(part);
    assert!(held(&parts.spare[0]) <= KEEP);
}
