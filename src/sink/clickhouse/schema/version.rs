//! A server's version, as far as it decides on anything here.

use std::fmt;
use std::str::FromStr;

/// Year and release of a ClickHouse server, for example 26.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The newest that the schema was tried with; assumed when no server is asked.
    pub const NEWEST: Version = Version::new(26, 7);

    /// The version `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    /// The setting `materialize_skip_indexes_on_insert` is there from 24.6 on.
    pub(crate) fn can_leave_indexes_to_merges(self) -> bool {
        self >= Version::new(24, 6)
    }

    /// The table's setting `min_level_for_wide_part` is there from 25.10 on.
    pub(crate) fn has_level_for_wide_part(self) -> bool {
        self >= Version::new(25, 10)
    }

    /// Text indexes are generally available from 26.2 on.
    pub(crate) fn has_text_indexes(self) -> bool {
        self >= Version::new(26, 2)
    }
}

/// Not `26.7` or `26.7.2.1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a ClickHouse version: {0:?} (expected for example 26.7)")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Version { major, minor }),
            _ => Err(NotAVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_year_and_release() {
        assert_eq!("26.7.2.1".parse(), Ok(Version::new(26, 7)));
        assert_eq!("25.12".parse(), Ok(Version::new(25, 12)));
        assert!("26".parse::<Version>().is_err());
        assert!("newest".parse::<Version>().is_err());
        assert!(Version::new(25, 12) < Version::new(26, 2));
    }
}
