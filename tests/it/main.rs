//! Tests of the running program: the real binary, real TLS sockets, a real ClickHouse behind it.

#![allow(unreachable_pub, missing_docs, reason = "a test binary exports nothing")]

mod answers;
mod arrives;
mod bombs;
mod clickhouse;
mod forward;
mod outage;
mod rows;
mod sdk;
mod support;
