//! Who may do what: the ingest user with exactly the grants that otelgate asks for, a read-only `hyperdx`, and `default`
//! without a password for the engine itself, on loopback.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use sha2::{Digest, Sha256};

/// Name of the user that otelgate inserts as.
const INGEST: &str = "hyperdx_ingest";
/// What the ingest user may do in each database, and nothing else.
const INGEST_RIGHTS: &str = "SELECT, INSERT, CREATE TABLE, CREATE VIEW";

/// An ingest user who may not choose everything, as in ClickHouse Cloud.
const LIMITED: &str = "hyperdx_limited";
/// What it may not choose, of inserts and of tables.
const NOT_ITS: [&str; 6] = [
    "max_partitions_per_insert_block",
    "parallel_view_processing",
    "async_insert",
    "merge_tree_fsync_after_insert",
    "merge_tree_fsync_part_directory",
    "merge_tree_non_replicated_deduplication_window",
];

/// A user from the command line, `NAME=GRANTS`.
#[derive(Debug, Clone)]
pub(crate) struct ExtraUser {
    name: String,
    grants: Vec<String>,
}

impl FromStr for ExtraUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, grants) = text.split_once('=').ok_or("expected NAME=GRANTS")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("a user's name is letters, digits and _".to_owned());
        }
        let grants = grants.split(';').map(str::trim).filter(|grant| !grant.is_empty());
        Ok(ExtraUser { name: name.to_owned(), grants: grants.map(str::to_owned).collect() })
    }
}

/// The ingest user's password: `$CLICKHOUSE_PASSWORD`, or a random one that stays in `DIR/ingest.password`.
///
/// # Errors
/// When the file can be neither read nor written.
pub(crate) fn password(data: &Path) -> anyhow::Result<String> {
    if let Ok(password) = std::env::var("CLICKHOUSE_PASSWORD")
        && !password.is_empty()
    {
        return Ok(password);
    }
    let path = data.join("ingest.password");
    match fs::read_to_string(&path) {
        Ok(password) if !password.trim().is_empty() => Ok(password.trim().to_owned()),
        _ => {
            let password = format!("{:032x}", rand::random::<u128>());
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options
                .open(&path)
                .and_then(|mut file| writeln!(file, "{password}"))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(password)
        }
    }
}

/// The content of users.xml.
pub(crate) fn xml(databases: &[String], extra: &[ExtraUser], password: &str) -> String {
    let each = |rights: &str| -> Vec<String> {
        databases.iter().map(|database| format!("{rights} ON {database}.*")).collect()
    };
    let mut users = String::new();
    push_user(&mut users, INGEST, "ingest", password, &each(INGEST_RIGHTS));
    push_user(&mut users, LIMITED, "limited", password, &each(INGEST_RIGHTS));
    push_user(&mut users, "hyperdx", "reader", password, &each("SELECT"));
    for user in extra {
        push_user(&mut users, &user.name, "ingest", password, &user.grants);
    }
    let constraints: String = NOT_ITS.map(|setting| format!("<{setting}><readonly/></{setting}>")).concat();
    format!(
        "<clickhouse>
  <profiles>
    <default/>
    <ingest/>
    <limited><async_insert>0</async_insert><constraints>{constraints}</constraints></limited>
    <reader><readonly>2</readonly></reader>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <access_management>1</access_management>
    </default>
{users}  </users>
</clickhouse>
"
    )
}

fn push_user(users: &mut String, name: &str, profile: &str, password: &str, grants: &[String]) {
    let digest = Sha256::digest(password.as_bytes());
    let mut hex = String::new();
    for byte in digest {
        let _ = write!(hex, "{byte:02x}");
    }
    let grants: String = grants.iter().map(|grant| format!("<query>GRANT {}</query>", escape(grant))).collect();
    let _ = writeln!(
        users,
        "    <{name}>
      <password_sha256_hex>{hex}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>{profile}</profile>
      <quota>default</quota>
      <grants>{grants}</grants>
    </{name}>"
    );
}

/// Text as XML content.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingest_user_has_exactly_its_grants_in_each_database() {
        let xml = xml(&["otel".to_owned(), "other".to_owned()], &[], "secret");
        assert!(xml.contains(
            "<grants><query>GRANT SELECT, INSERT, CREATE TABLE, CREATE VIEW ON otel.*</query>\
             <query>GRANT SELECT, INSERT, CREATE TABLE, CREATE VIEW ON other.*</query></grants>"
        ));
        assert!(!xml.contains("secret"), "the password is kept as a digest");
    }

    #[test]
    fn extra_user_keeps_each_grant() {
        let user: ExtraUser = "wide=SELECT ON *.*; DROP TABLE ON otel.*".parse().unwrap();
        assert_eq!(user.grants, ["SELECT ON *.*", "DROP TABLE ON otel.*"]);
        assert!("a b=SELECT ON *.*".parse::<ExtraUser>().is_err());
    }

    #[test]
    fn random_password_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt;
        if std::env::var_os("CLICKHOUSE_PASSWORD").is_some() {
            return;
        }
        let data = tempfile::tempdir().unwrap();
        let first = password(data.path()).unwrap();
        assert_eq!(password(data.path()).unwrap(), first);
        let file = fs::metadata(data.path().join("ingest.password")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
}
