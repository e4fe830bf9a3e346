//! Every encoding with the same table of good and bad bodies.

use std::io::{self, Write};

use flate2::Compression as Level;
use proptest::prelude::*;

use super::*;
use crate::memory::double::Counted;

type Compress = fn(&[u8]) -> Vec<u8>;

/// Every form in which a body can be compressed.
const FORMS: [(&str, Compression, Compress); 8] = [
    ("gzip", Compression::Gzip, gzip),
    ("zlib", Compression::Deflate, zlib),
    ("raw deflate", Compression::Deflate, deflate),
    ("zstd", Compression::Zstd, zstd),
    ("zstd stream", Compression::Zstd, zstd_stream),
    ("snappy block", Compression::Snappy, snappy_block),
    ("snappy framed", Compression::Snappy, snappy_framed),
    ("lz4", Compression::Lz4, lz4),
];

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), Level::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), Level::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), Level::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(data, 3).unwrap()
}

/// Without the content's size in its head.
fn zstd_stream(data: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(data, 3).unwrap()
}

fn snappy_block(data: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(data).unwrap()
}

fn snappy_framed(data: &[u8]) -> Vec<u8> {
    let mut writer = snap::write::FrameEncoder::new(Vec::new());
    writer.write_all(data).unwrap();
    // Without data it would not even write its identifier.
    writer.into_inner().unwrap()
}

fn lz4(data: &[u8]) -> Vec<u8> {
    let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn lz4_linked(data: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Linked)
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .content_checksum(true)
        .block_checksums(true);
    let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// Text that compresses about as telemetry does.
fn telemetry(bytes: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for line in 0_u64.. {
        if data.len() >= bytes {
            break;
        }
        let mixed = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(data, "GET /cart/{mixed:x} took {} ms", mixed % 977).unwrap();
    }
    data.truncate(bytes);
    data
}

fn here(compression: Compression, body: &[u8], max: u64) -> Result<Bytes, Refusal> {
    inflate_here(Counted::new(u64::MAX), compression, Bytes::copy_from_slice(body), max)
}

fn is_malformed(result: &Result<Bytes, Refusal>) -> bool {
    matches!(result, Err(Refusal::Malformed(_)))
}

#[tokio::test]
async fn every_form_comes_back_and_what_it_held_is_given_back() {
    for (name, compression, compress) in FORMS {
        for size in [1, 1000, PIECE, INLINE, INLINE + 1, 3 << 20] {
            let data = telemetry(size);
            let body = Bytes::from(compress(&data));
            let mut memory = Counted::new(u64::MAX);
            let arrived = u64::try_from(body.len()).unwrap();
            memory.grow(arrived).unwrap();
            let watch = memory.clone();
            let (_, inflated, counted) = inflate(memory, compression, body, arrived, 3 << 20).await.unwrap();
            assert!(inflated == data, "{name}, {size}");
            assert_eq!(watch.used(), counted, "{name}, {size}");
            assert!(counted >= u64::try_from(size).unwrap());
        }
    }
}

#[test]
fn output_may_reach_the_limit_and_not_pass_it() {
    let data = telemetry(100_000);
    for (name, compression, compress) in FORMS {
        let body = compress(&data);
        assert!(here(compression, &body, 100_000).is_ok(), "{name}");
        assert_eq!(here(compression, &body, 99_999), Err(too_large(99_999)), "{name}");
        assert_eq!(here(compression, &body, 0), Err(too_large(0)), "{name}");
    }
}

#[test]
fn what_is_cut_short_or_followed_by_more_is_malformed() {
    let data = telemetry(200_000);
    for (name, compression, compress) in FORMS {
        let body = compress(&data);
        for cut in (0..body.len()).step_by(997).chain(body.len() - 12..body.len()) {
            let result = here(compression, &body[..cut], 1 << 20);
            // Framed Snappy has no end: a cut between two chunks cannot be told.
            let between_chunks = name == "snappy framed" && cut == 10;
            assert!(is_malformed(&result) || between_chunks, "{name} cut at {cut}: {result:?}");
        }
        for garbage in [&b"\0"[..], b"garbage", &[0; 100]] {
            let long = [&body, garbage].concat();
            let result = here(compression, &long, 1 << 20);
            assert!(is_malformed(&result), "{name}: {result:?}");
        }
    }
}

#[test]
fn gzip_members_and_zstd_frames_may_follow_one_another() {
    let (one, two) = (telemetry(5000), telemetry(100));
    let both = [one.clone(), two.clone()].concat();
    for (name, compression, compress) in FORMS {
        let body = [compress(&one), compress(&two)].concat();
        let result = here(compression, &body, 1 << 20);
        match name {
            "gzip" | "zstd" | "zstd stream" | "snappy framed" => {
                assert!(result.unwrap() == both, "{name}");
            }
            _ => assert!(is_malformed(&result), "{name}"),
        }
    }
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
    let body = [&skippable[..], &zstd(&one), skippable].concat();
    assert!(here(Compression::Zstd, &body, 1 << 20).unwrap() == one);
}

#[test]
fn lz4_blocks_may_refer_to_one_another() {
    let data = telemetry(1 << 20);
    let inflated = here(Compression::Lz4, &lz4_linked(&data), 1 << 20);
    assert!(inflated.unwrap() == data);
}

/// Ten gigabytes of zeros; the largest form of it is 43 MB, so that it is made in members or blocks which repeat.
#[tokio::test]
async fn a_bomb_stops_at_the_limit_in_bounded_memory() {
    const MAX: u64 = 4 << 20;
    let zeros = vec![0; 1 << 20];
    let bombs = [
        (Compression::Gzip, gzip(&zeros).repeat(10_000)),
        (Compression::Zstd, zstd(&zeros).repeat(10_000)),
        (Compression::Deflate, zlib_zeros(1 << 30).unwrap()),
        (Compression::Snappy, snappy_block(&vec![0; 64 << 20])),
        (Compression::Lz4, lz4(&vec![0; 64 << 20])),
    ];
    for (compression, bomb) in bombs {
        let memory = Counted::new(u64::MAX);
        let watch = memory.clone();
        let begun = std::time::Instant::now();
        let result = inflate(memory, compression, Bytes::from(bomb), 0, MAX).await;
        assert_eq!(result.map(|_| ()), Err(too_large(MAX)), "{compression:?}");
        assert!(watch.peak() <= MAX + (13 << 20), "{compression:?}: {}", watch.peak());
        assert!(begun.elapsed().as_secs() < 5, "{compression:?}");
    }
}

/// Counts turns, and what the longest of them took.
#[derive(Default)]
struct Turning {
    turns: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Memory for Turning {
    fn grow(&mut self, _bytes: u64) -> Result<(), Refusal> {
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Refusal> {
        self.turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }

    fn shrink(&mut self, _bytes: u64) {}
}

/// What another key's long work waits for.
#[tokio::test]
async fn no_form_makes_more_than_so_much_in_a_turn() {
    const SIZE: usize = 20 << 20;
    // A piece is asked for while the turn is not over.
    const MOST: usize = TURN + INLINE;
    for data in [vec![0; SIZE], telemetry(SIZE)] {
        for (name, compression, compress) in FORMS {
            let (body, max) = (Bytes::from(compress(&data)), 2 * SIZE as u64);
            let (mut steps, _) = Inflating::begin(Turning::default(), compression, body.clone(), max).unwrap();
            for budget in [1, INLINE, TURN].into_iter().chain(std::iter::repeat(TURN)) {
                let before = steps.output.bytes().len();
                let done = steps.advance(budget).unwrap();
                let made = steps.output.bytes().len() - before;
                assert!(made < budget + INLINE, "{name}: {made} bytes where {budget} were asked for");
                if done {
                    break;
                }
            }
            assert!(steps.output.bytes() == data, "{name}");

            let turning = Turning::default();
            let turns = turning.turns.clone();
            let (_, inflated, _) = inflate(turning, compression, body, 0, max).await.unwrap();
            let turns = turns.load(std::sync::atomic::Ordering::SeqCst);
            assert!(turns >= (inflated.len() - INLINE).div_ceil(MOST), "{name}: {turns} turns");
        }
    }
}

#[tokio::test]
async fn what_gives_nothing_for_long_is_not_done_on_the_connections_thread() {
    let empty_members = gzip(b"").repeat(20_000);
    let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(
        lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB),
        Vec::new(),
    );
    writer.write_all(&vec![0; 4 << 20]).unwrap();
    let large_block = writer.finish().unwrap();
    for (compression, body, turn) in [
        (Compression::Gzip, empty_members, true),
        (Compression::Lz4, large_block, true),
        (Compression::Lz4, lz4_linked(&telemetry(1000)), false),
        (Compression::Gzip, gzip(&telemetry(1000)), false),
    ] {
        let turning = Turning::default();
        let turns = turning.turns.clone();
        inflate(turning, compression, Bytes::from(body), 0, 64 << 20).await.unwrap();
        assert_eq!(turns.load(std::sync::atomic::Ordering::SeqCst) > 0, turn, "{compression:?}");
    }
}

fn zlib_zeros(bytes: usize) -> io::Result<Vec<u8>> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), Level::fast());
    for _ in 0..bytes >> 20 {
        writer.write_all(&[0; 1 << 20])?;
    }
    writer.finish()
}

#[test]
fn output_without_room_in_memory_is_refused() {
    for (name, compression, compress) in FORMS {
        let body = Bytes::from(compress(&telemetry(1 << 20)));
        let result = inflate_here(Counted::new(900 << 10), compression, body, 2 << 20);
        assert!(matches!(result, Err(Refusal::Unavailable { .. })), "{name}");
    }
}

#[test]
fn sizes_that_a_body_only_claims_are_not_believed() {
    // A Snappy block of 5 bytes that claims 4 GiB - 1, and one that claims 1 MiB.
    for block in [&b"\xff\xff\xff\xff\x0f"[..], b"\x80\x80\x40\0a"] {
        assert!(is_malformed(&here(Compression::Snappy, block, u64::MAX)));
    }
    // A zstd frame with a window of 2 GiB.
    let result = here(Compression::Zstd, b"\x28\xb5\x2f\xfd\0\xa8\x01\0\0", 1 << 20);
    let Err(Refusal::Malformed(why)) = result else {
        panic!("{result:?}");
    };
    assert!(why.contains("window"), "{why}");
}

/// What the `snap` crate makes of a block.
#[expect(clippy::disallowed_methods, reason = "what the block's own reader is compared with")]
fn snap_makes(block: &[u8], max: usize) -> Option<Vec<u8>> {
    let declared = snap::raw::decompress_len(block).ok().filter(|declared| *declared <= max)?;
    let mut out = vec![0; declared];
    let made = snap::raw::Decoder::new().decompress(block, &mut out).ok()?;
    (made == declared).then_some(out)
}

/// The same, so many bytes at a time.
fn steps_make(block: &[u8], max: usize, step: usize) -> Option<Vec<u8>> {
    let reader = snappy::Block::new(Bytes::copy_from_slice(block)).ok();
    let (mut reader, mut out) = (reader.filter(|block| block.left() <= max as u64)?, Vec::new());
    loop {
        let at = out.len();
        out.resize(at + step, 0);
        let made = reader.read(&mut out, at).ok()?;
        out.truncate(at + made);
        if made == 0 {
            return Some(out);
        }
    }
}

/// A block that declares that its elements make so many bytes.
fn block(declared: u64, elements: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    crate::varint::put(&mut block, declared);
    [&block, elements].concat()
}

/// Elements of every kind, most of them good ones.
fn elements() -> impl Strategy<Value = Vec<u8>> {
    let literal = (1_usize..100, any::<u8>()).prop_map(|(length, byte)| {
        let tag = match length {
            ..=60 => vec![(length as u8 - 1) << 2],
            _ => vec![60 << 2, length as u8 - 1],
        };
        [tag, (0..length).map(|at| byte.wrapping_mul(at as u8)).collect()].concat()
    });
    let near = (0_u8..8, 0_u8..=255).prop_map(|(length, back)| vec![length << 2 | 1, back]);
    let far = (0_u8..64, 0_u16..300).prop_map(|(length, back)| {
        let [low, high] = back.to_le_bytes();
        vec![length << 2 | 2, low, high]
    });
    let farther =
        (0_u8..64, 0_u32..300).prop_map(|(length, back)| [&[length << 2 | 3][..], &back.to_le_bytes()].concat());
    let long = (1_usize..5, 0_u8..70).prop_map(|(bytes, length)| {
        let mut element = vec![(59 + bytes as u8) << 2, length];
        element.resize(bytes + 1, 0);
        element.resize(bytes + 2 + usize::from(length), length);
        element
    });
    let any = proptest::collection::vec(any::<u8>(), 1..6);
    let element = prop_oneof![8 => literal, 4 => near, 4 => far, 2 => farther, 2 => long, 1 => any];
    proptest::collection::vec(element, 0..30).prop_map(|elements| elements.concat())
}

proptest! {
    #[test]
    fn a_block_is_what_snap_makes_of_it(elements in elements(), declared in 0_u64..2000, step in 1_usize..200, right in any::<bool>()) {
        let mut declared = declared;
        if right {
            declared = (0..4000).find(|declared| snap_makes(&block(*declared, &elements), 1 << 20).is_some()).unwrap_or(declared);
        }
        let block = block(declared, &elements);
        prop_assert_eq!(steps_make(&block, 1 << 20, step), snap_makes(&block, 1 << 20));
    }

    #[test]
    fn a_changed_block_is_what_snap_makes_of_it(at in any::<prop::sample::Index>(), byte in any::<u8>(), step in 1_usize..5000) {
        let mut block = snappy_block(&telemetry(20_000));
        prop_assert_eq!(steps_make(&block, 1 << 20, step), Some(telemetry(20_000)));
        let at = at.index(block.len());
        block[at] = byte;
        prop_assert_eq!(steps_make(&block, 1 << 20, step), snap_makes(&block, 1 << 20));
        block.truncate(at);
        prop_assert_eq!(steps_make(&block, 1 << 20, step), snap_makes(&block, 1 << 20));
    }

    #[test]
    fn a_changed_byte_is_noticed_or_harmless(at in 0_usize..2000, flip in 1_u8..) {
        for (_, compression, compress) in FORMS {
            let mut body = compress(&telemetry(4000));
            let at = at % body.len();
            body[at] ^= flip;
            let _ = here(compression, &body, 1 << 20);
        }
    }
}
