//! A body, compressed or not, gRPC or HTTP, protobuf or JSON, becomes one uncompressed protobuf request.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http_body::Body;

use super::{Call, body, frame, inflate, json};
use crate::memory::Memory;
use crate::reply::Refusal;
use crate::signal::Protocol;

/// A request whose bytes are all here.
#[derive(Debug)]
pub(crate) struct Received<A> {
    /// Who sent it; counts the bytes of `request`, and whatever is held for it later.
    pub(crate) admitted: A,
    /// What it carries.
    pub(crate) call: Call,
    /// An uncompressed `Export…ServiceRequest`. Nothing has looked into it yet, so that it need not be valid protobuf, unless it was JSON.
    pub(crate) request: Bytes,
    /// Records that were left out because nobody could read them; their neighbours are there.
    pub(crate) dropped: u64,
}

/// What a request's body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// `request.max_body_bytes`: after decompression and transcoding, and before.
    pub(crate) max_bytes: u64,
    /// `request.min_body_rate`: bytes a second.
    pub(crate) min_rate: u64,
}

/// Gathers, unwraps, inflates and transcodes a request's body. Every byte is counted by `admitted` before it is held.
///
/// # Errors
/// [`Refusal::TooLarge`] when the body, before or after decompression or as protobuf, is larger than `request.max_body_bytes`;
/// [`Refusal::TooSlow`] when it arrives slower than `request.min_body_rate`; [`Refusal::Malformed`]; [`Refusal::Unavailable`] when memory has no
/// room.
pub(crate) async fn receive<A: Memory, B>(
    admitted: A,
    call: &Call,
    body: B,
    limits: BodyLimits,
) -> Result<Received<A>, Refusal>
where
    B: Body<Data = Bytes>,
{
    let max = limits.max_bytes;
    let grpc = call.protocol == Protocol::Grpc;
    let bounds =
        body::Bounds { max, least: limits.min_rate.saturating_mul(body::WINDOW.as_secs()), window: body::WINDOW, grpc };
    let (admitted, bytes, counted) = body::collect(admitted, body, &bounds).await?;
    let (bytes, compression) = match grpc {
        true => frame::message(bytes, call.compression)?,
        false => (bytes, call.compression),
    };
    let (admitted, bytes, counted) = match compression {
        Some(compression) => inflate::inflate(admitted, compression, bytes, counted, max).await?,
        None => (admitted, bytes, counted),
    };
    let call = *call;
    if call.protocol == Protocol::HttpJson {
        let made = json::to_protobuf(admitted, call.signal, bytes, counted, max).await?;
        return Ok(Received { admitted: made.memory, call, request: made.bytes, dropped: made.dropped });
    }
    Ok(Received { admitted, call, request: bytes, dropped: 0 })
}
