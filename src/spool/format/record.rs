//! The outer layer of a file: its header, and the record heads that everything after it starts with.

use super::wire::{Malformed, Reader, Writer};
use crate::signal::Signal;

/// First bytes of every batch file.
const MAGIC: [u8; 8] = *b"OTGSPOOL";
/// Version of the layout that is written; newer ones are refused, all older ones are read. It grows with every kind of record or note that a
/// version before would not understand (docs/upgrades.md).
///
/// 1: the first. 2: notes of attempts and pieces. 3: profiles; files of other signals stay at 2. 4: notes of shards;
/// files of a gateway without shards stay as they are.
const VERSION: u16 = 4;
/// Bytes of one copy of the header.
const HEADER_COPY: usize = 64;
/// Bytes of the header: it is written twice, so that a flipped bit in it costs nothing.
pub(crate) const HEADER_LEN: usize = 2 * HEADER_COPY;
/// Bytes of a record's head.
pub(crate) const HEAD_LEN: usize = 64;

/// A batch's own name for deduplication: random, made when the batch is opened, never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub [u8; 16]);

impl Token {
    /// A new random token.
    pub(crate) fn random() -> Token {
        Token(rand::random())
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Orders the files; never used twice.
    pub(crate) sequence: u64,
    /// The batch's token; also marks each of its records.
    pub(crate) token: Token,
    /// The lane.
    pub(crate) signal: Signal,
    /// When the batch was opened, in milliseconds since 1970. For people; nothing is decided by it.
    pub(crate) created_ms: u64,
    /// Whether the file may come to hold notes of shards.
    pub(crate) shards: bool,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(&MAGIC);
        writer.u16(match self.signal {
            _ if self.shards => VERSION,
            Signal::Profiles => 3,
            _ => 2,
        });
        writer.u16(self.signal.index() as u16);
        writer.u64(self.sequence);
        writer.bytes(&self.token.0);
        writer.u64(self.created_ms);
        writer.0.resize(HEADER_COPY - 4, 0);
        writer.u32(crc32c::crc32c(&writer.0));
        let copy = writer.0.clone();
        writer.bytes(&copy);
        writer.0
    }

    /// The header at the start of a file, from whichever copy is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let mut copies = bytes.chunks_exact(HEADER_COPY).take(2).map(Self::decode_copy);
        let first = copies.next().unwrap_or(Err(HeaderError::Unreadable));
        first.or_else(|error| copies.next().unwrap_or(Err(error)))
    }

    fn decode_copy(copy: &[u8]) -> Result<Header, HeaderError> {
        let (fields, sum) = copy.split_last_chunk().ok_or(Malformed)?;
        let mut reader = Reader(fields);
        if crc32c::crc32c(fields) != u32::from_le_bytes(*sum) || reader.array()? != MAGIC {
            return Err(HeaderError::Unreadable);
        }
        let version = reader.u16()?;
        if !(1..=VERSION).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let signal = usize::from(reader.u16()?);
        Ok(Header {
            signal: *Signal::ALL.get(signal).ok_or(Malformed)?,
            sequence: reader.u64()?,
            token: Token(reader.array()?),
            created_ms: reader.u64()?,
            shards: version == VERSION,
        })
    }
}

/// Why a file's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// Neither copy is what was written.
    #[error("no readable header")]
    Unreadable,
    /// The file is whole, and of a newer version of otelgate.
    #[error("layout version {0}; this otelgate knows up to {VERSION}")]
    Version(u16),
}

impl From<Malformed> for HeaderError {
    fn from(_: Malformed) -> HeaderError {
        HeaderError::Unreadable
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frame,
    Footer,
    Note,
}

/// Requests and rows of all frames before a record: what a frame that cannot be read held is the difference
/// between its neighbours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) requests: u64,
    pub(crate) rows: u64,
}

/// The first bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// The record's place in its file, from 0: damage in one record renames no other.
    pub(crate) number: u32,
    /// The first record of the write that brought it: what one sync covers is known to be there together, or not known at all.
    pub(crate) group: u32,
    pub(crate) meta_len: u32,
    pub(crate) body_len: u64,
    pub(crate) before: Before,
    pub(crate) meta_sum: u32,
}

impl Head {
    pub(crate) fn encode(&self, token: Token) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(HEAD_LEN + self.meta_len as usize));
        writer.bytes(&token.0);
        writer.u32(match self.kind {
            Kind::Frame => 1,
            Kind::Footer => 2,
            Kind::Note => 3,
        });
        writer.u32(self.number);
        writer.u32(self.group);
        writer.u32(self.meta_len);
        writer.u64(self.body_len);
        writer.u64(self.before.requests);
        writer.u64(self.before.rows);
        writer.u32(self.meta_sum);
        writer.u32(crc32c::crc32c(&writer.0));
        writer.0
    }

    pub(crate) fn decode(bytes: &[u8; HEAD_LEN], token: Token) -> Result<Head, Malformed> {
        let (fields, sum) = bytes.split_last_chunk().ok_or(Malformed)?;
        let mut reader = Reader(fields);
        let ours = reader.array()? == token.0;
        if !ours || crc32c::crc32c(fields) != u32::from_le_bytes(*sum) {
            return Err(Malformed);
        }
        Ok(Head {
            kind: match reader.u32()? {
                1 => Kind::Frame,
                2 => Kind::Footer,
                3 => Kind::Note,
                _ => return Err(Malformed),
            },
            number: reader.u32()?,
            group: reader.u32()?,
            meta_len: reader.u32()?,
            body_len: reader.u64()?,
            before: Before { requests: reader.u64()?, rows: reader.u64()? },
            meta_sum: reader.u32()?,
        })
    }

    /// Bytes of the whole record; `None` when the numbers cannot be real.
    pub(crate) fn record_len(&self) -> Option<u64> {
        self.body_len.checked_add(HEAD_LEN as u64 + u64::from(self.meta_len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header = Header {
        sequence: 42,
        token: Token([7; 16]),
        signal: Signal::Logs,
        created_ms: 1_700_000_000_000,
        shards: false,
    };

    proptest! {
        #[test]
        fn a_header_survives_any_flipped_bit(bit in 0..HEADER_LEN * 8) {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes), Ok(HEADER));
        }

        #[test]
        fn a_head_with_a_flipped_bit_is_refused(bit in 0..HEAD_LEN * 8) {
            let head = Head {
                kind: Kind::Note,
                number: 5,
                group: 4,
                meta_len: 3,
                body_len: u64::MAX,
                before: Before { requests: 1, rows: 2 },
                meta_sum: 9,
            };
            let mut bytes: [u8; HEAD_LEN] = head.encode(HEADER.token).try_into().unwrap();
            prop_assert_eq!(Head::decode(&bytes, HEADER.token), Ok(head));
            prop_assert_eq!(head.record_len(), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Head::decode(&bytes, HEADER.token), Err(Malformed));
        }
    }

    #[test]
    fn only_files_that_need_it_are_of_a_newer_version() {
        for (signal, shards) in Signal::ALL.into_iter().flat_map(|signal| [(signal, false), (signal, true)]) {
            let header = Header { signal, shards, ..HEADER };
            let bytes = header.encode();
            let version = if shards {
                4
            } else if signal == Signal::Profiles {
                3
            } else {
                2
            };
            assert_eq!(u16::from_le_bytes([bytes[8], bytes[9]]), version, "{signal}");
            assert_eq!(Header::decode(&bytes), Ok(header));
        }
    }

    #[test]
    fn every_older_version_is_read_and_no_newer_one() {
        let with_version = |version: u16| {
            let mut copy = HEADER.encode()[..HEADER_COPY - 4].to_vec();
            copy[8..10].copy_from_slice(&version.to_le_bytes());
            copy.extend(crc32c::crc32c(&copy).to_le_bytes());
            copy.repeat(2)
        };
        for version in 1..=VERSION {
            assert_eq!(Header::decode(&with_version(version)), Ok(Header { shards: version == 4, ..HEADER }));
        }
        for version in [0, VERSION + 1, u16::MAX] {
            assert_eq!(Header::decode(&with_version(version)), Err(HeaderError::Version(version)));
        }
    }
}
