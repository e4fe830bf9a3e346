//! The goal: all attacks at once make nobody else's p99 more than twice what it is without them, measured in turn.

use std::time::Duration;

use anyhow::Result;

use crate::attack::Attack;
use crate::measure;
use crate::rig::Server;

/// The good client's p99, so many times in turn: beside nothing, beside loops that keep the cores busy, beside all attacks.
///
/// # Errors
/// Of the rig, not of the good client: what that is told, it counts.
pub(crate) async fn table(server: &Server, rounds: usize, time: Duration) -> Result<String> {
    let beside = [Attack::Quiet, Attack::Busy, Attack::All];
    let mut times = beside.each_ref().map(|_| Vec::new());
    for round in 1..=rounds {
        for (attack, times) in beside.iter().zip(&mut times) {
            let fared = measure(attack, server, time).await?.fared;
            let p99 = fared.milliseconds(99);
            println!("goal, round {round}: {}: p99 {p99:.1} ms, {} failed", attack.name(), fared.errors);
            times.push(p99);
        }
    }
    let mut text = format!(
        "\n{}'s good client beside all attacks and without them, {rounds} times in turn, {} s each:\n\n\
         | beside | its p99, ms: median (least to most) |\n| --- | --- |\n",
        server.name,
        time.as_secs()
    );
    for (attack, mut times) in beside.iter().zip(times) {
        times.sort_unstable_by(f64::total_cmp);
        if let [least, .., most] = times[..] {
            let median = times[times.len() / 2];
            text += &format!("| {} | {median:.1} ({least:.1} to {most:.1}) |\n", attack.name());
        }
    }
    Ok(text)
}
