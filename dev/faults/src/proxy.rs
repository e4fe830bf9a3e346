//! Between otelgate and ClickHouse's HTTP port: passes everything on, and spoils one insert after another when told to.
//!
//! A request is read whole before it is passed on and an answer before it is passed back, so a fault hits exactly the moment it
//! names. Inserts are held back a little, so that some are in flight nearly always.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use stack::{ClickHouse, Door};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use crate::wire::Head;

/// The service of the rows that [`InsertFault::Spoil`] commits.
pub const ALIEN: &str = "alien";
/// How long an answered insert is held back, in milliseconds.
const LAG_MS: std::ops::Range<u64> = 20..250;

/// What happens to one insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertFault {
    /// The connection is cut when the head has arrived.
    CutBeforeBody,
    /// Half of the body is passed on, then both connections are cut.
    CutInBody,
    /// The whole insert is passed on, then both connections are cut.
    CutAfterBody,
    /// ClickHouse answers, and its answer is lost.
    LoseReply,
    /// ClickHouse stores the rows, and the answer is 200 with an exception in its body.
    LateException,
    /// As [`InsertFault::LateException`], but nothing was stored.
    LateExceptionAndNothingStored,
    /// ClickHouse never hears of it: the answer is TOO_MANY_PARTS.
    TooManyParts,
    /// It takes so long.
    Stall(Duration),
    /// ClickHouse gets it after so long, though its sender may have gone, and though the address may stand for another server by then.
    Straggle(Duration),
    /// Another row is committed under its token, then the connection is cut: ClickHouse will say yes to the repeat and drop it.
    Spoil,
}

/// A thread of ClickHouse accounts for its memory in steps of so many bytes.
const UNTRACKED: u64 = 64 << 10;

/// The proxy; it serves until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    door: Door,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    armed: Mutex<VecDeque<(InsertFault, oneshot::Sender<usize>)>>,
    inserts: AtomicUsize,
    /// Inserts that ClickHouse refused for a constraint, and all that it answered.
    answered: watch::Sender<Answered>,
    /// The most memory that an insert may take there; 0 for no limit.
    memory: AtomicU64,
}

/// How many inserts ClickHouse answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answered {
    /// With VIOLATED_CONSTRAINT.
    pub refused: usize,
    /// With FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: a view failed.
    pub failed_in_view: usize,
    /// With MEMORY_LIMIT_EXCEEDED.
    pub out_of_memory: usize,
    /// With anything.
    pub all: usize,
}

impl Proxy {
    /// A proxy in front of ClickHouse's HTTP port on this machine.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(clickhouse: &ClickHouse) -> Result<Proxy> {
        let upstream = address(clickhouse)?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            armed: Mutex::default(),
            inserts: AtomicUsize::new(0),
            answered: watch::Sender::default(),
            memory: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let door = Door::open(move |client| serve(serving.clone(), client)).await?;
        Ok(Proxy { shared, door })
    }

    /// Where otelgate is to find ClickHouse.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.door.port)
    }

    /// From here on new connections go to this server.
    ///
    /// # Errors
    /// It has no address that can be connected to.
    pub fn set_upstream(&self, clickhouse: &ClickHouse) -> Result<()> {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = address(clickhouse)?;
        Ok(())
    }

    /// Inserts that were begun and not answered.
    pub fn inserts_in_flight(&self) -> usize {
        self.shared.inserts.load(Ordering::Relaxed)
    }

    /// The next insert gets this fault; the answer comes when it does, with how many inserts were in flight.
    pub fn arm(&self, fault: InsertFault) -> oneshot::Receiver<usize> {
        let (hit, when) = oneshot::channel();
        self.armed().push_back((fault, hit));
        when
    }

    /// No insert gets a fault any more.
    pub fn disarm(&self) {
        self.armed().clear();
    }

    /// What ClickHouse answered so far, and from here on.
    pub fn answered(&self) -> watch::Receiver<Answered> {
        self.shared.answered.subscribe()
    }

    /// Lets each insert take so much memory of ClickHouse from here on; 0 lets it take what it likes.
    pub fn set_memory(&self, bytes: u64) {
        self.shared.memory.store(bytes, Ordering::Relaxed);
    }

    /// Cuts every connection, and with `away` every new one too until [`Proxy::back`].
    pub fn cut_all(&self, away: bool) {
        if away {
            self.door.close();
        } else {
            self.door.cut();
        }
    }

    /// ClickHouse is there again.
    pub fn back(&self) {
        self.door.reopen();
    }

    fn armed(&self) -> std::sync::MutexGuard<'_, VecDeque<(InsertFault, oneshot::Sender<usize>)>> {
        self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an insert while it is in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection of otelgate, with one to ClickHouse; ends with an error where both are to be cut.
async fn serve(shared: Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(shared.upstream()).await?);
    server.get_ref().set_nodelay(true)?;
    while let Some(head) = Head::read(&mut client).await? {
        if head.parameter("query").is_some_and(|query| query.starts_with("INSERT")) {
            let _in_flight = InFlight::new(&shared.inserts);
            insert(&shared, &head, &mut client, &mut server).await?;
        } else {
            let body = head.body(&mut client).await?;
            forward(&head, &body, &mut server).await?;
            let answer = answer(&mut server).await?;
            client.write_all(&answer).await?;
        }
    }
    Ok(())
}

type Side = BufReader<TcpStream>;

async fn insert(shared: &Shared, head: &Head, client: &mut Side, server: &mut Side) -> io::Result<()> {
    let fault = shared.next_fault();
    let cut = || Err(io::ErrorKind::ConnectionAborted.into());
    if fault == Some(InsertFault::CutBeforeBody) {
        return cut();
    }
    if fault == Some(InsertFault::CutInBody) {
        let half = head.half_a_body(client).await?;
        forward(head, &half, server).await?;
        return cut();
    }
    let body = head.body(client).await?;
    match fault {
        Some(InsertFault::TooManyParts) => return client.write_all(&exception(500, 252, "TOO_MANY_PARTS")).await,
        Some(InsertFault::LateExceptionAndNothingStored) => return client.write_all(&late_exception()).await,
        Some(InsertFault::Stall(time)) => tokio::select! {
            () = tokio::time::sleep(time) => {}
            // Its sender is gone. Passed on now, after its sender's heir has looked, it would be stored twice where a table has no window.
            _ = client.fill_buf() => return cut(),
        },
        Some(InsertFault::Straggle(time)) => {
            tokio::spawn(straggle(shared.upstream(), time, head.clone(), body));
            // Nobody answers; whoever waits is cut off in the end.
            client.fill_buf().await?;
            return cut();
        }
        Some(InsertFault::Spoil) => {
            spoil(shared.upstream(), head, &body).await?;
            return cut();
        }
        _ => {}
    }
    match shared.memory.load(Ordering::Relaxed) {
        0 => forward(head, &body, server).await?,
        bytes => {
            let limits = format!("max_memory_usage={bytes}&max_untracked_memory={UNTRACKED}");
            forward(&head.with_parameter(&limits), &body, server).await?;
        }
    }
    if fault == Some(InsertFault::CutAfterBody) {
        return cut();
    }
    let bytes = answer(server).await?;
    shared.answered.send_modify(|answered| {
        answered.all += 1;
        match exception_code(&bytes) {
            Some(469) => answered.refused += 1,
            Some(395) => answered.failed_in_view += 1,
            Some(241) => answered.out_of_memory += 1,
            _ => {}
        }
    });
    let lag = rand::rng().random_range(LAG_MS);
    tokio::time::sleep(Duration::from_millis(lag)).await;
    match fault {
        Some(InsertFault::LoseReply) => cut(),
        Some(InsertFault::LateException) => client.write_all(&late_exception()).await,
        _ => client.write_all(&bytes).await,
    }
}

/// Where a server of this machine is.
///
/// # Errors
/// Its address is no `http://` and an IP address.
pub fn address(clickhouse: &ClickHouse) -> Result<SocketAddr> {
    let address = clickhouse.url.strip_prefix("http://").context("ClickHouse must be reached by http")?;
    let mut addresses = address.to_socket_addrs()?;
    addresses.next().context("ClickHouse has no address")
}

async fn straggle(upstream: SocketAddr, time: Duration, head: Head, body: Vec<u8>) -> io::Result<()> {
    tokio::time::sleep(time).await;
    let mut server = BufReader::new(TcpStream::connect(upstream).await?);
    forward(&head, &body, &mut server).await?;
    answer(&mut server).await.map(drop)
}

impl Shared {
    fn upstream(&self) -> SocketAddr {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self) -> Option<InsertFault> {
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (fault, hit) = armed?;
        // Nobody may be waiting for it any more.
        let _ = hit.send(self.inserts.load(Ordering::Relaxed));
        Some(fault)
    }
}

async fn forward(head: &Head, body: &[u8], server: &mut Side) -> io::Result<()> {
    server.write_all(&head.bytes).await?;
    server.write_all(body).await
}

async fn answer(server: &mut Side) -> io::Result<Vec<u8>> {
    let head = Head::read(server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = head.body(server).await?;
    Ok([head.bytes, body].concat())
}

/// What an answer's head says of an exception.
fn exception_code(answer: &[u8]) -> Option<u32> {
    let head = String::from_utf8_lossy(answer.get(..answer.len().min(2048))?).to_ascii_lowercase();
    let field = head.lines().find_map(|line| line.strip_prefix("x-clickhouse-exception-code:"))?;
    field.trim().parse().ok()
}

fn exception(status: u16, code: u16, name: &str) -> Vec<u8> {
    let text = format!("Code: {code}. DB::Exception: made up by the fault proxy. ({name})\n");
    format!(
        "HTTP/1.1 {status} Fault\r\nX-ClickHouse-Exception-Code: {code}\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

fn late_exception() -> Vec<u8> {
    let tag = "abcdefghijklmnop";
    let text = format!(
        "\r\n__exception__\r\n{tag}\r\nCode: 241. DB::Exception: made up by the fault proxy. (MEMORY_LIMIT_EXCEEDED)\n79 {tag}\r\n__exception__\r\n"
    );
    format!("HTTP/1.1 200 OK\r\nX-ClickHouse-Exception-Tag: {tag}\r\nContent-Length: {}\r\n\r\n{text}", text.len())
        .into_bytes()
}

/// Commits rows of [`ALIEN`] into the insert's partition, under the insert's token. ClickHouse makes its mark of the token and of the
/// count of blocks, so there are as many blocks, of one row each.
async fn spoil(upstream: SocketAddr, head: &Head, insert: &[u8]) -> io::Result<()> {
    let token = head.parameter("insert_deduplication_token").unwrap_or_default();
    let (table, day) = table_and_day(head).ok_or(io::ErrorKind::InvalidData)?;
    let time = if table.contains("metrics") { "TimeUnix" } else { "Timestamp" };
    let noon = u32::try_from(day * 86_400 + 43_200).map_err(io::Error::other)?;
    let body = native_row(time, noon).repeat(compressed_blocks(insert));
    let mut server = TcpStream::connect(upstream).await?;
    let request = format!(
        "POST /?query=INSERT%20INTO%20{table}%20({time},ServiceName)%20FORMAT%20Native&insert_deduplication_token={token}\
         &async_insert=0&deduplicate_blocks_in_dependent_materialized_views=1&{ONE_BLOCK} HTTP/1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server.write_all(&[request.as_bytes(), &body].concat()).await?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).await?;
    if answer.contains(" 200 ") { Ok(()) } else { Err(io::Error::other(answer)) }
}

/// Settings that join an insert's blocks.
const ONE_BLOCK: &str =
    "min_insert_block_size_rows=1000000000&min_insert_block_size_bytes=1099511627776&max_insert_threads=1";

/// A block of one row in ClickHouse's Native format.
fn native_row(time: &str, seconds: u32) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat();
    let (columns, rows) = (2, 1);
    let time = [text(time), text("DateTime"), seconds.to_le_bytes().to_vec()].concat();
    let service = [text("ServiceName"), text("String"), text(ALIEN)].concat();
    [vec![columns, rows], time, service].concat()
}

/// How many compressed blocks a body has: each is a checksum of 16 bytes, a method, and its size without the checksum.
fn compressed_blocks(body: &[u8]) -> usize {
    let (mut count, mut rest) = (0, body);
    while let Some(size) = rest.get(17..21).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes) {
        let Some(next) = rest.get(16 + size as usize..) else { break };
        (count, rest) = (count + 1, next);
    }
    count
}

/// `database.table` of `INSERT INTO database.table (…)`, and the day, which is the token's last number but one.
fn table_and_day(head: &Head) -> Option<(String, i64)> {
    let query = head.parameter("query")?.replace("%20", " ").replace("%60", "").replace("%2E", ".");
    let table = query.strip_prefix("INSERT INTO ")?.split(' ').next()?.to_owned();
    let token = head.parameter("insert_deduplication_token")?;
    let day = token.rsplit('-').nth(1)?.parse().ok()?;
    Some((table, day))
}
