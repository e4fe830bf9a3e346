//! What certificates say of themselves, and what a person should hear of it before a client does: that they are over or not yet valid, end
//! soon, name nobody who comes here, or lack the one that signed them.
//!
//! Whether a chain can be trusted is for the other side to decide. Here is said only what everybody who looks at it will see.

mod name;
mod staple;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

pub(crate) use name::CertificateName;
#[cfg(test)]
pub(crate) use staple::staple_for;
pub(crate) use staple::{Staple, Unusable};

/// A certificate that ends within this time is a warning: time enough for whoever renews by hand.
const SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 86_400;

/// What a chain is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// To clients that connect to these addresses.
    Server(&'a [SocketAddr]),
    /// To a server.
    Client,
}

/// What was found, in words that go on after the file's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Nobody who looks accepts it now.
    pub(crate) faults: Vec<String>,
    /// It works, or may work, and somebody should look after it.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// To the log.
    pub(crate) fn say(&self, file: &Path) {
        let file = file.display();
        self.faults.iter().for_each(|fault| tracing::error!("{file} {fault}"));
        self.warnings.iter().for_each(|warning| tracing::warn!("{file} {warning}"));
    }
}

impl fmt::Display for Findings {
    /// The faults in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("; "))
    }
}

/// Looks at a chain, leaf first.
pub(crate) fn chain(chain: &[CertificateDer<'_>], purpose: Purpose<'_>, now: SystemTime) -> Findings {
    let mut found = Findings::default();
    let Some(parsed) = parse(chain, &mut found) else {
        return found;
    };
    for (place, certificate) in parsed.iter().enumerate() {
        let whose = if place == 0 { String::new() } else { format!(" ({})", certificate.subject()) };
        validity(certificate, &whose, seconds(now), &mut found);
    }
    if let Some(leaf) = parsed.first() {
        found.warnings.extend(usage(leaf, purpose));
        if let Purpose::Server(listeners) = purpose {
            found.warnings.extend(names(leaf, listeners));
        }
    }
    found.warnings.extend(issuers(&parsed));
    found
}

/// Looks at the CAs of a file: those that are over are no use, and when all are nobody is accepted.
pub(crate) fn authorities(all: &[CertificateDer<'_>], now: SystemTime) -> Findings {
    let mut found = Findings::default();
    let Some(parsed) = parse(all, &mut found) else {
        return found;
    };
    let mut each = Findings::default();
    for certificate in &parsed {
        let whose = format!(" ({})", certificate.subject());
        validity(certificate, &whose, seconds(now), &mut each);
    }
    if each.faults.len() == parsed.len() {
        found.faults = each.faults;
    } else {
        found.warnings = each.faults;
    }
    found.warnings.extend(each.warnings);
    found
}

/// Looks at revocation lists: one that should have been replaced by now knows nothing of what was revoked since, and a CA without a list
/// revokes nobody.
pub(crate) fn revocations(
    lists: &[CertificateRevocationListDer<'_>],
    authorities: &[CertificateDer<'_>],
    now: SystemTime,
) -> Findings {
    let mut found = Findings::default();
    let parsed: Result<Vec<_>, _> = lists.iter().map(|one| CertificateRevocationList::from_der(one)).collect();
    let Ok(parsed) = parsed else {
        found.faults.push("holds something that is no X.509 revocation list".to_owned());
        return found;
    };
    for (_, list) in &parsed {
        let due = list.next_update().map(|due| due.timestamp()).filter(|due| *due < seconds(now));
        found.warnings.extend(due.map(|due| {
            format!("was to be replaced on {} ({}); who was revoked since is let in", day(due), list.issuer())
        }));
    }
    for (_, authority) in authorities.iter().filter_map(|one| X509Certificate::from_der(one).ok()) {
        if !parsed.iter().any(|(_, list)| list.issuer().as_raw() == authority.subject().as_raw()) {
            found.warnings.push(format!("holds no list of {}: what that CA revoked is let in", authority.subject()));
        }
    }
    found
}

/// When the first of some revocation lists is to be replaced, in seconds since 1970.
pub(crate) fn revocations_end(lists: &[CertificateRevocationListDer<'_>]) -> Option<i64> {
    let parsed = lists.iter().filter_map(|one| CertificateRevocationList::from_der(one).ok());
    parsed.filter_map(|(_, list)| Some(list.next_update()?.timestamp())).min()
}

/// When the first of a chain's certificates ends, in seconds since 1970.
pub(crate) fn chain_ends(chain: &[CertificateDer<'_>]) -> Option<i64> {
    ends(chain).min()
}

/// When a leaf is to be renewed, in seconds since 1970: a third of its time is left then.
pub(crate) fn renew_at(leaf: &CertificateDer<'_>) -> Option<i64> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let (begins, ends) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    Some(ends - ends.saturating_sub(begins) / 3)
}

/// When the last of a file's CAs ends, in seconds since 1970.
pub(crate) fn authorities_end(all: &[CertificateDer<'_>]) -> Option<i64> {
    ends(all).max()
}

fn ends(all: &[CertificateDer<'_>]) -> impl Iterator<Item = i64> {
    let parsed = all.iter().filter_map(|one| X509Certificate::from_der(one).ok());
    parsed.map(|(_, certificate)| certificate.validity().not_after.timestamp())
}

fn parse<'a>(all: &'a [CertificateDer<'_>], found: &mut Findings) -> Option<Vec<X509Certificate<'a>>> {
    let parsed: Result<Vec<_>, _> = all.iter().map(|one| X509Certificate::from_der(one)).collect();
    match parsed {
        Ok(parsed) => Some(parsed.into_iter().map(|(_, certificate)| certificate).collect()),
        Err(_) => {
            found.faults.push("holds something that is no X.509 certificate".to_owned());
            None
        }
    }
}

fn validity(certificate: &X509Certificate<'_>, whose: &str, now: i64, found: &mut Findings) {
    let (begins, ends) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let left = ends.saturating_sub(now);
    if left < 0 {
        found.faults.push(format!("expired on {}{whose}; renew it", day(ends)));
    } else if begins > now {
        let remedy = "is this machine's clock right?";
        found.faults.push(format!("is not valid before {}{whose}; {remedy}", day(begins)));
    } else if left < i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX) {
        let days = left.unsigned_abs() / DAY;
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        found.warnings.push(format!("expires in {days}, on {}{whose}; renew it", day(ends)));
    }
}

/// The leaf is for something else.
fn usage(leaf: &X509Certificate<'_>, purpose: Purpose<'_>) -> Option<String> {
    if leaf.is_ca() {
        return Some(
            "is a CA's own certificate, which some clients (all of rustls) refuse; let the CA sign one for this purpose"
                .to_owned(),
        );
    }
    let usage = leaf.extended_key_usage().ok()??.value;
    let (allowed, name) = match purpose {
        Purpose::Server(_) => (usage.server_auth, "serverAuth"),
        Purpose::Client => (usage.client_auth, "clientAuth"),
    };
    (!allowed && !usage.any).then(|| format!("is not for this: its extended key usage lacks {name}"))
}

/// The leaf names nobody whom clients look for. Only what is certain: which names lead here is known to the DNS alone.
fn names(leaf: &X509Certificate<'_>, listeners: &[SocketAddr]) -> Option<String> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let mut hosts = Vec::new();
    let mut addresses = Vec::new();
    for name in names {
        match name {
            GeneralName::DNSName(host) => hosts.push(*host),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    if hosts.is_empty() && addresses.is_empty() {
        return Some("names no host (subjectAltName), and clients look at nothing else".to_owned());
    }
    if hosts.iter().any(|host| !host.eq_ignore_ascii_case("localhost")) {
        return None;
    }
    // It names addresses and this machine only.
    let fits = |listener: &SocketAddr| match listener.ip().to_canonical() {
        ip if ip.is_unspecified() => addresses.iter().any(|address| !address.is_loopback()),
        ip if ip.is_loopback() => !hosts.is_empty() || addresses.contains(&ip),
        ip => addresses.contains(&ip),
    };
    let misfit = listeners.iter().find(|listener| !fits(listener))?;
    let all: Vec<String> =
        hosts.iter().map(|host| (*host).to_owned()).chain(addresses.iter().map(ToString::to_string)).collect();
    Some(format!("is for {} only, by which nobody reaches {misfit} from elsewhere", all.join(", ")))
}

/// The DNS names of a leaf's subjectAltName, in lower case; `*.` begins those that stand for any one label.
pub(crate) fn host_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    let mut hosts: Vec<String> = names.iter().filter_map(host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A certificate that did not sign the one before it, or a leaf alone whose issuer is somebody else.
fn issuers(chain: &[X509Certificate<'_>]) -> Option<String> {
    let gap = chain.windows(2).find(|pair| match pair {
        [one, next] => one.issuer().as_raw() != next.subject().as_raw(),
        _ => false,
    });
    if let Some([one, next]) = gap {
        return Some(format!(
            "is not in order: {} was issued by {}, and {} follows it",
            one.subject(),
            one.issuer(),
            next.subject()
        ));
    }
    match chain {
        [alone] if alone.issuer().as_raw() != alone.subject().as_raw() => Some(format!(
            "lacks the certificate of its issuer ({}): whoever does not trust that one itself refuses it; append it",
            alone.issuer()
        )),
        _ => None,
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `2020-01-31`, in UTC.
fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "a day that no calendar has".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    /// 2026-01-31.
    const NOW: u64 = 1_769_817_600;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn params(name: &str, names: &[&str], begins: i64, ends: i64) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let day = |days: i64| {
            let seconds = i64::try_from(NOW).unwrap() + days * 86_400;
            let date = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
            rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
        };
        (params.not_before, params.not_after) = (day(begins), day(ends));
        params
    }

    fn ca(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params(name, &[], -10, 1000);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(names: &[&str], begins: i64, ends: i64) -> Vec<CertificateDer<'static>> {
        let root = ca("root");
        let key = KeyPair::generate().unwrap();
        let leaf = params("leaf", names, begins, ends).signed_by(&key, &root).unwrap();
        vec![leaf.der().clone(), root.der().clone()]
    }

    const EVERYWHERE: &str = "0.0.0.0:4317";

    fn found(of: &[CertificateDer<'_>], listener: &str) -> Findings {
        chain(of, Purpose::Server(&[listener.parse().unwrap()]), now())
    }

    #[test]
    fn the_dates_decide() {
        let at = |begins, ends| found(&leaf(&["edge.example"], begins, ends), EVERYWHERE);
        assert_eq!(at(-10, 15), Findings::default());
        assert_eq!(at(-20, -1).faults, ["expired on 2026-01-30; renew it"]);
        assert!(at(1, 90).faults[0].starts_with("is not valid before 2026-02-01"));
        let soon = at(-80, 10);
        assert_eq!(soon.faults, Vec::<String>::new());
        assert_eq!(soon.warnings, ["expires in 10 days, on 2026-02-10; renew it"]);
    }

    #[test]
    fn names_are_judged_only_where_they_can_be() {
        let warned = |names: &[&str], listener| !found(&leaf(names, -1, 100), listener).warnings.is_empty();
        assert!(warned(&[], EVERYWHERE), "a common name is no name");
        for names in [&["edge.example"][..], &["localhost", "edge.example"], &["*.example"]] {
            for listener in [EVERYWHERE, "127.0.0.1:4317", "192.0.2.1:4317", "[::]:4317"] {
                assert!(!warned(names, listener), "{names:?} {listener}");
            }
        }
        let here = &["localhost", "127.0.0.1", "::1"];
        assert!(!warned(here, "127.0.0.1:4317") && !warned(here, "[::1]:4317"));
        assert!(warned(here, EVERYWHERE) && warned(here, "192.0.2.1:4317"));
        assert!(!warned(&["192.0.2.1"], "192.0.2.1:4317") && !warned(&["192.0.2.1"], EVERYWHERE));
        assert!(warned(&["192.0.2.1"], "192.0.2.2:4317") && warned(&["192.0.2.1"], "127.0.0.1:4317"));
    }

    #[test]
    fn a_missing_issuer_is_seen_when_the_leaf_is_alone_or_out_of_order() {
        let whole = leaf(&["edge.example"], -1, 100);
        let alone = found(&whole[..1], EVERYWHERE).warnings;
        assert!(alone[0].contains("lacks the certificate of its issuer (CN=root)"), "{alone:?}");
        let wrong = [whole[0].clone(), ca("another").der().clone()];
        assert!(found(&wrong, EVERYWHERE).warnings[0].starts_with("is not in order"));
        let mut own = params("own", &["edge.example"], -1, 100);
        own.is_ca = IsCa::ExplicitNoCa;
        let own = own.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(found(&[own.der().clone()], EVERYWHERE), Findings::default());
    }

    #[test]
    fn what_it_is_for_is_looked_at() {
        let root = ca("root");
        let as_leaf = found(&[root.der().clone()], EVERYWHERE).warnings;
        assert!(as_leaf[0].starts_with("is a CA's own"), "{as_leaf:?}");
        let mut client = params("client", &["edge.example"], -1, 100);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = client.signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
        let shown = [client.der().clone(), root.der().clone()];
        assert!(found(&shown, EVERYWHERE).warnings[0].contains("serverAuth"));
        assert_eq!(chain(&shown, Purpose::Client, now()), Findings::default());
    }

    #[test]
    fn one_authority_that_is_over_is_a_warning_and_all_are_a_fault() {
        let old = leaf(&[], -20, -1)[0].clone();
        let good = ca("good").der().clone();
        let both = authorities(&[old.clone(), good.clone()], now());
        assert!(both.faults.is_empty() && both.warnings[0].contains("expired on 2026-01-30 (CN=leaf)"), "{both:?}");
        assert_eq!(authorities(std::slice::from_ref(&old), now()).faults.len(), 1);
        let ends = [&old, &good].map(|one| chain_ends(std::slice::from_ref(one)).unwrap());
        assert_eq!(chain_ends(&[old.clone(), good.clone()]), Some(ends[0]));
        assert_eq!(authorities_end(&[old, good]), Some(ends[1]));
        let noise = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(authorities(&[noise], now()).faults.len(), 1);
    }
}
