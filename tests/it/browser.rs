//! A page in a browser asks before it sends, and shows no key when it asks; what counts is its origin.

use otelgate::signal::Signal;

use crate::support::client::{Call, Protocol};
use crate::support::edge::{Edge, KEY, Setup};
use crate::support::requests::numbered;
use crate::support::{clickhouse, get_text};

const SHOP: &str = "https://shop.example";

fn from(origin: &str, key: &str) -> Call {
    let body = numbered(Signal::Traces, Protocol::HttpJson, "page", 0, 1);
    Call::export(Protocol::HttpJson, Signal::Traces, key, body).header("origin", origin)
}

fn preflight(origin: &str) -> Call {
    let mut call = from(origin, "").header("access-control-request-method", "POST");
    call = call.header("access-control-request-headers", "authorization,content-type");
    call.method = http::Method::OPTIONS;
    call.body.clear();
    call
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_a_post_needs_its_origin_too() {
    let clickhouse = clickhouse().await;
    let sections = "cors: { allowed_origins: [\"https://SHOP.example:443\", \"https://*.pages.example\"] }\n";
    let edge = Edge::start(clickhouse, Setup { name: "browser", sections, ..Setup::default() }).await;
    for client in [edge.client(false), edge.client(true)] {
        let answer = client.send(preflight(SHOP)).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(answer.text("access-control-allow-origin"), Some(SHOP));
        let headers = answer.text("access-control-allow-headers").expect("which headers");
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        assert_eq!(answer.text("access-control-allow-methods"), Some("POST"));

        let answer = client.send(from(SHOP, KEY)).await;
        assert_eq!((answer.status, answer.text("access-control-allow-origin")), (200, Some(SHOP)), "{answer:?}");
        // A page reads why it was refused; without a key it is refused all the same.
        let answer = client.send(from(SHOP, "")).await;
        assert_eq!((answer.status, answer.text("access-control-allow-origin")), (401, Some(SHOP)), "{answer:?}");

        let below = "https://a.pages.example";
        let answer = client.send(preflight(below).header("access-control-request-private-network", "true")).await;
        assert_eq!((answer.status, answer.text("access-control-allow-origin")), (204, Some(below)), "{answer:?}");
        assert_eq!(answer.text("access-control-allow-private-network"), Some("true"));
        assert_eq!((answer.text("vary"), answer.text("access-control-max-age")), (Some("origin"), Some("7200")));
        let answer = client.send(from(below, "")).await;
        assert_eq!(answer.text("access-control-expose-headers"), Some("retry-after, x-request-id"), "{answer:?}");

        for call in [preflight("https://evil.example"), from("https://evil.example", KEY)] {
            let answer = client.send(call).await;
            assert_eq!((answer.status, answer.text("access-control-allow-origin")), (403, None), "{answer:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn any_origin_may_send_by_default() {
    let clickhouse = clickhouse().await;
    let edge = Edge::start(clickhouse, Setup { name: "any_browser", ..Setup::default() }).await;
    let client = edge.client(true);
    for call in [preflight(SHOP), from(SHOP, KEY)] {
        let answer = client.send(call).await;
        assert!(answer.status < 300, "{answer:?}");
        assert_eq!(answer.text("access-control-allow-origin"), Some("*"), "{answer:?}");
    }
    edge.stop().await;
}

/// What a page holds everybody can read, so what it is good for is all that protects it.
#[tokio::test]
async fn a_key_of_web_pages_is_refused_anywhere_else() {
    let clickhouse = clickhouse().await;
    let keys =
        [("page-9c41d7e2", "origins: [\"https://shop.example\", \"https://*.pages.example\"]\nsignals: [traces]")];
    let edge = Edge::start(clickhouse, Setup { name: "page_keys", keys: &keys, ..Setup::default() }).await;
    let (key, _) = keys[0];
    for client in [edge.client(false), edge.client(true)] {
        for own in [SHOP, "HTTPS://shop.example:443", "https://a.pages.example"] {
            assert_eq!(client.send(preflight(own)).await.status, 204, "{own}");
            let answer = client.send(from(own, key)).await;
            assert_eq!((answer.status, answer.text("access-control-allow-origin")), (200, Some("*")), "{answer:?}");
        }
        for other in ["https://evil.example", "https://pages.example", "http://shop.example", "null"] {
            // The preflight shows no key, so it tells nothing of one; the page can read why it is refused then.
            assert_eq!(client.send(preflight(other)).await.status, 204, "{other}");
            let answer = client.send(from(other, key)).await;
            assert_eq!((answer.status, answer.text("access-control-allow-origin")), (403, Some("*")), "{answer:?}");
            assert_eq!(client.send(from(other, KEY)).await.status, 200, "another key is not for pages");
        }
    }
    for protocol in Protocol::ALL {
        let body = numbered(Signal::Traces, protocol, "server", 0, 1);
        let answer = edge.client(true).send(Call::export(protocol, Signal::Traces, key, body)).await;
        let refused = answer.status == 403 || answer.grpc_status() == Some(7);
        assert!(refused, "{protocol:?}: {answer:?}");
    }
    let (_, metrics) = get_text(&edge.gateway.admin, "/metrics").await;
    assert!(metrics.contains("otelgate_refusals_total{reason=\"key_of_other_origins\"}"), "{metrics}");
    edge.stop().await;
}
