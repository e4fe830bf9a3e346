//! The settings that the documentation shows, as the clients run with them: who copies a block gets what was tried.

/// A part of a page of `docs/`, from its heading to the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    page: &'static str,
    heading: &'static str,
}

/// What holds for every client.
pub(crate) const EVERY: Section = Section { page: include_str!("../../../docs/clients.md"), heading: "# Clients" };
pub(crate) const GO: Section = Section { page: include_str!("../../../docs/sdk/go.md"), heading: "# Go" };
pub(crate) const JAVA: Section = Section { page: include_str!("../../../docs/sdk/java.md"), heading: "# Java" };
const NODE_PAGE: &str = include_str!("../../../docs/sdk/node.md");
pub(crate) const NODE: Section = Section { page: NODE_PAGE, heading: "# Node" };
pub(crate) const HYPERDX_NODE: Section = Section { page: NODE_PAGE, heading: "## HyperDX's Node SDK" };
const PYTHON_PAGE: &str = include_str!("../../../docs/sdk/python.md");
pub(crate) const PYTHON: Section = Section { page: PYTHON_PAGE, heading: "# Python" };
pub(crate) const HYPERDX_PYTHON: Section = Section { page: PYTHON_PAGE, heading: "## HyperDX's Python SDK" };

impl Section {
    /// The lines of its code blocks.
    fn code(self) -> impl Iterator<Item = &'static str> {
        let lines = self.page.lines().skip_while(move |line| *line != self.heading).skip(1);
        lines.take_while(|line| !line.starts_with('#')).filter_map(|line| line.strip_prefix("    "))
    }

    /// What it exports to the environment: `export NAME=value    # why`.
    pub(crate) fn settings(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.code().filter_map(|line| line.strip_prefix("export ")?.split_whitespace().next()?.split_once('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{CLIENTS, Pings};

    #[test]
    fn each_page_shows_the_address_a_key_and_a_ca_of_ones_own() {
        for client in CLIENTS {
            for wanted in ["https://telemetry.example.com:4317", "<key>", "ca.crt"] {
                assert!(client.docs.settings().any(|(_, value)| value.contains(wanted)), "{}: {wanted}", client.name);
            }
        }
        for wanted in ["client.crt", "client.key"] {
            assert!(EVERY.settings().any(|(_, value)| value == wanted), "{wanted}");
        }
    }

    /// What a page installs is among what the client was installed from.
    #[test]
    fn each_page_installs_what_the_client_consists_of() {
        let installed = [
            ("pip install ", PYTHON, include_str!("../python/requirements.txt"), "", "=="),
            ("pip install ", HYPERDX_PYTHON, include_str!("../python/requirements.txt"), "", "=="),
            ("npm install ", NODE, include_str!("../node/package.json"), "\"", "\":"),
            ("npm install ", HYPERDX_NODE, include_str!("../hyperdx-node/package.json"), "\"", "\":"),
            ("go get ", GO, include_str!("../go/go.mod"), "", " v"),
        ];
        for (command, section, manifest, before, after) in installed {
            let line = section.code().find_map(|line| line.strip_prefix(command)).expect(section.heading);
            for package in line.split('#').next().into_iter().flat_map(str::split_whitespace) {
                assert!(manifest.contains(&format!("{before}{package}{after}")), "{package}");
            }
        }
    }

    #[test]
    fn java_runs_with_the_agent_as_its_page_says() {
        assert!(JAVA.code().any(|line| line.starts_with("java -javaagent:opentelemetry-javaagent.jar ")));
        assert!(include_str!("../java/install.sh").contains("-javaagent:%s/opentelemetry-javaagent.jar"));
    }

    /// The page's words, as those that run have them.
    fn replaced(text: &str, words: &[(&str, &str)]) -> String {
        words.iter().fold(text.to_owned(), |text, (shown, run)| text.replace(shown, run))
    }

    #[test]
    fn the_collector_runs_with_the_exporter_that_its_page_shows() {
        let page = Section { page: include_str!("../../../docs/sdk/collector.md"), heading: "# Collector" };
        let run = include_str!("../collector/collector.yaml");
        let run = &run[run.find("exporters:").unwrap()..];
        let lines: Vec<&str> = page.code().map(|line| line.split(" #").next().unwrap_or_default().trim_end()).collect();
        assert_eq!(lines.len(), 6, "{lines:?}");
        for line in lines {
            let line = replaced(
                line,
                &[
                    ("https://telemetry.example.com:4317", "${env:OTEL_EXPORTER_OTLP_ENDPOINT}"),
                    ("compression: gzip", "compression: ${env:COMPRESSION}"),
                    ("OTELGATE_KEY", "MATRIX_KEY"),
                    ("ca.crt", "\"${env:OTEL_EXPORTER_OTLP_CERTIFICATE}\""),
                    ("client.crt", "\"${env:CLIENT_CERTIFICATE}\""),
                    ("client.key", "\"${env:CLIENT_KEY}\""),
                ],
            );
            assert!(run.lines().any(|other| other == line), "{line}");
        }
    }

    #[test]
    fn browsers_run_with_what_their_page_shows() {
        let page = Section { page: include_str!("../../../docs/sdk/browser.md"), heading: "# Browsers" };
        let run = include_str!("../browser/page.mjs");
        let shown: Vec<String> = page
            .code()
            .map(|line| {
                replaced(
                    line,
                    &[
                        ("new OTLPTraceExporter(", ""),
                        ("'https://telemetry.example.com:4318/v1/traces'", "`${url}/v1/${path}`"),
                        ("url: 'https://telemetry.example.com:4318' })", "url,"),
                        ("'<key>'", "key"),
                        ("service: 'shop'", "service"),
                    ],
                )
            })
            .collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        for line in shown {
            assert!(run.contains(&line), "{line}");
        }
    }

    #[test]
    fn rust_runs_with_what_its_page_shows() {
        let page = Section { page: include_str!("../../../docs/sdk/rust.md"), heading: "# Rust" };
        let run: String = include_str!("../../../tests/it/sdk.rs").split_whitespace().collect();
        let run = ["theCA", "aheader", "anexporter"]
            .iter()
            .fold(run, |run, reason| run.replace(&format!(".expect(\"{reason}\")"), ""));
        let code: String = page.code().skip(1).flat_map(str::split_whitespace).collect();
        let code = replaced(
            &code,
            &[
                ("\"https://telemetry.example.com:4317\"", "endpoint"),
                ("\"ca.crt\"", "ca"),
                ("\"Bearer<key>\"", "format!(\"Bearer{key}\")"),
                ("?", ""),
            ],
        );
        let code = code.strip_suffix(".build();").expect("an exporter that is built");
        assert!(run.contains(code), "{code}");
        let over_http =
            page.page.split('`').find(|code| code.starts_with(".with_headers")).expect("a header over HTTP");
        let over_http: String = over_http.replace("\"<key>\"", "KEY").split_whitespace().collect();
        assert!(run.contains(&over_http), "{over_http}");
    }

    /// What a page advises rests on the table of the last run, which may say otherwise after the next one.
    #[test]
    fn the_pages_say_of_losses_what_the_table_says() {
        let rows = |client: &str, protocol: &str| {
            let begins = format!("| {client} | {protocol}");
            EVERY.page.lines().filter(|line| line.starts_with(&begins)).collect::<Vec<_>>()
        };
        let claims = [
            (PYTHON_PAGE, "both lost nothing over restarts, kills and limits", "Python", ""),
            (JAVA.page, "the agent lost nothing over both", "Java agent", ""),
            (NODE_PAGE, "the HTTP exporters lost nothing", "Node", "http/"),
            (GO.page, "gRPC lost nothing in the", "Go", "grpc"),
            (
                include_str!("../../../docs/sdk/collector.md"),
                "every protocol and compression lost nothing",
                "Collector",
                "",
            ),
        ];
        for (page, claim, client, protocol) in claims {
            assert!(page.contains(claim), "{claim}");
            let rows = rows(client, protocol);
            assert!(!rows.is_empty() && rows.iter().all(|row| !row.contains(" lost (")), "{claim}: {rows:?}");
        }
        let limit = rows("Node", "grpc").iter().map(|row| row.matches("1000 lost (50.0 %)").count()).sum::<usize>();
        assert!(
            NODE_PAGE.contains("it lost what was over its key's limit (half of what it sent at once)") && limit == 2
        );
    }

    #[test]
    fn every_sdk_that_reads_the_environment_has_a_page_of_its_own() {
        for client in CLIENTS {
            let own = client.docs.heading != EVERY.heading;
            let reads = !["collector", "browser"].contains(&client.folder) && client.pings != Pings::Only;
            assert_eq!(own, reads, "{}", client.name);
        }
    }
}
