//! A request's body that is sent from pieces as they lie in memory, and that remembers whether its last piece was handed over.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Pieces, sent one after another with a content length. A server that saw fewer bytes than that knows that it was cut.
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
    sent: Sent,
}

/// Whether a body's last piece was handed to the connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(Arc<AtomicBool>);

impl Sent {
    /// `false`: the server cannot have the whole body.
    pub(crate) fn whole(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Pieces {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Bytes>) -> (Pieces, Sent) {
        let pieces: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let left = pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum();
        let sent = Sent::default();
        // A request without a body is whole as soon as its head is written.
        sent.0.store(left == 0, Ordering::Release);
        let body = Pieces { pieces, left, sent: sent.clone() };
        (body, sent)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        if let Some(piece) = &piece {
            self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if self.pieces.is_empty() {
                self.sent.0.store(true, Ordering::Release);
            }
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn whole_only_after_the_last_piece() {
        let (mut body, sent) = Pieces::new([Bytes::from("ab"), Bytes::new(), Bytes::from("c")]);
        assert_eq!(body.size_hint().exact(), Some(3));
        body.frame().await.unwrap().unwrap();
        assert!(!sent.whole());
        assert_eq!(body.size_hint().exact(), Some(1));
        body.frame().await.unwrap().unwrap();
        assert!(sent.whole() && body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}
