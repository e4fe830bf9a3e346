//! Each connection is an open file. The limit is raised as far as the system allows, and what must work when
//! connections are many (the spool, inserts, the admin listener) is reserved.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::metrics::Metrics;

/// Raises the process's limit of open files to its hard limit, and says how many connections fit under it with `reserved` files
/// kept back: `max_connections`, or fewer, with a warning.
pub(crate) fn raise(max_connections: usize, reserved: usize, metrics: &Metrics) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            current
        }
    };
    let Some(limit) = limit else {
        return max_connections;
    };
    metrics.open_files_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    let allowed = fitting(limit, max_connections, reserved);
    if allowed < max_connections {
        tracing::warn!(
            limit,
            reserved,
            max_connections,
            allowed,
            "the limit of open files does not allow listen.max_connections; raise it (LimitNOFILE, --ulimit nofile) or lower max_connections"
        );
    }
    allowed
}

fn fitting(limit: u64, max_connections: usize, reserved: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    max_connections.min(limit.saturating_sub(reserved)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_back() {
        assert_eq!(fitting(65_536, 10_000, 512), 10_000);
        assert_eq!(fitting(1024, 10_000, 512), 512);
        assert_eq!(fitting(100, 10_000, 512), 1);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let metrics = Metrics::default();
        assert_eq!(raise(1, 16, &metrics), 1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
