//! The running program: every room is opened here, in the order in which they depend on one another, and closed in the
//! reverse order.
//!
//! Invariants: what a person has to mend fails before the first port accepts; nothing is accepted before it can be
//! kept; the stop answers what is in flight, and takes no longer than `shutdown.deadline`.

mod keys;
mod ready;
mod reload;
mod running;
mod store;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admin::drain::Drain;
use crate::admin::status::{Behind, ConfigurationWatch, Sources};
use crate::admin::{self, AdminSocket};
use crate::admit::Admission;
use crate::config::{self, Config, Loaded, Surroundings};
use crate::gateway::Gateway;
use crate::keys::{KeyRing, OpenError as KeysError};
use crate::listen::{self, Inherited};
use crate::metrics::Metrics;
use crate::notes::Notes;
use crate::readiness::Readiness;
use crate::rounds::Rounds;
use crate::shared_server;
use crate::shutdown::{StopSignals, Stopped};
use crate::sink::{clickhouse, collector};
use crate::spool::OpenError;
use crate::spool::disk::LockError;
use crate::telemetry;

use keys::KeySources;
pub use ready::Ready;
pub use reload::Origin;
use reload::Reload;
use running::Running;
use store::Store;

/// Open files that connections may not take: the spool's, those to the sink, the admin listener's, the log's.
const RESERVED_FILES: usize = 256;

/// Why the program could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] listen::TlsError),
    /// ClickHouse refuses, or its tables cannot be written.
    #[error(transparent)]
    Sink(#[from] clickhouse::StartError),
    /// What is configured for the collector cannot be used.
    #[error(transparent)]
    Forward(#[from] collector::SetupError),
    /// The spool's folder.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// ClickStack's keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What lies in the spool.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// What is configured for shared digests cannot be used.
    #[error(transparent)]
    SharedDigests(#[from] shared_server::SetupError),
    /// What is told of gRPC's services.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
    /// An address, or the disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs until the first of `signals`, then stops in order; the configuration is reread from its `origin` meanwhile. `ready` is called once, when every
/// listener accepts. What happens is counted and noted in `instruments`.
///
/// # Errors
/// The start failed; nothing was accepted then.
pub async fn serve(
    Loaded { config, keys, .. }: Loaded,
    origin: Origin,
    surroundings: impl Surroundings + Clone + Send + 'static,
    (metrics, notes): (Arc<Metrics>, Arc<Notes>),
    mut signals: StopSignals,
    ready: impl FnOnce(&Ready),
) -> Result<Stopped, ServeError> {
    let readiness = Readiness::default();
    let listening = readiness.check("listeners");
    // What runs beside the path, and ends with this function.
    let mut beside = JoinSet::new();
    let rounds = Rounds::start()?;

    let mut inherited = tokio::select! {
        inherited = inherit(&config.listen) => inherited?,
        () = signals.next() => return Ok(Stopped::Clean),
    };
    // First who can say how the start goes, then where everything is brought, and the ports only when it can be kept.
    let admin = OpenAdmin::open(&config, &metrics, &readiness, &mut inherited, &mut beside).await?;
    // Before the store: it may have to wait for ClickHouse, and a certificate that cannot be used is to be said at once.
    let tls = listen::Tls::load(&config.tls, &config.listen.otlp, metrics.clone())?;
    let store = tokio::select! {
        store = Store::open(&config, inherited.has_predecessor(), &metrics, &readiness, &rounds) => store?,
        () = signals.next() => return Ok(Stopped::Clean),
    };
    admin.open_socket(&config, inherited.has_predecessor(), &mut beside).await?;
    let keys = KeySources::open(&config, keys, &metrics).await?;
    // The routes were there before what they show was: they say that the process is starting until now. Nobody else sets it.
    let status = ConfigurationWatch::new(&origin.file, config.spool.as_ref().map(|spool| spool.dir.as_path()));
    let _ = admin.behind.set(store.sources(keys.ring().clone(), status.clone()));
    Sources::follow(admin.behind.clone(), &rounds, metrics.clone());
    let bound = bind(&config.listen, &mut inherited, tls.clone(), &metrics).await?.offering(admin.offer);
    let addresses = Ready::new(&bound.addresses()?, tls.is_some(), admin.address);

    let gateway = Arc::new(gateway(&config, keys.ring(), &store, (&metrics, &rounds), &notes)?);
    beside.spawn(gateway.follow(readiness.clone()));
    let telemetry = telemetry::start(&config.telemetry, &gateway, &metrics, notes);
    let sources = keys.follow(&config, surroundings.clone(), &readiness, &rounds, &mut beside);
    let mut reload = Reload {
        origin,
        config: Arc::new(config),
        gateway: gateway.clone(),
        sink: store.sink().clone(),
        sources,
        status,
        metrics: metrics.clone(),
    };
    if let Some(tls) = tls {
        keep_certificates(tls, reload.config.tls.acme(), &rounds, (&readiness, &metrics), &mut beside);
    }
    // Bound before, so that an address in use is an error of the start; served only now that everything behind is there.
    let listeners = bound.serve(move |request| {
        let gateway = gateway.clone();
        async move { gateway.serve(request).await }
    });
    listening.set(Ok(()));
    info!("{addresses}");
    ready(&addresses);

    let running = Running {
        order: &admin.drain,
        behind: &admin.behind,
        readiness: &readiness,
        listeners: &listeners,
        gateway: &reload.gateway.clone(),
        store: &store,
        telemetry: &telemetry,
    };
    let mut times = reload.config.shutdown;
    let told = running.until_told(&mut signals, &mut times);
    until_it_fails("the configuration is no longer reread", reload.follow(&rounds, surroundings, told)).await;
    let (stopped, ()) = tokio::join!(running.stop(times, signals), reload.sources.stop(times.deadline));
    Ok(stopped)
}

/// The ports that systemd or the otelgate that is about to stop hands over.
async fn inherit(listen: &config::Listen) -> io::Result<Inherited> {
    let addresses: Vec<_> = listen.otlp.iter().copied().chain([listen.admin]).collect();
    Inherited::gather(&addresses, listen.handover).await
}

/// The ports, for as many connections as there may be files.
async fn bind(
    listen: &config::Listen,
    inherited: &mut Inherited,
    tls: Option<Arc<listen::Tls>>,
    metrics: &Arc<Metrics>,
) -> io::Result<listen::Bound> {
    // A connection is a file. Where the system allows too few, fewer connections are better than a spool that can open no file.
    let mut limits = listen.clone();
    limits.max_connections = listen::raise_open_files(limits.max_connections, RESERVED_FILES, metrics);
    listen::bind(&limits, inherited, tls, metrics.clone()).await
}

/// Orders what a directory issues, and rereads what lies in files.
fn keep_certificates(
    tls: Arc<listen::Tls>,
    acme: Option<&config::Acme>,
    rounds: &Rounds,
    (readiness, metrics): (&Readiness, &Arc<Metrics>),
    beside: &mut JoinSet<()>,
) {
    if let Some(acme) = acme {
        beside.spawn(listen::keep_certificate(acme.clone(), tls.clone(), readiness.clone(), metrics.clone()));
    }
    beside.spawn(until_it_fails("certificates are no longer reread", tls.keep_current(rounds.clone())));
}

/// The admin listener, open from the beginning of the start.
struct OpenAdmin {
    router: axum::Router,
    /// What its pages show; empty until everything is there.
    behind: Behind,
    /// The order to drain.
    drain: Drain,
    /// For the next otelgate.
    offer: Option<listen::Offer>,
    address: SocketAddr,
}

impl OpenAdmin {
    async fn open(
        config: &Config,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
        inherited: &mut Inherited,
        beside: &mut JoinSet<()>,
    ) -> io::Result<OpenAdmin> {
        let wanted = config.listen.admin;
        let listener = match inherited.take(wanted) {
            Some(listener) => listener,
            None => listen::socket(wanted, "listen.admin").await?,
        };
        let (offer, address) = (listen::Offer::of(&listener), listener.local_addr()?);
        let behind = Behind::default();
        let drain = Drain::default();
        let people = admin::people(behind.clone(), drain.clone(), admin::Right::new(config.admin.token.clone()));
        let router = admin::router(metrics.clone(), readiness.clone()).merge(people);
        beside.spawn(until_it_fails("the admin listener ended", admin::serve(listener, router.clone())));
        Ok(OpenAdmin { router, behind, drain, offer, address })
    }

    /// Opens its socket too, where there is to be one.
    async fn open_socket(&self, config: &Config, predecessor: bool, beside: &mut JoinSet<()>) -> io::Result<()> {
        if let Some(path) = &config.admin.socket {
            let socket = bind_admin_socket(path, predecessor, config.shutdown.deadline).await?;
            beside.spawn(until_it_fails("the admin socket ended", admin::serve_socket(socket, self.router.clone())));
        }
        Ok(())
    }
}

/// A predecessor has the socket until it ends, which is soon.
async fn bind_admin_socket(path: &Path, predecessor: bool, soon: Duration) -> io::Result<AdminSocket> {
    let began = Instant::now();
    loop {
        match AdminSocket::bind(path) {
            Err(error) if predecessor && error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < soon => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bound => return bound,
        }
    }
}

fn gateway(
    config: &Config,
    ring: &Arc<KeyRing>,
    store: &Store,
    (metrics, rounds): (&Arc<Metrics>, &Rounds),
    notes: &Arc<Notes>,
) -> Result<Gateway, tonic_reflection::server::Error> {
    let admission = Admission::new(ring.clone(), config.keys.max_failures_per_minute, &config.request);
    let (memory, measured) = (admission.memory().clone(), metrics.clone());
    rounds.add(move || {
        measured.memory_held_bytes.set(i64::try_from(memory.used()).unwrap_or(i64::MAX));
    });
    let origins = config.cors.allowed_origins.clone();
    let gateway =
        Gateway::new(admission, store.lanes().clone(), config.request, origins, (metrics.clone(), notes.clone()));
    if config.listen.grpc_reflection { gateway.reflecting() } else { Ok(gateway) }
}

async fn until_it_fails(what: &'static str, task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        warn!(%error, "{what}");
    }
}
