//! Faults against the real program: the real otelgate with its spool on a disk, the real ClickHouse, a fault proxy between them,
//! and clients that repeat each request until they have an answer.
//!
//! The invariant that every run checks: what was acknowledged is found, once; what was only ever refused is not found.
//! Read on in [`campaign`] (a run), [`schedule`] (which faults), [`proxy`] (faults between otelgate and ClickHouse), [`crowd`] (the
//! clients), `trouble` (what ClickHouse takes amiss) and [`verify`] (the check). [`flip`], [`power`], [`narrow`] and [`vanish`] look at what
//! random moments do not reach; [`forward`] has a collector as sink, [`replicas`] two replicas
//! behind one address, [`quorum`] a quorum of them, and [`shards`] two shards.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a development tool that reports to people")]

pub mod campaign;
pub mod client;
pub mod crowd;
pub mod flip;
pub mod forward;
pub mod narrow;
mod one;
pub mod power;
pub mod proxy;
pub mod quorum;
pub mod replicas;
pub mod requests;
pub mod rig;
pub mod room;
pub mod schedule;
pub mod shards;
mod trouble;
pub mod vanish;
pub mod verify;
mod wire;
