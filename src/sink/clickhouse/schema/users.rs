//! The accounts that ClickHouse needs, as SQL for an administrator: the one that otelgate inserts as, and the one that HyperDX reads as.
//!
//! Each may do what its work takes and no more. No password stands in a statement, only its SHA-256: what was run is logged, and kept in
//! terminals. Pure: no server is asked.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::ddl::{OWN_VIEWS, identifier, literal, statements_for};
use super::target::Target;
use super::version::Version;
use crate::config::{ClickHouse, Layout, Secret};

/// What the ingest user reads of the server, where `select_from_system_db_requires_grant` is on (docs/clickhouse.md).
const READ_BY_INGEST: [&str; 5] = ["tables", "columns", "merge_tree_settings", "processes", "replicas"];
/// What HyperDX reads of the server to know tables, columns and settings.
const READ_BY_HYPERDX: [&str; 5] = ["databases", "tables", "columns", "settings", "data_skipping_indices"];

/// An account.
#[derive(Debug, Clone)]
pub struct Account<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its password, of which the statements hold the SHA-256.
    pub password: &'a Secret,
    /// Addresses and networks (`192.0.2.0/24`) that it may come from; any when empty.
    pub hosts: &'a [String],
    /// The server is ClickHouse Cloud's.
    pub cloud: bool,
}

impl Account<'_> {
    fn profile(&self, settings: &str) -> String {
        format!("CREATE SETTINGS PROFILE IF NOT EXISTS {} SETTINGS {settings}", identifier(self.name))
    }

    fn create(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| format!("IP {}", literal(host))).collect();
        let hosts = if hosts.is_empty() { "ANY".to_owned() } else { hosts.join(", ") };
        let digest = HEXLOWER.encode(&Sha256::digest(self.password.expose()));
        let name = identifier(self.name);
        format!(
            "CREATE USER IF NOT EXISTS {name} IDENTIFIED WITH sha256_hash BY '{digest}' HOST {hosts} SETTINGS PROFILE {}",
            literal(self.name)
        )
    }

    fn quota(&self, queries: u32) -> String {
        let name = identifier(self.name);
        format!(
            "CREATE QUOTA IF NOT EXISTS {name} KEYED BY user_name FOR INTERVAL 1 minute MAX queries = {queries} TO {name}"
        )
    }

    fn grant(&self, rights: &str) -> String {
        format!("GRANT {rights} TO {}", identifier(self.name))
    }

    fn read_system(&self, tables: &[&str]) -> impl Iterator<Item = String> {
        tables.iter().map(|table| self.grant(&format!("SELECT ON system.{table}")))
    }
}

/// The ingest user of a configuration: it inserts into the tables and looks for what it inserted, and creates what is missing
/// where `create_schema` says so.
pub fn ingest_user(config: &ClickHouse, hosts: &[String], cloud: bool) -> Vec<String> {
    let account = Account { name: &config.user, password: &config.password, hosts, cloud };
    let database = identifier(&config.database);
    // An insert is given its own time by otelgate, and a look takes as long at most. Inserts are few and large.
    let seconds = config.insert_timeout.as_secs().max(60);
    let mut all = vec![
        format!("CREATE DATABASE IF NOT EXISTS {database}"),
        account.profile(&format!("max_execution_time = {seconds}, max_concurrent_queries_for_user = 100")),
        account.create(),
        account.quota(6000),
    ];
    if config.create_schema {
        all.push(account.grant(&format!("CREATE TABLE, CREATE VIEW ON {database}.*")));
        if !cloud {
            all.push(account.grant(&engines(&config.schema)));
        }
    }
    let tables = statements_for(config, &Target::of(Version::NEWEST)).into_iter();
    all.extend(
        tables
            .filter(|one| !OWN_VIEWS.contains(&one.name) && one.suffix == config.schema.suffix)
            .map(|one| account.grant(&format!("SELECT, INSERT ON {database}.{}", identifier(&one.table())))),
    );
    all.extend(account.read_system(&READ_BY_INGEST));
    all.extend(config.cluster.iter().flat_map(|_| account.read_system(&["clusters"])));
    all
}

/// The engines of the tables that are created.
fn engines(layout: &Layout) -> String {
    let (prefix, over) = (if layout.replicated.is_some() { "Replicated" } else { "" }, layout.distributed);
    let tables = format!("TABLE ENGINE ON {prefix}MergeTree, TABLE ENGINE ON {prefix}SummingMergeTree");
    if over { format!("{tables}, TABLE ENGINE ON Distributed") } else { tables }
}

/// HyperDX's user. `readonly = 2`: it reads only, and sets with its queries what it needs, among them the settings that ClickStack's guide names:
/// `max_rows_to_read` (1,000,000 at least; 0 bounds nothing), `read_overflow_mode`, `cancel_http_readonly_queries_on_client_close` and
/// `wait_end_of_query`.
pub fn hyperdx_user(account: &Account<'_>, database: &str) -> Vec<String> {
    let settings = "readonly = 2, max_rows_to_read = 0, read_overflow_mode = 'throw', \
                    cancel_http_readonly_queries_on_client_close = 1, http_wait_end_of_query = 0";
    let mut all = vec![account.profile(settings), account.create()];
    if account.cloud {
        all.push(account.grant("sql_console_read_only"));
    } else {
        all.push(account.grant(&format!("SELECT ON {}.*", identifier(database))));
        all.extend(account.read_system(&READ_BY_HYPERDX));
    }
    all
}

/// The hosts of an account that comes from this address: this machine has two.
pub fn hosts_of(address: IpAddr) -> Vec<String> {
    match address.to_canonical() {
        address if address.is_loopback() => vec!["127.0.0.1".to_owned(), "::1".to_owned()],
        address => vec![address.to_string()],
    }
}

/// Reads an address, or a network as ClickHouse has them.
///
/// # Errors
/// What is wrong with it, in words.
pub fn host(text: &str) -> Result<String, String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let parsed: Option<IpAddr> = address.parse().ok();
    let most = parsed.map_or(0, |address| if address.is_ipv4() { 32 } else { 128 });
    let fits = bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most));
    match parsed {
        Some(_) if fits => Ok(text.to_owned()),
        _ => Err("is no IP address and no network, for example 192.0.2.7 or 192.0.2.0/24".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::testing::Fake;
    use crate::config::{self, SinkConfig};
    use crate::sink::clickhouse::schema::warnings;

    fn config(line: &str) -> ClickHouse {
        let text = format!(
            "tls: {{ plaintext: true }}\nlisten: {{ otlp: '127.0.0.1:4317' }}\nspool: none\nsink:\n  clickhouse:\n    \
             url: http://localhost:8123\n    password: '${{env:SECRET}}'\n{line}"
        );
        let fake =
            Fake::new().file("/f/otelgate.yaml", text).file("/f/keys.yaml", "keys: []\n").variable("SECRET", "it's");
        match config::load(Path::new("/f/otelgate.yaml"), &fake).unwrap().config.sink {
            SinkConfig::ClickHouse(clickhouse) => clickhouse,
            SinkConfig::Forward(_) => unreachable!("it stores"),
        }
    }

    #[test]
    fn the_ingest_user_has_no_right_that_would_be_a_warning_and_no_password_is_shown() {
        for line in ["", "    create_schema: false\n", "    database: default\n"] {
            let config = config(line);
            let all = ingest_user(&config, &["192.0.2.7".to_owned()], false);
            let grants: Vec<String> = all.iter().filter(|sql| sql.starts_with("GRANT ")).cloned().collect();
            assert_eq!(warnings(&config.user, &config.database, &grants), [""; 0], "{line}");
            assert_eq!(grants.iter().any(|grant| grant.contains("CREATE TABLE")), !line.contains("false"), "{line}");
            assert!(!all.concat().contains("it's") && all.concat().contains("HOST IP '192.0.2.7'"), "{all:?}");
        }
    }

    #[test]
    fn in_the_cloud_hyperdx_has_a_role() {
        let password = Secret::new("secret");
        let of = |cloud| {
            hyperdx_user(&Account { name: "hyperdx", password: &password, hosts: &[], cloud }, "otel").join(";\n")
        };
        assert!(of(true).contains("GRANT sql_console_read_only TO hyperdx") && !of(true).contains("SELECT ON"));
        assert!(of(false).contains("GRANT SELECT ON otel.* TO hyperdx") && !of(false).contains("INSERT"));
    }

    #[test]
    fn hosts_are_addresses_and_networks() {
        for good in ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1"] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for wrong in ["", "edge", "192.0.2.0/33", "192.0.2.0/", "'", "::1/129"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        assert_eq!(hosts_of("::ffff:127.0.0.1".parse().unwrap()), ["127.0.0.1", "::1"]);
        assert_eq!(hosts_of("::ffff:192.0.2.7".parse().unwrap()), ["192.0.2.7"]);
    }
}
