//! The short version of `make test-faults`: a few faults with each kind of table, the flipped bits, the order of writes, syncs and
//! answers, a file that vanishes, and memory that never suffices.

#![allow(missing_docs, clippy::print_stdout, reason = "a test binary")]

use std::path::Path;
use std::process::Command;

use faults::campaign::{Plan, run};
use faults::rig::Tables;
use faults::schedule::Scene;
use faults::{flip, narrow, power, vanish};
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
    vanish::run(&clickhouse, &folder, SEED).await.expect("a file that vanishes costs its own rows");
    narrow::run(&clickhouse, &folder, SEED).await.expect("what is too much at once goes in pieces");
    for (name, tables, scene, faults) in [
        ("window_alive", Tables::Window, Scene::Alive, 10),
        ("none_killed", Tables::NoWindow, Scene::Killed, 9),
        ("none_refusing", Tables::NoWindow, Scene::Refusing, 12),
    ] {
        let plan = Plan { name, seed: SEED, faults, tables, scene };
        let outcome = run(&mut clickhouse, &folder, plan).await.expect("a run");
        let killed = outcome.hits.iter().any(|hit| hit.fault.kills_clickhouse());
        assert_eq!(
            killed,
            scene == Scene::Killed,
            "{name}: the seed no longer gives the schedule that it was chosen for"
        );
        let (met, refusing) = (outcome.answered, scene == Scene::Refusing);
        assert_eq!(met.refused > 0 && met.failed_in_view > 0, refusing, "{name}: {met:?}");
        assert!(outcome.findings.acknowledged > 0, "{name}: nothing was acknowledged");
        assert_eq!(outcome.findings.broken, Vec::<String>::new(), "{name}");
        let allowed = match scene {
            Scene::Alive => 0,
            Scene::Killed => outcome.inserts_at_kills() as u64,
            // A view that fails may keep an insert's rows from the views after it.
            Scene::Refusing => u64::MAX,
        };
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
    assert_eq!(patches.len(), 9);
    for patch in patches {
        let applied = Command::new("git").current_dir(&root).args(["apply", "--check"]).arg(&patch).status();
        assert!(applied.expect("git").success(), "{} no longer applies", patch.display());
    }
}
