//! Makes encoders for the plan that is current, and lets it be replaced while the gateway runs.

use std::sync::Arc;

use super::chunk::NativeChunk;
use super::settings::{CurrentSettings, EncoderSettings};
use crate::chunk::ChunkEncoder;
use crate::signal::Signal;

/// Makes encoders. Cheap to clone; all clones share the settings.
#[derive(Debug, Clone)]
pub struct EncoderFactory {
    settings: CurrentSettings,
}

impl EncoderFactory {
    /// A factory that goes by `settings` until they are replaced.
    pub fn new(settings: EncoderSettings) -> EncoderFactory {
        EncoderFactory { settings: CurrentSettings::new(settings) }
    }

    /// From now on chunks are opened by these settings; a chunk that is open keeps its own until it is sealed.
    pub(crate) fn replace(&self, settings: EncoderSettings) {
        self.settings.replace(settings);
    }

    /// What chunks are opened by now.
    pub(crate) fn settings(&self) -> Arc<EncoderSettings> {
        self.settings.get()
    }

    /// An encoder with an empty chunk of this signal.
    pub fn encoder(&self, signal: Signal) -> Box<dyn ChunkEncoder> {
        Box::new(NativeChunk::new(self.settings.clone(), signal))
    }
}
