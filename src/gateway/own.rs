//! What otelgate says of itself: its own requests, which take the path from where others are received, and notes of others' requests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;

use super::deadline::Deadline;
use super::{Gateway, Seen, peer_of};
use crate::admit::Authenticated;
use crate::keys::Key;
use crate::listen::Peer;
use crate::memory::Memory;
use crate::notes::NotedRequest;
use crate::otlp::{Call, Received};
use crate::reply::Refusal;
use crate::signal::{Protocol, Signal};

impl Gateway {
    /// Takes a request of otelgate's own, an uncompressed `Export…ServiceRequest`, of which at most `most_spooled` bytes may wait in the spool. Returns when
    /// it is kept. It is no request that anybody sent: it is not logged, measured or noted.
    ///
    /// # Errors
    /// As everybody's.
    pub(crate) async fn take_own(
        &self,
        key: &Arc<Key>,
        signal: Signal,
        request: Bytes,
        most_spooled: u64,
    ) -> Result<(), Refusal> {
        let call = Call { protocol: Protocol::HttpProtobuf, signal, compression: None };
        let mut admitted = self.admission.admit(Authenticated::own(key.clone()), signal, &HeaderMap::new())?;
        self.lanes.room_within(key, most_spooled)?;
        let coming = self.lanes.expect(signal)?;
        admitted.grow(request.len() as u64)?;
        let received = Received { admitted, call, request, dropped: 0 };
        let nobody = Peer::unconnected(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.keep(coming, received, nobody.answer(), Deadline::after(self.limits.timeout)).await.map(drop)
    }

    /// Notes a request that was answered, when it is one of the sample.
    pub(super) fn note(&self, head: &Parts, seen: &Seen, began: Instant, refused: Option<&Refusal>) {
        // A stranger's word puts nothing into anybody's trace.
        let parent = seen.parent.filter(|parent| parent.sampled && seen.key.is_some());
        if !self.notes.samples(parent.is_some()) {
            return;
        }
        let took = began.elapsed();
        let name = seen.call.map_or("refused", |call| match call.protocol {
            Protocol::Grpc => call.signal.grpc_path(),
            _ => call.signal.http_path(),
        });
        let mut fields = BTreeMap::from([
            ("request_id", seen.id.to_string()),
            ("client.address", peer_of(head).ip.to_string()),
            ("otelgate.bytes", seen.size.0.to_string()),
            ("otelgate.records", seen.size.1.to_string()),
        ]);
        fields.extend(seen.key.iter().map(|key| ("otelgate.key", key.entry.name.clone())));
        fields.extend(seen.call.map(|call| ("otelgate.protocol", call.protocol.name().to_owned())));
        fields.extend(refused.map(|refusal| ("otelgate.refused", refusal.name().to_owned())));
        self.notes.request(NotedRequest {
            trace: parent.map_or_else(rand::random, |parent| parent.trace),
            span: rand::random(),
            parent: parent.map(|parent| parent.span),
            name,
            began: SystemTime::now().checked_sub(took).unwrap_or_else(SystemTime::now),
            took,
            fields,
            refused: refused.map(ToString::to_string),
        });
    }
}
