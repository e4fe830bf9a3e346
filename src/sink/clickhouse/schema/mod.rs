//! The tables: what they look like when otelgate creates them, and what they look like on this server.
//!
//! `ddl` writes the statements, `apply` runs what is missing, `read` asks a server for its facts, `target` is for which server is written, `grants` judges the user's
//! rights, `users` gives them, `ttl` understands when a table's rows go, `diff` compares what is there with what otelgate
//! would make. What is written follows the server's facts, never the assumption that the tables are otelgate's own.

mod apply;
mod ddl;
pub(super) mod diff;
mod engine;
pub(crate) mod facts;
mod grants;
mod read;
mod target;
pub(crate) mod ttl;
pub mod users;
mod version;

pub(crate) use apply::ApplyError;
pub use apply::Done;
pub(super) use apply::create_missing;
pub use ddl::{Statement, identifier, literal, statements, statements_for};
pub use diff::Difference;
pub(crate) use diff::same_ttl;
pub(crate) use facts::{ServerSchema, Table};
pub(super) use grants::warnings;
pub(crate) use grants::warnings as rights_beyond;
pub(crate) use read::own_setting;
pub(super) use read::{Found, read, show_grants};
pub use target::{Definitions, Target};
pub(crate) use ttl::Ttl;
pub use version::{NotAVersion, Version};
