//! A sink that counts rows, and can be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use crate::chunk::{Appended, ChunkEncoder, ChunkSize, EncodeError, Growth, PartName, SealedPart};
use crate::signal::Signal;
use crate::sink::{AfterUnknown, BoxFuture, Look, Outcome, PartDelivery, Sink};

/// Takes logs and counts their rows.
#[derive(Default)]
pub(in crate::gateway) struct FakeSink {
    pub(in crate::gateway) away: AtomicBool,
    rows: AtomicU64,
}

impl FakeSink {
    pub(in crate::gateway) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

impl Sink for FakeSink {
    fn encoder(&self, _signal: Signal) -> Box<dyn ChunkEncoder> {
        Box::new(FakeChunk::default())
    }

    fn deliver<'a>(&'a self, part: &'a PartDelivery) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            if self.away.load(Ordering::Relaxed) {
                return Outcome::Retry { why: "away".into(), after: None };
            }
            self.rows.fetch_add(part.rows, Ordering::Relaxed);
            Outcome::Delivered
        })
    }

    fn look<'a>(&'a self, _part: &'a PartDelivery) -> BoxFuture<'a, Look> {
        Box::pin(async { Look::Absent })
    }

    fn after_unknown(&self, _table: &str, _shard: Option<&str>, _since: Duration) -> AfterUnknown {
        AfterUnknown::Look
    }
}

/// Rows of each committed request, and of the one that is not committed yet.
#[derive(Default)]
struct FakeChunk {
    committed: Vec<u32>,
    last: Option<u32>,
}

impl ChunkEncoder for FakeChunk {
    fn append(&mut self, request: &[u8], growth: &Growth) -> Result<Appended, EncodeError> {
        let request = ExportLogsServiceRequest::decode(request)
            .map_err(|_| EncodeError::Malformed { what: "not protobuf", at: 0 })?;
        let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        let records: usize = scopes.map(|scope| scope.log_records.len()).sum();
        if records as u64 > growth.max_records {
            return Err(EncodeError::TooLarge { limit: "max_records", max: growth.max_records });
        }
        self.last = Some(u32::try_from(records).unwrap());
        Ok(Appended { records: records as u64, column_bytes: request.encoded_len() as u64, unkept: Vec::new() })
    }

    fn commit(&mut self) {
        self.committed.extend(self.last.take());
    }

    fn rollback(&mut self) {
        self.last = None;
    }

    fn size(&self) -> ChunkSize {
        let rows = self.committed.iter().map(|rows| u64::from(*rows)).sum();
        ChunkSize { requests: u32::try_from(self.committed.len()).unwrap(), rows, column_bytes: rows, parts: 1 }
    }

    fn seal(&mut self) -> Vec<SealedPart> {
        let rows = std::mem::take(&mut self.committed);
        vec![SealedPart {
            name: PartName { table: "otel_logs".into(), partition: 0 },
            columns: Arc::from([]),
            bytes: vec![Bytes::from_static(&[0; 8])],
            uncompressed: 8,
            rows_by_request: rows
                .into_iter()
                .enumerate()
                .map(|(at, rows)| (u32::try_from(at).unwrap(), rows))
                .collect(),
            witnesses: Vec::new(),
        }]
    }
}
