//! What `/status` says of the configuration: whether what the file says now is what counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::Serialize;

use super::milliseconds;

/// Told by who looks at the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigurationWatch(Arc<Mutex<ConfigurationStatus>>);

/// The configuration.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ConfigurationStatus {
    /// Its file.
    file: PathBuf,
    /// The spool's folder; none where there is no spool. Of two configurations with one folder the process is the same.
    spool_dir: Option<PathBuf>,
    /// When something of it was taken over last, in milliseconds since 1970; at the start when never since.
    taken_over_ms: u64,
    /// What was changed in the file and waits for a restart.
    waiting_for_restart: Vec<&'static str>,
    /// Why the file as it is now is not taken over.
    mistakes: Vec<String>,
}

impl ConfigurationWatch {
    /// The configuration of `file`, with its spool in this folder, counts from now on.
    pub(crate) fn new(file: &Path, spool_dir: Option<&Path>) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (file, spool_dir) = (absolute(file), spool_dir.map(absolute));
        let taken_over_ms = milliseconds(SystemTime::now());
        ConfigurationWatch(Arc::new(Mutex::new(ConfigurationStatus {
            file,
            spool_dir,
            taken_over_ms,
            ..Default::default()
        })))
    }

    /// The file is as it should be; `changed`: something of it was taken over.
    pub(crate) fn good(&self, changed: bool, waiting_for_restart: Vec<&'static str>) {
        let mut status = self.0.lock();
        if changed {
            status.taken_over_ms = milliseconds(SystemTime::now());
        }
        status.waiting_for_restart = waiting_for_restart;
        status.mistakes.clear();
    }

    /// The file has mistakes, and what counted counts.
    pub(crate) fn refused(&self, mistakes: Vec<String>) {
        self.0.lock().mistakes = mistakes;
    }

    /// Whether this is known already.
    pub(crate) fn is_good(&self, waiting_for_restart: &[&'static str]) -> bool {
        let status = self.0.lock();
        status.mistakes.is_empty() && status.waiting_for_restart == waiting_for_restart
    }

    pub(super) fn status(&self) -> ConfigurationStatus {
        self.0.lock().clone()
    }
}
