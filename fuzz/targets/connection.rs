//! All that a client sends on a connection, to the listener itself (HTTP/1.1, or HTTP/2 after its preface): the connection ends, and nothing panics. A first byte that is odd puts
//! HTTP/2's preface and an empty SETTINGS before the rest, so that what is found are frames.
#![no_main]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

static PORT: LazyLock<u16> = LazyLock::new(|| {
    // A panic of the listener's own threads is one of this process.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    otelgate::listener_fuzzing::start().expect("a listener").port()
});
static COUNT: AtomicU32 = AtomicU32::new(0);

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    // Connections that ended keep their two addresses for a minute: loopback has many.
    let [.., b, c] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, 1, b, c), *PORT));
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a socket");
    // Whoever is refused does not take all of it.
    let _ = stream.write_all(if first % 2 == 1 { PREFACE } else { &[] });
    let _ = stream.write_all(rest);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            panic!("the connection does not end")
        }
        _ => {}
    }
});
