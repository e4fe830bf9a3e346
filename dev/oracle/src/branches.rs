//! How often each branch of the log transforms was taken: what was made, and what came out.

use std::collections::BTreeMap;

/// What a log's severity says of the branch that it took: names of severities that the transforms set or keep.
const OUTCOMES: [(&str, &str, u8); 6] = [
    ("inferred or promoted fatal", "fatal", 21),
    ("inferred or promoted error", "error", 17),
    ("inferred or promoted warn", "warn", 13),
    ("inferred or defaulted info", "info", 9),
    ("inferred or promoted debug", "debug", 5),
    ("inferred or promoted trace", "trace", 1),
];

/// Prints how often each branch was taken; false when one never was.
pub(crate) fn report(made: &BTreeMap<&'static str, u64>, stored: &[(String, u8)]) -> bool {
    let mut taken: BTreeMap<String, usize> =
        made.iter().map(|(branch, count)| ((*branch).to_owned(), usize::try_from(*count).unwrap_or(0))).collect();
    for (name, text, number) in OUTCOMES {
        taken.insert(name.to_owned(), stored.iter().filter(|log| log.0 == text && log.1 == number).count());
    }
    let promoted = |text: &str, number: u8| stored.iter().filter(|log| log.0 == text && log.1 == number).count();
    taken.insert("promoted, no keyword: info".to_owned(), promoted("verbose", 9));
    taken.insert("promoted alert".to_owned(), promoted("alert", 21));
    taken.insert("promoted notice".to_owned(), promoted("notice", 13));
    println!("\nlog transforms:");
    for (branch, count) in &taken {
        println!("  {branch}: {count}");
    }
    taken.values().all(|count| *count > 0)
}
