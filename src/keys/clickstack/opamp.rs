//! The conversation with ClickStack's app: what is said next, and what an answer tells. No clock, no network.
//!
//! Invariants: every message asks for the configuration (the app sends it only to a message that says it is taken); after anything
//! that was lost, the next message says everything again.

use std::collections::BTreeMap;

use super::ingestion::{self, CONFIG_FILE, Ingestion};

/// The messages, compiled from `proto/opamp.proto`.
#[allow(missing_docs, unreachable_pub)]
pub(super) mod proto {
    include!(concat!(env!("OUT_DIR"), "/otelgate.opamp.rs"));
}

use proto::{
    AgentDescription, AgentDisconnect, AgentToServer, AnyValue, ComponentHealth, KeyValue, RemoteConfigStatus,
    RemoteConfigStatuses, ServerToAgent, any_value,
};

/// ReportsStatus, AcceptsRemoteConfig, ReportsHealth, ReportsRemoteConfig (OpAMP, `AgentCapabilities`).
const CAPABILITIES: u64 = 0x1 | 0x2 | 0x800 | 0x1000;
/// The server asks for everything (OpAMP, `ServerToAgentFlags`).
const REPORT_FULL_STATE: u64 = 0x1;

/// otelgate, as the app sees it.
#[derive(Debug)]
pub(super) struct Agent {
    instance: [u8; 16],
    started_unix_nano: u64,
    sequence: u64,
    /// The server may not know what was said before.
    in_full: bool,
    status: Option<RemoteConfigStatus>,
}

/// How otelgate is, to be reported.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Why it is not ready; `None` when it is.
    pub(super) problem: Option<String>,
}

/// What an answer told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// No configuration came with it, or one that could not be used (and the app will hear so): what was known stays.
    Nothing,
    /// Who may send from now on.
    Ingestion(Ingestion),
}

impl Agent {
    pub(super) fn new(instance: [u8; 16], started_unix_nano: u64) -> Self {
        Agent { instance, started_unix_nano, sequence: 0, in_full: true, status: None }
    }

    /// The id by which the app knows this otelgate.
    pub(super) fn instance(&self) -> [u8; 16] {
        self.instance
    }

    /// The next message. If it is not answered, [`Self::lost`] must be told.
    pub(super) fn poll(&mut self, health: &Health) -> AgentToServer {
        let description = self.in_full.then(description);
        let health = ComponentHealth {
            healthy: health.problem.is_none(),
            start_time_unix_nano: self.started_unix_nano,
            last_error: health.problem.clone().unwrap_or_default(),
        };
        AgentToServer {
            agent_description: description,
            health: Some(health),
            remote_config_status: self.status.clone(),
            ..self.message()
        }
    }

    /// The last message, before a clean stop.
    pub(super) fn goodbye(&mut self) -> AgentToServer {
        AgentToServer { agent_disconnect: Some(AgentDisconnect {}), ..self.message() }
    }

    fn message(&mut self) -> AgentToServer {
        self.sequence += 1;
        AgentToServer {
            instance_uid: self.instance.to_vec(),
            sequence_num: self.sequence,
            capabilities: CAPABILITIES,
            ..AgentToServer::default()
        }
    }

    /// Nobody knows whether the last message arrived.
    pub(super) fn lost(&mut self) {
        self.in_full = true;
    }

    /// Takes the answer to the last message.
    pub(super) fn take(&mut self, answer: ServerToAgent) -> Told {
        self.in_full = answer.flags & REPORT_FULL_STATE != 0;
        let new_id = answer.agent_identification.and_then(|id| id.new_instance_uid.try_into().ok());
        self.instance = new_id.unwrap_or(self.instance);
        if let Some(error) = &answer.error_response {
            tracing::warn!(error = %error.error_message.escape_debug(), "ClickStack's app answers with an error");
        }
        let Some(offered) = answer.remote_config else {
            return Told::Nothing;
        };
        let mut files: BTreeMap<_, _> =
            offered.config.map(|config| config.config_map.into_iter().collect()).unwrap_or_default();
        let Some(file) = files.remove(CONFIG_FILE) else {
            self.report(offered.config_hash, Err(format!("it holds no file {CONFIG_FILE}")));
            return Told::Nothing;
        };
        match ingestion::read(&file.body) {
            Ok(ingestion) => {
                self.report(offered.config_hash, Ok(()));
                Told::Ingestion(ingestion)
            }
            Err(why) => {
                self.report(offered.config_hash, Err(why.to_string()));
                Told::Nothing
            }
        }
    }

    /// What became of the configuration of this hash: the app hears it with the next message, the log when it is news.
    fn report(&mut self, hash: Vec<u8>, outcome: Result<(), String>) {
        let status = if outcome.is_ok() { RemoteConfigStatuses::Applied } else { RemoteConfigStatuses::Failed };
        let error_message = outcome.err().unwrap_or_default();
        let status = RemoteConfigStatus { last_remote_config_hash: hash, status: status.into(), error_message };
        if self.status.as_ref() != Some(&status) && !status.error_message.is_empty() {
            tracing::error!(
                why = status.error_message,
                "the configuration of ClickStack's app cannot be used; its keys stay as they were"
            );
        }
        self.status = Some(status);
    }
}

fn description() -> AgentDescription {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
    };
    AgentDescription {
        identifying_attributes: vec![
            attribute("service.name", "otelgate"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ],
        non_identifying_attributes: vec![
            attribute("os.type", std::env::consts::OS),
            attribute("host.arch", std::env::consts::ARCH),
        ],
    }
}
