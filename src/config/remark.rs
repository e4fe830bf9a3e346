//! What is said about a file to the person who wrote it.

use std::fmt;

use super::yaml::Mark;

/// One mistake or warning: where, what is wrong, and what to do. Holds no value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The file, as it was named.
    pub(crate) file: String,
    /// Line and column, from 1.
    pub(crate) mark: Mark,
    /// The field, for example `sink.clickhouse.url`; empty for the file as a whole.
    pub(crate) path: String,
    /// What is wrong, and the remedy.
    pub(crate) message: String,
}

impl fmt::Display for Remark {
    /// `file:line:column: path: message`, which editors and terminals jump to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remark { file, mark, path, message } = self;
        write!(f, "{file}:{}:{}: ", mark.line, mark.column)?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Every mistake found at once, in the order of the files and their lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Remark>);

/// What a file's check found besides its value.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub(super) mistakes: Vec<Remark>,
    /// Wrong now, though the file may stay as it is: a certificate that is over.
    pub(super) faults: Vec<Remark>,
    pub(super) warnings: Vec<Remark>,
}

impl Remarks {
    /// Adds what was found in another file, after this one's.
    pub(super) fn append(&mut self, mut other: Remarks) {
        self.mistakes.append(&mut other.mistakes);
        self.faults.append(&mut other.faults);
        self.warnings.append(&mut other.warnings);
    }

    /// The value with its faults and warnings, or every mistake, and the faults with them.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<(T, Vec<Remark>, Vec<Remark>), Mistakes> {
        if self.mistakes.is_empty() {
            return Ok((value, self.faults, self.warnings));
        }
        self.mistakes.append(&mut self.faults);
        Err(Mistakes(self.mistakes))
    }
}
