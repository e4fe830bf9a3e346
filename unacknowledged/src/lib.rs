//! How many bytes that were written to a TCP connection its other end has not acknowledged.
//!
//! One question to the kernel that no safe interface asks, in a crate of its own: otelgate forbids unsafe code, and this is all there is of it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes (and the FIN, which counts as one) that are in the socket's send queue or on their way: written and not acknowledged.
///
/// # Errors
/// The system does not know the question, or the socket is none of TCP.
#[cfg(target_os = "linux")]
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and TIOCOUTQ (tcp(7): SIOCOUTQ) writes one int to the pointer, which is
    // valid for it.
    #[expect(unsafe_code, reason = "no safe interface asks this")]
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(io::Error::other)
}

/// Bytes that were written and not acknowledged: not known on this system.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let _ = socket.as_raw_fd();
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_the_other_end_has_is_acknowledged_and_what_it_takes_no_room_for_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        here.write_all(b"hello").unwrap();
        there.read_exact(&mut [0; 5]).unwrap();
        let since = Instant::now();
        while unacknowledged(here.as_fd()).unwrap() > 0 {
            assert!(since.elapsed() < Duration::from_secs(10), "never acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
        here.set_nonblocking(true).unwrap();
        while here.write(&[0; 1 << 20]).is_ok() {}
        assert!(unacknowledged(here.as_fd()).unwrap() > 0);
    }
}
