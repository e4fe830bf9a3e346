//! Connections that remember that the other side refused our certificate.
//!
//! In TLS 1.3 that is said after the client's handshake has ended: an alert arrives where the answer was expected, and the HTTP client
//! keeps of it only that the connection broke. Nothing that was sent on such a connection was ever read, so the outcome is known.
//!
//! Who refuses closes with our request unread, which resets the connection after the alert. So a write may fail before the alert is read; it lies
//! in the socket all the same, and is looked for there.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::{Extensions, Uri};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::Error;
use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::AlertDescription;

/// So many reads are made of what the other side said last.
const LAST_WORDS: usize = 16;

/// Whether a connection's certificate was refused.
#[derive(Debug, Clone, Default)]
struct Refused(Arc<AtomicBool>);

/// Whether this error is that of a connection whose certificate was refused.
pub(super) fn certificate_refused(error: &Error) -> bool {
    let mut extensions = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    extensions.get::<Refused>().is_some_and(|refused| refused.0.load(Ordering::Acquire))
}

/// A connector whose connections remember.
#[derive(Debug, Clone)]
pub(super) struct Remembering<C>(pub(super) C);

/// One of its connections.
#[derive(Debug)]
pub(super) struct Remembered<S> {
    stream: S,
    refused: Refused,
    /// A write failed, and what the other side said last has not been read.
    failed: Option<io::Error>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> tower::Service<Uri> for Remembering<C>
where
    C: tower::Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = Remembered<C::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let stream = connecting.await.map_err(Into::into)?;
            Ok(Remembered { stream, refused: Refused::default(), failed: None })
        })
    }
}

impl<S: Connection> Connection for Remembered<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.refused.clone())
    }
}

impl<S: Read + Unpin> Read for Remembered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if let Poll::Ready(Err(error)) = &polled
            && refuses_certificate(error)
        {
            self.refused.0.store(true, Ordering::Release);
        }
        polled
    }
}

impl<S: Read + Write + Unpin> Write for Remembered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(context, polled)
    }
}

impl<S: Read + Unpin> Remembered<S> {
    /// After a write failed: what the other side said last, which may not have been noticed yet. The connection has ended, so a read ends soon too.
    fn wrote<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = polled else { return polled };
        // The first error says more than those that follow it.
        self.failed.get_or_insert(error);
        let mut scratch = [0; 4096];
        for _ in 0..LAST_WORDS {
            let mut words = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *self).poll_read(context, words.unfilled()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !words.filled().is_empty() => {}
                Poll::Ready(_) => break,
            }
        }
        let error = self.failed.take();
        Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
    }
}

/// The alerts of RFC 8446, 6.2, that speak of the client's certificate.
fn refuses_certificate(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = tls else { return false };
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A connection to somebody who has said something, and reset it.
    struct Reset {
        says: Vec<Option<AlertDescription>>,
        /// So many polls are too early.
        unnoticed: usize,
    }

    impl Read for Reset {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut into: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(left) = self.unnoticed.checked_sub(1) {
                self.unnoticed = left;
                return Poll::Pending;
            }
            Poll::Ready(match self.says.pop() {
                Some(None) => {
                    into.put_slice(b"SETTINGS");
                    Ok(())
                }
                Some(Some(alert)) => Err(io::Error::other(rustls::Error::AlertReceived(alert))),
                None => Err(io::ErrorKind::ConnectionReset.into()),
            })
        }
    }

    impl Write for Reset {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_write_that_fails_before_the_alert_was_read_finds_it() {
        let mut context = Context::from_waker(Waker::noop());
        for (says, refused) in [
            (vec![Some(AlertDescription::UnknownCA)], true),
            (vec![Some(AlertDescription::CertificateExpired), None], true),
            (vec![Some(AlertDescription::InternalError)], false),
            (vec![], false),
        ] {
            let said = format!("{says:?}");
            let stream = Reset { says, unnoticed: 1 };
            let mut connection = Remembered { stream, refused: Refused::default(), failed: None };
            let mut write = || Pin::new(&mut connection).poll_write(&mut context, b"request");
            assert!(write().is_pending(), "what was said last may be noticed later than the failure");
            assert!(matches!(write(), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
            assert_eq!(connection.refused.0.load(Ordering::Acquire), refused, "{said}");
        }
    }
}
