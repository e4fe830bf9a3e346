//! Files that cannot be read, and files that are gone.

use super::*;

pub(super) const SPOOL: Settings = Settings { limits: Limits::NONE, digest_ttl: Duration::from_secs(600) };

/// So many batches of one request in table `a`, on a disk that fails as it is told.
fn backlog(sink: &Arc<FakeSink>, count: usize) -> (FaultyDisk, Spool, Vec<Batch>) {
    let disk = FaultyDisk::new(1);
    let spool = Spool::open(Box::new(disk.clone()), &SPOOL).unwrap().0;
    let batches = (0..count).map(|n| batch(&spool, &[frame(sink, &[&format!("r{n} a=2")])])).collect();
    (disk, spool, batches)
}

async fn finished(deliveries: &Deliveries, left: usize) {
    let done = async {
        while deliveries.batches().len() > left {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), done).await.expect("everything else is delivered");
}

/// More files than a table has workers may not be read: everything else is delivered, and they are when they may.
#[tokio::test(start_paused = true)]
async fn files_that_may_not_be_read_keep_nobody_else_waiting() {
    let sink = FakeSink::new();
    let (disk, spool, batches) = backlog(&sink, 6);
    // Two workers a table, and three of these.
    let deliveries = deliveries(&sink);
    disk.deny_all((0..3).map(|sequence| format!("{sequence:020}.batch")));
    batches.into_iter().for_each(|batch| deliveries.take(batch, None));
    finished(&deliveries, 3).await;
    idle(&deliveries).await;
    assert_eq!(sink.stored("a").len(), 3);
    assert!(seals_at_once(&deliveries, "a"), "the lane goes on");
    assert!(spool.remark().unwrap().contains("cannot be read"), "{:?}", spool.remark());
    disk.deny(None);
    finished(&deliveries, 0).await;
    assert_eq!(sink.stored("a").len(), 6);
    assert_eq!((spool.remark(), spool.totals().stored.total_rows()), (None, 12));
}

#[tokio::test(start_paused = true)]
async fn a_person_may_drop_what_cannot_be_read() {
    let sink = FakeSink::new();
    let (disk, spool, batches) = backlog(&sink, 4);
    disk.deny(Some(".batch"));
    let deliveries = deliveries(&sink);
    let sequences: Vec<u64> = batches.iter().map(Batch::sequence).collect();
    batches.into_iter().for_each(|batch| deliveries.take(batch, None));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(sequences.iter().all(|sequence| deliveries.drop_batch(*sequence)));
    finished(&deliveries, 0).await;
    assert_eq!(spool.totals().dropped.total_rows(), 8);
    assert!(sink.stored("a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_that_vanish_cost_their_own_rows_only() {
    let sink = FakeSink::new();
    let (disk, spool, batches) = backlog(&sink, 6);
    for batch in &batches[1..4] {
        disk.vanish(&format!("{:020}.batch", batch.sequence()));
    }
    let deliveries = deliveries(&sink);
    batches.into_iter().for_each(|batch| deliveries.take(batch, None));
    finished(&deliveries, 0).await;
    assert_eq!(sink.stored("a").keys().map(String::as_str).collect::<Vec<_>>(), ["r0", "r4", "r5"]);
    let totals = spool.totals();
    assert_eq!((totals.stored.total_rows(), totals.lost.total_rows(), spool.waiting().total_rows()), (6, 6, 0));
    assert!(spool.remark().unwrap().contains("6 rows of 3 files are lost"), "{:?}", spool.remark());
}
