//! Makes encoders for the plan that is current, and lets it be replaced while the gateway runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;

use super::plan::Plans;
use crate::chunk::ChunkEncoder;
pub use crate::config::BlockCompression as Compression;
use crate::signal::Signal;

/// What an encoder goes by, whole: replaced, never changed.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    /// The server's tables.
    pub plans: Plans,
    /// The server's time zone: ClickHouse cuts days by it where a column names none of its own.
    pub zone: TimeZone,
    /// How sealed blocks are compressed.
    pub compression: Compression,
    /// Whether logs are changed as ClickStack's collector changes them (JSON bodies into attributes, severity from text).
    pub transform_logs: bool,
}

/// Makes encoders. Cheap to clone; all clones share the settings.
#[derive(Debug, Clone)]
pub struct EncoderFactory {
    settings: Arc<ArcSwap<EncoderSettings>>,
}

impl EncoderFactory {
    /// A factory that goes by `settings` until they are replaced.
    pub fn new(settings: EncoderSettings) -> EncoderFactory {
        EncoderFactory { settings: Arc::new(ArcSwap::from_pointee(settings)) }
    }

    /// From now on chunks are opened by these settings; a chunk that is open keeps its own until it is sealed.
    pub fn replace(&self, settings: EncoderSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The settings that the next chunk is opened by.
    pub fn settings(&self) -> Arc<EncoderSettings> {
        self.settings.load_full()
    }

    /// An encoder with an empty chunk of this signal.
    pub fn encoder(&self, signal: Signal) -> Box<dyn ChunkEncoder> {
        Box::new(super::chunk::Chunk::new(self.clone(), signal))
    }
}
