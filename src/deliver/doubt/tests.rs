//! What follows from each answer, rule by rule.

use super::*;

const WINDOW: Option<AfterUnknown> = Some(AfterUnknown::RepeatThenLook);
const NO_WINDOW: Option<AfterUnknown> = Some(AfterUnknown::Look);
const REPLICATED: Option<AfterUnknown> = Some(AfterUnknown::Repeat);
const IN: Verdict = Verdict::In { despite: None };
const AT_ONCE: Verdict = Verdict::Again(Duration::ZERO);

fn unknown() -> Outcome {
    Outcome::Unknown { why: "cut".into() }
}

fn refused() -> Outcome {
    Outcome::Refused { why: "no".into() }
}

fn hold() -> Outcome {
    Outcome::Hold { why: "mend it".into() }
}

fn busy() -> Outcome {
    Outcome::Retry { why: "busy".into(), after: None }
}

fn doubtful(or_else: Outcome) -> Outcome {
    Outcome::Doubtful { or_else: Box::new(or_else) }
}

#[test]
fn a_yes_is_believed_only_while_nothing_was_unknown() {
    let mut insert = Insert::new(0);
    assert_eq!(insert.clone().sent(Outcome::Delivered, WINDOW), IN);
    insert.sent(unknown(), WINDOW);
    assert_eq!((insert.step(WINDOW), insert.generation), (Step::Send, 0));
    assert_eq!(insert.sent(Outcome::Delivered, WINDOW), AT_ONCE);
    assert_eq!(insert.step(WINDOW), Step::Look);
    assert_eq!(insert.clone().looked(Look::Present), IN);
    assert_eq!(insert.looked(Look::Absent), AT_ONCE);
    assert_eq!((insert.step(WINDOW), insert.generation), (Step::Send, 1));
    assert_eq!(insert.sent(Outcome::Delivered, WINDOW), IN);
}

#[test]
fn without_a_window_the_look_comes_first() {
    let mut insert = Insert::new(0);
    insert.sent(unknown(), NO_WINDOW);
    assert_eq!(insert.step(NO_WINDOW), Step::Look);
    let unclear = Look::Unclear { why: "away".into() };
    assert!(matches!(insert.looked(unclear), Verdict::Again(_)));
    assert_eq!(insert.step(NO_WINDOW), Step::Look);
    assert_eq!(Insert::tried_before(3, None).step(NO_WINDOW), Step::Look);
}

#[test]
fn a_token_that_is_forgotten_meanwhile_is_not_repeated() {
    let mut insert = Insert::new(0);
    insert.sent(unknown(), REPLICATED);
    assert_eq!(insert.step(REPLICATED), Step::Send);
    // The table says another rule once the time is over.
    assert_eq!(insert.step(NO_WINDOW), Step::Look);
    assert_eq!(insert.looked(Look::Present), IN);
}

#[test]
fn the_time_of_an_earlier_process_counts_and_a_clock_set_back_does_not() {
    let minute = Duration::from_secs(60);
    assert_eq!(Insert::new(0).unknown_for(), Duration::ZERO);
    let of = |at_ms| Insert::tried_before(0, at_ms).unknown_for();
    let passed = of(Some(now_ms() - 60_000));
    assert!((minute..2 * minute).contains(&passed), "{passed:?}");
    assert_eq!(of(Some(now_ms() + 60_000)), Duration::MAX);
    assert_eq!(of(None), Duration::MAX);
    assert_eq!(Insert::unsure(0).step(REPLICATED), Step::Look);
}

#[test]
fn a_refusal_after_an_unknown_outcome_is_looked_at() {
    for rule in [WINDOW, REPLICATED] {
        let mut insert = Insert::new(0);
        insert.sent(unknown(), rule);
        assert_eq!(insert.sent(refused(), rule), AT_ONCE);
        assert_eq!(insert.step(rule), Step::Look);
        assert!(matches!(insert.looked(Look::Absent), Verdict::Refused { .. }));
    }
}

#[test]
fn what_proves_nothing_is_looked_for_before_it_is_believed() {
    for rule in [WINDOW, NO_WINDOW, REPLICATED] {
        for (said, meant) in
            [(refused(), Verdict::Refused { why: "no".into() }), (hold(), Verdict::Held { why: "mend it".into() })]
        {
            let mut insert = Insert::new(0);
            assert_eq!(insert.sent(doubtful(said), rule), AT_ONCE);
            assert!(!insert.known_absent());
            assert_eq!(insert.step(rule), Step::Look);
            assert!(matches!(insert.clone().looked(Look::Present), Verdict::In { despite: Some(_) }));
            assert_eq!(insert.looked(Look::Absent), meant);
            assert!(insert.known_absent());
            assert_eq!((insert.step(rule), insert.generation), (Step::Send, 1));
        }
    }
}

#[test]
fn a_hold_whose_look_is_unclear_is_held_and_looked_for_again() {
    let mut insert = Insert::new(0);
    insert.sent(doubtful(hold()), WINDOW);
    let unclear = Look::Unclear { why: "no such table".into() };
    assert!(matches!(insert.looked(unclear), Verdict::Held { .. }));
    assert_eq!(insert.step(WINDOW), Step::Look);
}

#[test]
fn what_may_work_next_time_is_repeated_a_few_times_where_tokens_are_kept() {
    let mut insert = Insert::new(0);
    for _ in 1..DOUBTFUL_REPEATS {
        assert!(matches!(insert.sent(doubtful(busy()), WINDOW), Verdict::Again(_)));
        assert_eq!(insert.step(WINDOW), Step::Send);
    }
    assert_eq!(insert.sent(doubtful(busy()), WINDOW), AT_ONCE);
    assert_eq!(insert.step(WINDOW), Step::Look);
    assert!(matches!(insert.clone().looked(Look::Present), Verdict::In { despite: Some(_) }));
    assert!(matches!(insert.looked(Look::Absent), Verdict::Again(pause) if pause > Duration::ZERO));

    let mut insert = Insert::new(0);
    insert.sent(doubtful(busy()), NO_WINDOW);
    assert_eq!(insert.step(NO_WINDOW), Step::Look);
}

#[test]
fn what_nobody_understands_is_looked_for_as_early_as_what_is_busy() {
    for sure in [true, false] {
        let mut insert = Insert::new(0);
        let odd = doubtful(Outcome::TooMuch { why: "a view's own code".into(), sure });
        for _ in 1..DOUBTFUL_REPEATS {
            assert!(matches!(insert.sent(odd.clone(), WINDOW), Verdict::Again(_)));
            assert_eq!(insert.step(WINDOW), Step::Send);
        }
        assert_eq!(insert.sent(odd, WINDOW), AT_ONCE);
        assert_eq!(insert.step(WINDOW), Step::Look);
        assert!(matches!(insert.looked(Look::Present), Verdict::In { despite: Some(_) }));
    }
}

#[test]
fn what_stays_unknown_is_looked_for_now_and_then() {
    for rule in [WINDOW, REPLICATED] {
        let mut insert = Insert::new(0);
        for _ in 0..2 {
            for _ in 1..UNKNOWN_REPEATS {
                insert.sent(unknown(), rule);
                assert_eq!(insert.step(rule), Step::Send);
            }
            insert.sent(unknown(), rule);
            assert_eq!(insert.step(rule), Step::Look);
            assert!(matches!(insert.clone().looked(Look::Present), Verdict::In { despite: Some(_) }));
            insert.looked(Look::Unclear { why: "away".into() });
            assert_eq!(
                (insert.step(rule), insert.generation),
                (Step::Send, 0),
                "a repeat may be answered where a look is not"
            );
        }
    }
}

#[test]
fn without_anything_to_look_for_the_sink_is_taken_at_its_word() {
    let mut insert = Insert::new(0);
    assert!(matches!(insert.sent(doubtful(refused()), None), Verdict::Refused { .. }));
    insert.sent(unknown(), None);
    assert_eq!(insert.step(None), Step::Send);
    assert_eq!(insert.sent(Outcome::Delivered, None), IN);
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

#[test]
fn what_nobody_understands_is_divided_once_a_look_finds_nothing_and_its_pieces_sooner() {
    for (rule, looks) in [(WINDOW, 1), (REPLICATED, 1), (NO_WINDOW, 3)] {
        let mut insert = Insert::new(0);
        let mut seen = 0;
        let verdict = loop {
            if insert.step(rule) == Step::Look {
                seen += 1;
                let verdict = insert.looked(Look::Absent);
                if !matches!(verdict, Verdict::Again(_)) {
                    break verdict;
                }
            }
            insert.sent(crate::sink::fake::odd(), rule);
        };
        assert!(matches!(verdict, Verdict::Odd { .. }), "{rule:?}: {verdict:?}");
        assert_eq!((insert.attempts, seen), (3, looks), "{rule:?}");
        assert!(insert.known_absent());
        let mut piece = insert.of_a_piece();
        assert_eq!(piece.sent(crate::sink::fake::odd(), rule), AT_ONCE);
        assert_eq!(piece.step(rule), Step::Look, "it may be in");
        let verdict = piece.looked(Look::Absent);
        assert!(
            matches!(&verdict, Verdict::TooMuch { sure: false, pause, .. } if *pause < Duration::from_secs(1)),
            "{verdict:?}"
        );
    }
    // Not looked for, it is none of these: connections that are cut.
    let mut insert = Insert::new(0);
    for _ in 1..PATIENCE {
        let cut = Outcome::TooMuch { why: "cut".into(), sure: false };
        assert!(matches!(insert.sent(cut, WINDOW), Verdict::Again(_)));
    }
}
