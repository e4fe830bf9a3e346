//! What one key can take from the others.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;

/// How many bytes each slow upload has sent, of the 1 MiB that it says it will.
const SENT: usize = 700_000;

/// Uploads of this key that never end; they stay for as long as what is returned.
async fn slow_uploads(serving: &Serving, key: &str, count: usize) -> Vec<TcpStream> {
    let mut uploads = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(serving.address).await.unwrap();
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1048576\r\n\r\n"
        );
        // Whoever is refused does not take all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&vec![b'x'; SENT]).await;
        uploads.push(stream);
    }
    uploads
}

#[tokio::test]
async fn a_third_key_finds_room_whatever_two_hold() {
    let serving = serving().await;
    let held = || serving.gateway.admission.memory().used();
    let mut uploads = slow_uploads(&serving, "good", 24).await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while held() < 7 << 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the first key has taken its share, half of all");
    uploads.extend(slow_uploads(&serving, "other", 24).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(held() < 15 << 20, "two hold {} of 16 MiB", held());
    for _ in 0..40 {
        let refused = serving.export("small", 0).await.err();
        let no_room = refused.filter(|status| status.code() == Code::Unavailable);
        assert!(no_room.is_none(), "{no_room:?}");
    }
}

#[tokio::test]
async fn a_flood_of_bombs_runs_into_its_own_keys_limit() {
    let serving = serving().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &vec![0; 8 << 20]).unwrap();
    let bomb = Bytes::from(gzip.finish().unwrap());
    let status = async |key: &str, body: Bytes| {
        let request = http::Request::post(format!("http://{}/v1/logs", serving.address))
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "gzip")
            .header("x-api-key", key)
            .body(Full::from(body));
        client.request(request.unwrap()).await.unwrap().status().as_u16()
    };
    let mut seen = 413;
    for _ in 0..3000 {
        seen = status("bomber", bomb.clone()).await;
        if seen == 429 {
            break;
        }
        assert_eq!(seen, 413, "refused each time, and paid for");
    }
    assert_eq!(seen, 429, "until the key has used up what it may make others wait for");
    assert_eq!(status("other", bomb).await, 413, "another key has its own");
    serving.export("good", 1).await.unwrap();
}
