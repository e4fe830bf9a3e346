//! Attributes, resources and scopes as SDKs set them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{SEQUENCE, Samples};

const LANGUAGES: [(&str, &str); 4] = [("java", "1.49.0"), ("go", "1.36.0"), ("nodejs", "2.0.1"), ("rust", "0.33.1")];

const SCOPES: [(&str, &str); 5] = [
    ("io.opentelemetry.netty-4.1", "2.15.0-alpha"),
    ("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "0.61.0"),
    ("@opentelemetry/instrumentation-http", "0.203.0"),
    ("io.opentelemetry.jdbc", "2.15.0-alpha"),
    ("checkout.handlers", ""),
];

pub(crate) fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(crate) fn int(key: &str, value: impl Into<i64>) -> KeyValue {
    attribute(key, Value::IntValue(value.into()))
}

impl Samples {
    /// One of the generator's services, with what its runtime and its cluster say about it.
    pub(crate) fn resource(&mut self) -> Resource {
        let services = self.services;
        let service = self.below(services);
        let pod = self.below(3);
        let (language, version) = LANGUAGES[service as usize % LANGUAGES.len()];
        let attributes = vec![
            text("service.name", format!("service-{service:02}")),
            text("service.namespace", "shop"),
            text("service.version", format!("1.{}.{}", service % 7, service % 3)),
            text("service.instance.id", format!("6a1f7b0e-3c1d-4c52-9a0e-{service:08x}{pod:04x}")),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.language", language),
            text("telemetry.sdk.version", version),
            text("deployment.environment.name", "production"),
            text("k8s.namespace.name", "shop"),
            text("k8s.pod.name", format!("service-{service:02}-7d9f8c6b5-{pod:05}")),
            text("k8s.node.name", format!("ip-10-0-{pod}-17.eu-central-1.compute.internal")),
            int("process.pid", 1 + i64::from(pod)),
            attribute(
                "process.command_args",
                Value::ArrayValue(ArrayValue {
                    values: vec![
                        any(Value::StringValue("/app/server".to_owned())),
                        any(Value::StringValue("--port=8080".to_owned())),
                    ],
                }),
            ),
        ];
        Resource { attributes, ..Resource::default() }
    }

    pub(crate) fn scope(&mut self) -> InstrumentationScope {
        let (name, version) = self.pick(&SCOPES);
        InstrumentationScope { name: name.to_owned(), version: version.to_owned(), ..InstrumentationScope::default() }
    }

    /// The next record's number, when records are numbered.
    pub(crate) fn number(&mut self, attributes: &mut Vec<KeyValue>) {
        if let Some(sequence) = &mut self.sequence {
            attributes.push(int(SEQUENCE, i64::try_from(*sequence).unwrap_or(i64::MAX)));
            *sequence += 1;
        }
    }
}
