//! The way in: a file's path becomes a [`Config`] and the keys it names, or every mistake of both files at once.

use std::path::Path;

use super::remark::{Mistakes, Remark};
use super::section::Reader;
use super::{Config, KeyEntry, KeyRules, Keys, Places, Surroundings, check, keys_file};

/// What `serve` starts with.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The entries of `keys.file`.
    pub keys: Vec<KeyEntry>,
    /// Whether they were read.
    pub(super) keys_read: bool,
    /// What is wrong now and may be right at another time, such as a certificate that is over: `check` refuses it; a start goes on, because what
    /// lies in the spool can be delivered all the same.
    pub faults: Vec<Remark>,
    /// What works and is not wise.
    pub warnings: Vec<Remark>,
}

/// What the spool's place is read from; what is wrong elsewhere, or cannot be read by who asks, is nothing to it.
const OF_THE_SPOOL: &[&str] = &["listen", "spool", "state_dir", "batch"];
/// The same for keys.yaml.
const OF_THE_KEYS: &[&str] = &["listen", "keys.file"];

/// Reads where the spool is, for whoever may read the configuration: no other file is needed, and no variable that the spool's place does not name.
///
/// # Errors
/// Every mistake of the sections that say so.
pub fn load_places(file: &Path, surroundings: &dyn Surroundings) -> Result<Places, Mistakes> {
    places(file, surroundings, OF_THE_SPOOL)
}

/// As [`load_places`], for keys.yaml.
///
/// # Errors
/// Every mistake of what says where it is.
pub fn load_keys_place(file: &Path, surroundings: &dyn Surroundings) -> Result<Places, Mistakes> {
    places(file, surroundings, OF_THE_KEYS)
}

fn places(file: &Path, surroundings: &dyn Surroundings, matter: &[&str]) -> Result<Places, Mistakes> {
    let reader = Reader::new(file, surroundings);
    let checked = reader.document("", check::config);
    let mut mistakes = reader.into_remarks().mistakes;
    let within = |path: &str, section: &&str| {
        path.strip_prefix(*section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    mistakes.retain(|mistake| checked.is_none() || matter.iter().any(|section| within(&mistake.path, section)));
    match checked {
        Some(checked) if mistakes.is_empty() => Ok(Places { file: file.to_owned(), ..checked.places }),
        _ => Err(Mistakes(mistakes)),
    }
}

/// Reads the configuration in `file`, the files it names, and keys.yaml. Relative paths begin at the folder of the file
/// that names them.
///
/// # Errors
/// Every mistake at once, each with file, line and remedy.
pub fn load(file: &Path, surroundings: &dyn Surroundings) -> Result<Loaded, Mistakes> {
    load_if(file, surroundings, |_, _| true)
}

/// As [`load`]; keys.yaml is read only `if` it is wanted.
pub(super) fn load_if(
    file: &Path,
    surroundings: &dyn Surroundings,
    wanted: impl Fn(&Keys, &KeyRules) -> bool,
) -> Result<Loaded, Mistakes> {
    let reader = Reader::new(file, surroundings);
    let checked = reader.document("", check::config);
    let mut remarks = reader.into_remarks();
    let mut entries = Vec::new();
    let keys_read = checked.as_ref().is_some_and(|checked| wanted(&checked.keys, &checked.rules));
    if let Some(checked) = checked.as_ref().filter(|_| keys_read)
        && let Some(file) = &checked.keys.file
    {
        let (keys, mut of_keys) = keys_file::check(file, &checked.rules, surroundings);
        entries = keys;
        // Every entry's key may be a variable that is absent.
        if entries.is_empty() && checked.keys.is_file_alone() && of_keys.mistakes.is_empty() {
            of_keys.warnings = vec![keys_file::no_key(file)];
        }
        if let Some(config) = &checked.config
            && !config.tls.asks_clients()
            && entries.iter().any(|entry| entry.certificate.is_some())
        {
            of_keys.warnings.push(keys_file::no_certificate(file));
        }
        remarks.append(of_keys);
    }
    let (config, faults, warnings) = remarks.into_result(checked.and_then(|checked| checked.config))?;
    // Without a configuration there was a mistake, which is returned above.
    let config = config.ok_or(Mistakes(Vec::new()))?;
    Ok(Loaded { config, keys: entries, keys_read, faults, warnings })
}
