//! A Compose file: what of the stack is published that should not be, and secrets that are missing, known to everybody, or written down.
//!
//! The file alone is read, with the defaults of its variables (`${NAME:-default}`); neither Docker nor the environment is asked.

mod tree;

use std::collections::BTreeMap;
use std::path::Path;

use super::Finding;
use super::exposure::of_stack;
use tree::Value;

/// What ClickStack's guide writes where a secret of one's own is to stand.
const GUIDES_SECRET: &str = "super-secure-random-string";
const PUBLISHED: &str = "published ports";
const SESSION_SECRET: &str = "EXPRESS_SESSION_SECRET";
/// Shorter secrets can be tried out.
const LEAST_SECRET: usize = 16;

/// Reads the file.
pub(super) fn look(file: &Path) -> Vec<Finding> {
    let how = format!("read {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
    match text.and_then(|text| tree::read(&text)) {
        Ok(compose) => judge(&compose, &how),
        Err(why) => vec![Finding::cannot_tell(PUBLISHED, why, how)],
    }
}

/// The same of a text.
#[cfg(test)]
pub(super) fn of(text: &str) -> Vec<Finding> {
    judge(&tree::read(text).expect("YAML"), "read it")
}

fn judge(compose: &Value, how: &str) -> Vec<Finding> {
    let services: Vec<Service<'_>> = compose.get("services").fields().map(|(name, of)| Service { name, of }).collect();
    if services.is_empty() {
        return vec![Finding::cannot_tell(PUBLISHED, "it has no `services`: is it a Compose file?", how)];
    }
    vec![published(&services, how), session_secret(&services, how), literals(&services, how)]
}

/// One entry of `services`.
struct Service<'a> {
    name: &'a str,
    of: &'a Value,
}

impl Service<'_> {
    fn image(&self) -> String {
        resolved(self.of.get("image").text())
    }

    fn is_otelgate(&self) -> bool {
        self.name.contains("otelgate") || self.image().contains("otelgate")
    }

    /// The app, not its collector: it is told where MongoDB is, and has sessions.
    fn is_app(&self) -> bool {
        let image = self.image();
        let named = ["hyperdx", "clickstack"].iter().any(|name| image.contains(name)) && !image.contains("collector");
        named || ["MONGO_URI", SESSION_SECRET].iter().any(|name| self.environment().contains_key(*name))
    }

    /// As it is written, a map or a list of `NAME=value`; a name alone takes the value from where Compose runs.
    fn environment(&self) -> BTreeMap<String, String> {
        let environment = self.of.get("environment");
        let listed = environment.items().filter_map(|item| item.text().split_once('='));
        let mapped = environment.fields().map(|(name, value)| (name, value.text()));
        listed.chain(mapped).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Ports of the container that other machines reach, with what is written.
    fn published(&self) -> Vec<(u16, String)> {
        let ports = self.of.get("ports").items().flat_map(|port| match port.get("target").text() {
            "" => short(&resolved(port.text())),
            target => {
                let here = is_loopback(&resolved(port.get("host_ip").text()));
                numbers(&resolved(target)).filter(|_| !here).map(|port| (port, port.to_string())).collect()
            }
        });
        ports.collect()
    }
}

/// `[address:][port:]container[/protocol]`, each port a number or a range.
fn short(written: &str) -> Vec<(u16, String)> {
    let (before, container) = written.rsplit_once(':').unwrap_or(("", written));
    let address = before.rsplit_once(':').map_or("", |(address, _)| address);
    let container = container.split('/').next().unwrap_or_default();
    numbers(container).filter(|_| !is_loopback(address)).map(|port| (port, written.to_owned())).collect()
}

fn numbers(range: &str) -> impl Iterator<Item = u16> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let ports = first.trim().parse::<u16>().ok().zip(last.trim().parse::<u16>().ok());
    ports.into_iter().flat_map(|(first, last)| first..=last)
}

fn is_loopback(address: &str) -> bool {
    let address = address.trim_matches(['[', ']']);
    address == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// With the defaults of its variables in their places; those without one are empty.
fn resolved(text: &str) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, after) = after.split_once('}').unwrap_or((after, ""));
        let default = inside.split_once(":-").or_else(|| inside.split_once('-')).map_or("", |(_, default)| default);
        done = done + before + default;
        rest = after;
    }
    done + rest
}

fn published(services: &[Service<'_>], how: &str) -> Finding {
    let ok = Finding::ok(PUBLISHED, "none of the stack's own that should not be", how);
    let mut open = Vec::new();
    for service in services.iter().filter(|service| !service.is_otelgate()) {
        if service.of.get("network_mode").text() == "host" {
            open.push(format!("{}: network_mode: host publishes whatever it listens to", service.name));
        }
        for (port, written) in service.published() {
            if let Some(what) = of_stack(port) {
                open.push(format!("{}: {written} ({what})", service.name));
            }
        }
    }
    if open.is_empty() {
        return ok;
    }
    ok.wrong(
        format!("{}: Docker opens them past the machine's firewall", open.join("; ")),
        "remove them from `ports` (docs/deploy.md has an override that does), or write 127.0.0.1: before each",
    )
}

fn session_secret(services: &[Service<'_>], how: &str) -> Finding {
    let ok = Finding::ok("session secret", "the app has one", how);
    let apps: Vec<_> = services.iter().filter(|service| service.is_app()).collect();
    if apps.is_empty() {
        let what = "no service is HyperDX's app, as far as image and MONGO_URI say";
        return Finding::cannot_tell("session secret", what, how);
    }
    let troubles = apps.iter().filter_map(|app| Some(format!("{}: {}", app.name, trouble(app)?)));
    let troubles: Vec<String> = troubles.collect();
    if troubles.is_empty() {
        return ok;
    }
    ok.wrong(
        format!("{}: whoever knows it makes sessions of anybody", troubles.join("; ")),
        format!("{SESSION_SECRET}: ${{{SESSION_SECRET}:?}} in the file, and `openssl rand -hex 32` in the environment"),
    )
}

/// What is wrong with the app's secret.
fn trouble(app: &Service<'_>) -> Option<String> {
    let environment = app.environment();
    let Some(written) = environment.get(SESSION_SECRET) else {
        // It may stand there, where nobody looks.
        let elsewhere = !matches!(app.of.get("env_file"), Value::Null);
        let named = app.of.get("environment").items().any(|item| item.text() == SESSION_SECRET);
        return (!elsewhere && !named).then(|| format!("{SESSION_SECRET} is not set"));
    };
    match resolved(written).as_str() {
        GUIDES_SECRET => Some(format!("{SESSION_SECRET} is the one that ClickStack's guide shows")),
        "" if written.contains("${") => None,
        short if short.len() < LEAST_SECRET => {
            Some(format!("{SESSION_SECRET} is shorter than {LEAST_SECRET} characters"))
        }
        _ => None,
    }
}

fn literals(services: &[Service<'_>], how: &str) -> Finding {
    let ok = Finding::ok("secrets in the file", "none is written down", how);
    let mut written = Vec::new();
    for service in services {
        let environment = service.environment();
        let secret = environment.iter().filter(|(name, value)| {
            (is_secret(name) && !resolved(value).is_empty()) || holds_password(&resolved(value))
        });
        written.extend(secret.map(|(name, _)| format!("{}: {name}", service.name)));
    }
    if written.is_empty() {
        return ok;
    }
    ok.warning(
        format!("{}: whoever reads the file, or its history, has them", written.join("; ")),
        "write ${NAME:?} without a default and set it in the environment, or use Docker secrets",
    )
}

/// Whether a variable of this name holds a secret itself, and not where one is.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let secret = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"];
    secret.iter().any(|word| name.contains(word))
        && !["_FILE", "_PATH", "_NAME", "_URL"].iter().any(|end| name.ends_with(end))
}

/// `scheme://user:password@host`.
fn holds_password(value: &str) -> bool {
    let authority = value.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map_or("", |(user, _)| user);
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn what_is_no_compose_file_or_has_no_app_is_not_judged() {
        for text in ["# Start\n\nRead this.\n", "", "tls: { plaintext: true }\n", "services: app\n"] {
            let found = of(text);
            let [finding] = found.as_slice() else { panic!("{text}: {found:?}") };
            assert_eq!(finding.outcome, Outcome::CannotTell, "{text}: {finding}");
        }
        let secret = |service: &str| of(&format!("services:\n  app: {service}\n")).swap_remove(1);
        assert_eq!(secret("{ image: mine }").outcome, Outcome::CannotTell);
        assert_eq!(secret("{ image: mine, environment: { EXPRESS_SESSION_SECRET: short } }").outcome, Outcome::Wrong);
    }
}
