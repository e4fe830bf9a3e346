//! Data points of the five kinds.

use super::bound::push;
use super::part::{Nested, OpenPart};
use super::raw_attribute::RawAttribute;
use super::request::{Request, id};
use super::table::{
    TableKind, exponential as exponential_column, gauge as column, histogram as histogram_column, sum,
    summary as summary_column,
};
use super::wire::{Fault, Field, Fields, packed_fixed64, packed_varints, zigzag32};

/// Fields that all points have.
#[derive(Debug, Default)]
struct Point {
    start: u64,
    time: u64,
    flags: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// Begins a point's row and writes what all kinds have in common; nothing when its table would not keep it.
fn begin<'p>(
    request: &'p mut Request<'_, '_>,
    kind: TableKind,
    point: &Point,
    size: usize,
    depth: u8,
) -> Result<Option<&'p mut OpenPart>, Fault> {
    let metric = &request.metric;
    // A point has no id; one that was taken at a time of its own is told apart best.
    let score = 1 + u64::from(!point.time.is_multiple_of(1_000_000));
    let Some(part) = request.rows.begin(kind, point.time, size, score, metric.serial)? else {
        return Ok(None);
    };
    metric.put(part);
    part.time(column::START_TIME, point.start);
    part.time(column::TIME, point.time);
    part.integer(column::FLAGS, point.flags);
    part.attributes(column::ATTRIBUTES, &request.entries[..], depth)?;
    if kind != TableKind::Summary {
        for exemplar in &request.lists[0] {
            put_exemplar(part, exemplar, depth)?;
        }
        part.close_nested(Nested::Exemplars, request.lists[0].len());
    }
    Ok(Some(part))
}

/// Forgets the last point.
fn clear(request: &mut Request<'_, '_>) {
    request.entries.clear();
    for list in &mut request.lists {
        list.clear();
    }
}

/// A point of a gauge or a sum.
pub(super) fn number<'a>(
    request: &mut Request<'a, '_>,
    kind: TableKind,
    bytes: &'a [u8],
    depth: u8,
) -> Result<(), Fault> {
    clear(request);
    let mut point = Point::default();
    let mut value = 0.0;
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Fixed64(nanos)) => point.start = nanos,
            (3, Field::Fixed64(nanos)) => point.time = nanos,
            (4, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (5, Field::Len(exemplar)) => push(&mut request.lists[0], exemplar)?,
            (6, Field::Fixed64(int)) => value = int.cast_signed() as f64,
            (7, Field::Len(entry)) => RawAttribute::push(&mut request.entries, entry, fields.inner_depth()?)?,
            (8, Field::Varint(flags)) => point.flags = flags,
            (2..=8, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let (temporality, monotonic) = (request.metric.temporality, request.metric.monotonic);
    let Some(part) = begin(request, kind, &point, bytes.len(), fields.inner_depth()?)? else {
        return Ok(());
    };
    part.double(column::VALUE, value);
    if kind == TableKind::Sum {
        part.integer(sum::TEMPORALITY, temporality);
        part.integer(sum::IS_MONOTONIC, u64::from(monotonic));
    }
    Ok(())
}

/// A point of a histogram with explicit bounds.
pub(super) fn histogram<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    clear(request);
    let mut point = Point::default();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Fixed64(nanos)) => point.start = nanos,
            (3, Field::Fixed64(nanos)) => point.time = nanos,
            (4, Field::Fixed64(count)) => point.count = count,
            (5, Field::Fixed64(bits)) => point.sum = f64::from_bits(bits),
            (8, Field::Len(exemplar)) => push(&mut request.lists[0], exemplar)?,
            (9, Field::Len(entry)) => RawAttribute::push(&mut request.entries, entry, fields.inner_depth()?)?,
            (10, Field::Varint(flags)) => point.flags = flags,
            (11, Field::Fixed64(bits)) => point.min = f64::from_bits(bits),
            (12, Field::Fixed64(bits)) => point.max = f64::from_bits(bits),
            (6 | 7, Field::Len(_) | Field::Fixed64(_)) => {}
            (2..=12, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let temporality = request.metric.temporality;
    let Some(part) = begin(request, TableKind::Histogram, &point, bytes.len(), fields.inner_depth()?)? else {
        return Ok(());
    };
    point.put_summary_of_values(part, histogram_column::COUNT, histogram_column::SUM);
    part.double(histogram_column::MIN, point.min);
    part.double(histogram_column::MAX, point.max);
    part.integer(histogram_column::TEMPORALITY, temporality);
    put_fixed64s(part, histogram_column::BUCKET_COUNTS, bytes, 6, depth)?;
    put_fixed64s(part, histogram_column::EXPLICIT_BOUNDS, bytes, 7, depth)
}

/// A point of an exponential histogram.
pub(super) fn exponential<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    clear(request);
    let mut point = Point::default();
    let mut scale = 0;
    let mut zero_count = 0;
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(entry)) => RawAttribute::push(&mut request.entries, entry, fields.inner_depth()?)?,
            (2, Field::Fixed64(nanos)) => point.start = nanos,
            (3, Field::Fixed64(nanos)) => point.time = nanos,
            (4, Field::Fixed64(count)) => point.count = count,
            (5, Field::Fixed64(bits)) => point.sum = f64::from_bits(bits),
            (6, Field::Varint(value)) => scale = zigzag32(value),
            (7, Field::Fixed64(count)) => zero_count = count,
            (8 | 9, Field::Len(_)) | (14, Field::Fixed64(_)) => {}
            (10, Field::Varint(flags)) => point.flags = flags,
            (11, Field::Len(exemplar)) => push(&mut request.lists[0], exemplar)?,
            (12, Field::Fixed64(bits)) => point.min = f64::from_bits(bits),
            (13, Field::Fixed64(bits)) => point.max = f64::from_bits(bits),
            (1..=14, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let temporality = request.metric.temporality;
    let Some(part) = begin(request, TableKind::ExponentialHistogram, &point, bytes.len(), fields.inner_depth()?)?
    else {
        return Ok(());
    };
    point.put_summary_of_values(part, exponential_column::COUNT, exponential_column::SUM);
    part.integer(exponential_column::SCALE, i64::from(scale).cast_unsigned());
    part.integer(exponential_column::ZERO_COUNT, zero_count);
    part.double(exponential_column::MIN, point.min);
    part.double(exponential_column::MAX, point.max);
    part.integer(exponential_column::TEMPORALITY, temporality);
    let positive = [exponential_column::POSITIVE_OFFSET, exponential_column::POSITIVE_COUNTS];
    put_buckets(part, positive, bytes, 8, depth)?;
    let negative = [exponential_column::NEGATIVE_OFFSET, exponential_column::NEGATIVE_COUNTS];
    put_buckets(part, negative, bytes, 9, depth)
}

/// A point of a summary.
pub(super) fn summary<'a>(request: &mut Request<'a, '_>, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    clear(request);
    let mut point = Point::default();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Fixed64(nanos)) => point.start = nanos,
            (3, Field::Fixed64(nanos)) => point.time = nanos,
            (4, Field::Fixed64(count)) => point.count = count,
            (5, Field::Fixed64(bits)) => point.sum = f64::from_bits(bits),
            (6, Field::Len(quantile)) => push(&mut request.lists[1], quantile)?,
            (7, Field::Len(entry)) => RawAttribute::push(&mut request.entries, entry, fields.inner_depth()?)?,
            (8, Field::Varint(flags)) => point.flags = flags,
            (2..=8, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let depth = fields.inner_depth()?;
    let quantiles = std::mem::take(&mut request.lists[1]);
    let Some(part) = begin(request, TableKind::Summary, &point, bytes.len(), depth)? else {
        request.lists[1] = quantiles;
        return Ok(());
    };
    point.put_summary_of_values(part, summary_column::COUNT, summary_column::SUM);
    for quantile in &quantiles {
        put_quantile(part, quantile, depth)?;
    }
    part.close(&[summary_column::QUANTILES, summary_column::QUANTILE_VALUES], quantiles.len());
    request.lists[1] = quantiles;
    Ok(())
}

impl Point {
    fn put_summary_of_values(&self, part: &mut OpenPart, count: usize, sum: usize) {
        part.integer(count, self.count);
        part.double(sum, self.sum);
    }
}

fn put_quantile(part: &mut OpenPart, bytes: &[u8], depth: u8) -> Result<(), Fault> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Fixed64(bits)) => quantile = f64::from_bits(bits),
            (2, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (1 | 2, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    part.double(summary_column::QUANTILES, quantile);
    part.double(summary_column::QUANTILE_VALUES, value);
    Ok(())
}

/// The collector writes an exemplar's ids in full, zeros when they are absent.
fn put_exemplar(part: &mut OpenPart, bytes: &[u8], depth: u8) -> Result<(), Fault> {
    let mut attributes = Vec::new();
    let mut time = 0;
    let mut value = 0.0;
    let (mut span_id, mut trace_id) = (None, None);
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Fixed64(nanos)) => time = nanos,
            (3, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (4, Field::Len(bytes)) => span_id = id(bytes)?,
            (5, Field::Len(bytes)) => trace_id = id(bytes)?,
            (6, Field::Fixed64(int)) => value = int.cast_signed() as f64,
            (7, Field::Len(entry)) => RawAttribute::push(&mut attributes, entry, fields.inner_depth()?)?,
            (2..=7, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    part.attributes(column::EXEMPLARS_ATTRIBUTES, &attributes[..], depth + 1)?;
    part.time(column::EXEMPLARS_TIME, time);
    part.double(column::EXEMPLARS_VALUE, value);
    part.full_id::<8>(column::EXEMPLARS_SPAN_ID, span_id);
    part.full_id::<16>(column::EXEMPLARS_TRACE_ID, trace_id);
    Ok(())
}

/// A repeated field of 64-bit numbers, packed or not.
fn put_fixed64s(part: &mut OpenPart, place: usize, bytes: &[u8], field_number: u32, depth: u8) -> Result<(), Fault> {
    let mut count = 0;
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match field {
            Field::Len(packed) if number == field_number => {
                let numbers = packed_fixed64(packed)?;
                part.integers(place, numbers);
                count += numbers.len();
            }
            Field::Fixed64(value) if number == field_number => {
                part.integer(place, value);
                count += 1;
            }
            _ => {}
        }
    }
    part.close(&[place], count);
    Ok(())
}

/// The buckets in a field that may come in pieces: an offset, and counts.
fn put_buckets(
    part: &mut OpenPart,
    places: [usize; 2],
    point: &[u8],
    field_number: u32,
    depth: u8,
) -> Result<(), Fault> {
    let [offset_place, counts_place] = places;
    let mut offset = 0;
    let mut counts = 0;
    let mut pieces = Fields::new(point, depth);
    while let Some((number, field)) = pieces.next()? {
        let Field::Len(buckets) = field else { continue };
        if number != field_number {
            continue;
        }
        let mut fields = Fields::new(buckets, pieces.inner_depth()?);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Varint(value)) => offset = zigzag32(value),
                (2, Field::Varint(count)) => {
                    part.room_for(8)?;
                    counts += 1;
                    part.integer(counts_place, count);
                }
                (2, Field::Len(packed)) => {
                    // A byte may become a number of eight.
                    part.room_for(8 * packed.len())?;
                    packed_varints(packed, |count| {
                        counts += 1;
                        part.integer(counts_place, count);
                    })?;
                }
                (1 | 2, _) => return fields.wrong_type(),
                _ => {}
            }
        }
    }
    part.close(&[counts_place], counts);
    part.integer(offset_place, i64::from(offset).cast_unsigned());
    Ok(())
}
