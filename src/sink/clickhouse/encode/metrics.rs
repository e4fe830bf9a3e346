//! Metrics: the five kinds of data points, their field numbers, and the columns that the fields go to. A row is a data point.

use super::points;
use super::request::{Request, checked_attribute};
use super::table::TableKind;
use super::wire::{Fault, Field, Fields};

/// Reads a metric and appends its data points' rows. A metric without data has no rows.
pub(super) fn metric<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    let serial = request.next_serial();
    let metric = &mut request.metric;
    metric.clear(serial);
    let mut kind = None;
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(name)) => metric.name = name,
            (2, Field::Len(text)) => metric.description = text,
            (3, Field::Len(unit)) => metric.unit = unit,
            (5 | 7 | 9 | 10 | 11, Field::Len(message)) => {
                // Of several the last one counts, also of two of a kind: as the collector reads them.
                kind = Some((kind_of(number), message));
            }
            (12, Field::Len(entry)) => drop(checked_attribute(entry, fields.inner_depth()?)?),
            (1..=3 | 5 | 7 | 9..=12, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let Some((kind, message)) = kind else {
        return Ok(());
    };
    let depth = fields.inner_depth()?;
    read_kind(request, kind, message, depth)?;
    let mut fields = Fields::new(message, depth);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Len(point)) = (number, field) {
            let depth = fields.inner_depth()?;
            match kind {
                TableKind::Histogram => points::histogram(request, point, depth)?,
                TableKind::ExponentialHistogram => points::exponential(request, point, depth)?,
                TableKind::Summary => points::summary(request, point, depth)?,
                _ => points::number(request, kind, point, depth)?,
            }
        }
    }
    Ok(())
}

fn kind_of(number: u32) -> TableKind {
    match number {
        5 => TableKind::Gauge,
        7 => TableKind::Sum,
        9 => TableKind::Histogram,
        10 => TableKind::ExponentialHistogram,
        _ => TableKind::Summary,
    }
}

/// Reads what a kind's message says besides its points.
fn read_kind(request: &mut Request<'_, '_>, kind: TableKind, message: &[u8], depth: u8) -> Result<(), Fault> {
    let metric = &mut request.metric;
    let mut fields = Fields::new(message, depth);
    let has_temporality = !matches!(kind, TableKind::Gauge | TableKind::Summary);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(_)) => {}
            (2, Field::Varint(value)) if has_temporality => metric.temporality = value,
            (3, Field::Varint(flag)) if kind == TableKind::Sum => metric.monotonic = flag != 0,
            (1, _) => return fields.wrong_type(),
            (2, _) if has_temporality => return fields.wrong_type(),
            (3, _) if kind == TableKind::Sum => return fields.wrong_type(),
            _ => {}
        }
    }
    Ok(())
}
