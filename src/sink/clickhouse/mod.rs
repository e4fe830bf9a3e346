//! Direct mode: OTLP bytes become Native columns, and a part of a batch becomes one insert.

pub mod encode;
