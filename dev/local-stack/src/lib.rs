//! A whole stack on this machine, of real parts: ClickHouse, certificates, keys and otelgate. The demonstration
//! (`make run`), the tests and the benches start it here.

#![forbid(unsafe_code)]

mod certificates;
mod clickhouse;
mod collector;
mod gateway;
mod plain_collector;
mod process;
mod tunnel;

pub use certificates::Certificates;
pub use clickhouse::ClickHouse;
pub use collector::{COLLECTOR_TOKEN, Collector, CollectorSetup, free_port};
pub use gateway::{Gateway, Key, new_key};
pub use plain_collector::{PlainCollector, built_collector};
pub use process::{Process, binary};
pub use tunnel::{Passage, Tunnel};
