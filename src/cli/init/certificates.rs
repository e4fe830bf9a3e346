//! A CA of one's own and the server's certificate, for a start without a public CA.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::super::users::way_to;

/// Some clients take no certificate that is good for longer.
const SERVER_DAYS: i64 = 397;
const CA_DAYS: i64 = 3650;

/// PEM.
pub(super) struct Certificates {
    pub(super) ca: String,
    pub(super) ca_key: String,
    /// The chain, leaf first.
    pub(super) server: String,
    pub(super) server_key: String,
}

/// Names by which clients come: the domain, this machine's name and address, and this machine itself.
pub(super) fn names(domain: Option<&str>) -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    // An address of the documentation's, which nobody has: the way there is the way to everybody.
    let outward = way_to(([192, 0, 2, 1], 9).into()).map(|address| address.to_string());
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(|address| address.to_string());
    let all = domain.map(str::to_owned).into_iter().chain(["localhost".to_owned()]).chain(host).chain(outward);
    let mut names: Vec<String> = Vec::new();
    for name in all.chain(loopback).filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Makes both.
pub(super) fn make(names: &[String]) -> anyhow::Result<Certificates> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "otelgate's own CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut ca, CA_DAYS)?;
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, names.first().context("a name")?.as_str());
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    valid(&mut server, SERVER_DAYS)?;
    let key = KeyPair::generate()?;
    Ok(Certificates {
        server: server.signed_by(&key, &ca)?.pem() + &ca.pem(),
        server_key: key.serialize_pem(),
        ca: ca.pem(),
        ca_key: ca.key().serialize_pem(),
    })
}

/// From yesterday, since clocks differ.
fn valid(params: &mut CertificateParams, days: i64) -> anyhow::Result<()> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |days: i64| -> anyhow::Result<_> {
        let date = today.checked_add(days.days())?;
        Ok(rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs()))
    };
    (params.not_before, params.not_after) = (day(-1)?, day(days - 1)?);
    Ok(())
}
