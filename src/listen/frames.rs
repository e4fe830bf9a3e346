//! HTTP/2's frames as they pass, counted by their heads: which of them carry nothing, and whether one has begun that does not end.
//!
//! `h2` obeys each frame and gives no hook at which they could be counted, and frames that carry nothing cost the most for what they cost their sender.
//! Nine bytes of each are looked at and the rest is skipped, so that the work grows with the number of frames and not with bytes: a request is two or three.

use std::time::Duration;

/// What a client of HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames that carry nothing, at once; what a second and what a request adds to what was used of them. Clients that answer each byte with a PING and a
/// WINDOW_UPDATE stay far below.
const AT_ONCE: u32 = 1000;
const A_SECOND: u32 = 50;
const A_REQUEST: u32 = 16;
/// A DATA frame moves when so much of it has come: `request.min_body_rate` by default, over 10 s.
const MOVES: usize = 10 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The first nine bytes of a frame (RFC 9113 section 4.1).
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Where frames begin in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    head: [u8; 9],
    have: usize,
    left: usize,
}

impl Splitter {
    /// Whether the bytes until now are whole frames.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// The next bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.split(bytes, |_, _, _| {});
    }

    /// Calls `each` with the bytes of each frame that came, its head once it is whole, and whether that was now.
    fn split(&mut self, mut bytes: &[u8], mut each: impl FnMut(Option<Head>, bool, usize)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                bytes = bytes.get(count..).unwrap_or_default();
                each(Some(self.parsed()), false, count);
                continue;
            }
            let count = (self.head.len() - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at(count);
            if let Some(place) = self.head.get_mut(self.have..self.have + count) {
                place.copy_from_slice(now);
            }
            (bytes, self.have) = (rest, self.have + count);
            if self.have < self.head.len() {
                each(None, false, count);
            } else {
                self.have = 0;
                let head = self.parsed();
                self.left = head.length;
                each(Some(head), true, count);
            }
        }
    }

    fn parsed(&self) -> Head {
        let [a, b, c, kind, flags, s, t, u, v] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Head { length, kind, flags, stream: u32::from_be_bytes([s & 0x7f, t, u, v]) }
    }
}

/// The frames of one client.
#[derive(Debug, Default)]
pub(super) struct Frames {
    splitter: Splitter,
    /// A header block that has begun and not ended.
    block: bool,
    /// Bytes of this frame since it last moved.
    since: usize,
    /// How many that carry nothing are not made up for, and until when that was counted.
    empty: u32,
    counted: Duration,
    last_stream: u32,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Came {
    /// A frame, or a header block, has begun and not ended.
    pub(super) half: bool,
    /// It began now, or another part of it came.
    pub(super) moved: bool,
    /// There were more frames that carry nothing than anybody needs.
    pub(super) too_many: bool,
}

impl Frames {
    /// The next bytes, at a time since any fixed moment.
    pub(super) fn came(&mut self, bytes: &[u8], now: Duration) -> Came {
        let seconds = u32::try_from(now.saturating_sub(self.counted).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.empty = self.empty.saturating_sub(seconds.saturating_mul(A_SECOND));
            self.counted = now;
        }
        let (mut moved, mut too_many) = (false, false);
        let Frames { splitter, block, since, empty, last_stream, .. } = self;
        let fresh = splitter.is_between() && !*block;
        splitter.split(bytes, |head, whole, count| {
            let Some(head) = head else { return };
            if whole {
                moved |= !*block;
                *since = 0;
                match head.kind {
                    HEADERS => *empty = empty.saturating_sub(A_REQUEST),
                    DATA if head.length > 0 || head.flags & END_STREAM != 0 => {}
                    _ => *empty += 1,
                }
                if matches!(head.kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
                    *block = head.flags & END_HEADERS == 0;
                }
                *last_stream = head.stream.max(*last_stream);
                too_many |= *empty > AT_ONCE;
            } else if head.kind == DATA {
                *since += count;
                if *since >= MOVES {
                    (*since, moved) = (0, true);
                }
            }
        });
        Came { half: !self.splitter.is_between() || self.block, moved: moved || fresh, too_many }
    }

    /// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 sections 6.8 and 7).
    pub(super) fn calm(&self) -> Vec<u8> {
        const WORDS: &[u8] = b"too many frames that carry nothing";
        let length = u8::try_from(8 + WORDS.len()).unwrap_or(8);
        [&[0, 0, length, 7, 0, 0, 0, 0, 0][..], &self.last_stream.to_be_bytes(), &[0, 0, 0, 0x0b], WORDS].concat()
    }
}

/// What a client speaks, by its first bytes.
#[derive(Debug)]
pub(super) enum Spoken {
    /// So many bytes of the preface came.
    Unknown(usize),
    /// HTTP/1.1, or nothing that is known.
    Other,
    /// HTTP/2.
    Http2(Frames),
}

impl Spoken {
    /// The next bytes; nothing unless it is HTTP/2.
    pub(super) fn came(&mut self, mut bytes: &[u8], now: Duration) -> Option<Came> {
        if let Spoken::Unknown(have) = self {
            let count = bytes.len().min(PREFACE.len() - *have);
            let (first, rest) = bytes.split_at(count);
            if PREFACE.get(*have..*have + count) != Some(first) {
                *self = Spoken::Other;
            } else if *have + count == PREFACE.len() {
                *self = Spoken::Http2(Frames::default());
            } else {
                *have += count;
            }
            bytes = rest;
        }
        match self {
            Spoken::Http2(frames) => Some(frames.came(bytes, now)),
            Spoken::Unknown(_) | Spoken::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., b, c] = length.to_be_bytes();
        [&[0, b, c, kind, flags, 0, 0, 0, 3][..], &vec![0; length]].concat()
    }

    #[test]
    fn however_the_bytes_come_the_same_frames_are_seen() {
        let all = [PREFACE, &frame(4, 0, 0), &frame(HEADERS, 5, 40), &frame(DATA, 1, 300), &frame(8, 0, 4)].concat();
        for size in [1, 2, 8, 9, 10, 100, all.len()] {
            let mut spoken = Spoken::Unknown(0);
            let mut last = None;
            for part in all.chunks(size) {
                last = spoken.came(part, NOW);
            }
            assert!(last.is_some_and(|came| !came.half && !came.too_many), "{size}");
            let Spoken::Http2(frames) = spoken else { panic!("it is HTTP/2") };
            assert_eq!(
                (frames.empty, frames.last_stream),
                (1, 3),
                "{size}: a request makes up for what came before it"
            );
        }
        assert_eq!(Spoken::Unknown(0).came(b"POST / HTTP/1.1", NOW), None);
    }

    #[test]
    fn frames_that_carry_nothing_have_a_budget_and_others_do_not() {
        for (kind, flags, length, counts) in [
            (2, 0, 5, true),
            (3, 0, 4, true),
            (4, 0, 0, true),
            (6, 0, 8, true),
            (8, 0, 4, true),
            (0xbe, 0, 0, true),
            (DATA, 0, 0, true),
            (DATA, END_STREAM, 0, false),
            (DATA, 0, 1, false),
            (HEADERS, END_HEADERS, 10, false),
        ] {
            let mut frames = Frames::default();
            let flood = frame(kind, flags, length).repeat(AT_ONCE as usize);
            assert!(!frames.came(&flood, NOW).too_many);
            assert_eq!(frames.came(&frame(kind, flags, length), NOW).too_many, counts, "{kind:#x}");
            let later = NOW + Duration::from_secs(1);
            assert!(!frames.came(&frame(kind, flags, length).repeat(40), later).too_many, "{kind:#x}");
        }
    }

    #[test]
    fn half_a_frame_is_known_and_moves_by_its_bytes() {
        let mut frames = Frames::default();
        let data = frame(DATA, 0, 30_000);
        let came = frames.came(&data[..5], NOW);
        assert!(came.half && came.moved);
        assert!(frames.came(&data[5..1000], NOW).half);
        assert!(!frames.came(&data[1000..5000], NOW).moved);
        assert!(frames.came(&data[5000..12_000], NOW).moved);
        assert!(!frames.came(&data[12_000..], NOW).half);
        let block = frame(HEADERS, 0, 10);
        assert!(frames.came(&block, NOW).half);
        let came = frames.came(&frame(CONTINUATION, 0, 10), NOW);
        assert!(came.half && !came.moved, "a block in pieces does not move");
        assert!(!frames.came(&frame(CONTINUATION, END_HEADERS, 10), NOW).half);
    }
}
