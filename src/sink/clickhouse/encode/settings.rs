//! What encoders go by, and how it is replaced while the gateway runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;

use super::keep::Keeps;
use super::plan::Plans;
pub use crate::config::BlockCompression as Compression;

/// What an encoder goes by, whole: replaced, never changed.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    /// The server's tables.
    pub plans: Plans,
    /// The server's time zone: ClickHouse cuts days by it where a column names none of its own.
    pub zone: TimeZone,
    /// How long the tables keep their rows.
    pub keeps: Keeps,
    /// How sealed blocks are compressed.
    pub compression: Compression,
    /// Whether logs are changed as ClickStack's collector changes them (JSON bodies into attributes, severity from text).
    pub transform_logs: bool,
}

/// The settings that the next chunk is opened by. All clones share them.
#[derive(Debug, Clone)]
pub(super) struct CurrentSettings(Arc<ArcSwap<EncoderSettings>>);

impl CurrentSettings {
    pub(super) fn new(settings: EncoderSettings) -> CurrentSettings {
        CurrentSettings(Arc::new(ArcSwap::from_pointee(settings)))
    }

    pub(super) fn replace(&self, settings: EncoderSettings) {
        self.0.store(Arc::new(settings));
    }

    pub(super) fn get(&self) -> Arc<EncoderSettings> {
        self.0.load_full()
    }
}
