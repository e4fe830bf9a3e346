//! Listening sockets that somebody else opened: systemd (socket activation), or the otelgate that is about to stop.
//!
//! A restart closes no port then. Connections that arrive in between wait in the socket's own queue, which outlives the process that accepts from it, so no
//! client sees a refusal. Nothing is shared while both processes run: the new one accepts when it can keep what comes, the old one until it has handed over.
//!
//! Between two otelgates the socket itself is passed, over a Unix socket whose abstract name holds the address. Two processes with SO_REUSEPORT would each
//! have a queue of their own, and the old one's would be reset with it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tracing::{info, warn};

/// The one byte that comes with a socket; a message without data carries none.
const WITH_SOCKET: &[u8] = b"s";

/// Sockets by their address, until somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: BTreeMap<SocketAddr, TcpListener>,
    /// Another otelgate handed over, and may not have ended yet.
    predecessor: bool,
}

impl Inherited {
    /// Takes what systemd passed, and for each other address waits for the otelgate that has it, if one has, to stop.
    ///
    /// # Errors
    /// The other otelgate did not stop within `wait`, or what was passed cannot be used.
    pub(crate) async fn gather(addresses: &[SocketAddr], wait: Duration) -> io::Result<Inherited> {
        let mut inherited = Inherited::default();
        inherited.take_from_systemd(addresses)?;
        let open = addresses.iter().filter(|address| address.port() != 0);
        let mut waiting = Vec::new();
        for address in open.filter(|address| !inherited.sockets.contains_key(address)) {
            if let Some(predecessor) = connect(*address)? {
                waiting.push((*address, predecessor));
            }
        }
        if let Some((address, predecessor)) = waiting.first() {
            let pid = predecessor.peer_cred()?.pid();
            info!(%address, pid, "another otelgate has this port; waiting until it stops and hands it over");
        }
        let deadline = tokio::time::Instant::now() + wait;
        for (address, predecessor) in waiting {
            let received = tokio::time::timeout_at(deadline, receive(&predecessor)).await;
            match received.map_err(|_| still_there(address, wait))? {
                Ok(socket) => {
                    inherited.sockets.insert(address, socket);
                }
                Err(error) => {
                    info!(%address, %error, "the other otelgate handed nothing over");
                    let freed = tokio::time::timeout_at(deadline, bind_once_free(address)).await;
                    inherited.sockets.insert(address, freed.map_err(|_| still_there(address, wait))??);
                }
            }
            inherited.predecessor = true;
        }
        Ok(inherited)
    }

    /// The socket of this address; whoever takes none opens one.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.sockets.remove(&address)
    }

    /// Whether another otelgate handed over, which may still be answering what it had begun.
    pub(crate) fn has_predecessor(&self) -> bool {
        self.predecessor
    }

    /// LISTEN_FDS (sd_listen_fds(3)). `[::]` stands for `0.0.0.0` too, as systemd opens ports for both.
    fn take_from_systemd(&mut self, addresses: &[SocketAddr]) -> io::Result<()> {
        let mut passed = ListenFd::from_env();
        for index in 0..passed.len() {
            let socket = passed.take_tcp_listener(index);
            let unusable = |error| io::Error::other(format!("a socket of LISTEN_FDS cannot be used: {error}"));
            let Some(socket) = socket.map_err(unusable)? else { continue };
            let local = socket.local_addr()?;
            let same = |address: &&SocketAddr| {
                **address == local
                    || address.port() == local.port() && address.ip().is_unspecified() && local.ip().is_unspecified()
            };
            match addresses.iter().find(same) {
                Some(address) => {
                    socket.set_nonblocking(true)?;
                    self.sockets.insert(*address, TcpListener::from_std(socket)?);
                }
                None => {
                    warn!(%local, "systemd passed a socket that neither listen.otlp nor listen.admin names; it is closed")
                }
            }
        }
        Ok(())
    }
}

/// Opens a port that an otelgate had which stops: some of its ports are closed at once, others when it ends.
async fn bind_once_free(address: SocketAddr) -> io::Result<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bound => return bound,
        }
    }
}

fn still_there(address: SocketAddr, waited: Duration) -> io::Error {
    let why = format!(
        "cannot listen on {address}: another otelgate has it and did not stop within {} s (listen.handover); stop it, or change the address",
        waited.as_secs()
    );
    io::Error::new(io::ErrorKind::AddrInUse, why)
}

/// The offer of a listening socket to the process that comes after this one.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Not a listener of the runtime's: nobody accepts from it here.
    socket: OwnedFd,
    address: SocketAddr,
    rendezvous: UnixListener,
}

impl Offer {
    /// Offers `socket`; `None` where that is not possible, which costs the next restart some refused connections and is logged.
    pub(crate) fn of(socket: &TcpListener) -> Option<Offer> {
        let offer = || {
            let address = socket.local_addr()?;
            let rendezvous = net::UnixListener::bind_addr(&name(address)?)?;
            rendezvous.set_nonblocking(true)?;
            let socket = socket.as_fd().try_clone_to_owned()?;
            Ok(Offer { socket, address, rendezvous: UnixListener::from_std(rendezvous)? })
        };
        let made: io::Result<Offer> = offer();
        made.inspect_err(|error| info!(%error, "this port cannot be handed over to the next otelgate")).ok()
    }

    /// Hands the socket to whoever of the same user asks for it, once `stopping` says so. True when it was handed over; false when it could not be, or
    /// `closed` came first.
    pub(crate) async fn hand_over(
        self,
        mut stopping: watch::Receiver<bool>,
        mut closed: watch::Receiver<bool>,
    ) -> bool {
        let asked = async {
            loop {
                let mut successor = self.successor().await;
                tokio::select! {
                    _ = stopping.wait_for(|stopping| *stopping) => return successor,
                    // It says nothing, so this is its end; another may come.
                    _ = successor.read_u8() => {}
                }
            }
        };
        let successor = tokio::select! {
            // Without a drain delay both come at once, and who waits goes before.
            biased;
            successor = asked => successor,
            _ = closed.wait_for(|closed| *closed) => return false,
        };
        let Offer { socket, address, rendezvous } = self;
        // The successor offers the same address as soon as it has the socket.
        drop(rendezvous);
        match send(&successor, &socket).await {
            Ok(()) => {
                info!(%address, "the port was handed over to the next otelgate");
                true
            }
            Err(error) => {
                info!(%address, %error, "the next otelgate did not take the port");
                false
            }
        }
    }

    async fn successor(&self) -> UnixStream {
        loop {
            match self.rendezvous.accept().await {
                Ok((stream, _)) if is_of_this_user(&stream) => return stream,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// All offers of this process.
#[derive(Debug)]
pub(super) struct Offers {
    leaving: watch::Sender<bool>,
    handed: watch::Receiver<usize>,
    all: usize,
}

impl Offers {
    /// Waits for successors until the ports are `closed`.
    pub(super) fn start(offers: Vec<Offer>, closed: &watch::Receiver<bool>) -> Offers {
        let (leaving, (count, handed), all) = (watch::Sender::new(false), watch::channel(0), offers.len());
        for offer in offers {
            let (handing, count) = (offer.hand_over(leaving.subscribe(), closed.clone()), count.clone());
            tokio::spawn(async move {
                if handing.await {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Offers { leaving, handed, all }
    }

    /// From now on successors are given what they wait for; returns when every port was handed over, which may be never.
    pub(super) async fn handed_over(&self) {
        self.leaving.send_replace(true);
        let (mut handed, all) = (self.handed.clone(), self.all);
        // The senders end when the ports are closed, and then nothing will be handed over any more.
        if all == 0 || handed.wait_for(|count| *count == all).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Where the socket of an address is passed on. Abstract: it ends with the process, and there is no file to be left behind.
fn name(address: SocketAddr) -> io::Result<net::SocketAddr> {
    net::SocketAddr::from_abstract_name(format!("otelgate/{address}"))
}

/// `None`: no otelgate offers this address.
fn connect(address: SocketAddr) -> io::Result<Option<UnixStream>> {
    match net::UnixStream::connect_addr(&name(address)?) {
        Ok(stream) => {
            stream.set_nonblocking(true)?;
            let stream = UnixStream::from_std(stream)?;
            Ok(Some(stream).filter(is_of_this_user))
        }
        Err(_) => Ok(None),
    }
}

/// Anybody on the machine may use an abstract name; sockets go to and come from one's own processes only.
fn is_of_this_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

async fn send(successor: &UnixStream, socket: &OwnedFd) -> io::Result<()> {
    let sockets = [socket.as_fd()];
    successor
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&sockets));
            sendmsg(successor, &[IoSlice::new(WITH_SOCKET)], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await
}

async fn receive(predecessor: &UnixStream) -> io::Result<TcpListener> {
    let received = predecessor.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [0; 1];
        recvmsg(predecessor, &mut [IoSliceMut::new(&mut data)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        Ok(sockets.next().and_then(|mut sockets| sockets.next()))
    });
    let socket: OwnedFd = received.await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_connection_that_waits_is_accepted_by_the_successor() {
        let (old, address) = listener().await;
        let (stop, stopping) = watch::channel(false);
        let (_open, closed) = watch::channel(false);
        let handing = tokio::spawn(Offer::of(&old).unwrap().hand_over(stopping, closed));
        let gathering = tokio::spawn(async move { Inherited::gather(&[address], Duration::from_secs(30)).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!gathering.is_finished(), "the old one has not stopped");
        stop.send_replace(true);
        let mut inherited = gathering.await.unwrap().unwrap();
        assert!(handing.await.unwrap() && inherited.has_predecessor());
        // Nobody accepts now, and nobody is refused.
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        drop(old);
        let new = inherited.take(address).unwrap();
        let (_, peer) = new.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn one_that_does_not_stop_is_waited_for_no_longer_than_said() {
        let (old, address) = listener().await;
        let (_stop, stopping) = watch::channel(false);
        let (_open, closed) = watch::channel(false);
        tokio::spawn(Offer::of(&old).unwrap().hand_over(stopping, closed));
        let error = Inherited::gather(&[address], Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("listen.handover"), "{error}");
    }

    #[tokio::test]
    async fn a_successor_that_ends_while_it_waits_is_followed_by_the_next() {
        let (old, address) = listener().await;
        let (stop, stopping) = watch::channel(false);
        let (_open, closed) = watch::channel(false);
        let handing = tokio::spawn(Offer::of(&old).unwrap().hand_over(stopping, closed));
        drop(connect(address).unwrap().unwrap());
        let gathering = tokio::spawn(async move { Inherited::gather(&[address], Duration::from_secs(30)).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send_replace(true);
        assert!(gathering.await.unwrap().unwrap().take(address).is_some() && handing.await.unwrap());
    }

    #[tokio::test]
    async fn a_successor_that_waits_is_given_the_port_though_the_old_one_closes_it_at_once() {
        for _ in 0..50 {
            let (old, address) = listener().await;
            let (stop, stopping) = watch::channel(false);
            let (close, closed) = watch::channel(false);
            let offer = Offer::of(&old).unwrap();
            let successor = connect(address).unwrap().unwrap();
            let handing = tokio::spawn(offer.hand_over(stopping, closed));
            tokio::task::yield_now().await;
            stop.send_replace(true);
            close.send_replace(true);
            assert!(handing.await.unwrap());
            drop(receive(&successor).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_port_that_is_not_handed_over_is_opened_once_the_old_one_has_closed_it() {
        let (old, address) = listener().await;
        let rendezvous = net::UnixListener::bind_addr(&name(address).unwrap()).unwrap();
        let gathering = tokio::spawn(async move { Inherited::gather(&[address], Duration::from_secs(30)).await });
        // It ends the conversation, and keeps the port for a while.
        tokio::task::spawn_blocking(move || drop(rendezvous.accept().unwrap())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!gathering.is_finished());
        drop(old);
        let mut inherited = gathering.await.unwrap().unwrap();
        assert!(inherited.has_predecessor() && inherited.take(address).is_some());
    }

    #[tokio::test]
    async fn without_a_predecessor_nothing_is_inherited() {
        let (_old, address) = listener().await;
        let mut inherited = Inherited::gather(&[address], Duration::from_secs(30)).await.unwrap();
        assert!(!inherited.has_predecessor() && inherited.take(address).is_none());
    }
}
