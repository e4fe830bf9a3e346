//! The PROXY header of a connection that comes from a balancer, before TLS.

use std::io;
use std::net::IpAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxied::{Header, header};

/// Takes the header out of the socket, and nothing after it; the client that it names, if any. The caller gives it its time.
///
/// # Errors
/// The socket's; [`io::ErrorKind::InvalidData`] when there is none.
pub(super) async fn client(tcp: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::new();
    loop {
        match header(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Header::Whole(client) => return Ok(client),
            Header::Needs(length) => {
                let have = bytes.len();
                bytes.resize(length, 0);
                tcp.read_exact(bytes.get_mut(have..).unwrap_or_default()).await?;
            }
        }
    }
}
