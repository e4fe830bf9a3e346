//! A request on its way into the parts: what stands in each of its rows (resource, scope, metric), where its rows go, and what it may grow into.

use super::bound::{KeyBytes, push};
use super::buffer::emptied;
use super::keep::Tally;
use super::part::{OpenPart, OpenParts};
use super::raw_attribute::RawAttribute;
use super::table::{Group, TableKind, gauge};
use super::transform::{List, Merge};
use super::value::Attribute;
use super::wire::{Fault, Field, Fields};
use crate::chunk::{Growth, Unkept};

/// What stands in every row of a resource.
#[derive(Debug, Default)]
pub(super) struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
    service_name: Vec<u8>,
    pub(super) schema_url: &'a [u8],
    serial: u64,
}

/// What stands in every row of a scope.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    name: &'a [u8],
    version: &'a [u8],
    attributes: Vec<Attribute<'a>>,
    dropped_attributes: u64,
    pub(super) schema_url: &'a [u8],
    pub(super) serial: u64,
}

/// What stands in every row of a metric.
#[derive(Debug, Default)]
pub(super) struct Metric<'a> {
    pub(super) name: &'a [u8],
    pub(super) description: &'a [u8],
    pub(super) unit: &'a [u8],
    pub(super) serial: u64,
    pub(super) temporality: u64,
    pub(super) monotonic: bool,
}

impl Metric<'_> {
    pub(super) fn clear(&mut self, serial: u64) {
        *self = Metric { serial, ..Metric::default() };
    }

    /// Writes the metric's own columns.
    pub(super) fn put(&self, part: &mut OpenPart) {
        if part.repeat(Group::Metric, self.serial) {
            return;
        }
        let before = part.bytes();
        part.text(gauge::METRIC_NAME, self.name);
        part.text(gauge::METRIC_DESCRIPTION, self.description);
        part.text(gauge::METRIC_UNIT, self.unit);
        part.written(Group::Metric, self.serial, before);
    }
}

/// Where a request's rows go, and how much of what it may grow into is used.
#[derive(Debug)]
pub(super) struct Rows<'a, 'p> {
    parts: &'p mut OpenParts,
    growth: Growth,
    pub(super) resource: Resource<'a>,
    pub(super) scope: Scope<'a>,
    serial: &'p mut u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    touched: u32,
    tally: Tally,
    /// The part that got the last row, and its bytes before that row.
    last: Option<(usize, u64)>,
}

/// A request on its way into the parts, with lists that are filled anew for each record.
#[derive(Debug)]
pub(super) struct Request<'a, 'p> {
    pub(super) rows: Rows<'a, 'p>,
    /// Attributes of a span or a data point, and of what is in it; those of a log are in `attributes`.
    pub(super) entries: Vec<RawAttribute<'a>>,
    pub(super) nested: Vec<RawAttribute<'a>>,
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Events and links of a span; exemplars and quantiles of a data point.
    pub(super) lists: [Vec<&'a [u8]>; 2],
    pub(super) metric: Metric<'a>,
    pub(super) merge: Merge<'a>,
    /// A log's attributes with its body merged into them; empty between two records.
    pub(super) merged: Vec<Attribute<'static>>,
    /// A text on its way into a column.
    pub(super) text: Vec<u8>,
    pub(super) key_bytes: KeyBytes,
}

/// The lists of a request without their contents: what the next request needs not allocate.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    entries: [Vec<RawAttribute<'static>>; 2],
    attributes: [Vec<Attribute<'static>>; 3],
    lists: [Vec<&'static [u8]>; 2],
    merge: Merge<'static>,
    merged: Vec<Attribute<'static>>,
    service_name: Vec<u8>,
    text: Vec<u8>,
}

impl<'a, 'p> Request<'a, 'p> {
    pub(super) fn new(
        parts: &'p mut OpenParts,
        growth: Growth,
        serial: &'p mut u64,
        scratch: Scratch,
    ) -> Request<'a, 'p> {
        let [entries, nested] = scratch.entries.map(emptied);
        let [attributes, resource, scope] = scratch.attributes.map(emptied);
        Request {
            rows: Rows {
                parts,
                growth,
                resource: Resource { attributes: resource, service_name: scratch.service_name, ..Resource::default() },
                scope: Scope { attributes: scope, ..Scope::default() },
                serial,
                records: 0,
                bytes: 0,
                touched: 0,
                tally: Tally::default(),
                last: None,
            },
            entries,
            nested,
            attributes,
            lists: scratch.lists.map(emptied),
            metric: Metric::default(),
            merge: scratch.merge.emptied(),
            merged: scratch.merged,
            text: scratch.text,
            key_bytes: KeyBytes::new(growth.max_column_bytes),
        }
    }

    /// The lists, for the next request.
    pub(super) fn into_scratch(mut self) -> Scratch {
        /// What an idle text may hold on to.
        const KEEP: usize = 64 << 10;
        for text in [&mut self.text, &mut self.rows.resource.service_name] {
            text.clear();
            text.shrink_to(KEEP);
        }
        let attributes = [self.attributes, self.rows.resource.attributes, self.rows.scope.attributes];
        Scratch {
            entries: [self.entries, self.nested].map(emptied),
            attributes: attributes.map(emptied),
            lists: self.lists.map(emptied),
            merge: self.merge.emptied(),
            merged: emptied(self.merged),
            service_name: self.rows.resource.service_name,
            text: self.text,
        }
    }

    /// A serial number that no resource, scope or metric had before.
    pub(super) fn next_serial(&mut self) -> u64 {
        *self.rows.serial += 1;
        *self.rows.serial
    }
}

/// How deep the attributes of a resource lie, and those of a scope.
const RESOURCE_ATTRIBUTES_DEPTH: u8 = 3;
const SCOPE_ATTRIBUTES_DEPTH: u8 = 4;

impl<'a> Resource<'a> {
    pub(super) fn clear(&mut self) {
        self.attributes.clear();
        self.schema_url = &[];
    }

    pub(super) fn read(&mut self, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
        let mut fields = Fields::new(bytes, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(entry)) => {
                    push(&mut self.attributes, checked_attribute(entry, fields.inner_depth()?)?)?;
                }
                (2, Field::Varint(_)) => {}
                (3, Field::Len(entity)) => entity_reference(entity, fields.inner_depth()?)?,
                (1..=3, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, serial: u64, max: u64) -> Result<(), Fault> {
        self.serial = serial;
        self.service_name.clear();
        if let Some(named) = self.attributes.iter().find(|attribute| *attribute.key == *b"service.name") {
            named.value.put_text(&mut self.service_name, RESOURCE_ATTRIBUTES_DEPTH + 1, max)?;
        }
        Ok(())
    }

    fn put(&self, part: &mut OpenPart) -> Result<(), Fault> {
        if part.repeat(Group::Resource, self.serial) {
            return Ok(());
        }
        let before = part.bytes();
        let places = part.kind().places();
        part.text(places.service_name, &self.service_name);
        part.attributes(places.resource_attributes, List::own(&self.attributes), RESOURCE_ATTRIBUTES_DEPTH)?;
        if let Some(place) = places.resource_schema_url {
            part.text(place, self.schema_url);
        }
        part.written(Group::Resource, self.serial, before);
        Ok(())
    }
}

impl<'a> Scope<'a> {
    pub(super) fn clear(&mut self) {
        self.name = &[];
        self.version = &[];
        self.attributes.clear();
        self.dropped_attributes = 0;
        self.schema_url = &[];
    }

    pub(super) fn read(&mut self, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
        let mut fields = Fields::new(bytes, depth);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Len(name)) => self.name = name,
                (2, Field::Len(version)) => self.version = version,
                (3, Field::Len(entry)) => {
                    push(&mut self.attributes, checked_attribute(entry, fields.inner_depth()?)?)?;
                }
                (4, Field::Varint(count)) => self.dropped_attributes = count,
                (1..=4, _) => return fields.wrong_type(),
                _ => {}
            }
        }
        Ok(())
    }

    fn put(&self, part: &mut OpenPart) -> Result<(), Fault> {
        if part.repeat(Group::Scope, self.serial) {
            return Ok(());
        }
        let before = part.bytes();
        let places = part.kind().places();
        part.text(places.scope_name, self.name);
        part.text(places.scope_version, self.version);
        if let Some(place) = places.scope_attributes {
            part.attributes(place, List::own(&self.attributes), SCOPE_ATTRIBUTES_DEPTH)?;
        }
        if let Some(place) = places.scope_dropped {
            part.integer(place, self.dropped_attributes);
        }
        if let Some(place) = places.scope_schema_url {
            part.text(place, self.schema_url);
        }
        part.written(Group::Scope, self.serial, before);
        Ok(())
    }
}

/// An attribute that may never be written, so that it must be looked at whole now.
pub(super) fn checked_attribute(bytes: &[u8], depth: u8) -> Result<Attribute<'_>, Fault> {
    let attribute = Attribute::read(bytes, depth)?;
    if attribute.value.is_nested() {
        attribute.value.check(depth + 1)?;
    }
    Ok(attribute)
}

/// An id of a trace or a span; `None` when it is absent.
///
/// # Errors
/// OTLP knows no id of another length.
pub(super) fn id<const N: usize>(bytes: &[u8]) -> Result<Option<&[u8; N]>, Fault> {
    match <&[u8; N]>::try_from(bytes) {
        _ if bytes.is_empty() => Ok(None),
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(Fault::Malformed("a trace or span id of the wrong length", bytes.as_ptr().addr())),
    }
}

/// A resource's reference to an entity: nothing of it is stored, but malformed is malformed.
fn entity_reference(bytes: &[u8], depth: u8) -> Result<(), Fault> {
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        if (1..=4).contains(&number) && !matches!(field, Field::Len(_)) {
            return fields.wrong_type();
        }
    }
    Ok(())
}

impl Rows<'_, '_> {
    /// What the request's columns may grow to.
    pub(super) fn max_column_bytes(&self) -> u64 {
        self.growth.max_column_bytes
    }

    /// Whether logs are changed as ClickStack's collector changes them.
    pub(super) fn transforms_logs(&self) -> bool {
        self.parts.settings.transform_logs
    }

    /// Records that their tables would not keep.
    pub(super) fn unkept(&self) -> Vec<Unkept> {
        self.tally.told(&self.parts.bounds)
    }

    /// Begins a row in the table and day that it belongs to, with its resource and scope; nothing when the table would not keep it. `size` is the record's on the wire: it
    /// adds at least about as much. `score` says how well the row can be found again.
    ///
    /// # Errors
    /// What the request would grow into is over a limit; nothing has grown then.
    pub(super) fn begin(
        &mut self,
        kind: TableKind,
        nanos: u64,
        size: usize,
        score: u64,
        metric: u64,
    ) -> Result<Option<&mut OpenPart>, Fault> {
        if let Some(why) = self.parts.bounds.of(kind).refuse(nanos) {
            self.tally.count(kind, why);
            return Ok(None);
        }
        self.settle()?;
        self.records += 1;
        if self.records > self.growth.max_records {
            return Err(Fault::TooLarge("max_records", self.growth.max_records));
        }
        let place = self.parts.find(kind, nanos);
        let part = &mut self.parts.open[place];
        let serials = [self.resource.serial, self.scope.serial, metric];
        let expected = self.bytes + part.repeated_bytes(serials) + size as u64;
        if expected > self.growth.max_column_bytes {
            return Err(Fault::TooLarge("max_column_bytes", self.growth.max_column_bytes));
        }
        if !part.touched() {
            self.touched += 1;
            if self.touched > self.growth.max_parts {
                return Err(Fault::TooLarge("max_parts", u64::from(self.growth.max_parts)));
            }
        }
        self.last = Some((place, part.bytes()));
        part.begin(score, self.bytes, self.growth.max_column_bytes);
        self.resource.put(part)?;
        self.scope.put(part)?;
        Ok(Some(part))
    }

    /// Counts what the last row added.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        if let Some((place, before)) = self.last.take() {
            self.bytes += self.parts.open[place].bytes() - before;
            if self.bytes > self.growth.max_column_bytes {
                return Err(Fault::TooLarge("max_column_bytes", self.growth.max_column_bytes));
            }
        }
        Ok(())
    }
}
