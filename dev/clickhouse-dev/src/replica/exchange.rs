//! Serves parts to other replicas: ClickHouse's DataPartsExchange, protocol version 1, from the files of this engine's parts.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::server;

/// Files of a part that belong to it on this server only.
const OWN: [&str; 2] = ["txn_version.txt", "uuid.txt"];
/// ClickHouse hashes a file in pieces of this size, each with the hash before it.
const HASHED_AT_ONCE: usize = 2048;
/// What ClickHouse takes for "this replica does not have the part": it asks another.
const NO_SUCH_DATA_PART: u16 = 232;

/// Serves until the process ends.
pub(super) fn serve(listener: &TcpListener, http: u16) {
    let folders = Folders { http, known: Mutex::default() };
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            // Whoever fetches tries again.
            scope.spawn(|| drop(connection(stream, &folders)));
        }
    });
}

fn connection(stream: TcpStream, folders: &Folders) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = Request::read(&mut reader)? {
        let answer = match part(&request, folders) {
            Ok(body) => {
                [head(200, &format!("Set-Cookie: server_protocol_version=1\r\nContent-Length: {}", body.len())), body]
            }
            Err(error) => {
                let text = format!("Code: {NO_SUCH_DATA_PART}. DB::Exception: {error}");
                let fields =
                    format!("X-ClickHouse-Exception-Code: {NO_SUCH_DATA_PART}\r\nContent-Length: {}", text.len());
                [head(500, &fields), text.into_bytes()]
            }
        };
        stream.write_all(&answer.concat())?;
    }
    Ok(())
}

fn head(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Part\r\n{fields}\r\n\r\n").into_bytes()
}

/// What a replica asks for: parameters of the address, the body is nothing.
struct Request(HashMap<String, String>);

impl Request {
    fn read(from: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let query = line.split(' ').nth(1).and_then(|address| address.split_once('?')).map_or("", |(_, query)| query);
        let parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        let parameters = parameters.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        let mut length = 0;
        loop {
            let mut field = String::new();
            from.read_line(&mut field)?;
            match field.trim().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                Some(_) => {}
            }
        }
        io::copy(&mut from.take(length), &mut io::sink())?;
        Ok(Some(Request(parameters)))
    }

    fn get(&self, name: &str) -> io::Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| io::Error::other(format!("no {name} in the address")))
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => out.push(u8::try_from(high * 16 + low).unwrap_or_default()),
                _ => out.push(b'%'),
            },
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A part's files: their total size, their count, and of each the name, the size, the bytes and their hash.
fn part(request: &Request, folders: &Folders) -> io::Result<Vec<u8>> {
    let endpoint = request.get("endpoint")?;
    let replica = endpoint.strip_prefix("DataPartsExchange:").unwrap_or(endpoint);
    let folder = folders.of(replica)?.join(plain(request.get("part")?)?);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !OWN.contains(&name.as_str()) {
            files.push((name, fs::read(entry.path())?));
        }
    }
    files.sort();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes();
    let mut body = Vec::new();
    body.extend(count(files.iter().map(|(_, bytes)| bytes.len()).sum()));
    body.extend(count(files.len()));
    for (name, bytes) in files {
        // A length in front of a text is a varint; names of files are shorter than its first byte can say.
        body.push(u8::try_from(name.len()).ok().filter(|length| *length < 128).ok_or(io::ErrorKind::InvalidFilename)?);
        body.extend(name.as_bytes());
        body.extend(count(bytes.len()));
        body.extend(hash(&bytes));
        let at = body.len() - 16;
        body.splice(at..at, bytes);
    }
    Ok(body)
}

/// A part's name is no path.
fn plain(name: &str) -> io::Result<&str> {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    is_plain.then_some(name).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

/// CityHash 1.0.2 of 128 bits, chained: each piece is hashed with the hash before it as its seed.
fn hash(bytes: &[u8]) -> [u8; 16] {
    let (mut first, mut second) = (0_u64, 0_u64);
    for piece in bytes.chunks(HASHED_AT_ONCE) {
        // The function without a seed takes one from the first sixteen bytes, the first half of it after this exclusive or.
        const K3: u64 = 0xc949_d7c7_509e_6557;
        let seeded = [&(first ^ K3).to_le_bytes()[..], &second.to_le_bytes(), piece].concat();
        let hash = cityhash_rs::cityhash_102_128(&seeded).to_be_bytes();
        let (high, low) = hash.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        (first, second) = (number(high), number(low));
    }
    let mut out = [0; 16];
    out[..8].copy_from_slice(&first.to_le_bytes());
    out[8..].copy_from_slice(&second.to_le_bytes());
    out
}

/// Where the tables' parts lie, by the path of this replica in ZooKeeper.
struct Folders {
    http: u16,
    known: Mutex<HashMap<String, PathBuf>>,
}

impl Folders {
    fn of(&self, replica: &str) -> io::Result<PathBuf> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(replica) {
            let sql = "SELECT r.replica_path, arrayElement(t.data_paths, 1) FROM system.replicas r \
                       JOIN system.tables t ON r.database = t.database AND r.table = t.name FORMAT TSV";
            let answer = server::query(self.http, sql)?;
            let rows = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).lines();
            let rows = rows.filter_map(|row| row.split_once('\t'));
            known.extend(rows.map(|(path, folder)| (path.to_owned(), Path::new(folder).to_owned())));
        }
        known.get(replica).cloned().ok_or_else(|| io::Error::other(format!("no replica {replica} is here")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let text = b"POST /?endpoint=DataPartsExchange%3A%2Fa%2Freplicas%2Fr1&part=20260101_0_0_0 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST";
        let mut from = &text[..];
        let request = Request::read(&mut from).unwrap().unwrap();
        assert_eq!(request.get("endpoint").unwrap(), "DataPartsExchange:/a/replicas/r1");
        assert_eq!(plain(request.get("part").unwrap()).unwrap(), "20260101_0_0_0");
        assert_eq!(from, b"POST");
        assert!(plain("../x").is_err());
    }

    #[test]
    fn a_hash_goes_on_from_the_piece_before() {
        let one = hash(&[7; HASHED_AT_ONCE]);
        assert_ne!(hash(&[7; HASHED_AT_ONCE + 1]), one);
        assert_eq!(hash(&[]), [0; 16]);
    }
}
