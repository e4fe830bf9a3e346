//! The socket, with or without TLS, as hyper sees it: watched, and closed so that the last answer arrives.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use unacknowledged::unacknowledged;

use super::frames::{Splitter, Spoken};
use super::peer::Connection;

/// How long, and for how many bytes, a closed connection still takes what its client sends and throws it away. Closing a socket with
/// unread bytes resets it, and a reset may destroy the answer (401, 413) before the client has read it: RFC 9112 section 9.6.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that a connection reads before the others have their turn. All that are ready stand in one line: a good client's request waits for as many such pieces as
/// there are connections, whoever they belong to, so that 200 which read a megabyte each at a time would cost it a tenth of a second.
const AT_A_TIME: usize = 64 * 1024;
/// The same of what is thrown away after the end, for which nobody waits.
const LINGER_AT_A_TIME: usize = 16 * 1024;

/// A socket with or without TLS.
#[derive(Debug)]
pub(super) enum Stream {
    /// Plaintext.
    Plain(TcpStream),
    /// After the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn transport(&mut self) -> Pin<&mut dyn Transport> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp),
            Stream::Tls(tls) => Pin::new(tls.as_mut()),
        }
    }

    /// What ALPN chose, if anything.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.get_ref().1.alpn_protocol(),
        }
    }

    /// Bytes that were written and not acknowledged; all that there can be when the system does not tell.
    fn unacknowledged(&self) -> usize {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        unacknowledged(tcp.as_fd()).unwrap_or(usize::MAX)
    }

    fn tcp(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_mut().0,
        })
    }
}

trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// A stream that tells its connection what it does, and reads no more than the connection may send.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    connection: Arc<Connection>,
    /// The client has said that it sends nothing more.
    ended: bool,
    /// It was reset: the system tells so once, and then as if the client had ended it in order.
    broken: bool,
    /// Bytes that were not acknowledged before this side closed.
    before_close: Option<usize>,
    spoken: Spoken,
    /// Where frames begin in what is written.
    written: Splitter,
    /// What is still to be written of the GOAWAY with which it ends.
    calm: Option<Bytes>,
    /// Bytes that were read since the others last had their turn.
    read: usize,
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
    /// What closing itself sent (TLS' goodbye, the FIN), which nobody has to acknowledge.
    goodbye: usize,
}

impl Watched {
    pub(super) fn new(stream: Stream, connection: Arc<Connection>) -> Self {
        Watched {
            stream,
            connection,
            ended: false,
            broken: false,
            before_close: None,
            spoken: Spoken::Unknown(0),
            written: Splitter::default(),
            calm: None,
            read: 0,
            linger: None,
        }
    }

    /// The client ended the connection: by TLS' goodbye, or a FIN, which no system sends for a process that leaves bytes unread. Once it has
    /// acknowledged all that was written, it had it.
    fn client_ended(&mut self) {
        if !std::mem::replace(&mut self.ended, true) && self.stream.unacknowledged() == 0 {
            self.connection.acknowledged();
        }
    }

    /// Whether the client is to be calm after these bytes.
    fn bytes_came(&mut self, bytes: &[u8]) -> bool {
        let came = self.spoken.came(bytes, self.connection.activity.age());
        if let Some(came) = came {
            self.connection.activity.frames_came(came);
        }
        self.connection.bytes_came(bytes);
        let too_many = came.is_some_and(|came| came.too_many);
        if let (true, Spoken::Http2(frames)) = (too_many, &self.spoken) {
            // In the middle of another frame it could not be read.
            let words = if self.written.is_between() { frames.calm() } else { Vec::new() };
            self.calm = Some(words.into());
            self.connection.calm();
        }
        too_many
    }

    /// Writes the GOAWAY, closes as always, and tells hyper that the connection is over.
    fn end_calmly(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(words) = self.calm.as_mut().filter(|words| !words.is_empty()) {
            let count = ready!(self.stream.transport().poll_write(context, words))?;
            words.advance(count.clamp(1, words.len()));
        }
        ready!(Pin::new(&mut *self).poll_shutdown(context))?;
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    /// Some of these bytes were written.
    fn count(&mut self, written: &Poll<io::Result<usize>>, slices: &[IoSlice<'_>]) {
        let Poll::Ready(Ok(count)) = written else { return };
        self.connection.bytes_went(*count);
        if matches!(self.spoken, Spoken::Http2(_)) {
            let mut left = *count;
            for slice in slices {
                let now = slice.get(..left.min(slice.len())).unwrap_or_default();
                self.written.pass(now);
                left -= now.len();
            }
        }
    }

    fn watch_write<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.connection.activity.write_blocked(result.is_pending());
        self.broken |= matches!(result, Poll::Ready(Err(_)));
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.connection.may_read(context.waker()) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.calm.is_some() {
            return self.end_calmly(context);
        }
        if self.read >= AT_A_TIME {
            self.read = 0;
            return after_others(context);
        }
        let result = self.stream.transport().poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        self.read = if result.is_pending() { 0 } else { self.read.saturating_add(count) };
        match &result {
            _ if count > 0 => {
                if self.bytes_came(buffer.filled().get(before..).unwrap_or_default()) {
                    buffer.set_filled(before);
                    return self.end_calmly(context);
                }
            }
            Poll::Ready(Ok(())) if buffer.remaining() > 0 => self.client_ended(),
            // A FIN without TLS' goodbye before it, as many clients do it.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.client_ended(),
            Poll::Ready(Err(_)) => self.broken = true,
            Poll::Ready(_) | Poll::Pending => {}
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.calm.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = self.stream.transport().poll_write(context, bytes);
        self.count(&result, &[IoSlice::new(bytes)]);
        self.watch_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.calm.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let result = self.stream.transport().poll_write_vectored(context, slices);
        self.count(&result, slices);
        self.watch_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream.transport().poll_flush(context);
        self.watch_write(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let before = *this.before_close.get_or_insert_with(|| this.stream.unacknowledged());
            ready!(this.stream.transport().poll_shutdown(context))?;
            let goodbye = this.stream.unacknowledged().saturating_sub(before);
            let until = Box::pin(tokio::time::sleep(LINGER));
            this.linger = Some(Linger { until, bytes_left: LINGER_BYTES, goodbye });
        }
        let Some(linger) = &mut this.linger else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; LINGER_AT_A_TIME];
        if linger.bytes_left > 0 && linger.until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let result = ready!(this.stream.tcp().poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            if result.is_ok()
                && count == 0
                && !this.ended
                && !this.broken
                && this.stream.unacknowledged() <= linger.goodbye
            {
                // This side closed first, and the client after it, with all of the answer acknowledged.
                this.connection.acknowledged();
            }
            if result.is_ok() && count > 0 {
                linger.bytes_left = linger.bytes_left.saturating_sub(count);
                return after_others(context);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Not now: once those that are ready had their turn.
fn after_others<T>(context: &mut Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Weak;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// The server's end of a connection and the client's.
    async fn connected() -> (Watched, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, from) = listener.accept().await.unwrap();
        let connection = Arc::new(Connection::new(from.ip(), 0, Weak::new()));
        (Watched::new(Stream::Plain(server), connection), client)
    }

    /// What is ready at once of what a client sends without an end, when it is taken by `take` until that waits.
    async fn most_at_once(mut take: impl FnMut(&mut Watched, &mut Context<'_>) -> Poll<usize>) -> usize {
        let (mut watched, client) = connected().await;
        let mut client = client.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        watched.connection.activity.authenticate();
        // Much is ready at once, and it goes on while it is read.
        rustix::net::sockopt::set_socket_recv_buffer_size(&*watched.stream.tcp(), 1 << 20).unwrap();
        std::thread::spawn(move || while std::io::Write::write_all(&mut client, &[0; 64 * 1024]).is_ok() {});
        let mut most = 0;
        for _ in 0..50 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let taken = std::future::poll_fn(|context| {
                let mut sum = 0;
                while let Poll::Ready(count) = take(&mut watched, context) {
                    sum += count;
                }
                Poll::Ready(sum)
            });
            most = most.max(taken.await);
        }
        most
    }

    #[tokio::test]
    async fn whatever_a_client_sends_the_others_have_their_turn() {
        let mut into = vec![0; 32 * 1024];
        let read = most_at_once(|watched, context| {
            let mut buffer = ReadBuf::new(&mut into);
            Pin::new(watched).poll_read(context, &mut buffer).map(|read| read.map_or(0, |()| buffer.filled().len()))
        });
        let read = read.await;
        assert!((1..AT_A_TIME + 32 * 1024).contains(&read), "{read} bytes were read at once");

        // A piece is thrown away in each turn: whether it was the last is not asked in it.
        let (mut left, mut most) = (LINGER_BYTES, 0);
        most_at_once(|watched, context| {
            let _ = Pin::new(&mut *watched).poll_shutdown(context);
            let now = watched.linger.as_ref().map_or(left, |linger| linger.bytes_left);
            most = most.max(std::mem::replace(&mut left, now) - now);
            Poll::Pending
        })
        .await;
        assert!((1..=LINGER_AT_A_TIME).contains(&most), "{most} bytes were thrown away at once");
    }

    /// The time of docs/limits.md.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_is_waited_for_for_a_second() {
        let (mut closing, _client) = connected().await;
        let began = Instant::now();
        closing.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    /// The bytes of docs/limits.md.
    #[tokio::test]
    async fn a_client_that_goes_on_sending_is_read_for_8_mib() {
        let (mut closing, mut client) = connected().await;
        let sending = tokio::spawn(async move {
            let (bytes, mut sent) = (vec![0; 64 * 1024], 0);
            while let Ok(count) = client.write(&bytes).await {
                sent += count;
            }
            sent
        });
        closing.shutdown().await.unwrap();
        drop(closing);
        let (sent, in_sockets) = (sending.await.unwrap(), 16 * 1024 * 1024);
        assert!(sent <= LINGER_BYTES + in_sockets, "{sent} bytes were taken");
    }
}
