//! `otelgate users print`

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use data_encoding::HEXLOWER;
use otelgate::config::{ClickHouse, Secret, SinkConfig};
use otelgate::sink::clickhouse::schema::users::{self, Account};
use rand::TryRng;
use rand::rngs::SysRng;

use super::{Usage, say};

/// Which accounts, and where they come from.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// An address or network (`192.0.2.0/24`) that the ingest user may come from; several are written one after another. This machine's
    /// address towards ClickHouse when absent
    #[arg(long, value_name = "ADDRESS", value_parser = users::host)]
    from: Vec<String>,
    /// What HyperDX's user is called
    #[arg(long, value_name = "NAME", default_value = "hyperdx")]
    hyperdx: String,
    /// An address or network that HyperDX may come from; any when absent
    #[arg(long, value_name = "ADDRESS", value_parser = users::host)]
    hyperdx_from: Vec<String>,
    /// The server is ClickHouse Cloud's
    #[arg(long)]
    cloud: bool,
}

pub(super) fn print(file: &Path, which: Which) -> anyhow::Result<()> {
    let SinkConfig::ClickHouse(config) = super::load(file)?.config.sink else {
        anyhow::bail!("this configuration forwards; ClickHouse's users are the collector's business");
    };
    let (password, cloud) = (new_password()?, which.cloud);
    let each = config.of_each_user();
    // Nothing is printed where one of them cannot be.
    let hosts = each.iter().map(|one| hosts(one, &which.from)).collect::<Result<Vec<_>, _>>()?;
    let hyperdx = Account { name: &which.hyperdx, password: &password, hosts: &which.hyperdx_from, cloud };
    let reader = users::hyperdx_user(&hyperdx, &config.database);
    for (one, hosts) in each.iter().zip(&hosts) {
        if each.len() > 1 {
            let servers: Vec<String> = one.urls.iter().map(ToString::to_string).collect();
            super::print(format_args!("-- On {}:\n", servers.join(", ")))?;
        }
        super::print(ingest_sql(one, hosts, cloud))?;
    }
    super::print(format_args!("\n-- {HYPERDX}\n{}", statements(&reader)))?;
    say(format_args!("the password of {}, shown only now: {}", which.hyperdx, password.expose()));
    Ok(())
}

const HYPERDX: &str = "HyperDX's user, for its connection. It reads only (readonly = 2), and may set what HyperDX sets with its queries: max_rows_to_read \
                       (where you bound it: 1,000,000 at least),\n-- read_overflow_mode, cancel_http_readonly_queries_on_client_close, wait_end_of_query.";

/// Where the ingest user of these servers comes from: as written, or from this machine's addresses towards them.
fn hosts(config: &ClickHouse, written: &[String]) -> Result<Vec<String>, Usage> {
    if !written.is_empty() {
        return Ok(written.to_vec());
    }
    let own: BTreeSet<IpAddr> = config.urls.iter().filter_map(own_address).collect();
    let hosts: BTreeSet<String> = own.into_iter().flat_map(users::hosts_of).collect();
    match hosts.is_empty() {
        true => Err(Usage(
            "ClickHouse's address cannot be resolved here; say where otelgate runs: --from ADDRESS".to_owned(),
        )),
        false => Ok(hosts.into_iter().collect()),
    }
}

/// The ingest user's statements, with what they are.
pub(super) fn ingest_sql(config: &ClickHouse, hosts: &[String], cloud: bool) -> String {
    format!(
        "-- otelgate's user, which adds rows and can drop none. Run as an administrator of ClickHouse; what is there already is left as it is.\n{}",
        statements(&users::ingest_user(config, hosts, cloud))
    )
}

fn statements(all: &[String]) -> String {
    all.iter().map(|sql| format!("{sql};\n")).collect()
}

/// A password of 192 bits.
pub(super) fn new_password() -> anyhow::Result<Secret> {
    let mut random = [0; 24];
    SysRng.try_fill_bytes(&mut random)?;
    Ok(Secret::new(HEXLOWER.encode(&random)))
}

/// This machine's address on the way to a server. Sends nothing.
pub(super) fn own_address(server: &http::Uri) -> Option<IpAddr> {
    let host = server.host()?.trim_matches(['[', ']']);
    let to = (host, server.port_u16().unwrap_or(8123)).to_socket_addrs().ok()?.next()?;
    way_to(to)
}

/// This machine's address on the way to an address. Sends nothing.
pub(super) fn way_to(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}
