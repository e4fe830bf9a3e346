//! A port of this machine whose connections can all be cut, and which can be closed for a while.

use std::io;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A listener that hands each connection to a service; it serves until it is dropped, which cuts what is left.
#[derive(Debug)]
pub struct Door {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Counts cuts; odd while the door is closed.
    cuts: watch::Sender<u64>,
    listener: JoinHandle<()>,
}

impl Door {
    /// Opens a door on a free port. How a connection's service ends is nobody's concern: both sides have seen it.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open<F, S>(serve: F) -> Result<Door>
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let cuts = watch::Sender::new(0_u64);
        let watched = cuts.clone();
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cuts = watched.subscribe();
                let closed = *cuts.borrow_and_update() % 2 == 1;
                if closed || client.set_nodelay(true).is_err() {
                    continue;
                }
                let service = serve(client);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = service => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Ok(Door { port, cuts, listener })
    }

    /// Cuts every connection; new ones are served.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 2);
    }

    /// Cuts every connection, and every new one too until [`Door::reopen`].
    pub fn close(&self) {
        self.cuts.send_modify(|cuts| *cuts += if *cuts % 2 == 0 { 1 } else { 2 });
    }

    /// Serves again.
    pub fn reopen(&self) {
        self.cuts.send_if_modified(|cuts| {
            let closed = *cuts % 2 == 1;
            *cuts += u64::from(closed);
            closed
        });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}
