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
        init.what_was_found(&survey, &chosen, &clickhouse).iter().for_each(|line| say(format_args!("{line}")));
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

    /// What ClickHouse told, and which option answers what it did not.
    fn what_was_found(&self, survey: &Survey, database: &str, clickhouse: &ClickHouse) -> Vec<String> {
        let url = clickhouse.urls.first().map(ToString::to_string).unwrap_or_default();
        let (user, administrator, mut said) = (&self.user, &self.admin_user, Vec::new());
        if let Some(version) = &survey.version {
            said.push(format!("ClickHouse {version} answers at {url}"));
            let others = survey.databases.join(", ");
            said.push(match survey.databases.as_slice() {
                [] => format!("the database {database} gets ClickStack's tables at the first start"),
                all if all.iter().any(|name| name == database) => {
                    format!("the database {database} has ClickStack's tables")
                }
                _ => format!("the database {database} gets ClickStack's tables at the first start; {others} has them"),
            });
        } else {
            said.push(match self.offline {
                true => format!("ClickHouse at {url} was not asked (--offline)"),
                false => format!(
                    "ClickHouse at {url} lets in neither {user} (with CLICKHOUSE_PASSWORD) nor {administrator} (with CLICKHOUSE_ADMIN_PASSWORD)"
                ),
            });
            let name = if self.database.is_some() { "" } else { ", or --database NAME the one that HyperDX reads" };
            said.push(format!(
                "not known: whether the database {database} has ClickStack's tables; --admin-user NAME with its password in \
                 CLICKHOUSE_ADMIN_PASSWORD finds it out{name}"
            ));
        }
        let there = match survey.user_exists {
            _ if survey.ingest_user => return said,
            Some(false) => return said,
            Some(true) => format!("ClickHouse has the user {user} already, with another password"),
            None => format!("if ClickHouse has the user {user} already"),
        };
        said.push(format!(
            "{there}: {USERS} does not change that; begin anew with its password in CLICKHOUSE_PASSWORD, or give it the new one: \
             ALTER USER … IDENTIFIED WITH sha256_hash BY the hash in {USERS}"
        ));
        said
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        init: Init,
    }

    fn said(more: &[&str], survey: &Survey) -> String {
        let arguments = ["init", "--clickhouse", "http://c:8123"].iter().chain(more);
        let init = Command::parse_from(arguments).init;
        let mut draft = Draft::new(Path::new("/o"));
        certificate_files(&mut draft, certificates::make(&["a.example".to_owned()]).expect("made"));
        draft.secret("keys.yaml", keys_yaml(&NewKey::generate("first").expect("made")).expect("written"));
        draft.secret("clickhouse-password", "p\n".to_owned());
        draft.public(CONFIG, init.yaml(&["a.example".to_owned()], "otel").expect("written"));
        match checked(&draft).expect("good").config.sink {
            SinkConfig::ClickHouse(clickhouse) => init.what_was_found(survey, "otel", &clickhouse).join("\n"),
            SinkConfig::Forward(_) => unreachable!("it stores"),
        }
    }

    #[test]
    fn nothing_is_said_of_tables_that_was_not_seen() {
        for more in [&[][..], &["--offline"], &["--offline", "--database", "otel"]] {
            let said = said(more, &Survey::default());
            assert!(!said.contains("gets") && said.contains("not known"), "{said}");
            assert!(said.contains("--admin-user NAME"), "{said}");
            assert_eq!(said.contains("--database NAME"), !more.contains(&"--database"), "{said}");
            assert_eq!(said.contains("was not asked"), more.contains(&"--offline"), "{said}");
        }
        let seen = Survey { version: Some("26.7".to_owned()), user_exists: Some(false), ..Survey::default() };
        assert!(said(&[], &seen).contains("otel gets ClickStack's tables"));
        let elsewhere = Survey { databases: vec!["default".to_owned()], ..seen.clone() };
        assert!(said(&["--database", "otel"], &elsewhere).contains("default has them"));
        let there = Survey { databases: vec!["otel".to_owned()], ..seen };
        assert!(said(&[], &there).ends_with("otel has ClickStack's tables"));
    }

    #[test]
    fn a_user_that_is_there_already_has_its_password() {
        let seen = |user_exists, ingest_user| {
            said(&[], &Survey { version: Some("26.7".to_owned()), user_exists, ingest_user, ..Survey::default() })
        };
        for (user_exists, ingest_user, says) in [
            (Some(true), false, "ClickHouse has the user hyperdx_ingest already"),
            (None, false, "if ClickHouse has the user hyperdx_ingest already"),
        ] {
            let said = seen(user_exists, ingest_user);
            assert!(said.contains(says) && said.contains("CLICKHOUSE_PASSWORD"), "{said}");
        }
        assert!(!seen(Some(false), false).contains("already") && !seen(None, true).contains("already"));
    }
}
