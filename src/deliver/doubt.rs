//! What is known about one insert, and what follows from it: send, look, wait, or believe.
//!
//! This is the whole of "look before you believe", apart from any disk or network:
//!
//! - An insert whose outcome was never unknown is believed: yes is in, no is not in.
//! - Once an outcome was unknown, a later yes under the same token proves nothing (the token may have been kept and the rows not): the
//!   table is looked at, before the repeat where it has no deduplication window and after it where it has one.
//! - When a look finds nothing, the insert starts afresh under a new token, which the old attempts cannot have spoiled.
//! - Where token and rows are kept together, or nothing can be looked at, the repeat's answer is believed, for as long as the token is
//!   remembered: counted from the first attempt that may be in, by the clock on the wall as well, for it outlives the process. A clock that
//!   was set back says nothing.
//! - What is too much at once is repeated a few times, for the sink may only be short of something now; then it is to be divided, once it is known
//!   not to be in. Its pieces have no such patience: they are divided on as soon as they are too much. What nobody understands may be that as well: a sink that
//!   says it a few times, and a look that finds nothing, are well otherwise, so that something in the rows may be to blame, and the rows around it must not
//!   wait for it. What cuts connections, or cannot be divided, is taken for it only when nothing else comes of many attempts.
//! - An attempt that failed where the rows may be in all the same ([`Outcome::Doubtful`]) is looked for before what the sink said is
//!   believed. One that may work next time is repeated under the same token a few times first, where the table keeps tokens: so what depends on the table
//!   gets its share too. What stays unknown is looked for every few attempts as well, for a view that never works must not keep its table's rows waiting.

use std::time::Duration;

use tokio::time::Instant;

use crate::sink::{AfterUnknown, Look, Outcome};
use crate::spool::now_ms;

/// Longest wait between attempts of an insert that may work next time.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// First wait, doubled after each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The sink's own advice is followed up to this.
const MAX_ADVICE: Duration = Duration::from_secs(60);

/// Failures that prove nothing, after which a table that keeps tokens is looked at.
const DOUBTFUL_REPEATS: u32 = 3;

/// The same for outcomes that stay unknown: more, for the connection or the server may just be gone, and a repeat is as good as a look.
const UNKNOWN_REPEATS: u32 = 6;

/// An insert is divided when it was too much at once so often; what only may have been counts [`PERHAPS`].
const PATIENCE: u32 = 3 * SURELY;
pub(super) const SURELY: u32 = 4;
pub(super) const PERHAPS: u32 = 1;

/// The same for an answer that nobody understands, once a look after it found nothing, and where there is something to divide.
const ODD_PATIENCE: u32 = 3 * PERHAPS;

/// The state of one insert.
#[derive(Debug, Clone)]
pub(super) struct Insert {
    /// Counts the tokens that were used before; part of the token.
    pub(super) generation: u32,
    /// Attempts so far, of all generations.
    pub(super) attempts: u32,
    failures: u32,
    doubtful: u32,
    unknowns: u32,
    too_much: u32,
    unknown: Option<Unknown>,
    step: Step,
    /// What the sink said of it; it counts if the next look finds that it is not in.
    or_else: Option<Box<Outcome>>,
}

/// Since when an outcome is unknown.
#[derive(Debug, Clone, Copy)]
struct Unknown {
    since: Instant,
    /// By the clock on the wall, in milliseconds since 1970; `None`: nobody knows.
    at_ms: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Send,
    Look,
}

/// What an answer of the sink means for the insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in; perhaps though the sink said something else: then what depends on the table failed.
    In { despite: Option<String> },
    /// [`Insert::step`] says what to do, after this pause.
    Again(Duration),
    /// It is too much at once, and not in: fewer rows may be, after this pause. Whether the sink says so.
    TooMuch { why: String, pause: Duration, sure: bool },
    /// It is not in, and nobody understands why: fewer rows may be; of one request, it is tried again after this pause.
    Odd { why: String, pause: Duration },
    /// A person must mend something first.
    Held { why: String },
    /// It is not in and never will be.
    Refused { why: String },
}

impl Insert {
    /// Not tried under the token of this generation.
    pub(super) fn new(generation: u32) -> Self {
        let (unknown, step, or_else) = (None, Step::Send, None);
        let (attempts, failures, doubtful, unknowns, too_much) = (0, 0, 0, 0, 0);
        Insert { generation, attempts, failures, doubtful, unknowns, too_much, unknown, step, or_else }
    }

    /// A piece of this one, which was too much at once: never sent, and no more patient than this one has become.
    pub(super) fn of_a_piece(&self) -> Self {
        let too_much = if self.attempts > 0 { PATIENCE } else { self.too_much };
        Insert { failures: self.failures, too_much, ..Insert::new(0) }
    }

    /// Tried by an earlier process, under the token of this generation for the first time then.
    pub(super) fn tried_before(generation: u32, at_ms: Option<u64>) -> Self {
        let unknown = Some(Unknown { since: Instant::now(), at_ms });
        Insert { unknown, ..Insert::new(generation) }
    }

    /// Rows of it may have been sent under tokens that nobody knows: only a look can tell.
    pub(super) fn unsure(generation: u32) -> Self {
        Insert { step: Step::Look, ..Insert::tried_before(generation, None) }
    }

    /// What to do next, in a table of this rule; `None` where nothing can be looked at.
    pub(super) fn step(&self, rule: Option<AfterUnknown>) -> Step {
        match rule {
            None => Step::Send,
            Some(AfterUnknown::Look) if self.unknown.is_some() => Step::Look,
            Some(_) => self.step,
        }
    }

    /// Known not to be in: no attempt of it can have left anything.
    pub(super) fn known_absent(&self) -> bool {
        self.unknown.is_none()
    }

    /// How long the outcome has been unknown; `Duration::MAX` when nobody knows.
    pub(super) fn unknown_for(&self) -> Duration {
        self.unknown.map_or(Duration::ZERO, |unknown| {
            // The wall's clock goes on while the machine sleeps, and while no process runs.
            let passed = unknown.at_ms.and_then(|at_ms| now_ms().checked_sub(at_ms));
            passed.map_or(Duration::MAX, |passed| Duration::from_millis(passed).max(unknown.since.elapsed()))
        })
    }

    /// Takes the outcome of an attempt to send.
    pub(super) fn sent(&mut self, outcome: Outcome, rule: Option<AfterUnknown>) -> Verdict {
        self.attempts = self.attempts.saturating_add(1);
        self.take(outcome, rule)
    }

    fn take(&mut self, outcome: Outcome, rule: Option<AfterUnknown>) -> Verdict {
        match outcome {
            Outcome::Delivered | Outcome::DeliveredBut { .. } => match rule {
                _ if self.unknown.is_none() => Verdict::In { despite: None },
                None | Some(AfterUnknown::Repeat) => Verdict::In { despite: None },
                Some(AfterUnknown::RepeatThenLook | AfterUnknown::Look) => self.look(None),
            },
            Outcome::Unknown { .. } => {
                self.is_unknown();
                self.unknowns = self.unknowns.saturating_add(1);
                let pause = self.pause(None);
                self.step = Step::Send;
                if rule.is_some() && self.unknowns.is_multiple_of(UNKNOWN_REPEATS) {
                    self.look(Some(outcome));
                }
                Verdict::Again(pause)
            }
            // There is nothing to look for: it is taken at its word.
            Outcome::Doubtful { or_else } if rule.is_none() => self.take(*or_else, rule),
            Outcome::Doubtful { or_else } => {
                self.is_unknown();
                self.doubtful += 1;
                let (may_work, busy, advice) = match &*or_else {
                    Outcome::TooMuch { sure, .. } => {
                        self.count_too_much(*sure);
                        (self.too_much < PATIENCE, *sure, None)
                    }
                    Outcome::Retry { after, .. } => (true, after.is_some(), *after),
                    _ => (false, false, None),
                };
                if may_work && rule != Some(AfterUnknown::Look) && self.doubtful < DOUBTFUL_REPEATS {
                    self.step = Step::Send;
                    Verdict::Again(if busy { self.pause(advice) } else { self.short_pause() })
                } else {
                    self.look(Some(*or_else))
                }
            }
            Outcome::Retry { after, .. } => Verdict::Again(self.pause(after)),
            Outcome::TooMuch { why, sure } => {
                self.count_too_much(sure);
                // An earlier attempt may have been taken.
                let ask = self.unknown.is_some() && rule.is_some() && self.too_much >= PATIENCE;
                if ask { self.look(Some(Outcome::TooMuch { why, sure })) } else { self.is_too_much(why, sure) }
            }
            Outcome::Hold { why } => Verdict::Held { why },
            // These bytes are refused, but an earlier attempt of theirs may not have been.
            refused @ Outcome::Refused { .. } if self.unknown.is_some() && rule.is_some() => self.look(Some(refused)),
            Outcome::Refused { why } => Verdict::Refused { why },
        }
    }

    /// Takes what a look said.
    pub(super) fn looked(&mut self, look: Look) -> Verdict {
        match look {
            Look::Present => match self.or_else.take().map(|said| *said) {
                Some(
                    Outcome::Retry { why, .. }
                    | Outcome::TooMuch { why, .. }
                    | Outcome::Unknown { why }
                    | Outcome::Hold { why }
                    | Outcome::Refused { why },
                ) => Verdict::In { despite: Some(why) },
                _ => Verdict::In { despite: None },
            },
            Look::Absent => {
                self.generation = self.generation.saturating_add(1);
                self.unknown = None;
                self.doubtful = 0;
                self.step = Step::Send;
                match self.or_else.take().map(|said| *said) {
                    Some(Outcome::Retry { after, .. }) => Verdict::Again(self.pause(after)),
                    Some(Outcome::TooMuch { why, sure: true }) => self.is_too_much(why, true),
                    Some(Outcome::TooMuch { why, sure: false }) => self.is_odd(why),
                    Some(Outcome::Hold { why }) => Verdict::Held { why },
                    Some(Outcome::Refused { why }) => Verdict::Refused { why },
                    _ => Verdict::Again(Duration::ZERO),
                }
            }
            Look::Unclear { .. } => match self.or_else.as_deref() {
                // Whoever mends that lets the look answer too; until then it is not sent.
                Some(Outcome::Hold { why }) => Verdict::Held { why: why.clone() },
                Some(Outcome::TooMuch { .. } | Outcome::Unknown { .. }) => {
                    // Where tokens are kept a repeat may find a server that takes it, though the one that has to be asked is away.
                    self.step = Step::Send;
                    Verdict::Again(self.pause(None))
                }
                _ => Verdict::Again(self.pause(None)),
            },
        }
    }

    fn count_too_much(&mut self, sure: bool) {
        self.too_much = self.too_much.saturating_add(if sure { SURELY } else { PERHAPS });
    }

    fn is_too_much(&mut self, why: String, sure: bool) -> Verdict {
        let pause = self.pause(None);
        if self.too_much < PATIENCE { Verdict::Again(pause) } else { Verdict::TooMuch { why, pause, sure } }
    }

    /// A look found that it is not in. Nothing says that the sink is short of anything, so its pieces need not wait for long.
    fn is_odd(&mut self, why: String) -> Verdict {
        let pause = self.pause(None);
        match self.too_much {
            PATIENCE.. => Verdict::TooMuch { why, pause: jittered(FIRST_PAUSE), sure: false },
            ODD_PATIENCE.. => Verdict::Odd { why, pause },
            _ => Verdict::Again(pause),
        }
    }

    fn is_unknown(&mut self) {
        self.unknown.get_or_insert_with(|| Unknown { since: Instant::now(), at_ms: Some(now_ms()) });
    }

    fn look(&mut self, or_else: Option<Outcome>) -> Verdict {
        self.step = Step::Look;
        self.or_else = or_else.map(Box::new);
        Verdict::Again(Duration::ZERO)
    }

    /// The pause after one more failure, ± 25 % so that many inserts do not come back together.
    fn pause(&mut self, advice: Option<Duration>) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let pause = advice.map_or(doubled.min(MAX_PAUSE), |advice| advice.min(MAX_ADVICE));
        jittered(pause)
    }

    /// The same for a sink that answered, and whose next answer may be followed by a look: however long the inserts before this one had to wait.
    fn short_pause(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        jittered(FIRST_PAUSE.saturating_mul(1 << self.doubtful.min(4)))
    }
}

/// ± 25 %.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.75..1.25))
}

#[cfg(test)]
mod tests;
