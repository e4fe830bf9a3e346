//! The short version of `make test-faults`: a few faults with each kind of table, the flipped bits, and the order of writes, syncs and
//! answers.

#![allow(missing_docs, clippy::print_stdout, reason = "a test binary")]

use std::path::Path;
use std::process::Command;

use faults::campaign::{Plan, run};
use faults::rig::Tables;
use faults::{flip, power};
use stack::ClickHouse;

/// One whose short schedules have a full disk, a spoiled token, lost answers, and SIGKILL of otelgate, of ClickHouse and of both.
const SEED: u64 = 3357;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promise_is_kept() {
    let folder = tempfile::Builder::new().prefix("otelgate-faults-").tempdir().expect("a folder").keep();
    let mut clickhouse = ClickHouse::start(&folder.join("clickhouse"), 0).await.expect("ClickHouse");
    println!("logs, spools and tables are in {} until the test has passed", folder.display());
    power::run(&clickhouse, &folder).await.expect("answers after their syncs");
    flip::run(&clickhouse, &folder, SEED).await.expect("a flipped bit costs no more than its frame");
    for (name, tables, kill_clickhouse, faults) in
        [("window_alive", Tables::Window, false, 10), ("none_killed", Tables::NoWindow, true, 9)]
    {
        let plan = Plan { name, seed: SEED, faults, tables, kill_clickhouse };
        let outcome = run(&mut clickhouse, &folder, plan).await.expect("a run");
        let killed = outcome.hits.iter().any(|hit| hit.fault.kills_clickhouse());
        assert_eq!(killed, kill_clickhouse, "{name}: the seed no longer gives the schedule that it was chosen for");
        assert!(outcome.findings.acknowledged > 0, "{name}: nothing was acknowledged");
        assert_eq!(outcome.findings.broken, Vec::<String>::new(), "{name}");
        let allowed = if kill_clickhouse { outcome.inserts_at_kills() as u64 } else { 0 };
        for difference in &outcome.findings.rollups {
            assert!(difference.inserts <= allowed, "{name}: {difference:?}, {allowed} inserts were in flight at kills");
        }
    }
    clickhouse.stop(false).await.expect("ClickHouse stops");
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

/// A patch that no longer applies would make `make test-mutants` useless without anybody seeing it.
#[test]
fn the_mutants_still_apply() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let patches = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants")).expect("the patches");
    let patches = patches.map(|entry| entry.expect("an entry").path());
    let patches: Vec<_> =
        patches.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    assert_eq!(patches.len(), 5);
    for patch in patches {
        let applied = Command::new("git").current_dir(&root).args(["apply", "--check"]).arg(&patch).status();
        assert!(applied.expect("git").success(), "{} no longer applies", patch.display());
    }
}
