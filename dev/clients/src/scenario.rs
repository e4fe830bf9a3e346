//! What happens to the clients, and what must come of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use stack::{Config, Key};
use tokio::task::JoinSet;

use crate::catalogue::{Client, Pings, Variant};
use crate::program::{Ended, Load, Order, sends};
use crate::rig::{Edge, Rig};
use crate::rows::{Count, Rows};

/// A program that sends with a key that is not known must have ended by then. It takes a second or two; the machine may be busy.
const QUICKLY: Duration = Duration::from_secs(20);

/// Pings that a server answers, at least, in the pause of [`Scenario::Pings`]: five on each of the two connections that are idle. Servers that keep to gRPC's
/// own rule (a ping in 5 min, or in 2 h without a call) close after the third.
const ANSWERED: usize = 8;

/// One column of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A few records, compared field by field.
    Rows,
    /// The next otelgate takes over three times under a steady stream.
    Stop,
    /// SIGKILL three times under a steady stream, while a supervisor keeps the socket.
    Kill,
    /// Connections live for 5 s.
    Age,
    /// Connections are closed when they are idle, between portions.
    Idle,
    /// Connections stay idle, but for pings.
    Pings,
    /// A burst beyond what the key may send.
    Limit,
    /// The key is not known.
    WrongKey,
    /// Clients must show a certificate.
    Mutual,
}

/// What a scenario found out about one client.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the page says.
    pub(crate) text: String,
    /// What breaks a promise.
    pub(crate) broken: Vec<String>,
}

impl Scenario {
    /// In the page's order.
    pub(crate) const ALL: [Scenario; 9] = [
        Scenario::Rows,
        Scenario::Stop,
        Scenario::Kill,
        Scenario::Age,
        Scenario::Idle,
        Scenario::Pings,
        Scenario::Limit,
        Scenario::WrongKey,
        Scenario::Mutual,
    ];

    /// What `--scenarios` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Rows => "rows",
            Scenario::Stop => "stop",
            Scenario::Kill => "kill",
            Scenario::Age => "age",
            Scenario::Idle => "idle",
            Scenario::Pings => "pings",
            Scenario::Limit => "limit",
            Scenario::WrongKey => "wrong-key",
            Scenario::Mutual => "mutual",
        }
    }

    /// What the page calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Scenario::Rows => "rows",
            Scenario::Stop => "three restarts",
            Scenario::Kill => "three SIGKILLs",
            Scenario::Age => "`max_connection_age: 5s`",
            Scenario::Idle => "idle closes",
            Scenario::Pings => "keepalive pings",
            Scenario::Limit => "over the key's limit",
            Scenario::WrongKey => "wrong key",
            Scenario::Mutual => "mTLS",
        }
    }

    /// Whether it is among what every submission runs.
    pub(crate) fn is_quick(self) -> bool {
        matches!(self, Scenario::Rows | Scenario::Stop | Scenario::WrongKey)
    }

    /// Whether a client can do what this asks for.
    fn is_for(self, client: &Client, variant: &Variant) -> bool {
        match self {
            Scenario::Pings => client.pings != Pings::Never && variant.protocol == "grpc",
            _ if client.pings == Pings::Only => false,
            Scenario::Mutual => !client.without_certificate.contains(&variant.protocol),
            _ => true,
        }
    }

    fn load(self) -> Load {
        let load = |records, portion, pause| Load { records, portion, pause: Duration::from_millis(pause) };
        match self {
            Scenario::Rows | Scenario::Mutual => load(60, 60, 0),
            // 150 spans and 150 log records a second.
            Scenario::Stop | Scenario::Kill => load(1800, 15, 100),
            Scenario::Age => load(2100, 15, 100),
            Scenario::Idle => load(60, 15, 7000),
            Scenario::Pings => load(30, 15, 55_000),
            Scenario::Limit => load(1000, 1000, 0),
            Scenario::WrongKey => load(10, 10, 0),
        }
    }

    fn configured(self, rig: &Rig, config: Config) -> Config {
        match self {
            Scenario::Age => config.listen("max_connection_age: 5s"),
            Scenario::Idle => config.listen("idle_timeout: 1s"),
            Scenario::Mutual => config.tls_setting(&format!("client_ca_file: {}", rig.certificates.ca.display())),
            Scenario::Rows
            | Scenario::Stop
            | Scenario::Kill
            | Scenario::Pings
            | Scenario::Limit
            | Scenario::WrongKey => config,
        }
    }

    /// The key of a client: one for each, so that limits are their own.
    fn key(self, service: &str) -> Key {
        let key = Key::known(service, &format!("key-of-{service}"));
        match self {
            Scenario::Limit => key.with("limits: { records_per_second: 500 }"),
            _ => key.unlimited(),
        }
    }
}

/// One client in a scenario, before and after.
struct Part {
    variant: Variant,
    order: Order,
    ended: Ended,
}

/// Runs every variant of a client at once that can do what the scenario asks for.
///
/// # Errors
/// Something does not start or end.
pub(crate) async fn run(
    rig: &Rig,
    client: &Client,
    program: &Path,
    scenario: Scenario,
) -> Result<Vec<(Variant, Outcome)>> {
    let name = format!("{}-{}", client.slug(), scenario.name());
    let variants: Vec<Variant> = client.variants.iter().copied().filter(|of| scenario.is_for(client, of)).collect();
    if variants.is_empty() {
        return Ok(Vec::new());
    }
    let services: Vec<String> = variants.iter().map(|variant| service(&name, variant)).collect();
    let keys: Vec<Key> = services.iter().map(|service| scenario.key(service)).collect();
    let mut edge =
        rig.gateway(&name, &keys, scenario == Scenario::Kill, |config| scenario.configured(rig, config)).await?;
    let start = now();
    let orders = variants.iter().zip(&services).zip(&keys).map(|((variant, service), key)| Order {
        service: service.clone(),
        sdk: client.sdk,
        docs: client.docs,
        variant: *variant,
        endpoint: edge.endpoint(),
        key: if scenario == Scenario::WrongKey { "nobody-knows-it".to_owned() } else { key.key.clone() },
        certificates: rig.certificates.clone(),
        shows_certificate: scenario == Scenario::Mutual,
        pings: scenario == Scenario::Pings,
        start,
        load: scenario.load(),
    });
    let orders: Vec<Order> = orders.collect();
    let logs = orders.iter().map(|order| order.log(&rig.folder)).collect::<Vec<_>>();
    let (parts, disturbed) = tokio::join!(all(program, &rig.folder, orders), disturb(scenario, &mut edge, &logs));
    disturbed.with_context(|| format!("{} ({})", client.name, scenario.name()))?;
    let mut outcomes = Vec::new();
    for part in parts? {
        outcomes.push((part.variant, judge(rig, client, scenario, &part).await?));
    }
    if scenario == Scenario::Mutual && !outcomes.is_empty() {
        without_certificate(rig, client, program, &edge, &mut outcomes).await?;
    }
    edge.stop().await?;
    Ok(outcomes)
}

fn service(name: &str, variant: &Variant) -> String {
    format!("{name}-{}-{}", variant.protocol.replace('/', "-"), variant.compression)
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default()
}

/// Runs all of them to their ends.
async fn all(program: &Path, folder: &Path, orders: Vec<Order>) -> Result<Vec<Part>> {
    let mut running = JoinSet::new();
    for (place, order) in orders.into_iter().enumerate() {
        let (program, folder) = (program.to_owned(), folder.to_owned());
        running.spawn(async move {
            let ended = order.run(&program, &folder).await?;
            anyhow::Ok((place, Part { variant: order.variant, order, ended }))
        });
    }
    let mut parts = Vec::new();
    while let Some(part) = running.join_next().await {
        parts.push(part??);
    }
    parts.sort_by_key(|(place, _)| *place);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// What happens to otelgate, once every client sends.
async fn disturb(scenario: Scenario, edge: &mut Edge, logs: &[PathBuf]) -> Result<()> {
    if !matches!(scenario, Scenario::Stop | Scenario::Kill) {
        return Ok(());
    }
    for log in logs {
        // One that never sends is seen at the end.
        let _ = tokio::time::timeout(Duration::from_secs(90), sends(log)).await;
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        match scenario {
            Scenario::Stop => edge.take_over().await?,
            _ => edge.kill().await?,
        }
    }
    Ok(())
}

async fn judge(rig: &Rig, client: &Client, scenario: Scenario, part: &Part) -> Result<Outcome> {
    let Part { variant, order, ended } = part;
    let rows = Rows { clickhouse: &rig.clickhouse, database: rig.database, service: &order.service };
    if scenario == Scenario::WrongKey {
        // What should not have been kept would be stored by then.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let wanted = if scenario == Scenario::WrongKey { 0 } else { order.load.records };
    let found = rows.arrived(wanted, client).await?;
    // A page's recording has no numbered log records.
    let found = if client.records_session { &found[..1] } else { &found[..] };
    let mut broken = Vec::new();
    if found.iter().any(|count| count.rows > count.records) {
        broken.push(format!("doubled: {found:?}"));
    }
    let text = match scenario {
        Scenario::WrongKey => {
            refused(ended, found, &["the ingestion key is missing or not valid", "401", "unauthorized"], &mut broken)
        }
        Scenario::Limit => format!("{}, {:.0} s", lost(order.load.records, found), ended.took.as_secs_f64()),
        Scenario::Kill => lost(order.load.records, found),
        Scenario::Rows => {
            let differences = rows.differences(order.start, order.load.records, &ended.said, client).await?;
            let told = differences.iter().take(3).cloned();
            let text =
                if differences.is_empty() { "equal".to_owned() } else { format!("{} differ", differences.len()) };
            broken.extend(told);
            text
        }
        Scenario::Stop | Scenario::Age | Scenario::Idle | Scenario::Pings | Scenario::Mutual => {
            if found.iter().any(|count| count.records < order.load.records) {
                broken.push(format!("{} of {} of each", lost(order.load.records, found), order.load.records));
            }
            let lost = lost(order.load.records, found);
            if scenario == Scenario::Pings { format!("{}, {lost}", pinged(&ended.said, &mut broken)) } else { lost }
        }
    };
    if scenario == Scenario::WrongKey && ended.took > QUICKLY {
        broken.push(format!("took {:?}", ended.took));
    }
    if !ended.status.success() && scenario != Scenario::WrongKey {
        broken.push(format!("the program ended with {}", ended.status));
    }
    let broken = broken
        .into_iter()
        .map(|what| format!("{} ({variant}), {}: {what}; see {}", client.name, scenario.name(), ended.log.display()))
        .collect();
    Ok(Outcome { text, broken })
}

/// Records that did not arrive, of these kinds.
fn lost(sent: u64, found: &[Count]) -> String {
    let lost: u64 = found.iter().map(|count| sent - count.records.min(sent)).sum();
    let share = lost as f64 * 100.0 / (sent * found.len() as u64) as f64;
    if lost == 0 { "0 lost".to_owned() } else { format!("{lost} lost ({share:.1} %)") }
}

/// A program that nobody lets in: its log says why.
fn refused(ended: &Ended, found: &[Count], reasons: &[&str], broken: &mut Vec<String>) -> String {
    if found.iter().any(|count| count.rows > 0) {
        broken.push(format!("stored: {found:?}"));
    }
    let said = ended.said.to_lowercase();
    let told = reasons.iter().any(|reason| said.contains(reason));
    if !told {
        broken.push("the reason is not in its log".to_owned());
    }
    format!("{}{:.0} s", if told { "told, " } else { "not told, " }, ended.took.as_secs_f64())
}

/// How many pings were answered, by what a program says of its connections: none is closed, and none is opened again.
fn pinged(said: &str, broken: &mut Vec<String>) -> String {
    let answered = said.lines().filter(|line| *line == "pinged").count();
    if answered < ANSWERED {
        broken.push(format!("{answered} pings were answered"));
    }
    let mut connected: Vec<&str> = said.lines().filter(|line| line.starts_with("connected ")).collect();
    let connections = connected.len();
    connected.sort_unstable();
    connected.dedup();
    if connected.is_empty() || connected.len() < connections {
        broken.push(format!("{connections} connections instead of {}", connected.len()));
    }
    broken.extend(said.lines().filter(|line| line.starts_with("goaway ")).map(str::to_owned));
    format!("{answered} answered")
}

/// The same clients without a certificate.
async fn without_certificate(
    rig: &Rig,
    client: &Client,
    program: &Path,
    edge: &Edge,
    outcomes: &mut [(Variant, Outcome)],
) -> Result<()> {
    let name = format!("{}-no-certificate", client.slug());
    let orders = outcomes.iter().map(|(variant, _)| Order {
        service: service(&name, variant),
        sdk: client.sdk,
        docs: client.docs,
        variant: *variant,
        endpoint: edge.endpoint(),
        key: "nobody-asks-for-it".to_owned(),
        certificates: rig.certificates.clone(),
        shows_certificate: false,
        pings: false,
        start: now(),
        load: Load { records: 10, portion: 10, pause: Duration::ZERO },
    });
    let parts = all(program, &rig.folder, orders.collect()).await?;
    for (part, (_, outcome)) in parts.iter().zip(outcomes) {
        let mut broken = Vec::new();
        // OkHttp tells its caller no more than this where the alert crosses the request.
        let reasons = ["certificate required", "certificate_required", "ConnectionShutdownException"];
        let text = refused(&part.ended, &[], &reasons, &mut broken);
        outcome.text += &format!("; without: {text}");
        let Part { variant, ended, .. } = part;
        outcome.broken.extend(broken.iter().map(|what| {
            format!("{} ({variant}), without a certificate: {what}; see {}", client.name, ended.log.display())
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_without_answer_and_connections_closed_for_them_are_seen() {
        let broken = |said: &str| {
            let mut broken = Vec::new();
            pinged(said, &mut broken);
            broken.len()
        };
        let whole = "connected traces\nconnected logs\n".to_owned() + &"pinged\n".repeat(ANSWERED);
        assert_eq!(broken(&whole), 0);
        assert_eq!(broken(&whole.replacen("pinged", "", 1)), 1);
        assert_eq!(broken(&format!("{whole}connected logs\n")), 1);
        assert_eq!(broken(&format!("{whole}goaway logs: ENHANCE_YOUR_CALM\n")), 1);
        assert_eq!(broken(&whole.replace("connected ", "")), 1);
    }
}
