//! Requests that are small when compressed and make work: none may cost more than so many times what an ordinary request of its inflated size
//! costs, counted in steps.

use stack::Samples;

use super::super::*;
use super::factory;
use crate::chunk::Growth;
use crate::otlp::wire::put_field;
use crate::otlp::{Stamp, steps};
use crate::signal::Signal;

/// How many times an ordinary request's steps a bomb of the same size may take.
const TIMES: u64 = 8;
/// How large the bombs are, about.
const SIZE: usize = 1 << 20;

/// The steps of a request; its limits are in the same proportion to it as the defaults are to the largest body.
fn steps_of(signal: Signal, request: &[u8]) -> u64 {
    let mut encoder = factory(Compression::None, true).encoder(signal);
    let growth = Growth { max_column_bytes: 2 * request.len() as u64, ..Growth::default() };
    steps::taken();
    if encoder.append(request, &growth).is_ok() {
        encoder.commit();
        encoder.seal();
    }
    steps::taken()
}

/// Steps for each 1000 bytes of what an ordinary program sends.
fn ordinary() -> u64 {
    let request = Samples::new(1).logs_bytes(2000);
    1000 * steps_of(Signal::Logs, &request) / request.len() as u64
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    put_field(&mut field, number, bytes);
    field
}

fn text(text: &[u8]) -> Vec<u8> {
    field(1, text)
}

fn list(elements: usize, element: &[u8]) -> Vec<u8> {
    field(5, &field(1, element).repeat(elements))
}

fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    [field(1, key), field(2, value)].concat()
}

/// A request of these records, whatever they are.
fn request(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let scope: Vec<u8> = records.into_iter().flat_map(|record| field(2, &record)).collect();
    field(1, &field(2, &scope))
}

fn body(value: &[u8]) -> Vec<u8> {
    field(5, value)
}

fn attribute(key: &[u8], value: &[u8]) -> Vec<u8> {
    field(6, &entry(key, value))
}

/// So many records as make a request of the size.
fn many(record: Vec<u8>) -> Vec<u8> {
    let times = SIZE.div_ceil(record.len() + 1);
    request(std::iter::repeat_n(record, times))
}

fn json(text_of: impl Fn(usize) -> String) -> Vec<u8> {
    many(body(&text(text_of(SIZE / 8).as_bytes())))
}

/// A value in so many lists, each of which comes twice.
fn twice(levels: usize) -> Vec<u8> {
    (0..levels).fold(text(&b"x".repeat(SIZE)), |value, _| {
        let list = field(5, &field(1, &value));
        [list, field(5, &field(1, &[]))].concat()
    })
}

fn deep_json(inner: &str) -> String {
    format!("{}{inner}{}", r#"{"b":1,"":"#.repeat(400), "}".repeat(400))
}

fn logs() -> Vec<(&'static str, Vec<u8>)> {
    let empty_maps = |elements| list(elements, &field(6, &[]));
    let long = b"k".repeat(SIZE / 2);
    let nested_members: String = (0..900).map(|at| format!(r#""m{at}":{{}},"#)).collect();
    let attributes = attribute(b"other", &[]).repeat(SIZE / 30);
    vec![
        ("a long key over empty maps", request([attribute(&long, &empty_maps(SIZE / 8))])),
        (
            "a long key over empty maps, in the body",
            request([body(&field(6, &field(1, &entry(&long, &empty_maps(SIZE / 8)))))]),
        ),
        ("a long key over leaves", request([attribute(&long, &list(SIZE / 8, &[]))])),
        ("long keys over leaves, again and again", many(attribute(&b"k".repeat(4000), &list(2000, &[])))),
        ("a long key in JSON", json(|size| format!(r#"{{"{}":[{}1]}}"#, "k".repeat(size / 2), "1,".repeat(size / 4)))),
        (
            "a long key in what is no JSON",
            json(|size| format!(r#"{{"{}":[{}}}"#, "k".repeat(size / 2), "1,".repeat(size / 4))),
        ),
        (
            "deep JSON, sorted",
            many(
                [body(&text(deep_json(&format!("[{}1]", "1,".repeat(20_000))).as_bytes())), attribute(b"", &[])]
                    .concat(),
            ),
        ),
        ("many members that may repeat", json(|_| format!("{{{}}}", r#""a":{},"b":1,"#.repeat(30) + r#""c":1"#))),
        (
            "many attributes and many members",
            request([[body(&text(format!("{{{nested_members}\"z\":1}}").as_bytes())), attributes].concat()]),
        ),
        ("characters to escape", request([attribute(b"rr-web.event", &list(1, &text(&[1; SIZE])))])),
        ("a list of nothing", request([body(&list(SIZE / 2, &[]))])),
        ("lists in pieces", request([attribute(b"a", &twice(40))])),
        ("a long level", request([attribute(b"level", &text(&b"er".repeat(SIZE / 2)))])),
        (
            "keys with one beginning",
            request([(0..1000)
                .flat_map(|at| attribute(format!("{}{at}", "k".repeat(1000)).as_bytes(), &[]))
                .collect()]),
        ),
        ("equal keys", request([attribute(b"k", &[]).repeat(SIZE / 8)])),
        (
            "many lists of keys",
            request(
                (0..SIZE / 40).map(|at| [attribute(b"a", &[]), attribute(at.to_string().as_bytes(), &[])].concat()),
            ),
        ),
        ("nothing but records", request(vec![Vec::new(); 200_000])),
        ("one brace a line", json(|size| "{\n".repeat(size / 2))),
        (
            "a day a record",
            request(
                (0..SIZE / 12).map(|at| [&[9][..], &(at as u64 % 500 * 86_400_000_000_000).to_le_bytes()].concat()),
            ),
        ),
    ]
}

fn others() -> Vec<(&'static str, Signal, Vec<u8>)> {
    let large_resource = field(
        1,
        &[field(1, &field(1, &entry(b"a", &text(&[b'x'; 100_000])))), field(2, &[0x12, 0].repeat(100_000))].concat(),
    );
    let point = |fields: &[u8]| field(5, &field(1, fields));
    vec![
        ("a large resource", Signal::Traces, large_resource),
        ("groups", Signal::Traces, [0x0a, 0].repeat(SIZE / 2)),
        ("scopes", Signal::Traces, field(1, &[0x12, 0].repeat(SIZE / 2))),
        ("events", Signal::Traces, request([[0x5a, 0].repeat(SIZE / 4)])),
        ("links", Signal::Traces, request([[0x6a, 0].repeat(SIZE / 4)])),
        ("metrics", Signal::Metrics, request(vec![Vec::new(); SIZE / 2])),
        ("metrics of nothing", Signal::Metrics, request(vec![vec![0x2a, 0]; SIZE / 4])),
        ("exemplars", Signal::Metrics, request([point(&[0x2a, 0].repeat(SIZE / 4))])),
        ("points", Signal::Metrics, request([field(5, &[0x0a, 0].repeat(150_000))])),
        ("buckets", Signal::Metrics, request([field(10, &field(1, &field(8, &field(2, &[1; SIZE / 8]))))])),
        ("data in pieces", Signal::Metrics, request([[0x2a, 0].repeat(SIZE / 2)])),
        ("an id nobody knows", Signal::Traces, request([[0xa3, 1, 0xa4, 1].repeat(SIZE / 4)])),
    ]
}

#[test]
fn no_request_makes_more_work_than_so_many_ordinary_ones() {
    let ordinary = ordinary();
    let all = logs().into_iter().map(|(name, request)| (name, Signal::Logs, request)).chain(others());
    let mut over = Vec::new();
    for (name, signal, request) in all {
        let steps = 1000 * steps_of(signal, &request) / request.len() as u64;
        if steps > TIMES * ordinary {
            over.push(format!(
                "{name}: {} bytes, {}.{} times",
                request.len(),
                steps / ordinary,
                10 * steps / ordinary % 10
            ));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

#[test]
fn a_stamp_is_bounded_by_what_it_may_write() {
    let attributes = (0..20).map(|at| (format!("attribute.{at}"), "value".repeat(20))).collect();
    let stamp = Stamp::new(&attributes);
    let request = [0x0a, 0].repeat(SIZE / 2);
    let max = 2 * request.len() as u64;
    assert!(stamp.room(&request) > max);
    steps::taken();
    assert!(stamp.apply(&request, max).is_err());
    assert!(steps::taken() < 4 * max);
    let mut few = request;
    few.truncate(200);
    let made = stamp.apply(&few, max).unwrap();
    assert!(stamp.room(&few) >= made.len() as u64);
}
