//! The walk from a request down to its records: resource, scope, record. All three signals use the same field numbers there.
//!
//! A message's fields may come in any order, and the resource's and the scope's stand in each of their rows, so a
//! group's fields are walked twice: for what it says itself, then for what is in it. Stepping over a record is one addition.

use super::request::Request;
use super::wire::{Fault, Field, Fields};
use super::{logs, metrics, traces};
use crate::signal::Signal;

/// Walks the whole request.
pub(super) fn walk<'a>(request: &mut Request<'a, '_>, signal: Signal, bytes: &'a [u8]) -> Result<(), Fault> {
    let mut fields = Fields::new(bytes, 0);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(group)) => resource_group(request, signal, group, fields.inner_depth()?)?,
            (1, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    request.rows.settle()
}

fn resource_group<'a>(request: &mut Request<'a, '_>, signal: Signal, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    let resource = &mut request.rows.resource;
    resource.clear();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(message)) => resource.read(message, fields.inner_depth()?)?,
            (2, Field::Len(_)) => {}
            (3, Field::Len(url)) => resource.schema_url = url,
            (1..=3, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    let serial = request.next_serial();
    let max = request.rows.max_column_bytes();
    request.rows.resource.finish(serial, max)?;
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        if let (2, Field::Len(group)) = (number, field) {
            scope_group(request, signal, group, fields.inner_depth()?)?;
        }
    }
    Ok(())
}

fn scope_group<'a>(request: &mut Request<'a, '_>, signal: Signal, bytes: &'a [u8], depth: u8) -> Result<(), Fault> {
    request.rows.scope.clear();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Len(message)) => request.rows.scope.read(message, fields.inner_depth()?)?,
            (2, Field::Len(_)) => {}
            (3, Field::Len(url)) => request.rows.scope.schema_url = url,
            (1..=3, _) => return fields.wrong_type(),
            _ => {}
        }
    }
    request.rows.scope.serial = request.next_serial();
    let mut fields = Fields::new(bytes, depth);
    while let Some((number, field)) = fields.next()? {
        if let (2, Field::Len(record)) = (number, field) {
            let depth = fields.inner_depth()?;
            match signal {
                Signal::Traces => traces::span(request, record, depth)?,
                Signal::Logs => logs::record(request, record, depth)?,
                Signal::Metrics => metrics::metric(request, record, depth)?,
                // The sink takes none.
                Signal::Profiles => {}
            }
        }
    }
    Ok(())
}
