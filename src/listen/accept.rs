//! Step 1, accept: first room, then the socket, then a task for it. The loop ends when the process stops, and for no other reason.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::registry::{NoPlace, Place, Registry};
use crate::limited;
use crate::metrics::{Metrics, Reason};

/// Pause after an error of accept(), doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts for ever. Each connection is given to `serve`, which must not wait.
pub(super) async fn run(
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    mut accept: impl AsyncFnMut() -> io::Result<(TcpStream, SocketAddr)>,
    mut serve: impl FnMut(Place, TcpStream),
) {
    let mut pause = FIRST_PAUSE;
    loop {
        registry.room().await;
        match accept().await {
            Ok((tcp, address)) => {
                pause = FIRST_PAUSE;
                metrics.connections_accepted.inc();
                if let Some(place) = enter(&registry, &metrics, address).await {
                    serve(place, tcp);
                }
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                metrics.accept_errors.inc();
                limited!(error, %error, "cannot accept; trying again");
                // Out of files or memory: whoever has shown no valid key makes room.
                registry.evict();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A place for the connection, waited for when the process is full; `None` when its network has as many as it may.
async fn enter(registry: &Arc<Registry>, metrics: &Metrics, address: SocketAddr) -> Option<Place> {
    loop {
        match registry.enter(address.ip()) {
            Ok(place) => return Some(place),
            Err(NoPlace::Process) => {
                limited!(warn, "full: new connections wait; see listen.max_connections");
                registry.room().await;
            }
            Err(NoPlace::Network) => {
                let reason = "per_address";
                let refused = &metrics.connections_refused;
                refused.get_or_create(&Reason { reason }).inc();
                limited!(warn, ip = %address.ip(), reason, "connection refused");
                return None;
            }
        }
    }
}

/// The client was gone before it was accepted; the next one need not wait for that.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn errors_do_not_end_the_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let metrics = Arc::new(Metrics::default());
        let registry = Registry::new(10, 10, Arc::clone(&metrics));
        let (send, mut served) = mpsc::unbounded_channel();
        let mut errors = [24, 103, 23, 12].into_iter();
        tokio::spawn(run(
            Arc::clone(&registry),
            Arc::clone(&metrics),
            async move || match errors.next() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => listener.accept().await,
            },
            move |place, tcp| {
                let _ = send.send((place, tcp));
            },
        ));
        let _client = TcpStream::connect(address).await.expect("a connection");
        served.recv().await.expect("served after EMFILE, ECONNABORTED, ENFILE, ENOMEM");
        assert_eq!(metrics.accept_errors.get(), 3, "ECONNABORTED is not ours");
    }

    /// The times of docs/limits.md.
    #[tokio::test(start_paused = true)]
    async fn the_pause_after_an_error_doubles_from_5_ms_to_a_second() {
        let (asked, mut times) = mpsc::unbounded_channel();
        let metrics = Arc::new(Metrics::default());
        let registry = Registry::new(10, 10, Arc::clone(&metrics));
        let accept = async move || {
            let _ = asked.send(tokio::time::Instant::now());
            Err(io::Error::from_raw_os_error(24))
        };
        let running = tokio::spawn(run(registry, metrics, accept, |_, _| {}));
        let mut last = times.recv().await.expect("asked");
        for pause in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            let next = times.recv().await.expect("asked again");
            assert_eq!((next - last).as_millis(), pause);
            last = next;
        }
        running.abort();
    }
}
