//! From OTLP protobuf bytes to ClickHouse's Native columns in one pass.
//!
//! A request's bytes are walked once; what is read goes straight into the column buffers of the part (table and day)
//! that the record belongs to. No tree of messages is built. The modules, in the order of a byte's way:
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`wire`] | protobuf's wire format: fields, varints, groups |
//! | `value`, `json` | `AnyValue` and its text, as ClickStack's collector writes it |
//! | `plain`, `raw_attribute`, `key_values` | a record's attributes, read fast |
//! | `walk` | resource, scope and records: the same field numbers in all three signals |
//! | `request` | what stands in each row of a request, and what its rows may grow into |
//! | `bound`, `buffer` | how long lists may get, and their memory |
//! | `traces`, `logs`, `metrics`, `points` | a record's field numbers, and the column that each goes to |
//! | `transform` | what ClickStack's collector does to logs on the way |
//! | `keep`, `clock` | which times a table keeps: what it can hold, and its time to live |
//! | `part` | the open parts of a chunk; the row's day; growth; what is repeated from the row before |
//! | `days` | which day a time lies on |
//! | `column`, `map`, `ends`, `dictionary` | the buffers, and marks in them |
//! | `native` | a block's bytes |
//! | `compress` | ClickHouse's compressed frames |
//! | `chunk` | the [`ChunkEncoder`](crate::chunk::ChunkEncoder): commit, roll back, seal |
//!
//! `table` and `plan` say what the tables are and how this server's tables differ. `docs/native-blocks.md` explains
//! the bytes.

mod bound;
mod buffer;
mod chunk;
mod clickstack;
mod clock;
mod column;
mod compress;
mod days;
mod dictionary;
mod ends;
mod factory;
mod json;
mod keep;
mod key_values;
mod logs;
mod map;
mod metrics;
mod native;
mod part;
mod plain;
mod plan;
mod points;
mod raw_attribute;
mod request;
mod settings;
mod table;
mod texts;
mod traces;
mod transform;
mod value;
mod walk;

#[cfg(test)]
mod tests;

/// What the fuzz targets reach.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::transform::body_attributes;
}

use crate::otlp::wire;

#[cfg(test)]
pub(super) use clickstack::columns as clickstack_columns;
pub use clock::ServerClock;
pub(super) use compress::inflate;
pub use factory::EncoderFactory;
pub use keep::Keeps;
pub use plan::{Plans, SchemaError, TablePlan};
pub use settings::{Compression, EncoderSettings};
pub(crate) use table::TableKind;
