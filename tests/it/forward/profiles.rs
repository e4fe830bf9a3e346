//! Profiles go through whole: each request's profiles point into its own dictionary.

use std::fs;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, Profile, ProfilesDictionary, ResourceProfiles, Sample, ScopeProfiles, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelgate::signal::Signal;
use prost::Message;
use stack::{Certificates, Gateway, built_collector, free_port};

use super::told::{Taken, endpoint};
use super::{KEY, config};
use crate::support::client::{Call, Client, Protocol};
use crate::support::eventually;
use crate::support::requests::{attribute, text};

/// Three profiles of a service, and what they point to.
fn profiles(service: &str) -> ExportProfilesServiceRequest {
    let profile = |value| Profile {
        sample_type: Some(ValueType { type_strindex: 2, unit_strindex: 3 }),
        samples: vec![Sample { values: vec![value], timestamps_unix_nano: vec![7, 8], ..Default::default() }],
        time_unix_nano: 1_780_000_000_000_000_000,
        attribute_indices: vec![0, 300],
        ..Default::default()
    };
    let strings = ["", "tenant", "cpu", "nanoseconds", service].map(str::to_owned).to_vec();
    let resource = Resource { attributes: vec![attribute("service.name", text(service))], ..Default::default() };
    ExportProfilesServiceRequest {
        resource_profiles: vec![ResourceProfiles {
            resource: Some(resource),
            scope_profiles: vec![ScopeProfiles {
                profiles: vec![profile(-5), profile(900), profile(1)],
                ..Default::default()
            }],
            ..Default::default()
        }],
        dictionary: Some(ProfilesDictionary {
            function_table: vec![Function { name_strindex: 4, ..Default::default() }],
            string_table: strings,
            ..Default::default()
        }),
    }
}

/// The same as OTLP/JSON.
fn json(service: &str) -> Vec<u8> {
    let profile = |value: &str| {
        serde_json::json!({ "sampleType": { "typeStrindex": 2, "unitStrindex": 3 },
            "samples": [{ "values": [value], "timestampsUnixNano": ["7", 8] }],
            "timeUnixNano": "1780000000000000000", "attributeIndices": [0, 300] })
    };
    let attributes = serde_json::json!([{ "key": "service.name", "value": { "stringValue": service } }]);
    serde_json::json!({
        "resourceProfiles": [{ "resource": { "attributes": attributes },
            "scopeProfiles": [{ "profiles": [profile("-5"), profile("900"), profile("1")] }] }],
        "dictionary": { "functionTable": [{ "nameStrindex": 4 }],
            "stringTable": ["", "tenant", "cpu", "nanoseconds", service] },
    })
    .to_string()
    .into_bytes()
}

/// What arrives of [`profiles`]: the same, with the key's own attribute.
fn stamped(mut request: ExportProfilesServiceRequest) -> ExportProfilesServiceRequest {
    for group in &mut request.resource_profiles {
        group.resource.get_or_insert_default().attributes.push(attribute("tenant", text("shop")));
    }
    request
}

async fn edge(name: &str, section: &str) -> (tempfile::TempDir, Gateway, Client, Taken) {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let (port, taken) = endpoint().await;
    let section = section.replace("DIR", &folder.path().display().to_string());
    let config = config(folder.path(), &certificates, name).forward(&format!("http://127.0.0.1:{port}"), "http");
    let edge = config.section(&section).start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let client = Client::new(&edge.otlp[0], Some(&certificates.ca), true).expect("a client");
    (folder, edge, client, taken)
}

/// The exports of profiles that arrived, but for the questions whether somebody is there.
fn arrived(taken: &Taken) -> Vec<ExportProfilesServiceRequest> {
    let taken = taken.lock().expect("no panic");
    let profiles = taken.iter().filter(|(path, _)| path == "/v1development/profiles");
    profiles.map(|(_, body)| ExportProfilesServiceRequest::decode(&**body).expect("a request")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_arrive_whole_each_request_by_itself() {
    for (name, section) in [
        ("profiles", "batch: { max_age: 300ms }"),
        ("profiles-spool", "spool: { dir: DIR/spool }\nbatch: { max_age: 300ms }"),
    ] {
        let (_folder, edge, client, taken) = edge(name, section).await;
        let send = async |number: usize| {
            let protocol = Protocol::ALL[number % 3];
            let service = format!("service-{number}");
            let body = if protocol == Protocol::HttpJson { json(&service) } else { profiles(&service).encode_to_vec() };
            let answer = client.send(Call::export(protocol, Signal::Profiles, KEY, body)).await;
            assert!(answer.accepted(protocol), "{protocol:?}: {answer:?}");
        };
        // Together in one batch.
        tokio::join!(send(0), send(1), send(2), send(3), send(4), send(5));
        let mut expected: Vec<_> = (0..6).map(|number| stamped(profiles(&format!("service-{number}")))).collect();
        let by_service = |request: &ExportProfilesServiceRequest| request.encode_to_vec();
        expected.sort_by_key(by_service);
        let found = eventually(expected.clone(), async || {
            let mut found = arrived(&taken);
            found.sort_by_key(by_service);
            found
        });
        assert_eq!(found.await, expected, "{name}");
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_are_checked_and_stamped_as_every_signal_is() {
    let (_folder, edge, client, taken) = edge("profiles-checked", "batch: { max_age: 100ms }").await;
    let mut cut = profiles("cut").encode_to_vec();
    cut.truncate(cut.len() - 3);
    let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Profiles, KEY, cut)).await;
    assert_eq!(answer.status, 400, "a dictionary that is cut short: {answer:?}");
    let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Profiles, "nobody", Vec::new())).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    // A name out of the dictionary is a name.
    let mut spoofed = profiles("spoofed");
    let pointed = KeyValue { key_strindex: 1, value: Some(text("another")), ..Default::default() };
    spoofed.resource_profiles[0].resource.get_or_insert_default().attributes.insert(0, pointed);
    let body = spoofed.encode_to_vec();
    let answer = client.send(Call::export(Protocol::HttpProtobuf, Signal::Profiles, KEY, body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(arrived(&taken), [stamped(profiles("spoofed"))]);
    // What the endpoint says of them is told its client in their own words.
    let answer = client.send(Call::export(Protocol::HttpJson, Signal::Profiles, KEY, json("partial"))).await;
    assert!(String::from_utf8_lossy(&answer.body).contains(r#""rejectedProfiles":"2""#), "{answer:?}");
    edge.process.stop(Duration::from_secs(60)).await.expect("ends");
}

/// A real collector that takes profiles, which it does behind a feature gate, and hands them on to this port.
async fn collector(program: &Path, folder: &Path, to: u16) -> (tokio::process::Child, [u16; 2]) {
    let ports = [(); 2].map(|()| free_port().expect("a port"));
    let [grpc, http] = ports.map(|port| format!("{{ endpoint: \"127.0.0.1:{port}\" }}"));
    let config = folder.join("collector.yaml");
    let text = format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {grpc}, http: {http} }} }} }}\n\
         exporters: {{ otlphttp: {{ endpoint: \"http://127.0.0.1:{to}\", compression: none, sending_queue: {{ enabled: false }} }} }}\n\
         service: {{ telemetry: {{ metrics: {{ level: none }} }}, pipelines: {{ profiles: {{ receivers: [otlp], exporters: [otlphttp] }} }} }}\n"
    );
    fs::write(&config, text).expect("written");
    let log = fs::File::create(folder.join("collector.log")).expect("a log");
    let mut command = tokio::process::Command::new(program);
    command.arg("--config").arg(&config).arg("--feature-gates=service.profilesSupport").stderr(log).kill_on_drop(true);
    let child = command.spawn().expect("starts");
    for port in ports {
        let accepts = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        assert!(eventually(true, accepts).await, "see {}", folder.join("collector.log").display());
    }
    (child, ports)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_collector_takes_them() {
    let Some(program) = built_collector() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path()).expect("certificates");
    let (behind, taken) = endpoint().await;
    let (_collector, ports) = collector(&program, folder.path(), behind).await;
    for (protocol, port) in ["grpc", "http"].into_iter().zip(ports) {
        let config = config(folder.path(), &certificates, &format!("profiles-{protocol}"));
        let config = config.forward(&format!("http://127.0.0.1:{port}"), protocol).section("batch: { max_age: 100ms }");
        let edge = config.start().await.unwrap_or_else(|error| panic!("{error:#}"));
        let client = Client::new(&edge.otlp[0], Some(&certificates.ca), true).expect("a client");
        let sent = profiles(protocol);
        let call = Call::export(Protocol::Grpc, Signal::Profiles, KEY, sent.encode_to_vec());
        let answer = client.send(call).await;
        assert!(answer.accepted(Protocol::Grpc), "{protocol}: {answer:?}");
        // It was acknowledged: the collector has handed it on.
        let found = arrived(&taken).into_iter().find(|found| strings(found) == strings(&sent));
        let found = found.unwrap_or_else(|| panic!("{protocol}: {:?}", arrived(&taken)));
        // What is not there it writes as its default.
        let of = |request: &ExportProfilesServiceRequest| {
            let profiles = request.resource_profiles[0].scope_profiles[0].profiles.clone();
            profiles.into_iter().map(|profile| Profile { period_type: None, ..profile }).collect::<Vec<_>>()
        };
        assert_eq!(of(&found), of(&sent));
        let attributes = |request: &ExportProfilesServiceRequest| request.resource_profiles[0].resource.clone();
        assert_eq!(attributes(&found), attributes(&stamped(sent)));
        edge.process.stop(Duration::from_secs(60)).await.expect("ends");
    }
}

fn strings(request: &ExportProfilesServiceRequest) -> &[String] {
    request.dictionary.as_ref().map_or(&[], |dictionary| &dictionary.string_table)
}
