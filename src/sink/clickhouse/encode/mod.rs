//! From OTLP protobuf bytes to ClickHouse's Native columns in one pass.
//!
//! A request's bytes are walked once; what is read goes straight into the column buffers of the part (table and day)
//! that the record belongs to. No tree of messages is built. The modules, in the order of a byte's way:
//!
//! | module | what it knows |
//! | --- | --- |
//! | `wire` | protobuf's wire format: fields, varints, groups |
//! | `value` | `AnyValue` and its text, as ClickStack's collector writes it |
//! | `walk` | resource, scope and records: the same field numbers in all three signals |
//! | `traces`, `logs`, `metrics` | a record's field numbers, and the column that each goes to |
//! | `part` | the open parts of a chunk; the row's day; growth; what is repeated from the row before |
//! | `column`, `dictionary` | the buffers, marks in them, and their Native bytes |
//! | `compress` | ClickHouse's compressed frames |
//! | `chunk` | the [`ChunkEncoder`](crate::sink::ChunkEncoder): commit, roll back, seal |
//!
//! `table` and `plan` say what the tables are and how this server's tables differ. `docs/native-blocks.md` explains
//! the bytes.

#![allow(dead_code)]

mod chunk;
mod factory;
mod plan;
mod table;

pub use factory::{Compression, EncoderFactory, EncoderSettings};
pub use plan::{Plans, SchemaError, TablePlan};
pub use table::TableKind;
