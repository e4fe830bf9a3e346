//! How fast a key's requests are refused, and how fast a connection is answered where no key is asked for. Such an answer costs nobody anything but this process some work, and who is
//! answered at once comes again at once: so what is beyond a pace is answered later, and who waits for an answer before the next request sends no faster than that. Nobody else waits.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time of one, and of each so many bytes that it had still to send: they have to be read.
const EACH: Duration = Duration::from_millis(2);
const BYTES: u64 = 64 << 10;
/// The time of an answer to a connection that has never shown a key.
const WITHOUT_KEY: Duration = Duration::from_millis(10);
/// So much of it costs nothing at once: 500 of them, or 100 without a key.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The longest wait; exporters wait for 10 s.
const LONGEST: Duration = Duration::from_secs(2);

/// What a key was refused, or a connection was answered for nothing, as a time that is made up for.
#[derive(Debug)]
pub(crate) struct Refused {
    made: Instant,
    until: Mutex<Duration>,
}

impl Refused {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Refused { made: Instant::now(), until: Mutex::default() }
    }

    /// One more, which has so many bytes still to send: how long its answer waits.
    pub(crate) fn wait(&self, bytes: u64) -> Duration {
        self.wait_at(refusal(bytes), self.made.elapsed())
    }

    /// One more for which no key was asked, on a connection that `has_key` or never showed one: how long its answer waits.
    pub(crate) fn wait_for_nothing(&self, has_key: bool) -> Duration {
        self.wait_at(if has_key { EACH } else { WITHOUT_KEY }, self.made.elapsed())
    }

    fn wait_at(&self, time: Duration, now: Duration) -> Duration {
        let mut until = self.until.lock();
        let next = now.max(*until).saturating_add(time);
        *until = next.min(now + AT_ONCE + LONGEST);
        (*until - now).saturating_sub(AT_ONCE)
    }
}

/// The time of a refusal of what has so many bytes still to send.
fn refusal(bytes: u64) -> Duration {
    EACH.saturating_mul(u32::try_from(bytes / BYTES).unwrap_or(u32::MAX).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_beyond_the_pace_wait_and_none_longer_than_two_seconds() {
        let (refused, now) = (Refused::new(), Duration::from_secs(100));
        let waits: Vec<Duration> = (0..3000).map(|_| refused.wait_at(EACH, now)).collect();
        assert!(waits[..500].iter().all(Duration::is_zero));
        assert_eq!(waits[500..503], [2, 4, 6].map(Duration::from_millis));
        assert_eq!(*waits.iter().max().unwrap(), LONGEST);
        assert_eq!(refused.wait_at(EACH, now + LONGEST), EACH, "what waited is made up for");
        assert!(refused.wait_at(EACH, now + 2 * LONGEST).is_zero());
    }

    #[test]
    fn who_comes_again_when_it_is_answered_is_refused_at_the_pace() {
        let (refused, begins) = (Refused::new(), Duration::from_secs(100));
        // 200 clients, each of which waits for its answer, for ten seconds.
        let mut clients = vec![begins; 200];
        let mut answered = 0;
        loop {
            clients.sort();
            if clients[0] >= begins + Duration::from_secs(10) {
                break;
            }
            let asks = clients[0];
            clients[0] = asks + refused.wait_at(EACH, asks) + Duration::from_micros(100);
            answered += 1;
        }
        assert!((5400..=5800).contains(&answered), "{answered}");
    }

    #[test]
    fn what_had_much_to_send_costs_more() {
        let refused = Refused::new();
        let waits: Vec<bool> = (0..20).map(|_| refused.wait_at(refusal(3 << 20), Duration::ZERO).is_zero()).collect();
        assert_eq!(waits.iter().filter(|at_once| **at_once).count(), 10);
        assert_eq!(refused.wait_at(refusal(u64::MAX), Duration::ZERO), LONGEST);
    }
}
