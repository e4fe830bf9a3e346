//! What the rest of the request's path counts while a request is received.

use crate::reply::Refusal;

/// Counts the memory that one request holds, against its key's share and the process's. What was counted is given back when the value is
/// dropped.
pub trait Memory: Send + 'static {
    /// Counts `bytes` more; never waits.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when there is no room; nothing is counted then.
    fn grow(&mut self, bytes: u64) -> Result<(), Refusal>;

    /// Gives `bytes` back, which were counted before.
    fn shrink(&mut self, bytes: u64);
}
