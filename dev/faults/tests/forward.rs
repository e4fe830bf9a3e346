//! The short version of the faults with a collector as sink; skipped aloud where the collector has not been built.

#![allow(missing_docs, clippy::print_stdout, reason = "a test binary")]

use faults::forward::{Plan, run};
use stack::built_collector;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_once_and_doubles_are_counted() {
    let Some(collector) = built_collector() else { return };
    let folder = tempfile::Builder::new().prefix("otelgate-faults-").tempdir().expect("a folder").keep();
    println!("logs, spools and tables are in {} until the test has passed", folder.display());
    // One fault of each kind.
    let plan = Plan { collector: &collector, protocol: "grpc", seed: 6, faults: 11 };
    let outcome = run(&folder, plan).await.expect("a run");
    println!("{outcome}");
    assert!(outcome.findings.acknowledged > 0, "nothing was acknowledged");
    assert!(outcome.findings.unknown.iter().sum::<u64>() > 0, "no outcome was unknown: the faults met nothing");
    assert_eq!(outcome.findings.broken, Vec::<String>::new());
    std::fs::remove_dir_all(folder).expect("the folder goes");
}
