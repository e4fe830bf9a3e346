//! `otelgate init`: from a running ClickHouse to a gateway that can be started, without an editor.
//!
//! Everything is made in memory, checked as `otelgate check` does, and written only then, where nothing is overwritten.

mod certificates;
mod draft;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use otelgate::config::{self, ClickHouse, Loaded, Mistakes, Secret, SinkConfig};
use otelgate::keys::{NewKey, digest_of};
use otelgate::sink::clickhouse::schema::users;
use otelgate::sink::clickhouse::{Survey, survey};

use self::certificates::Certificates;
use self::draft::Draft;
use super::admin::block_on;
use super::users::{ingest_sql, new_password, own_address};
use super::{Usage, print, say, warn};

const CONFIG: &str = "otelgate.yaml";
const USERS: &str = "clickhouse-users.sql";

/// What cannot be found out.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// ClickHouse's HTTP interface, for example https://clickhouse:8443. It is asked for its version, and which database has ClickStack's tables:
    /// as the ingest user with the password in CLICKHOUSE_PASSWORD, else as --admin-user
    #[arg(long, value_name = "URL", required_unless_present = "forward")]
    clickhouse: Option<String>,
    /// Forward to this collector instead (gRPC), for example http://collector:4317. With --clickhouse its section is written beside, as a comment
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// The name by which clients come; the certificate is for it, and for this machine
    #[arg(long, value_name = "NAME", conflicts_with = "self_signed")]
    domain: Option<String>,
    /// Order the domain's certificate from Let's Encrypt, and renew it, instead of making one with a CA of one's own. The name must lead to port 80 here,
    /// or to port 443 with --otlp ADDRESS:443
    #[arg(long, requires = "domain")]
    acme: bool,
    /// A certificate for this machine's name and addresses, as when no domain is given
    #[arg(long)]
    self_signed: bool,
    /// Where the files are written; nothing in it is overwritten
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The database, where several have ClickStack's tables
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// The ingest user
    #[arg(long, value_name = "NAME", default_value = "hyperdx_ingest")]
    user: String,
    /// Who asks ClickHouse when the ingest user cannot log in yet, with the password in CLICKHOUSE_ADMIN_PASSWORD or none
    #[arg(long, value_name = "NAME", default_value = "default")]
    admin_user: String,
    /// PEM file of the CA that signed ClickHouse's certificate; the public ones when absent
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Addresses for OTLP
    #[arg(long, value_name = "ADDRESS", default_values = ["0.0.0.0:4317", "0.0.0.0:4318"])]
    otlp: Vec<SocketAddr>,
    /// The address for health, metrics and the status page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9317")]
    admin: SocketAddr,
    /// Ask no ClickHouse: it cannot be reached from here
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(init: &Init) -> anyhow::Result<()> {
    let dir = std::path::absolute(&init.dir)?;
    let names = certificates::names(init.domain.as_deref());
    let key = NewKey::generate("first")?;
    let password = match std::env::var("CLICKHOUSE_PASSWORD") {
        Ok(password) if !password.is_empty() => Secret::new(password),
        _ => new_password()?,
    };
    let mut draft = Draft::new(&dir);
    if !init.acme {
        let made = certificates::make(&names)
            .map_err(|error| Usage(format!("no certificate can be made for {}: {error}", names.join(", "))))?;
        certificate_files(&mut draft, made);
    }
    draft.secret("keys.yaml", keys_yaml(&key)?);
    let mut chosen = init.database.clone().unwrap_or_else(|| "otel".to_owned());
    if init.clickhouse.is_some() {
        draft.secret("clickhouse-password", format!("{}\n", password.expose()));
    }
    draft.public(CONFIG, init.yaml(&names, &chosen)?);
    draft.refuse_if_there()?;

    let mut next = Vec::new();
    if let SinkConfig::ClickHouse(clickhouse) = checked(&draft)?.config.sink {
        let survey = init.ask(&clickhouse)?;
        chosen = init.choose(&survey)?;
        draft.public(CONFIG, init.yaml(&names, &chosen)?);
        say_what_was_found(&survey, &chosen, &clickhouse);
        if !survey.ingest_user {
            let clickhouse = ClickHouse { database: chosen, ..clickhouse };
            let from = survey.seen_from.or_else(|| clickhouse.urls.first().and_then(own_address));
            let cloud = clickhouse.urls.iter().any(|url| url.host().is_some_and(|h| h.ends_with(".clickhouse.cloud")));
            let hosts = from.map(users::hosts_of).unwrap_or_default();
            draft.secret(USERS, ingest_sql(&clickhouse, &hosts, cloud));
            next.push(init.run_sql(&clickhouse, &dir));
        }
    }
    let loaded = checked(&draft)?;
    draft.write()?;
    loaded.warnings.iter().for_each(warn);
    warn_of_taken_ports(&init.otlp);
    next.push(format!("otelgate serve --config {}", dir.join(CONFIG).display()));
    print(init.report(&draft, &next, &names, &key))
}

impl Init {
    fn yaml(&self, names: &[String], database: &str) -> anyhow::Result<String> {
        let quoted = |text: &str| serde_json::to_string(text);
        let otlp: Result<Vec<_>, _> = self.otlp.iter().map(|address| quoted(&address.to_string())).collect();
        let mut sink = String::new();
        if let Some(url) = &self.clickhouse {
            let ca_file = match &self.ca_file {
                Some(file) => format!("    ca_file: {}\n", quoted(&std::path::absolute(file)?.to_string_lossy())?),
                None => String::new(),
            };
            sink = include_str!("clickhouse.yaml")
                .replace("{ca_file}", &ca_file)
                .replace("{url}", &quoted(url)?)
                .replace("{database}", &quoted(database)?)
                .replace("{user}", &quoted(&self.user)?);
        }
        if let Some(endpoint) = &self.forward {
            let instead: String = sink.lines().skip(1).map(|line| format!("#{line}\n")).collect();
            sink = format!("sink:\n  forward:\n    endpoint: {}\n{instead}", quoted(endpoint)?);
        }
        Ok(include_str!("otelgate.yaml")
            .replace("{behind}", if self.forward.is_some() { "the collector" } else { "ClickHouse" })
            .replace("{otlp}", &otlp?.join(", "))
            .replace("{admin}", &self.admin.to_string())
            .replace("{tls}\n", &self.tls(names)?)
            .replace("{sink}\n", &sink))
    }

    /// Section `tls`: files, or what orders a certificate. With a domain the files have that beside them, as a comment.
    fn tls(&self, names: &[String]) -> anyhow::Result<String> {
        let acme = match &self.domain {
            Some(domain) => include_str!("acme.yaml").replace("{domain}", &serde_json::to_string(domain)?),
            None => String::new(),
        };
        if self.acme {
            return Ok(acme + "\n");
        }
        let comment: String =
            acme.lines().map(|line| format!("  # {}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
        Ok(include_str!("files.yaml").replace("{names}", &names.join(", ")) + &comment + "\n")
    }

    fn ask(&self, clickhouse: &ClickHouse) -> anyhow::Result<Survey> {
        if self.offline {
            return Ok(Survey::default());
        }
        let password = std::env::var("CLICKHOUSE_ADMIN_PASSWORD").unwrap_or_default();
        let asked = block_on(async { Ok(survey(clickhouse, (&self.admin_user, Secret::new(password))).await?) });
        asked.context("nothing is written; --offline asks no ClickHouse")
    }

    fn choose(&self, survey: &Survey) -> anyhow::Result<String> {
        match (&self.database, survey.databases.as_slice()) {
            (Some(named), _) => Ok(named.clone()),
            (None, []) => Ok("otel".to_owned()),
            (None, [one]) => Ok(one.clone()),
            (None, several) => Err(Usage(format!(
                "several databases have ClickStack's tables: {}; name one: --database NAME",
                several.join(", ")
            ))
            .into()),
        }
    }

    /// The command that makes the ingest user.
    fn run_sql(&self, clickhouse: &ClickHouse, dir: &Path) -> String {
        let url = clickhouse.urls.first();
        let host = url.and_then(http::Uri::host).unwrap_or_default();
        let secure = if url.and_then(http::Uri::scheme_str) == Some("https") { " --secure" } else { "" };
        let file = dir.join(USERS);
        format!(
            "clickhouse-client --host {host}{secure} --user {} --queries-file {}   # once, as an administrator",
            self.admin_user,
            file.display()
        )
    }

    fn report(&self, draft: &Draft, next: &[String], names: &[String], key: &NewKey) -> String {
        let port = self.otlp.first().map_or(4317, SocketAddr::port);
        let host = names.first().map_or("localhost", String::as_str);
        let files: String = draft.paths().map(|path| format!("  {}\n", path.display())).collect();
        let next: String = next.iter().map(|command| format!("  {command}\n")).collect();
        // What Let's Encrypt signs is trusted already.
        let ca = match self.acme {
            true => String::new(),
            false => format!("  export OTEL_EXPORTER_OTLP_CERTIFICATE={}\n", draft.path("tls/ca.crt").display()),
        };
        format!(
            "written:\n{files}\nnext:\n{next}\nfor SDKs; the key is shown only now:\n  \
             export OTEL_EXPORTER_OTLP_ENDPOINT=https://{host}:{port}\n  \
             export OTEL_EXPORTER_OTLP_HEADERS=authorization={}\n{ca}",
            key.expose()
        )
    }
}

fn certificate_files(draft: &mut Draft, made: Certificates) {
    draft.public("tls/ca.crt", made.ca);
    draft.secret("tls/ca.key", made.ca_key);
    draft.public("tls/server.crt", made.server);
    draft.secret("tls/server.key", made.server_key);
}

fn keys_yaml(key: &NewKey) -> anyhow::Result<String> {
    let digest = digest_of(key.expose()).map_err(anyhow::Error::msg)?;
    Ok(format!(
        "# Who may send. Only the SHA-256 of a key is here; docs/keys.md has what an entry may say. Reread when it changes.\nkeys:\n  - name: {}\n    sha256: \"{digest}\"\n",
        key.name()
    ))
}

/// The configuration, which must have no mistake.
fn checked(draft: &Draft) -> Result<Loaded, Mistakes> {
    let loaded = config::load(&draft.path(CONFIG), draft)?;
    if loaded.faults.is_empty() { Ok(loaded) } else { Err(Mistakes(loaded.faults)) }
}

fn say_what_was_found(survey: &Survey, database: &str, clickhouse: &ClickHouse) {
    let url = clickhouse.urls.first().map(ToString::to_string).unwrap_or_default();
    match &survey.version {
        Some(version) => say(format_args!("ClickHouse {version} answers at {url}")),
        None => say(format_args!("ClickHouse at {url} was not asked, or let nobody in that was tried")),
    }
    let there = survey.databases.iter().any(|name| name == database);
    let tables = if there { "has ClickStack's tables" } else { "gets ClickStack's tables at the first start" };
    say(format_args!("the database {database} {tables}"));
}

/// ClickStack's collector may be there still.
fn warn_of_taken_ports(addresses: &[SocketAddr]) {
    for address in addresses {
        if TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
            say(format_args!(
                "warning: somebody listens on {address}; stop publishing that (ClickStack's collector?) before you start otelgate"
            ));
        }
    }
}
