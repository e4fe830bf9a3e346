//! Whether the ingest user has more rights than it needs: a gateway on the public edge should not be able to do more than add rows.

/// What inserting, looking and creating the schema need, in the gateway's own database.
const NEEDED: [&str; 5] = ["SELECT", "INSERT", "CREATE TABLE", "CREATE VIEW", "SHOW"];
/// Rights that cannot touch data; some servers ask for them.
const HARMLESS: [&str; 4] = ["USAGE", "TABLE ENGINE", "CREATE TEMPORARY TABLE", "SHOW"];

/// A line for each right that the user does not need, from the statements that `SHOW GRANTS` gives.
pub(crate) fn warnings(user: &str, database: &str, grants: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    if user == "default" {
        found.push("the ingest user is `default`; make one of its own (docs/clickhouse.md)".to_owned());
    }
    for grant in grants {
        match Grant::read(grant) {
            Some(grant) => found.extend(grant.excess(user, database)),
            None => found.push(format!("the rights that {user} has through a role are not checked: {grant}")),
        }
    }
    found
}

struct Grant<'a> {
    rights: Vec<&'a str>,
    on: &'a str,
    may_pass_on: bool,
}

impl<'a> Grant<'a> {
    /// `GRANT right, right(column, …) ON database.table TO user`; none when a role is granted.
    fn read(text: &'a str) -> Option<Grant<'a>> {
        let (rights, rest) = text.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (on, to) = rest.rsplit_once(" TO ")?;
        Some(Grant {
            rights: split_outside_parentheses(rights),
            on: on.trim(),
            may_pass_on: to.ends_with(" WITH GRANT OPTION"),
        })
    }

    fn excess(&self, user: &str, database: &str) -> Vec<String> {
        let scope = self.on.split('.').next().unwrap_or_default().trim_matches('`');
        let own = scope == database;
        let mut found: Vec<String> = self
            .rights
            .iter()
            .map(|right| right.split('(').next().unwrap_or_default().trim())
            .filter(|right| !(own && NEEDED.contains(right)))
            .filter(|right| !(scope == "system" && *right == "SELECT"))
            .filter(|right| !HARMLESS.contains(right))
            .map(|right| format!("{user} may {right} on {}, which it does not need; revoke it", self.on))
            .collect();
        if self.may_pass_on {
            found.push(format!("{user} may grant its rights on {} to others; revoke the grant option", self.on));
        }
        found
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let split = text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    split.map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grants: &[&str]) -> Vec<String> {
        let grants: Vec<String> = grants.iter().map(|grant| (*grant).to_owned()).collect();
        warnings("hyperdx_ingest", "otel", &grants)
    }

    #[test]
    fn the_documented_rights_are_no_warning() {
        let none: Vec<String> = Vec::new();
        assert_eq!(
            of(&[
                "GRANT SELECT, INSERT, CREATE TABLE, CREATE VIEW ON otel.* TO hyperdx_ingest",
                "GRANT TABLE ENGINE ON MergeTree TO hyperdx_ingest",
                "GRANT SELECT ON system.processes TO hyperdx_ingest",
            ]),
            none
        );
        assert_eq!(of(&["GRANT SELECT(Timestamp, Body), INSERT ON otel.otel_logs TO hyperdx_ingest"]), none);
    }

    #[test]
    fn dropping_reading_elsewhere_and_passing_on_are() {
        assert_eq!(
            of(&["GRANT SELECT, DROP TABLE ON otel.* TO hyperdx_ingest"]),
            ["hyperdx_ingest may DROP TABLE on otel.*, which it does not need; revoke it"]
        );
        assert_eq!(of(&["GRANT SELECT ON *.* TO hyperdx_ingest"]).len(), 1);
        assert_eq!(of(&["GRANT SELECT, INSERT ON otel2.* TO hyperdx_ingest"]).len(), 2);
        assert_eq!(of(&["GRANT INSERT ON otel.* TO hyperdx_ingest WITH GRANT OPTION"]).len(), 1);
        assert_eq!(of(&["GRANT admin TO hyperdx_ingest"]).len(), 1);
    }

    #[test]
    fn default_is_named() {
        let all = ["GRANT SHOW, SELECT, ALTER ON *.* TO default WITH GRANT OPTION".to_owned()];
        let found = warnings("default", "otel", &all);
        assert!(found[0].contains("`default`"), "{found:?}");
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
