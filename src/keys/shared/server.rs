//! What the server in the middle is asked: one script, called with all keys that were used. Its clock is the only one that counts, and what it keeps
//! expires by itself.

use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::config::SharedLimits;
use crate::keys::usage::{RATES, Report, Usage};
use crate::shared_server::{SetupError, SharedServer};

/// A replica that was not seen for so long is gone.
const REPLICA_TTL: Duration = Duration::from_secs(5);

/// In microseconds, some 35 years: what a number of the server's holds to the last digit.
const LONGEST: u64 = 1 << 50;

/// The way to the server.
pub(crate) struct Server {
    server: SharedServer,
    script: Script,
}

impl Server {
    pub(super) fn new(config: &SharedLimits) -> Result<Server, SetupError> {
        let server = SharedServer::new(&config.server, "limits.shared")?;
        Ok(Server { server, script: Script::new(include_str!("script.lua")) })
    }

    /// Where it is, without a password.
    pub(super) fn url(&self) -> &str {
        self.server.url()
    }

    /// Says what was used; how many replicas there are, and how far each rate of each key is used by all, in the reports' order.
    ///
    /// # Errors
    /// In words, none of which is a password.
    pub(super) async fn call(
        &mut self,
        reports: &[(Arc<Usage>, Report)],
    ) -> Result<(u32, Vec<[Duration; RATES]>), String> {
        let mut call = self.script.prepare_invoke();
        call.key(self.server.key("replicas")).arg(self.server.id()).arg(micros(REPLICA_TTL));
        for (usage, report) in reports {
            call.key(self.server.key(format_args!("limit:{}", usage.id)));
            for (rate, limit) in usage.rates().iter().enumerate() {
                let most = limit.tolerance().saturating_mul(2);
                call.arg(micros(report.floor[rate])).arg(micros(report.used[rate])).arg(micros(most));
            }
        }
        let numbers: Vec<i64> = self.server.call(&call).await?;
        let (replicas, debts) = numbers.split_first().ok_or("its answer is not the script's")?;
        let (debts, rest) = debts.as_chunks::<RATES>();
        if debts.len() != reports.len() || !rest.is_empty() {
            return Err("its answer is not the script's".to_owned());
        }
        let time = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Ok((u32::try_from(*replicas).unwrap_or(1), debts.iter().map(|debts| debts.map(time)).collect()))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LONGEST)
}
