//! A request's body, gathered as it arrives: counted, limited and timed.
//!
//! A body that arrives in one piece is passed on as it is. Anything else is copied into one buffer, also because a small piece of a connection's
//! read buffer keeps all of that buffer alive, which nothing would count. The whole body is gathered before any of it is inflated: a client that
//! sends slowly then costs what it sent, not a decompressor's state.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::buffer::{Buffer, len, too_large};
use super::frame;
use crate::memory::Memory;
use crate::reply::Refusal;

/// How long a body may be slow.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Most bytes, in what it carries.
    pub(super) max: u64,
    /// Fewest bytes in each `window` until it ends.
    pub(super) least: u64,
    /// See `least`.
    pub(super) window: Duration,
    /// Whether it carries a gRPC message, which says its length itself.
    pub(super) grpc: bool,
}

impl Bounds {
    /// Bytes of the whole body, when what is there of it says so.
    fn total(&self, start: &[u8]) -> Result<Option<u64>, Refusal> {
        let total = match self.grpc {
            true => frame::total(start, self.max)?,
            false => None,
        };
        if total.is_some_and(|total| len(start) > total) {
            return Err(Refusal::NotOneMessage);
        }
        Ok(total)
    }
}

/// Gathers `body`. What comes back is counted in the memory that comes back, by the number beside it.
///
/// # Errors
/// [`Refusal::TooLarge`], at once when a length is declared; [`Refusal::TooSlow`]; [`Refusal::Unavailable`] when memory has no room;
/// [`Refusal::Malformed`] when the body breaks off.
pub(super) async fn collect<M: Memory, B>(mut memory: M, body: B, bounds: &Bounds) -> Result<(M, Bytes, u64), Refusal>
where
    B: Body<Data = Bytes>,
{
    let prefix = if bounds.grpc { frame::PREFIX_BYTES } else { 0 };
    let most = bounds.max.saturating_add(prefix);
    if body.size_hint().lower() > most {
        return Err(too_large(bounds.max));
    }
    let declared = body.size_hint().exact();
    let body = pin!(body);
    let mut pieces = Pieces::new(body, bounds);

    let Some(first) = pieces.next().await? else {
        return Ok((memory, Bytes::new(), 0));
    };
    if len(&first) > most {
        return Err(too_large(bounds.max));
    }
    let total = bounds.total(&first)?;
    memory.grow(len(&first))?;
    let Some(second) = pieces.next().await? else {
        let counted = len(&first);
        return Ok((memory, first, counted));
    };

    let mut whole = Buffer::new(memory, most);
    if let Some(total) = total.or(declared) {
        whole.aim_at(total);
    }
    whole.extend(&first)?;
    whole.memory().shrink(len(&first));
    drop(first);
    let mut next = Some(second);
    while let Some(piece) = next {
        whole.extend(&piece).map_err(|refusal| match refusal {
            Refusal::TooLarge { .. } => too_large(bounds.max),
            other => other,
        })?;
        if let Some(total) = bounds.total(whole.bytes())? {
            whole.aim_at(total);
        }
        next = pieces.next().await?;
    }
    Ok(whole.into_parts())
}

/// A body's pieces, and how fast they come.
struct Pieces<'a, B> {
    body: Pin<&'a mut B>,
    least: u64,
    window: Duration,
    window_ends: Instant,
    came: u64,
}

impl<'a, B: Body<Data = Bytes>> Pieces<'a, B> {
    fn new(body: Pin<&'a mut B>, bounds: &Bounds) -> Self {
        Pieces {
            body,
            least: bounds.least,
            window: bounds.window,
            window_ends: Instant::now() + bounds.window,
            came: 0,
        }
    }

    /// The next piece that has bytes in it; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while !self.body.is_end_stream() {
            let frame = match timeout_at(self.window_ends, self.body.frame()).await {
                Err(_) => {
                    self.close_window()?;
                    continue;
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => {
                    return Err(Refusal::Malformed("the body breaks off".to_owned()));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            if Instant::now() >= self.window_ends {
                self.close_window()?;
            }
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.came = self.came.saturating_add(len(&data));
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Ends a window of time in which enough came, and begins the next.
    fn close_window(&mut self) -> Result<(), Refusal> {
        if self.came < self.least {
            return Err(Refusal::TooSlow);
        }
        self.came = 0;
        self.window_ends = Instant::now() + self.window;
        Ok(())
    }
}
