//! The clock of this machine against what others put into their answers (`Date`, RFC 9110): ClickStack's app and issuers of tokens, whose keys and times count here.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Uri;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::Finding;
use crate::config::Config;
use crate::https;

const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds. A header has whole ones.
const APART: u64 = 6;

/// Asks each server that the configuration takes keys from.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let app = config.keys.clickstack.iter().map(|app| (app.url.clone(), app.ca_file.as_deref()));
    let issuers = config.keys.oidc.iter();
    let issuers = issuers.filter_map(|one| Some((one.issuer.parse::<Uri>().ok()?, one.ca_file.as_deref())));
    let mut found = Vec::new();
    for (url, ca_file) in app.chain(issuers) {
        let theirs = date(&url, ca_file).await;
        found.push(judge(url.host().unwrap_or_default(), theirs, SystemTime::now()));
    }
    found
}

async fn date(url: &Uri, ca_file: Option<&Path>) -> Option<u64> {
    let client = Client::builder(TokioExecutor::new()).build(https::connector(ca_file).ok()?);
    let request = http::Request::get(url.clone()).body(Empty::<Bytes>::new()).ok()?;
    let answer = tokio::time::timeout(PATIENCE, client.request(request)).await.ok()?.ok()?;
    let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    u64::try_from(time.as_second()).ok()
}

pub(super) fn judge(host: &str, theirs: Option<u64>, ours: SystemTime) -> Finding {
    let how = format!("read the header Date of {host}");
    let Some(theirs) = theirs else { return Finding::cannot_tell("clocks", format!("{host} did not say"), how) };
    let apart = ours.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().abs_diff(theirs);
    let ok = Finding::ok("clocks", format!("{apart} s apart from {host}"), how);
    match apart {
        apart if apart > APART => ok.warning(
            format!("{apart} s apart from {host}: keys and tokens end at another time here than there"),
            "timedatectl set-ntp true, on both",
        ),
        _ => ok,
    }
}
