//! Forwarding.

mod encode;
