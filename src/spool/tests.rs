//! A batch's life on memory, and what tests of other modules build frames with.

mod trouble;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::chunk::{PartName, SealedPart, Witness};

const SETTINGS: Settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };

/// A frame of one request a key, each with `rows` rows in `table`.
pub(crate) fn frame(table: &str, keys: &[&str], rows: u32, bytes: &[u8]) -> Frame {
    let requests = keys.iter().enumerate().map(|(n, key)| FrameRequest {
        key: (*key).into(),
        bytes: 10,
        digest: Digest::of(&[bytes, &n.to_le_bytes()].concat()),
    });
    let part = SealedPart {
        name: PartName { table: table.into(), partition: 20_000 },
        columns: [Arc::from("Timestamp"), Arc::from("Body")].into(),
        bytes: vec![Bytes::copy_from_slice(bytes)],
        uncompressed: bytes.len() as u64,
        rows_by_request: (0..keys.len() as u32).map(|n| (n, rows)).collect(),
        witnesses: vec![Witness(bytes.to_vec().into())],
    };
    Frame::new(requests.collect(), vec![part])
}

/// The frames of a batch, named by the first eight bytes of each of their parts, with how many of their parts are whole; `None` when the disk does
/// not let it be read.
pub(crate) fn read(batch: &Batch) -> Option<BTreeMap<u64, usize>> {
    let mut ids = BTreeMap::new();
    for part in batch.parts() {
        for segment in batch.read(part.id).ok()?.segments {
            *ids.entry(id_of(&segment.bytes.concat())).or_default() += 1;
        }
    }
    Some(ids)
}

fn id_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map(u64::from_le_bytes).unwrap()
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

    let token = batch.token(0, Extent::Whole, batch.state(0).generation);
    batch.note(&[Note::Tried { part: 0 }, Note::NewToken { part: 0, generation: 1 }]).unwrap();
    assert!(
        batch.is_tried()
            && batch.token(0, Extent::Whole, batch.state(0).generation) != token
            && !batch.state(1).is_tried()
    );
    // A row of the first request, and all three of the second.
    let refused = |start| Note::Refused(Refused { part: 0, frame: 0, start, rows: 2, why: "bad".into() });
    batch.note(&[refused(2), refused(4), Note::In { part: 0 }, Note::In { part: 1 }]).unwrap();
    assert!(spool.store.room.used() > 0);
    batch.finish().unwrap();

    let totals = spool.totals();
    // What is refused here was never accepted: its client was told.
    assert_eq!((totals.stored.total_rows(), totals.quarantined.total_rows()), (5, 0));
    assert!(totals.lost.is_empty());
    assert_eq!(totals.stored.requests.values().collect::<Vec<_>>(), [&3]);
    assert_eq!(spool.store.room.used(), 0);
    // A folder of memory would be for nobody: what is refused here its client was told.
    assert!(spool.store.disk.list(QUARANTINE).unwrap().is_empty());
}

mod damage {
    use super::*;
    use crate::spool::disk::MemoryDisk;
    use crate::spool::format::record::HEADER_LEN;
    use crate::spool::scan::scan;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// The bytes of a file of two frames, a footer and a note.
    fn file() -> Vec<u8> {
        let (spool, _) = Spool::open(Box::new(disk::faulty::FaultyDisk::new(1)), &SETTINGS).unwrap();
        let mut open = spool.batch(Signal::Logs);
        open.append(&[frame("otel_logs", &["a", "b"], 3, &[1; 300])]).unwrap();
        open.append(&[frame("otel_traces", &["a"], 1, &[2; 300])]).unwrap();
        let batch = open.seal();
        batch.note(&[Note::Tried { part: 0 }]).unwrap();
        let file = spool.store.disk.open(&batch.name).unwrap();
        file.read_at(0, usize::try_from(file.size().unwrap()).unwrap()).unwrap().to_vec()
    }

    fn scan_bytes(bytes: Vec<u8>) -> Option<scan::Scan> {
        let disk = MemoryDisk::default();
        let mut file = disk.create("file").unwrap();
        let len = bytes.len() as u64;
        file.append(&[Bytes::from(bytes)]).unwrap();
        scan(file.as_ref(), len).ok()
    }

    #[test]
    fn every_beginning_of_a_file_is_read_up_to_its_last_whole_record() {
        let whole = file();
        let mut frames = 0;
        for len in 0..=whole.len() {
            let found = scan_bytes(whole[..len].to_vec());
            assert_eq!(found.is_some(), len >= HEADER_LEN / 2, "{len}");
            let Some(found) = found else { continue };
            assert!(!found.damaged && found.lost.is_empty());
            assert!(found.index.frames.len() >= frames);
            frames = found.index.frames.len();
        }
        assert_eq!(frames, 2);
    }

    proptest! {
        #[test]
        fn any_flipped_bit_costs_a_frame_at_most_and_is_counted(at: prop::sample::Index, bit in 0..8u8) {
            let mut bytes = file();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fuzzing::start_on(&bytes);
            let found = scan_bytes(bytes).unwrap();
            let rows = found.index.total.rows;
            prop_assert!(found.sealed && rows >= 1);
            prop_assert_eq!(rows + found.lost.total_rows(), 7);
            prop_assert_eq!(found.index.counts.total_requests() + found.lost.total_requests(), 3);
            if rows < 7 {
                // The footer knows whose they were.
                prop_assert!(found.damaged && found.lost.rows.keys().all(|(key, _)| &**key != "(unknown)"));
            }
        }

        #[test]
        fn noise_is_never_believed(noise in prop::collection::vec(any::<u8>(), 0..600), at: prop::sample::Index) {
            let mut bytes = file();
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + noise.len());
            bytes.splice(at..end, noise);
            fuzzing::start_on(&bytes);
            if let Some(found) = scan_bytes(bytes) {
                prop_assert!(found.index.total.rows <= 7);
            }
        }
    }
}

#[test]
fn a_frame_after_the_word_of_a_clean_stop_takes_it_back() {
    let disk = disk::faulty::FaultyDisk::new(3);
    let open = || Spool::open(Box::new(disk.clone()), &SETTINGS).unwrap();
    let (spool, recovered) = open();
    assert!(recovered.clean);
    spool.stop(&[]).unwrap();
    spool.batch(Signal::Logs).append(&[frame("otel_logs", &["a"], 1, b"late")]).unwrap();
    disk.restart();
    let (spool, recovered) = open();
    assert!(!recovered.clean && recovered.digests.len() == 1);
    spool.stop(&[]).unwrap();
    disk.restart();
    assert!(open().1.clean);
}
