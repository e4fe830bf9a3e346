//! What is known about one insert, and what follows from it: send, look, wait, or believe.
//!
//! This is the whole of "look before you believe", apart from any clock, disk or network:
//!
//! - An insert whose outcome was never unknown is believed: yes is in, no is not in.
//! - Once an outcome was unknown, a later yes under the same token proves nothing (the token may have been kept and the rows not): the
//!   table is looked at, before the repeat where it has no deduplication window and after it where it has one.
//! - When a look finds nothing, the insert starts afresh under a new token, which the old attempts cannot have spoiled.
//! - Where token and rows are kept together, or nothing can be looked at, the repeat's answer is believed.

use std::time::Duration;

use tokio::time::Instant;

use crate::sink::{AfterUnknown, Look, Outcome};

/// Longest wait between attempts of an insert that may work next time.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// First wait, doubled after each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The sink's own advice is followed up to this.
const MAX_ADVICE: Duration = Duration::from_secs(60);

/// The state of one insert.
#[derive(Debug, Clone)]
pub(super) struct Insert {
    /// Counts the tokens that were used before; part of the token.
    pub(super) generation: u32,
    /// Attempts so far, of all generations.
    pub(super) attempts: u32,
    failures: u32,
    unknown: Option<Unknown>,
    step: Step,
}

/// Since when an outcome is unknown.
#[derive(Debug, Clone, Copy)]
enum Unknown {
    Since(Instant),
    /// An earlier process tried, and never said what came of it.
    EarlierProcess,
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
    /// It is in.
    In,
    /// [`Insert::step`] says what to do, after this pause.
    Again(Duration),
    /// Nothing of it is in: it goes again at once, under the new token.
    NewToken,
    /// A person must mend something first.
    Held { why: String },
    /// It is not in and never will be.
    Refused { why: String },
}

impl Insert {
    /// Not tried under the token of this generation.
    pub(super) fn new(generation: u32) -> Self {
        Insert { generation, attempts: 0, failures: 0, unknown: None, step: Step::Send }
    }

    /// Tried by an earlier process, which had come to this generation of tokens.
    pub(super) fn tried_before(generation: u32, rule: AfterUnknown) -> Self {
        Insert { unknown: Some(Unknown::EarlierProcess), step: after(rule), ..Insert::new(generation) }
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// Known not to be in: no attempt of it can have left anything.
    pub(super) fn known_absent(&self) -> bool {
        self.unknown.is_none()
    }

    /// How long the outcome has been unknown; `Duration::MAX` when an earlier process tried.
    pub(super) fn unknown_for(&self) -> Duration {
        match self.unknown {
            None => Duration::ZERO,
            Some(Unknown::Since(since)) => since.elapsed(),
            Some(Unknown::EarlierProcess) => Duration::MAX,
        }
    }

    /// Takes the outcome of an attempt to send.
    pub(super) fn sent(&mut self, outcome: Outcome, rule: AfterUnknown) -> Verdict {
        self.attempts = self.attempts.saturating_add(1);
        match outcome {
            Outcome::Delivered | Outcome::DeliveredBut { .. } => match rule {
                _ if self.unknown.is_none() => Verdict::In,
                AfterUnknown::Repeat => Verdict::In,
                AfterUnknown::RepeatThenLook | AfterUnknown::Look => {
                    self.step = Step::Look;
                    Verdict::Again(Duration::ZERO)
                }
            },
            Outcome::Unknown { .. } => {
                self.unknown.get_or_insert_with(|| Unknown::Since(Instant::now()));
                self.step = after(rule);
                Verdict::Again(self.pause(None))
            }
            Outcome::Retry { after: advice, .. } => {
                if self.unknown.is_some() {
                    self.step = after(rule);
                }
                Verdict::Again(self.pause(advice))
            }
            Outcome::Hold { why } => Verdict::Held { why },
            // These bytes are refused, but an earlier attempt of theirs may not have been.
            Outcome::Refused { .. } if self.unknown.is_some() && rule != AfterUnknown::Repeat => {
                self.step = Step::Look;
                Verdict::Again(Duration::ZERO)
            }
            Outcome::Refused { why } => Verdict::Refused { why },
        }
    }

    /// Takes what a look said.
    pub(super) fn looked(&mut self, look: Look) -> Verdict {
        match look {
            Look::Present => Verdict::In,
            Look::Absent => {
                self.generation = self.generation.saturating_add(1);
                self.unknown = None;
                self.step = Step::Send;
                Verdict::NewToken
            }
            Look::Unclear { .. } => Verdict::Again(self.pause(None)),
        }
    }

    /// The pause after one more failure, ± 25 % so that many inserts do not come back together.
    fn pause(&mut self, advice: Option<Duration>) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let pause = advice.map_or(doubled.min(MAX_PAUSE), |advice| advice.min(MAX_ADVICE));
        jittered(pause)
    }
}

/// ± 25 %.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.75..1.25))
}

fn after(rule: AfterUnknown) -> Step {
    match rule {
        AfterUnknown::Look => Step::Look,
        AfterUnknown::RepeatThenLook | AfterUnknown::Repeat => Step::Send,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Outcome {
        Outcome::Unknown { why: "cut".into() }
    }

    fn refused() -> Outcome {
        Outcome::Refused { why: "no".into() }
    }

    #[test]
    fn a_yes_is_believed_only_while_nothing_was_unknown() {
        let mut insert = Insert::new(0);
        let rule = AfterUnknown::RepeatThenLook;
        assert_eq!(insert.clone().sent(Outcome::Delivered, rule), Verdict::In);
        insert.sent(unknown(), rule);
        assert_eq!((insert.step(), insert.generation), (Step::Send, 0));
        assert_eq!(insert.sent(Outcome::Delivered, rule), Verdict::Again(Duration::ZERO));
        assert_eq!(insert.step(), Step::Look);
        assert_eq!(insert.clone().looked(Look::Present), Verdict::In);
        assert_eq!(insert.looked(Look::Absent), Verdict::NewToken);
        assert_eq!((insert.step(), insert.generation), (Step::Send, 1));
        assert_eq!(insert.sent(Outcome::Delivered, rule), Verdict::In);
    }

    #[test]
    fn without_a_window_the_look_comes_first() {
        let mut insert = Insert::new(0);
        insert.sent(unknown(), AfterUnknown::Look);
        assert_eq!(insert.step(), Step::Look);
        let unclear = Look::Unclear { why: "away".into() };
        assert!(matches!(insert.looked(unclear), Verdict::Again(_)));
        assert_eq!(insert.step(), Step::Look);
        assert_eq!(Insert::tried_before(3, AfterUnknown::Look).step(), Step::Look);
    }

    #[test]
    fn a_refusal_after_an_unknown_outcome_is_looked_at() {
        let mut insert = Insert::new(0);
        insert.sent(unknown(), AfterUnknown::RepeatThenLook);
        assert!(matches!(insert.sent(refused(), AfterUnknown::RepeatThenLook), Verdict::Again(_)));
        assert_eq!(insert.step(), Step::Look);
        insert.looked(Look::Absent);
        assert!(matches!(insert.sent(refused(), AfterUnknown::RepeatThenLook), Verdict::Refused { .. }));
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_follow_advice() {
        let mut insert = Insert::new(0);
        for expected in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0] {
            let pause = insert.pause(None).as_secs_f64();
            assert!((expected * 0.75..expected * 1.25).contains(&pause));
        }
        let advised = insert.pause(Some(Duration::from_secs(3600))).as_secs();
        assert!((45..75).contains(&advised));
    }
}
