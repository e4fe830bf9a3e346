//! Tests of the running program: the real binary, real TLS sockets, a real ClickHouse behind it.

#![allow(unreachable_pub, missing_docs, reason = "a test binary exports nothing")]

mod admin;
mod answers;
mod arrives;
mod bombs;
mod browser;
mod certificates;
mod clickhouse;
mod clickstack_keys;
mod command;
mod compressed;
mod config_reload;
mod days;
mod deploy;
mod divided;
mod doctor;
mod documents;
mod drain;
mod forward;
mod handover;
mod init;
mod keys;
mod keys_command;
mod monitoring;
mod oidc;
mod outage;
mod page;
mod readiness;
mod reload;
mod rows;
mod sdk;
mod secrets;
mod shards;
mod shared_limits;
mod spool;
mod stop;
mod support;
mod telemetry;
mod too_much;
mod transforms;
mod twice;
mod unheard;
mod unreadable;
mod upgrade;
mod views;
