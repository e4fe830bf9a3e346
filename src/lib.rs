//! otelgate: the secure public edge in front of ClickStack.
//!
//! [`gateway`] assembles a request's path on one page. Each room of the code sees the rooms below it and no other; rooms on one line do not see each
//! other. A test reads every path of `src/` and this table, and fails where they differ (`rooms`).
//!
//! ```text
//! main                                       the program
//! cli                                        its subcommands
//! serve                                      opens and closes everything
//! doctor                                     looks at what is wrong with the whole
//! telemetry                                  what otelgate says of itself, sent on the path below like all else
//! gateway                                    the path on one page
//! batch | shutdown                           group, repeat, close
//! listen                                     accept, TLS, peers
//! admit                                      may this request enter, and what does it pay
//! admin                                      the listener for people and probes; only serve sees it
//! keys                                       entries, their limiter and state, where they come from
//! deliver                                    from the spool to the sink, until in or refused
//! spool | sink/clickhouse | sink/collector   keep until delivered | where to
//! sink                                       what every sink is; the spool does not see it
//! shared_server                              a Redis through which otelgates know of each other
//! config | otlp                              what was written | what was sent
//! waiting                                    from here on the ground below all rooms: who waits for what
//! memory                                     what a request holds while it is served
//! blocking                                   work off the reactor
//! reply                                      the one table of refusals
//! chunk | signal                             the seam to a sink's encoding | what every request carries
//! metrics | readiness | notes                instruments
//! https | rounds                             how clients connect | what changes without telling
//! network | proxied | limited | file_stamp | causes | state_file | varint | certificate | pem | counted   small tools
//! ```
//!
//! | step of a request | room |
//! | --- | --- |
//! | 1 accept, 2 TLS | [`listen`] |
//! | 3 authenticate, 4 admit, 7 charge | [`admit`] |
//! | 5 receive | [`otlp`] |
//! | 6 batch | [`batch`] |
//! | 8 spool | [`spool`] |
//! | 9 deliver | [`deliver`] |

#![forbid(unsafe_code)]

mod admin;
mod admit;
mod batch;
mod blocking;
mod causes;
mod certificate;
pub mod chunk;
pub mod config;
mod counted;
mod deliver;
pub mod doctor;
mod file_stamp;
mod gateway;
mod https;
pub mod keys;
mod limited;
mod listen;
pub mod memory;
pub mod metrics;
mod network;
pub mod notes;
pub mod otlp;
mod pem;
pub mod proxied;
mod readiness;
pub mod reply;
#[cfg(test)]
mod rooms;
mod rounds;
pub mod serve;
mod shared_server;
pub mod shutdown;
pub mod signal;
pub mod sink;
pub mod spool;
mod state_file;
mod telemetry;
mod varint;
mod waiting;

#[doc(hidden)]
pub use listen::fuzzing as listener_fuzzing;
