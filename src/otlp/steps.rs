//! A counter of work, for tests: what a request makes the encoder do must be in proportion to what it is.
//!
//! Every loop over what a client sent counts a step for each turn, and each byte that is copied or compared more than once counts as one. Outside
//! of tests nothing is counted and nothing is left of the calls.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts so many steps.
#[inline(always)]
pub(crate) fn count(steps: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get().saturating_add(steps as u64));
    #[cfg(not(test))]
    let _ = steps;
}

/// The steps since the last call, on this thread.
#[cfg(test)]
pub(crate) fn taken() -> u64 {
    STEPS.take()
}
