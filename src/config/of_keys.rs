//! Section `keys`, and the entries of keys.yaml: whose keys are good here, and what each may do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::{AllowedOrigins, Secret};
use crate::certificate::CertificateName;
use crate::signal::Signal;

/// Section `keys`.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// keys.yaml; reread when it changes.
    pub(crate) file: Option<PathBuf>,
    /// ClickStack's app, which hands out its ingestion keys.
    pub(crate) clickstack: Option<ClickStackKeys>,
    /// Issuers of tokens that are keys.
    pub(crate) oidc: Vec<OidcIssuer>,
    /// Failed authentications a minute after which an address's next ones are refused at once.
    pub(crate) max_failures_per_minute: u32,
}

impl Keys {
    /// Whether keys.yaml is the only source.
    pub(super) fn is_file_alone(&self) -> bool {
        self.clickstack.is_none() && self.oidc.is_empty()
    }
}

/// Section `keys.clickstack`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClickStackKeys {
    /// The app's OpAMP endpoint.
    pub(crate) url: http::Uri,
    /// PEM file of the CA that signed the app's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// How often the app is asked.
    pub(crate) poll_interval: Duration,
    /// How long a key that the app no longer has stays valid.
    pub(crate) grace: Duration,
    /// Whether anybody may send when ClickStack does not enforce keys.
    pub(crate) open_ingestion: bool,
    /// What its keys may do.
    pub(crate) defaults: KeyDefaults,
}

/// An entry of section `keys.oidc`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OidcIssuer {
    /// Its address, to the letter as its tokens have it.
    pub(crate) issuer: String,
    /// A token must be meant for one of these.
    pub(crate) audience: Vec<String>,
    /// PEM file of the CA that signed the issuer's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// The claim that names a token's bearer.
    pub(crate) name_claim: String,
    /// What the names of its keys begin with.
    pub(crate) name_prefix: String,
    /// How many bearers get a key of their own; the others share one.
    pub(crate) max_names: usize,
    /// How far the issuer's clock may differ.
    pub(crate) leeway: Duration,
    /// How often its keys are fetched.
    pub(crate) refresh_interval: Duration,
    /// How long fetched keys count while the issuer is away.
    pub(crate) keys_max_age: Duration,
    /// What a token may do to which none of the rules fits.
    pub(crate) defaults: KeyDefaults,
    /// The first that fits counts.
    pub(crate) rules: Vec<OidcRule>,
}

/// What tokens with a certain claim may do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OidcRule {
    /// The claim's name.
    pub(crate) claim: String,
    /// What it is, lists, or has among its words.
    pub(crate) value: String,
    /// What they may send.
    pub(crate) signals: BTreeSet<Signal>,
    /// Their limits.
    pub(crate) limits: KeyLimits,
}

/// What the keys of a source may do that say nothing of it themselves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyDefaults {
    /// Their limits.
    pub(crate) limits: KeyLimits,
    /// What they may send.
    pub(crate) signals: BTreeSet<Signal>,
    /// Resource attributes that their telemetry gets.
    pub(crate) resource: BTreeMap<String, String>,
    /// The origins of the web pages that they are for; any, and none, when nothing is said.
    pub(crate) origins: AllowedOrigins,
}

impl KeyDefaults {
    /// The entry of a key of this source.
    pub(crate) fn entry(&self, name: String, sha256: [u8; 32]) -> KeyEntry {
        KeyEntry {
            name,
            sha256,
            certificate: None,
            signals: self.signals.clone(),
            expires: None,
            enabled: true,
            limits: self.limits,
            resource: self.resource.clone(),
            origins: self.origins.clone(),
        }
    }
}

/// Section `limits`: rates of one key, each with `burst` of its allowance saved up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KeyLimits {
    /// Requests, charged before the body is read.
    pub(crate) requests_per_second: u32,
    /// Uncompressed bytes, charged once known.
    pub(crate) bytes_per_second: u64,
    /// Spans, log records and data points, charged once known.
    pub(crate) records_per_second: u32,
    /// How much of a second's allowance may be saved up.
    pub(crate) burst: Duration,
}

/// Section `limits.shared`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedLimits {
    /// Where replicas say what their keys used.
    pub(crate) server: SharedServer,
    /// How often.
    pub(crate) flush: Duration,
}

/// A Redis or Valkey through which otelgates know of each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedServer {
    /// `redis://` or `rediss://`, without a password.
    pub(crate) url: String,
    /// What the server wants to hear.
    pub(crate) password: Option<Secret>,
    /// PEM file of the CA that signed the server's certificate; the public CAs when absent.
    pub(crate) ca_file: Option<PathBuf>,
    /// What the names of all that is kept there begin with: replicas with the same one share.
    pub(crate) prefix: String,
}

/// An entry of keys.yaml.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyEntry {
    /// Appears in logs, metrics and `/status`.
    pub(crate) name: String,
    /// SHA-256 of the key, or what stands for the certificate's name among digests.
    pub(crate) sha256: [u8; 32],
    /// The client certificate that it belongs to, instead of a key.
    pub(crate) certificate: Option<CertificateName>,
    /// What the key may send.
    pub(crate) signals: BTreeSet<Signal>,
    /// Not valid from then on.
    pub(crate) expires: Option<std::time::SystemTime>,
    /// `false`: refused as if it were unknown.
    pub(crate) enabled: bool,
    /// Its limits, defaults filled in.
    pub(crate) limits: KeyLimits,
    /// Resource attributes that its telemetry gets, whatever the client sent.
    pub(crate) resource: BTreeMap<String, String>,
    /// The origins of the web pages that it is for: a request of another, or of none, is refused. Any: it is not for pages.
    pub(crate) origins: AllowedOrigins,
}
