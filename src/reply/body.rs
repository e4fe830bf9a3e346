//! The body of every answer: nothing, some bytes, a gRPC message with its trailers, or a stream of the gRPC health service.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// An answer's body.
#[derive(Debug, Default)]
pub(crate) struct ReplyBody(Inner);

#[derive(Debug)]
enum Inner {
    Whole { data: Option<Bytes>, trailers: Option<HeaderMap> },
    Stream(tonic::body::Body),
}

impl Default for Inner {
    fn default() -> Self {
        Inner::Whole { data: None, trailers: None }
    }
}

impl ReplyBody {
    /// These bytes.
    pub(super) fn bytes(data: Bytes) -> Self {
        ReplyBody(Inner::Whole { data: (!data.is_empty()).then_some(data), trailers: None })
    }

    /// One length-prefixed message (gRPC over HTTP/2, "Length-Prefixed-Message", not compressed) and the trailers that
    /// end a unary call.
    pub(super) fn grpc(message: &[u8], trailers: HeaderMap) -> Self {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut data = Vec::with_capacity(5 + message.len());
        data.push(0);
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(message);
        ReplyBody(Inner::Whole { data: Some(data.into()), trailers: Some(trailers) })
    }
}

impl From<tonic::body::Body> for ReplyBody {
    fn from(stream: tonic::body::Body) -> Self {
        ReplyBody(Inner::Stream(stream))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match &mut self.get_mut().0 {
            Inner::Whole { data, trailers } => {
                let frame = data.take().map(Frame::data);
                let frame = frame.or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Inner::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole { data, trailers } => data.is_none() && trailers.is_none(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole { data, .. } => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}
