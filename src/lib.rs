//! otelgate: the secure public edge in front of ClickStack.
//!
//! The modules stand in the order of a request's path; [`gateway`] assembles it on one page.
//!
//! | step | module |
//! | --- | --- |
//! | 1 accept, 2 TLS | [`listen`] |
//! | 3 authenticate, 4 admit, 7 charge | [`admit`] |
//! | 5 receive | [`otlp`] |
//! | 6 batch | [`batch`] |
//! | 8 spool | [`spool`] |
//! | 9 deliver | [`sink`] |
//!
//! Around the path: [`config`] (what the user wrote), [`keys`] (where keys come from), [`admin`] (health, metrics,
//! status), [`reply`] (the one table of refusals), [`serve`] (all of it opened) and [`shutdown`] (and closed).

#![forbid(unsafe_code)]

pub mod admin;
pub mod admit;
pub mod batch;
mod blocking;
pub mod chunk;
pub mod config;
pub mod deliver;
mod file_stamp;
pub mod gateway;
pub mod keys;
pub mod limited;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod network;
pub mod otlp;
pub mod readiness;
pub mod reply;
pub mod serve;
pub mod shutdown;
pub mod signal;
pub mod sink;
pub mod spool;
pub mod waiting;
