//! What a failed insert means: may it be in, can trying again help, must a person do something first.
//!
//! One table of ClickHouse's exception codes, nothing else. The invariant: a code is classed as "known not to be in" only when
//! ClickHouse raises it before the part of a single block is committed. Whatever may come later, or is not in the table, is
//! [`Outcome::Unknown`], which costs a look and loses nothing.

use http::StatusCode;

use crate::sink::Outcome;

/// Why a statement was not answered with success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The statement cannot have run: no connection, or the body was not sent to its end.
    #[error("{0}")]
    NotSent(String),
    /// The statement was sent whole, and no answer came.
    #[error("{0}")]
    Lost(String),
    /// The connection broke before the body was sent to its end: the statement cannot have run.
    #[error("{0}")]
    Cut(String),
    /// The time for the answer was over; where the statement was not sent to its end by then, it cannot have run.
    #[error("{why}")]
    TooSlow {
        /// Whether the body was sent to its end.
        sent: bool,
        /// In words.
        why: String,
    },
    /// The connection failed for a reason that stays until somebody has mended it.
    #[error("{why}")]
    Mistaken {
        /// In words.
        why: String,
        /// What has to be done.
        remedy: &'static str,
    },
    /// ClickHouse answered with an exception.
    #[error("ClickHouse says {}: {message}", name(*.code))]
    Exception {
        /// ClickHouse's exception code.
        code: u16,
        /// Its text, cut to a readable length.
        message: String,
    },
    /// An answer that is not ClickHouse's own, for example a proxy's.
    #[error("HTTP status {status} without a ClickHouse exception: {message}")]
    Http {
        /// The status.
        status: u16,
        /// The beginning of its body.
        message: String,
    },
}

/// What follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Raised before anything is written; goes away by itself.
    Retry,
    /// Raised before anything is written; this has to be done.
    Hold(&'static str),
    /// The bytes are at fault; nothing of them is written.
    Refused,
    /// May be raised when the part is in already.
    Unknown,
    /// The same, and if it is not in, less at once may be: memory, time, and whatever else a server bounds a statement by.
    TooMuch,
    /// Known not to be in, and less at once may be.
    TooLarge,
    /// May be in. Nobody knows what it means, perhaps that some of the rows cannot be stored: it must not keep the others for ever.
    Odd,
    /// Known not to be in. What ends connections may do so because of what they carry.
    OddlyCut,
}

use Class::{Hold, Odd, OddlyCut, Refused, Retry, TooLarge, TooMuch, Unknown};

const SCHEMA: &str = "the table has changed; compare it with `otelgate schema print`";
const TABLE: &str = "create it with `otelgate schema apply`; a start does too, unless create_schema is false";
const LOGIN: &str = "check user and password in sink.clickhouse, and the file or variable that the password is read from; `otelgate users print` has \
                     the SQL of a user that is not there yet (`otelgate init` wrote it to clickhouse-users.sql)";
const SETTINGS: &str =
    "the user's profile forbids a setting that inserts need; give the ingest user a profile without constraints";
const VERSION: &str =
    "this server does not understand the insert; is it older than the versions in docs/clickhouse.md?";

/// Code, ClickHouse's name of it, and what follows. Sorted by code.
const CODES: &[(u16, &str, Class)] = &[
    (6, "CANNOT_PARSE_TEXT", Refused),
    (8, "THERE_IS_NO_COLUMN", Hold(SCHEMA)),
    (10, "NOT_FOUND_COLUMN_IN_BLOCK", Hold(SCHEMA)),
    (16, "NO_SUCH_COLUMN_IN_TABLE", Hold(SCHEMA)),
    (20, "NUMBER_OF_COLUMNS_DOESNT_MATCH", Hold(SCHEMA)),
    (26, "CANNOT_PARSE_QUOTED_STRING", Refused),
    (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", Refused),
    (33, "CANNOT_READ_ALL_DATA", Refused),
    (36, "BAD_ARGUMENTS", Hold(VERSION)),
    (38, "CANNOT_PARSE_DATE", Refused),
    (39, "TOO_LARGE_SIZE_COMPRESSED", TooMuch),
    (40, "CHECKSUM_DOESNT_MATCH", Refused),
    (41, "CANNOT_PARSE_DATETIME", Refused),
    (44, "ILLEGAL_COLUMN", Hold(SCHEMA)),
    (46, "UNKNOWN_FUNCTION", Hold(VERSION)),
    (47, "UNKNOWN_IDENTIFIER", Hold(SCHEMA)),
    (49, "LOGICAL_ERROR", Odd),
    (50, "UNKNOWN_TYPE", Hold(VERSION)),
    (53, "TYPE_MISMATCH", Hold(SCHEMA)),
    (60, "UNKNOWN_TABLE", Hold(TABLE)),
    (62, "SYNTAX_ERROR", Hold(VERSION)),
    (70, "CANNOT_CONVERT_TYPE", Hold(SCHEMA)),
    (72, "CANNOT_PARSE_NUMBER", Refused),
    (73, "UNKNOWN_FORMAT", Hold(VERSION)),
    (81, "UNKNOWN_DATABASE", Hold("create the database, or correct sink.clickhouse.database")),
    (89, "UNKNOWN_COMPRESSION_METHOD", Refused),
    (115, "UNKNOWN_SETTING", Hold(VERSION)),
    (117, "INCORRECT_DATA", Refused),
    (128, "TOO_LARGE_ARRAY_SIZE", Refused),
    (131, "TOO_LARGE_STRING_SIZE", Refused),
    (158, "TOO_MANY_ROWS", TooMuch),
    (159, "TIMEOUT_EXCEEDED", TooMuch),
    (160, "TOO_SLOW", TooMuch),
    (164, "READONLY", Hold("the user's profile has readonly = 1, which blocks inserts")),
    (173, "CANNOT_ALLOCATE_MEMORY", TooMuch),
    (191, "SET_SIZE_LIMIT_EXCEEDED", TooMuch),
    (192, "UNKNOWN_USER", Hold(LOGIN)),
    (193, "WRONG_PASSWORD", Hold(LOGIN)),
    (194, "REQUIRED_PASSWORD", Hold(LOGIN)),
    (195, "IP_ADDRESS_NOT_ALLOWED", Hold("admit this host in the ingest user's networks")),
    (201, "QUOTA_EXCEEDED", TooMuch),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES", Retry),
    (209, "SOCKET_TIMEOUT", Unknown),
    (210, "NETWORK_ERROR", Unknown),
    (216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", Retry),
    (218, "TABLE_IS_DROPPED", Hold(TABLE)),
    (225, "NO_ZOOKEEPER", Unknown),
    (229, "QUERY_IS_TOO_LARGE", TooMuch),
    (236, "ABORTED", Unknown),
    (241, "MEMORY_LIMIT_EXCEEDED", TooMuch),
    (242, "TABLE_IS_READ_ONLY", Retry),
    (243, "NOT_ENOUGH_SPACE", Unknown),
    (252, "TOO_MANY_PARTS", Retry),
    (271, "CANNOT_DECOMPRESS", Refused),
    (285, "TOO_FEW_LIVE_REPLICAS", Retry),
    (286, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", Retry),
    (290, "LIMIT_EXCEEDED", TooMuch),
    (291, "DATABASE_ACCESS_DENIED", Hold("grant the ingest user its rights (docs/clickhouse.md)")),
    (307, "TOO_MANY_BYTES", TooMuch),
    (319, "UNKNOWN_STATUS_OF_INSERT", Unknown),
    (349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", Refused),
    (394, "QUERY_WAS_CANCELLED", Unknown),
    (396, "TOO_MANY_ROWS_OR_BYTES", TooMuch),
    (432, "UNKNOWN_CODEC", Refused),
    (439, "CANNOT_SCHEDULE_TASK", Unknown),
    (452, "SETTING_CONSTRAINT_VIOLATION", Hold(SETTINGS)),
    (469, "VIOLATED_CONSTRAINT", Refused),
    (473, "DEADLOCK_AVOIDED", Retry),
    (497, "ACCESS_DENIED", Hold("grant the ingest user its rights (docs/clickhouse.md)")),
    (516, "AUTHENTICATION_FAILED", Hold(LOGIN)),
    (700, "USER_SESSION_LIMIT_EXCEEDED", Retry),
    (718, "TOO_SLOW_PARSING", TooMuch),
    (745, "SERVER_OVERLOADED", Retry),
    (749, "TCP_CONNECTION_LIMIT_REACHED", Retry),
    (762, "HTTP_CONNECTION_LIMIT_REACHED", Retry),
    (776, "RESOURCE_LIMIT_EXCEEDED", TooMuch),
    (777, "MEMORY_RESERVATION_KILLED", TooMuch),
    (778, "MEMORY_RESERVATION_FAILED", TooMuch),
    (999, "KEEPER_EXCEPTION", Unknown),
    (1001, "STD_EXCEPTION", Odd),
    (1002, "UNKNOWN_EXCEPTION", Odd),
];

const UNKNOWN_DATABASE: u16 = 81;

/// What a person has to do about a server without TLS, and about one whose certificate is not trusted.
pub(super) const NO_TLS: &str =
    "this port does not speak TLS: write http:// in sink.clickhouse.url, or the port that does (usually 8443)";
pub(super) const CERTIFICATE: &str = "is the server's certificate valid for the name in sink.clickhouse.url, and signed by a CA of sink.clickhouse.ca_file \
     (the public ones when absent)?";

/// ACCESS_DENIED, where a look may have to do without `system.processes`.
pub(super) const ACCESS_DENIED: u16 = 497;

fn entry(code: u16) -> Option<&'static (u16, &'static str, Class)> {
    let at = CODES.binary_search_by_key(&code, |entry| entry.0).ok()?;
    CODES.get(at)
}

/// `TOO_MANY_PARTS (252)`, or `exception 9999`.
fn name(code: u16) -> String {
    match entry(code) {
        Some((_, name, _)) => format!("{name} ({code})"),
        None => format!("exception {code}"),
    }
}

impl Failure {
    /// What it means for an insert of one block into one part.
    pub(crate) fn outcome(&self) -> Outcome {
        let why = self.with_remedy();
        match self.class() {
            Retry => Outcome::Retry { why, after: None },
            Hold(_) => Outcome::Hold { why },
            Refused => Outcome::Refused { why },
            Unknown => Outcome::Unknown { why },
            TooMuch | Odd => {
                let sure = self.class() == TooMuch;
                Outcome::Doubtful { or_else: Box::new(Outcome::TooMuch { why, sure }) }
            }
            TooLarge => Outcome::TooMuch { why, sure: true },
            OddlyCut => Outcome::TooMuch { why, sure: false },
        }
    }

    /// Another server may be better off: this one does not answer, or says that it cannot write now.
    pub(crate) fn is_servers(&self) -> bool {
        match self {
            Failure::Exception { .. } => matches!(self.class(), Retry | Unknown | TooMuch | Odd),
            _ => true,
        }
    }

    /// The server, or what stands before it, does not answer at all.
    pub(super) fn is_silence(&self) -> bool {
        !matches!(self, Failure::Exception { .. } | Failure::Http { .. } | Failure::Mistaken { .. })
    }

    /// Whether the other side showed a certificate that is not trusted here.
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self, Failure::Mistaken { remedy, .. } if *remedy == CERTIFICATE)
    }

    /// Whether it concerns every table alike: nobody answers, or this gateway is not let in.
    pub(super) fn is_everybodys(&self) -> bool {
        match self {
            Failure::Exception { .. } => self.is_login(),
            Failure::NotSent(_) | Failure::Lost(_) | Failure::Mistaken { .. } | Failure::Http { .. } => true,
            // It may be this insert's.
            Failure::TooSlow { .. } | Failure::Cut(_) => false,
        }
    }

    /// Whether it is about who asks, and not about what is asked.
    pub(crate) fn is_login(&self) -> bool {
        matches!(self, Failure::Exception { code, .. } if entry(*code).is_some_and(|entry| entry.2 == Hold(LOGIN)))
    }

    /// Whether ClickHouse says that the database is not there.
    pub(super) fn is_missing_database(&self) -> bool {
        matches!(self, Failure::Exception { code: UNKNOWN_DATABASE, .. })
    }

    /// Whether a person has to mend something.
    pub(super) fn is_for_people(&self) -> bool {
        matches!(self.class(), Hold(_))
    }

    fn class(&self) -> Class {
        match self {
            Failure::NotSent(_) => Retry,
            Failure::Mistaken { remedy, .. } => Hold(remedy),
            Failure::Lost(_) => Unknown,
            Failure::Cut(_) => OddlyCut,
            Failure::TooSlow { sent: true, .. } => TooMuch,
            Failure::TooSlow { sent: false, .. } => TooLarge,
            Failure::Exception { code, .. } => entry(*code).map_or(Odd, |entry| entry.2),
            Failure::Http { status, .. } => http_class(*status),
        }
    }

    /// The user lacks a right.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Failure::Exception { code, .. } if *code == ACCESS_DENIED)
    }

    /// In words, with what to do about it where a person can do something.
    pub(crate) fn with_remedy(&self) -> String {
        match self.class() {
            Hold(remedy) => format!("{self}; {remedy}"),
            _ => self.to_string(),
        }
    }
}

/// A status without ClickHouse's own code: something between here and there speaks.
fn http_class(status: u16) -> Class {
    match StatusCode::from_u16(status) {
        Ok(StatusCode::TOO_MANY_REQUESTS) => Retry,
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Hold(LOGIN),
        Ok(StatusCode::PAYLOAD_TOO_LARGE) => TooLarge,
        // A proxy that waited for ClickHouse no longer.
        Ok(StatusCode::GATEWAY_TIMEOUT) => TooMuch,
        Ok(status) if status.is_redirection() || status.is_client_error() => {
            Hold("is sink.clickhouse.url ClickHouse's HTTP port, and https:// where that speaks TLS?")
        }
        _ => Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(code: u16) -> Outcome {
        let message = "text".to_owned();
        Failure::Exception { code, message }.outcome()
    }

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn each_class_becomes_its_outcome() {
        for (code, name, class) in CODES {
            let outcome = exception(*code);
            match (class, &outcome) {
                (Retry, Outcome::Retry { why, .. })
                | (Unknown, Outcome::Unknown { why })
                | (Refused, Outcome::Refused { why }) => assert!(why.contains(name)),
                (TooMuch, Outcome::Doubtful { or_else }) => {
                    assert!(matches!(&**or_else, Outcome::TooMuch { why, sure: true } if why.contains(name)));
                }
                (Odd, Outcome::Doubtful { or_else }) => {
                    assert!(matches!(&**or_else, Outcome::TooMuch { why, sure: false } if why.contains(name)));
                }
                (Hold(remedy), Outcome::Hold { why }) => {
                    assert!(why.contains(name) && why.ends_with(remedy));
                }
                _ => panic!("{code} {name}: {class:?} became {outcome:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_known_may_be_in() {
        for code in [0, 49, 60_000] {
            let outcome = exception(code);
            assert!(matches!(outcome, Outcome::Doubtful { .. }) && !outcome.is_too_much(), "{outcome:?}");
        }
        let cut = Failure::Cut("reset".to_owned()).outcome();
        assert!(matches!(cut, Outcome::TooMuch { sure: false, .. }));
        let lost = Failure::Lost("reset".to_owned()).outcome();
        assert!(matches!(lost, Outcome::Unknown { .. }));
        let not_sent = Failure::NotSent("connection refused".to_owned()).outcome();
        assert!(matches!(not_sent, Outcome::Retry { .. }));
    }

    #[test]
    fn what_takes_too_long_may_be_too_much() {
        let of = |sent| Failure::TooSlow { sent, why: "no answer".to_owned() }.outcome();
        assert!(matches!(of(true), Outcome::Doubtful { .. }));
        assert!(matches!(of(false), Outcome::TooMuch { .. }));
    }

    #[test]
    fn a_proxys_answers() {
        let of = |status| {
            let message = String::new();
            Failure::Http { status, message }.outcome()
        };
        assert!(matches!(of(429), Outcome::Retry { .. }));
        assert!(matches!(of(502), Outcome::Unknown { .. }));
        assert!(matches!(of(504), Outcome::Doubtful { .. }));
        assert!(matches!(of(401), Outcome::Hold { .. }));
        assert!(matches!(of(404), Outcome::Hold { .. }));
        assert!(matches!(of(301), Outcome::Hold { .. }));
        assert!(matches!(of(413), Outcome::TooMuch { .. }), "a person may raise a proxy's limit");
    }
}
