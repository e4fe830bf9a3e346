//! A TCP tunnel to a port of this machine that can be slow, silent or closed: bytes are passed on as they come, TLS or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a tunnel passes bytes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// As they come.
    Open,
    /// What the server says is held back for so long.
    Slow(Duration),
    /// What the server says is lost; the connection has to be cut afterwards.
    Silent,
    /// Nothing: every connection is cut, new ones too.
    Closed,
}

/// A tunnel; it serves until it is dropped.
#[derive(Debug)]
pub struct Tunnel {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    passage: watch::Sender<Passage>,
    /// Counts cuts.
    cuts: watch::Sender<u64>,
    waiting: AtomicUsize,
}

impl Tunnel {
    /// A tunnel to this port of 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(upstream: u16) -> Result<Tunnel> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (passage, cuts) = (watch::Sender::new(Passage::Open), watch::Sender::new(0));
        let shared = Arc::new(Shared { upstream, passage, cuts, waiting: AtomicUsize::new(0) });
        let serving = shared.clone();
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = serving.clone();
                tokio::spawn(async move {
                    let mut cuts = shared.cuts.subscribe();
                    if *shared.passage.borrow() != Passage::Closed {
                        tokio::select! {
                            _ = serve(&shared, client) => {}
                            _ = cuts.changed() => {}
                        }
                    }
                });
            }
        });
        Ok(Tunnel { port, shared, listener })
    }

    /// Passes bytes on like this from here on.
    pub fn set(&self, passage: Passage) {
        self.shared.passage.send_replace(passage);
        if passage == Passage::Closed {
            self.cut();
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections on which the client spoke last.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

/// Whether a connection's client spoke last; counted.
struct Waiting<'a>(&'a AtomicUsize, AtomicBool);

impl Waiting<'_> {
    fn set(&self, waiting: bool) {
        if self.1.swap(waiting, Ordering::Relaxed) != waiting {
            if waiting {
                self.0.fetch_add(1, Ordering::Relaxed);
            } else {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

async fn serve(shared: &Shared, mut client: TcpStream) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", shared.upstream)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let waiting = Waiting(&shared.waiting, AtomicBool::new(false));
    let up = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from_client.read(&mut bytes).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            waiting.set(true);
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    let down = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from_server.read(&mut bytes).await?;
            let passage = *shared.passage.borrow();
            match passage {
                Passage::Silent => continue,
                Passage::Slow(time) => tokio::time::sleep(time).await,
                Passage::Open | Passage::Closed => {}
            }
            if count == 0 {
                return to_client.shutdown().await;
            }
            to_client.write_all(&bytes[..count]).await?;
            waiting.set(false);
        }
    };
    tokio::try_join!(up, down).map(drop)
}
