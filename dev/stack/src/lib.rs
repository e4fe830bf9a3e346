//! A whole stack on this machine, of real parts: ClickHouse, certificates, keys, collectors and otelgate, and what is sent through it. The
//! demonstration (`make run`), the tests and the benches start it here.

#![forbid(unsafe_code)]

mod certificates;
mod clickhouse;
mod cluster;
mod collector;
mod config;
pub mod cost;
mod door;
mod gateway;
mod keys;
pub mod page;
mod plain_collector;
mod process;
mod redis;
mod samples;
mod tunnel;
mod zookeeper;

pub use certificates::Certificates;
pub use clickhouse::{ClickHouse, READER};
pub use cluster::Cluster;
pub use collector::{BEARER, COLLECTOR_TOKEN, Collector, CollectorSetup, free_port};
pub use config::{Config, Files};
pub use door::Door;
pub use gateway::{Gateway, ask};
pub use keys::{Key, digest, keys_yaml};
pub use plain_collector::{PlainCollector, built_collector};
pub use process::{Process, binary};
pub use redis::Redis;
pub use samples::{SEQUENCE, Samples};
pub use tunnel::{Passage, Tunnel};
pub use zookeeper::ZooKeeper;
