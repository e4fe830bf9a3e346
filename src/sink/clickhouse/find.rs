//! Where a part is looked for: on which servers, and whose word counts.
//!
//! Invariant: a part is absent only where everybody who may have it says so, or a replica that has all that the others have.

use super::{ClickHouse, look};
use crate::sink::{Look, PartDelivery};

impl ClickHouse {
    /// Looks on every server that may have it.
    pub(super) async fn find(&self, part: &PartDelivery) -> Look {
        let schema = self.schema.borrow().clone();
        let Some(table) = schema.tables.get(&*part.name.table) else {
            self.reread.notify_one();
            return Look::Unclear { why: format!("the table {} is not there", part.name.table) };
        };
        let old = self.servers.last_attempt(&part.token);
        let look = |server| look::look(self.query(server), &self.config.database, table, part, old);
        let found = if table.is_replicated() {
            // Any replica that has all that the others have may speak for them.
            let mut found = Look::Absent;
            for server in self.servers.all_from_current() {
                found = look(server).await.unwrap_or_else(|why| Look::Unclear { why });
                if !matches!(found, Look::Unclear { .. }) {
                    break;
                }
            }
            found
        } else {
            // Absent only where every server that may have it says so. One without the table has nothing; if all are, it may come back.
            let mut found = Look::Unclear { why: format!("no server has the table {}", part.name.table) };
            for server in self.servers.suspects(&part.token) {
                let Ok(said) = look(server).await else { continue };
                found = said;
                if found != Look::Absent {
                    break;
                }
            }
            found
        };
        if !matches!(found, Look::Unclear { .. }) {
            self.servers.settled(&part.token);
        }
        found
    }
}
