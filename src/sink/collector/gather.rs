//! A connection to a collector that writes several frames at once.
//!
//! HTTP/2's frames are 16 KiB, and each is flushed when the next one is asked for. A system call, a wake-up of who reads, and on the way a packet for each
//! cost more than copying them into one place. So a flush of what is new waits until the connection's task has had its turn once more, by which
//! it has said all that it has to say now; nothing waits for time to pass.
//!
//! Only for what flushes each time it is polled, as HTTP/2 without TLS does: a handshake flushes once, and then waits for what the other side says.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// So much is gathered at most.
const MOST: usize = 128 << 10;

/// The connection.
#[derive(Debug)]
pub(super) struct Gathering<S = TcpStream> {
    stream: S,
    /// Gathered and not written yet; nothing is gathered where this is not there.
    gathered: Option<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    written: usize,
    /// More was gathered since the last flush.
    is_new: bool,
}

impl<S> Gathering<S> {
    /// Gathers if it is told so.
    pub(super) fn new(stream: S, gathers: bool) -> Self {
        Gathering { stream, gathered: gathers.then(Gathered::default) }
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Writes all that was gathered.
    fn poll_gathered(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(gathered) = &mut self.gathered else { return Poll::Ready(Ok(())) };
        while let Some(left @ [_, ..]) = gathered.bytes.get(gathered.written..) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => gathered.written += count,
            }
        }
        gathered.bytes.clear();
        gathered.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let more: usize = slices.iter().map(|slice| slice.len()).sum();
        if this.gathered.as_ref().is_some_and(|gathered| gathered.bytes.len().saturating_add(more) > MOST) {
            ready!(this.poll_gathered(context))?;
        }
        let Some(gathered) = this.gathered.as_mut().filter(|_| more <= MOST) else {
            return Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        };
        slices.iter().for_each(|slice| gathered.bytes.extend_from_slice(slice));
        gathered.is_new = true;
        Poll::Ready(Ok(more))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(gathered) = &mut self.gathered
            && std::mem::take(&mut gathered.is_new)
        {
            context.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_gathered(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection for Gathering {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn frames_that_are_flushed_in_one_turn_are_written_at_once_and_none_is_left() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut gathering = Gathering::new(near, true);
        let sending = tokio::spawn(async move {
            let (mut turns, mut said) = (0, 0_u8);
            // As HTTP/2 does it: in each of its turns all that it has to say, each flushed, and a flush at the end.
            poll_fn(|context| {
                turns += 1;
                while said < 4 {
                    let frame = [said; 16 << 10];
                    let written = Pin::new(&mut gathering).poll_write(context, &frame);
                    assert!(matches!(written, Poll::Ready(Ok(count)) if count == frame.len()));
                    assert!(Pin::new(&mut gathering).poll_flush(context).is_ready());
                    said += 1;
                }
                match turns {
                    1 => Poll::Pending,
                    _ => Pin::new(&mut gathering).poll_flush(context).map(Result::unwrap),
                }
            })
            .await;
            gathering
        });
        let mut came = vec![0; 1 << 20];
        // Nobody reads before all of it is there: what comes at once was written at once.
        let count = far.read(&mut came).await.unwrap();
        assert_eq!(count, 64 << 10);
        let mut gathering = sending.await.unwrap();
        let large = vec![7; 300 << 10];
        gathering.write_all(&large).await.unwrap();
        gathering.write_all(b"end").await.unwrap();
        gathering.shutdown().await.unwrap();
        drop(gathering);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(rest == [&large[..], b"end"].concat());
    }

    #[tokio::test]
    async fn where_nothing_is_gathered_each_write_is_one() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut gathering = Gathering::new(near, false);
        gathering.write_all(b"hello").await.unwrap();
        let mut came = [0; 16];
        assert_eq!(far.read(&mut came).await.unwrap(), 5);
    }
}
