//! The tables: what they look like when otelgate creates them, and what they look like on this server.
//!
//! `ddl` writes the statements, `apply` runs what is missing, `read` asks a server for its facts, `grants` judges the user's
//! rights, `users` gives them, `ttl` understands when a table's rows go, `diff` compares what is there with what otelgate
//! would make. What is written follows the server's facts, never the assumption that the tables are otelgate's own.

mod apply;
mod ddl;
pub(super) mod diff;
mod engine;
pub(crate) mod facts;
mod grants;
mod read;
pub(crate) mod ttl;
pub mod users;
mod version;

pub(super) use apply::apply;
pub(crate) use apply::{ApplyError, Done};
pub use ddl::{Statement, identifier, literal, statements};
pub use diff::Difference;
pub(crate) use diff::same_ttl;
pub(crate) use facts::{ServerSchema, Table};
pub(super) use grants::warnings;
pub(crate) use grants::warnings as rights_beyond;
pub(super) use read::{Found, read, show_grants};
pub(crate) use ttl::Ttl;
pub use version::{NotAVersion, Version};
