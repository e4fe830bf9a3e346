//! Faults against the real program: the real otelgate with its spool on a disk, the real ClickHouse, a fault proxy between them,
//! and clients that repeat each request until they have an answer.
//!
//! The invariant that every run checks: what was acknowledged is found, once; what was only ever refused is not found.
//! Read on in [`campaign`] (a run), [`schedule`] (which faults), [`proxy`] (faults between otelgate and ClickHouse), [`crowd`] (the
//! clients) and [`verify`] (the check); [`flip`] and [`power`] look at what random moments do not reach.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a development tool that reports to people")]

pub mod campaign;
pub mod client;
pub mod crowd;
pub mod flip;
pub mod forward;
pub mod power;
pub mod proxy;
pub mod requests;
pub mod rig;
pub mod room;
pub mod schedule;
pub mod verify;
mod wire;
