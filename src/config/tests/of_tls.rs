//! Plaintext, certificates and their keys.

use super::*;

#[test]
fn plaintext_is_said_aloud() {
    only("tls: {}\n", "1 tls:", "`plaintext: true`");
    only("tls: { plaintext: true }\n", "1 tls.plaintext:", "allow_public_plaintext: true");
    only(
        "tls: { plaintext: true, cert_file: certs/server.crt }\nlisten: { otlp: '127.0.0.1:0' }\n",
        "1 tls.plaintext:",
        "keep one",
    );
    only("tls: { cert_file: certs/server.crt }\n", "1 tls.key_file:", "is missing");
    only("tls: { key_file: certs/server.key }\n", "1 tls.cert_file:", "is missing");
    let no_tls = mistakes(SINK);
    assert!(no_tls[0].contains("neither a certificate nor plaintext"), "{no_tls:?}");
    let aloud = format!("tls: {{ plaintext: true, allow_public_plaintext: true }}\n{SINK}");
    let loaded = load_text(&aloud).unwrap();
    assert!(matches!(loaded.config.tls, Tls::Plaintext));
    assert!(lines(loaded.warnings)[0].contains("travel readable"));
    let loopback = format!("tls: {{ plaintext: true }}\nlisten: {{ otlp: ['127.0.0.1:4317', '[::1]:4317'] }}\n{SINK}");
    assert!(load_text(&loopback).unwrap().warnings.is_empty());
}

#[test]
fn certificates_and_keys_are_tried() {
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let text = format!("{FILES}{SINK}");
    let not_the_key = surroundings().file("/o/certs/server.key", other.signing_key.serialize_pem());
    let swapped = surroundings().file("/o/certs/server.crt", other.signing_key.serialize_pem());
    for (fake, at) in [
        (not_the_key, "1 tls.key_file: /o/certs/server.crt and /o/certs/server.key do not belong together"),
        (swapped, "1 tls.cert_file: /o/certs/server.crt holds no PEM certificate"),
        (surroundings().file("/o/certs/server.key", "secret"), "1 tls.key_file: /o/certs/server.key holds no PEM"),
    ] {
        let found = lines(load_with(fake, &text).unwrap_err().0);
        assert!(found.len() == 1 && found[0].starts_with(at) && !found[0].contains("secret"), "{found:#?}");
    }
    only("tls: { cert_file: gone.crt, key_file: certs/server.key }\n", "1 tls.cert_file: cannot read /o/gone.crt", "");
    // Who can make it is told by where it lies.
    let pair = |file| format!("tls: {{ cert_file: {file}, key_file: certs/server.key }}\n");
    only(&pair("gone.crt"), "1 tls.cert_file:", "; certs/README.md shows");
    only(&pair("/run/credentials/otelgate.service/server.crt"), "1 tls.cert_file:", "; systemd makes it");
    let public = load_with(surroundings().public("/o/certs/server.key"), &text).unwrap();
    assert!(lines(public.warnings)[0].contains("chmod 600 /o/certs/server.key"));
}

#[test]
fn certificates_that_nobody_accepts_are_faults_at_their_line() {
    let pair = |names: &[&str], year: i32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let with = |(certificate, key): (String, String)| {
        surroundings().file("/o/certs/server.crt", certificate).file("/o/certs/server.key", key)
    };
    let forward = "sink:\n  forward:\n    endpoint: 'https://c:4317'\n    cert_file: certs/server.crt\n    \
                   key_file: certs/server.key\n    ca_file: certs/server.crt\n";
    for (names, year, faults, warnings) in [
        (&["edge.example"][..], 2020, [Some("expired on 2020-01-01")], [None]),
        (&["edge.example"], 3000, [Some("is not valid before 2999-01-01")], [None]),
        (&["localhost"], 2020, [Some("expired on 2020-01-01")], [Some("is for localhost only")]),
    ] {
        let loaded = load_with(with(pair(names, year)), &format!("{FILES}{SINK}")).unwrap();
        for (found, expected) in [(loaded.faults, faults), (loaded.warnings, warnings)] {
            let expected: Vec<&str> = expected.into_iter().flatten().collect();
            let found = lines(found);
            assert_eq!(found.len(), expected.len(), "{found:#?}");
            for (found, expected) in found.iter().zip(expected) {
                let begins = format!("1 tls.cert_file: /o/certs/server.crt {expected}");
                assert!(found.starts_with(&begins), "{found:#?}");
            }
        }
    }
    let text = format!("tls: {{ plaintext: true }}\nlisten: {{ otlp: '127.0.0.1:4317' }}\n{forward}");
    let loaded = load_with(with(pair(&["edge.example"], 2020)), &text).unwrap();
    let faults = lines(loaded.faults);
    assert!(faults[0].starts_with("6 sink.forward.cert_file: "), "{faults:#?}");
    assert!(faults[1].starts_with("8 sink.forward.ca_file: "), "{faults:#?}");
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn keys_with_a_passphrase_are_refused_with_the_command_that_takes_it_off() {
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let found = load_with(surroundings().file("/o/certs/server.key", locked), &format!("{FILES}{SINK}"));
    let found = lines(found.unwrap_err().0);
    assert!(found.len() == 1 && found[0].starts_with("1 tls.key_file: /o/certs/server.key holds"), "{found:#?}");
    assert!(found[0].contains("openssl pkey -in"), "{found:#?}");
}

#[test]
fn several_certificates_are_for_several_names() {
    let pair = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    };
    let load = |names: &[&str], more: &str| {
        let (certificate, key) = pair(names);
        let fake = surroundings().file("/o/shop.crt", certificate).file("/o/shop.key", key).file("/o/ocsp", "none");
        load_with(
            fake,
            &format!("tls:\n  certificates:\n  - {{ cert_file: shop.crt, key_file: shop.key }}\n{more}{SINK}"),
        )
    };
    let own = "  cert_file: certs/server.crt\n  key_file: certs/server.key\n";
    for (more, sections) in [("", &["tls.certificates[0]"][..]), (own, &["tls", "tls.certificates[0]"])] {
        let Tls::Files(tls) = load(&["shop.example", "*.edge.example"], more).unwrap().config.tls else {
            panic!("no TLS")
        };
        assert_eq!(tls.certificates.iter().map(|one| &one.section).collect::<Vec<_>>(), sections);
    }
    let twice = lines(load(&["shop.example", "Edge.example"], own).unwrap_err().0);
    let begins = "3 tls.certificates[0].cert_file: /o/shop.crt is for edge.example, and so is tls.cert_file";
    assert!(twice.len() == 1 && twice[0].starts_with(begins), "{twice:#?}");
    only("tls: { certificates: [ {} ] }\n", "1 tls.certificates[0]:", "names no certificate");
    only(
        "tls: { certificates: [ { cert_file: certs/server.crt } ] }\n",
        "1 tls.certificates[0].key_file:",
        "is missing",
    );
    let no_response = "  ocsp_file: ocsp\n";
    let found = lines(load(&["shop.example"], &format!("{own}{no_response}")).unwrap_err().0);
    assert!(found.len() == 1 && found[0].starts_with("6 tls.ocsp_file: /o/ocsp holds no OCSP"), "{found:#?}");
    only(
        "tls: { cert_file: certs/server.crt, key_file: certs/server.key, min_version: '1.1' }\n",
        "1 tls.min_version:",
        "1.3",
    );
    only(
        "tls: { plaintext: true, min_version: '1.3' }\nlisten: { otlp: '127.0.0.1:0' }\n",
        "1 tls.plaintext:",
        "min_version",
    );
}

#[test]
fn certificates_can_be_ordered() {
    let load = |listen: &str, acme: &str| {
        let text = format!("state_dir: /s\n{listen}tls: {{ acme: {{ domains: [A.example], {acme} }} }}\n{SINK}");
        let Tls::Files(tls) = load_text(&text).unwrap().config.tls else { panic!("no TLS") };
        (tls.acme.unwrap(), tls.certificates)
    };
    let (acme, certificates) = load("", "");
    assert_eq!(acme.domains, ["a.example"]);
    assert_eq!(acme.challenge, Challenge::Http01(SocketAddr::from(([0, 0, 0, 0], 80))));
    let file = acme.certificate();
    assert!(file.starts_with("/s/acme") && acme.directory.contains("letsencrypt"));
    assert!(certificates.len() == 1 && certificates[0].cert_file == file && certificates[0].ordered);
    let other = load("", "directory: 'https://d.example/dir', cache_dir: c, email: 'o@e'").0;
    assert!(other.certificate().starts_with("/o/c") && other.certificate() != file);
    let challenge = |listen, acme| load(listen, acme).0.challenge;
    let with_443 = "listen: { otlp: ['0.0.0.0:443', '0.0.0.0:4317'] }\n";
    assert_eq!(challenge(with_443, ""), Challenge::TlsAlpn01);
    assert_eq!(challenge("", "challenge: tls-alpn-01"), Challenge::TlsAlpn01);
    let here = Challenge::Http01("127.0.0.1:81".parse().unwrap());
    assert_eq!(challenge(with_443, "http: '127.0.0.1:81'"), here);
    let key = data_encoding::BASE64URL_NOPAD.encode(&[7; 32]);
    let eab = load("", &format!("eab: {{ key_id: k, hmac_key: {key} }}")).0.eab.unwrap();
    assert_eq!((eab.key_id.as_str(), eab.hmac_key()), ("k", vec![7; 32]));
    assert!(!format!("{eab:?}").contains(&key));
    let short = format!("domains: [a], eab: {{ key_id: k, hmac_key: {} }}", &key[..42]);
    for (acme, at, remedy) in [
        ("", "acme.domains:", "is missing"),
        ("domains: ['*.a.example']", "acme.domains[0]:", "wildcard"),
        ("domains: [192.0.2.1]", "acme.domains[0]:", "no domain"),
        ("domains: [a], directory: 'http://d.example/dir'", "acme.directory:", "https"),
        ("domains: [a], email: ops", "acme.email:", "ops@example.com"),
        ("domains: [a], challenge: dns-01", "acme.challenge:", "http-01"),
        ("domains: [a], challenge: tls-alpn-01, http: '0.0.0.0:80'", "acme.http:", "keep one"),
        ("domains: [a], eab: { key_id: k }", "acme.eab.hmac_key:", "is missing"),
        ("domains: [a], eab: { key_id: k, hmac_key: 'secret=' }", "acme.eab.hmac_key:", "base64url"),
        (&short, "acme.eab.hmac_key:", "shorter than 32 bytes"),
        ("domains: [a], ca_file: gone", "acme.ca_file:", "cannot read /o/gone"),
    ] {
        only(&format!("tls: {{ acme: {{ {acme} }} }}\n"), &format!("1 tls.{at}"), remedy);
    }
}
