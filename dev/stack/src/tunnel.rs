//! A TCP tunnel to a port of this machine that can be slow, silent or closed: bytes are passed on as they come, TLS or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::door::Door;

/// How a tunnel passes bytes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// As they come.
    Open,
    /// What the server says is held back for so long.
    Slow(Duration),
    /// What clients say is kept and arrives when this is over, though they may have gone: a service that wakes up.
    Held,
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
    door: Door,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    passage: watch::Sender<Passage>,
    waiting: AtomicUsize,
}

impl Tunnel {
    /// A tunnel to this port of 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(upstream: u16) -> Result<Tunnel> {
        let shared = Shared { upstream, passage: watch::Sender::new(Passage::Open), waiting: AtomicUsize::new(0) };
        let shared = Arc::new(shared);
        let serving = shared.clone();
        let door = Door::open(move |client| serve(serving.clone(), client)).await?;
        Ok(Tunnel { port: door.port, shared, door })
    }

    /// Passes bytes on like this from here on.
    pub fn set(&self, passage: Passage) {
        self.shared.passage.send_replace(passage);
        if passage == Passage::Closed {
            self.door.close();
        } else {
            self.door.reopen();
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.door.cut();
    }

    /// Connections on which the client spoke last.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
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

async fn serve(shared: Arc<Shared>, mut client: TcpStream) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", shared.upstream)).await?;
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
            let mut passage = shared.passage.subscribe();
            let _ = passage.wait_for(|passage| *passage != Passage::Held).await;
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
                Passage::Open | Passage::Held | Passage::Closed => {}
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
