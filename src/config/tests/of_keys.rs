//! Keys, and what is said of them.

use super::super::testing::{cut, spoiled};
use super::*;

fn keys_of(text: &str) -> Result<(Vec<KeyEntry>, Vec<Remark>), Mistakes> {
    read_keys(Path::new("/o/k.yaml"), &key_rules(), &surroundings().file("/o/k.yaml", text))
}

#[test]
fn a_limit_that_can_never_be_used_is_named_where_it_was_written() {
    let warnings = |text: &str| lines(load_text(&format!("{text}{FILES}{SINK}")).unwrap().warnings);
    assert_eq!(warnings(""), Vec::<String>::new(), "the defaults fit each other");
    for (text, place, says) in [
        ("limits:\n  bytes_per_second: 16MiB\n", "2 limits.bytes_per_second:", "requests of 32MiB at most"),
        ("limits:\n  burst: 1s\n", "2 limits.burst:", "request.max_body_bytes is 64MiB"),
        ("limits:\n  records_per_second: 1000\n", "2 limits.records_per_second:", "2000 records at most"),
        ("request:\n  max_body_bytes: 100MiB\n", "2 request:", "requests of 64MiB at most"),
        ("request:\n  max_column_bytes: 32MiB\n", "2 request.max_column_bytes:", "less than max_body_bytes (64MiB)"),
        ("request:\n  max_memory_per_key: 150MiB\n", "1 request.max_column_bytes:", "more than max_memory_per_key"),
    ] {
        let found = warnings(text);
        assert!(found.len() == 1 && found[0].starts_with(place) && found[0].contains(says), "{text}{found:#?}");
    }
    assert_eq!(warnings("limits:\n  burst: 500ms\n").len(), 2, "bytes and records");
    let entry = "name: a, value: '${env:BROWSER_KEY}'";
    let of_keys = |limits: &str| lines(keys_of(&format!("keys:\n  - {{ {entry}{limits} }}\n")).unwrap().1);
    assert_eq!(of_keys(""), Vec::<String>::new());
    assert_eq!(of_keys(", limits: { requests_per_second: 5 }"), Vec::<String>::new());
    let small = of_keys(", limits: { bytes_per_second: 1MiB, records_per_second: 400000 }");
    assert!(small.len() == 1 && small[0].starts_with("2 keys[0].limits.bytes_per_second: "), "{small:#?}");
}

#[test]
fn keys_of_web_pages_name_origins_that_may_send() {
    let entry =
        |origins: &str| format!("keys: [{{ name: page, value: '${{env:BROWSER_KEY}}', origins: {origins} }}]\n");
    let (keys, warnings) = keys_of(&entry("['https://shop.example', 'https://*.pages.example']")).unwrap();
    assert!(keys[0].origins.allow("https://a.pages.example") && !keys[0].origins.allow("https://evil.example"));
    assert!(warnings.is_empty());
    for (origins, remedy) in
        [("'*'", "is not an origin"), ("'https://shop.example/'", "is not an origin"), ("[]", "empty")]
    {
        let found = lines(keys_of(&entry(origins)).unwrap_err().0);
        assert!(found.len() == 1 && found[0].contains(remedy), "{found:#?}");
    }
    let fake = surroundings().file("/o/keys.yaml", entry("['https://shop.example', 'https://*.pages.example']"));
    let text = format!(
        "cors: {{ allowed_origins: ['https://shop.example'] }}\n{FILES}{SINK}\
         keys: {{ file: keys.yaml, clickstack: {{ url: 'https://app', origins: 'https://app.example' }} }}\n"
    );
    let loaded = load_with(fake, &text).unwrap();
    assert!(loaded.config.keys.clickstack.unwrap().defaults.origins.allow("https://app.example"));
    let warnings = lines(loaded.warnings);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].starts_with("4 keys.clickstack.origins: names https://app.example, "), "{warnings:#?}");
    assert!(warnings[1].starts_with("1 keys[0].origins: names https://*.pages.example, "), "{warnings:#?}");
}

#[test]
fn keys_are_digests_or_stand_elsewhere() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let text = format!(
        "keys:
  - {{ name: plain, value: secret-key-0123456789 }}
  - {{ name: twice, sha256: '{digest}', value: '${{env:BROWSER_KEY}}' }}
  - {{ name: neither }}
  - {{ name: pasted, sha256: secret-key-0123456789 }}
  - {{ name: named, key: secret-key-0123456789 }}
  - {{ name: a, sha256: '{digest}' }}
  - {{ name: a, sha256: '{}' }}
  - {{ name: b b, signals: [log], expires: tomorrow, sha256: '{digest}', limits: {{ requests_per_second: 0 }} }}
  - {{ name: unset, value: '${{env:UNSET}}' }}
  - secret-key-0123456789
  - {{ name: x, sha256: '{digest}', enabled: no, secret-key-0123456789-0123456789-0123456789: 1 }}
",
        digest.to_uppercase()
    );
    let found = lines(keys_of(&text).unwrap_err().0);
    for expected in [
        "2 keys[0].value: is a plain key; replace it by `sha256` (`otelgate keys new --name NAME`",
        "3 keys[1].value: and `sha256` are both set",
        "4 keys[2]: has none of `sha256`, `value` and `certificate`; `otelgate keys new",
        "5 keys[3].sha256: is not the 64 hex digits",
        "6 keys[4].key: unknown field",
        "8 keys[6].name: `a` is also the name of the key in line 7",
        "8 keys[6].sha256: is the same key as the one in line 7",
        "9 keys[7].name: `b b` is not a name",
        "9 keys[7].signals[0]: `log` is not a signal; known are traces, logs, metrics, profiles",
        "9 keys[7].expires: `tomorrow` is not a time; write for example 2027",
        "9 keys[7].limits.requests_per_second: `0` must be at least 1",
        "10 keys[8].value: the environment variable UNSET is not set",
        "11 keys[9]: expected a section",
        "12 keys[10].enabled: `no` is neither true nor false",
        "12 keys[10]: a field with a name that is not known here",
    ] {
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert!(!found.join("").contains("secret-key"), "{found:#?}");
}

#[test]
fn a_value_from_elsewhere_is_hashed() {
    use sha2::Digest;
    let (keys, _) = keys_of("keys: [{ name: a, value: '${env:BROWSER_KEY}', expires: 2027-06-01T00:00:00Z }]").unwrap();
    let digest: [u8; 32] = sha2::Sha256::digest("otg_0123456789abcdef").into();
    assert_eq!(keys[0].sha256, digest);
    assert!(keys[0].enabled && keys[0].signals.len() == crate::signal::Signal::ALL.len() && keys[0].expires.is_some());
    let (none, warnings) = keys_of("keys: []").unwrap();
    assert!(none.is_empty() && warnings.len() == 1);
    assert!(keys_of("kes: []").unwrap_err().to_string().contains("did you mean `keys`?"));
}

#[test]
fn a_password_that_everybody_can_read_is_warned_of() {
    let sink = |password: &str| {
        format!("{FILES}sink: {{ clickhouse: {{ url: 'https://c:8443', password: '{password}' }} }}\n")
    };
    let public = || surroundings().public("/o/otelgate.yaml");
    let literal = load_with(public(), &sink("hunter2")).unwrap();
    assert!(lines(literal.warnings)[0].contains("chmod 600"));
    assert!(load_with(public(), &sink("${env:PW}")).unwrap().warnings.is_empty());
    assert!(load_text(&sink("hunter2")).unwrap().warnings.is_empty());
}

#[test]
fn a_certificate_stands_in_the_place_of_a_key() {
    let found = keys_of(
        "keys:\n\
         - { name: a, certificate: 'spiffe://td/a' }\n\
         - { name: b, certificate: nonsense }\n\
         - { name: c, certificate: 'DNS:c.example', value: '${env:PW}' }\n\
         - { name: d, certificate: 'spiffe://td/a' }\n",
    );
    let lines = self::lines(found.unwrap_err().0);
    assert!(lines[0].starts_with("3 keys[1].certificate: is not a certificate's name"), "{lines:#?}");
    assert_eq!(lines[1], "4 keys[2].certificate: and `value` are both set; keep one");
    assert_eq!(lines[2], "5 keys[3].certificate: is the same key as the one in line 2");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let with = surroundings().file("/o/keys.yaml", "keys: [ { name: a, certificate: 'spiffe://td/a' } ]");
    let warnings = self::lines(load_with(with, &format!("{FILES}{SINK}")).unwrap().warnings);
    assert!(warnings.len() == 1 && warnings[0].contains("that takes tls.client_ca_file"), "{warnings:#?}");
}

proptest::proptest! {
    /// A file that somebody spoils by accident is refused or taken, and never ends the program: keys.yaml is reread
    /// while it serves.
    #[test]
    fn no_text_panics(cuts in proptest::collection::vec(cut(), 1..6)) {
        for example in [include_str!("../../../otelgate.example.yaml"), include_str!("../../../keys.example.yaml")] {
            let text = spoiled(example, &cuts);
            let _ = load_text(&text);
            let _ = keys_of(&text);
        }
    }
}

#[test]
fn limits_and_digests_are_shared_through_one_server() {
    let text = |url: &str| format!("limits: {{ shared: {{ url: '{url}' }} }}\n{FILES}{SINK}");
    let digests = load_text(&format!("spool: {{ shared_digests: {{ url: 'redis://h', prefix: b }} }}\n{FILES}{SINK}"));
    let digests = digests.unwrap().config.spool.unwrap().shared_digests.unwrap();
    assert_eq!((digests.url.as_str(), digests.prefix.as_str()), ("redis://h", "b"));
    let mistaken = lines(load_text(&format!("spool:\n  shared_digests: {{ urls: x }}\n{FILES}{SINK}")).unwrap_err().0);
    assert!(mistaken.iter().all(|line| line.starts_with("2 spool.shared_digests.url")), "{mistaken:#?}");
    for good in ["redis://h", "rediss://user@h:6380/1"] {
        assert_eq!(load_text(&text(good)).unwrap().config.shared_limits.unwrap().server.url, good);
    }
    for (url, advice) in [
        ("redis+sentinel://a:26379,b:26379/mymaster", "leads to the master"),
        ("redis-sentinel://a:26379/0#mymaster", "leads to the master"),
        ("redis+cluster://a:6379", "cluster keyslot"),
        ("redis://a:6379,b:6379", "names several servers"),
        ("valkey://a:6379", "is written redis://"),
        ("unix:///run/redis.sock", "socket of this machine"),
        ("memcached://a", "is not the address of a Redis or Valkey"),
    ] {
        let found = lines(load_text(&text(url)).unwrap_err().0);
        let place = found.len() == 1 && found[0].starts_with("1 limits.shared.url: ");
        assert!(place && found[0].contains(advice), "{url}: {found:#?}");
    }
}
