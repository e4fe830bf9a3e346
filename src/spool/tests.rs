//! A batch's life on memory, and what tests of other modules build frames with.

use std::sync::Arc;

use super::*;
use crate::sink::{PartName, SealedPart, Witness};

/// A frame of one request a key, each with `rows` rows in `table`.
pub(crate) fn frame(table: &str, keys: &[&str], rows: u32, bytes: &[u8]) -> Frame {
    let requests = keys.iter().enumerate().map(|(n, key)| Request {
        key: (*key).into(),
        bytes: 10,
        digest: Digest::of(&[bytes, &n.to_le_bytes()].concat()),
    });
    let part = SealedPart {
        name: PartName { table: table.into(), day: 20_000 },
        columns: [Arc::from("Timestamp"), Arc::from("Body")].into(),
        bytes: bytes.to_vec(),
        uncompressed: bytes.len() as u64,
        rows_by_request: (0..keys.len() as u32).map(|n| (n, rows)).collect(),
        witnesses: vec![Witness(bytes.to_vec())],
    };
    Frame::new(requests.collect(), vec![part])
}

#[test]
fn a_batch_is_appended_sealed_read_noted_and_finished() {
    let spool = Spool::in_memory();
    let mut open = spool.batch(Signal::Logs);
    let one = frame("otel_logs", &["a", "b"], 3, b"one");
    open.append(&[one, frame("otel_logs", &["a"], 1, b"two")]).unwrap();
    open.append(&[frame("hyperdx_sessions", &["a"], 2, b"three")]).unwrap();
    assert_eq!((open.rows(), open.parts()), (9, 2));
    let batch = open.seal();
    assert_eq!(batch.parts().len(), 2);

    let contents = batch.read(0).unwrap();
    assert_eq!(contents.body(), [&b"one"[..], b"two"]);
    assert_eq!((contents.rows(), contents.witnesses().len()), (7, 2));
    assert_eq!(batch.read(1).unwrap().body(), [&b"three"[..]]);

    let token = batch.token(0);
    batch.note(&[Note::Tried { part: 0 }, Note::NewToken { part: 0, generation: 1 }]).unwrap();
    assert!(batch.is_tried() && batch.token(0) != token && !batch.state(1).tried);
    let refused = Refused { part: 0, frame: 0, start: 2, rows: 2, why: "bad".into() };
    batch.note(&[Note::Refused(refused), Note::In { part: 0 }, Note::In { part: 1 }]).unwrap();
    assert!(spool.store.room.used() > 0);
    batch.finish().unwrap();

    let totals = spool.totals();
    assert_eq!((totals.stored.total_rows(), totals.quarantined.total_rows()), (7, 2));
    assert!(totals.lost.is_empty());
    assert_eq!(totals.quarantined.rows.values().collect::<Vec<_>>(), [&1, &1]);
    assert_eq!(totals.stored.requests.values().collect::<Vec<_>>(), [&3, &1]);
    assert_eq!(spool.store.room.used(), 0);
    // A folder of memory would be for nobody: what is refused here its client was told.
    assert!(spool.store.disk.list(QUARANTINE).unwrap().is_empty());
}
