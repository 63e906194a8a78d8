//! The statements, for the names in use.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// The name of the table, without its schema.
pub(super) const TABLE: &str = "idempotency_keys";

/// For how long a row is kept behind its lease. In seconds: the difference itself has days, which
/// are not all of one length where the clocks of a session change in spring and autumn.
const RETENTION: &str =
    "make_interval(secs => extract(epoch FROM kept_until - lease_until)::float8)";

/// How old the transaction of a statement is; each says so, in seconds.
const AGE: &str = "extract(epoch FROM clock_timestamp() - now())::float8 AS age";

/// The statements for the tables of one schema. Every name carries the schema, so that
/// nobody's `search_path` leads elsewhere.
pub(super) struct Statements {
    pub(super) claim: SqlStr,
    pub(super) complete: SqlStr,
    pub(super) release: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) watch: SqlStr,
    pub(super) sweep: SqlStr,
    pub(super) forget: SqlStr,
    pub(super) read_lapsed: SqlStr,
    pub(super) resolve: SqlStr,
    pub(super) holds: SqlStr,
    pub(super) ended: SqlStr,
    pub(super) save: SqlStr,
    pub(super) saved: SqlStr,
    /// On which the end of leases is told.
    pub(super) channel: String,
}

impl Statements {
    pub(super) fn of(schema: &str) -> Self {
        let standing = without_comments(include_str!("sql/standing.sql"));
        let statement = |text: &str| {
            let text = without_comments(text)
                .replace("{standing}", &standing)
                .replace("{retention}", RETENTION)
                .replace("{age}", AGE)
                .replace("{keys}", &format!("{}.{TABLE}", identifier(schema)))
                .replace(
                    "{fences}",
                    &literal(&format!("{}.idempotency_fences", identifier(schema))),
                );
            AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
        };
        Self {
            claim: statement(include_str!("sql/claim.sql")),
            complete: statement(include_str!("sql/complete.sql")),
            release: statement(include_str!("sql/release.sql")),
            renew: statement(include_str!("sql/renew.sql")),
            watch: statement(include_str!("sql/watch.sql")),
            sweep: statement(include_str!("sql/sweep.sql")),
            forget: statement(include_str!("sql/forget.sql")),
            read_lapsed: statement(include_str!("sql/read_lapsed.sql")),
            resolve: statement(include_str!("sql/resolve.sql")),
            holds: statement(include_str!("sql/holds.sql")),
            ended: statement(include_str!("sql/ended.sql")),
            save: statement(include_str!("sql/save.sql")),
            saved: statement(include_str!("sql/saved.sql")),
            channel: channel(schema),
        }
    }
}

/// A name in quotes.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What stands between the quotes of a string.
fn literal(text: &str) -> String {
    text.replace('\'', "''")
}

/// Each statement is looked up by its text: the shorter, the better.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    lines.collect::<Vec<_>>().join(" ")
}

/// The server cuts longer names off, and would then not know them again.
fn channel(schema: &str) -> String {
    let mut channel = format!("{TABLE}:{schema}");
    let end = (0..=63).rev().find(|end| channel.is_char_boundary(*end));
    channel.truncate(end.unwrap_or_default());
    channel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_carries_its_schema() {
        let statements = Statements::of("a\"b'c");
        let claim = statements.claim.as_str();
        assert!(
            claim.contains("FROM \"a\"\"b'c\".idempotency_keys WHERE"),
            "{claim}"
        );
        assert!(
            claim.contains("nextval('\"a\"\"b''c\".idempotency_fences')"),
            "{claim}"
        );
        let complete = statements.complete.as_str();
        assert!(
            !complete.contains("--") && !complete.contains('{'),
            "{complete}"
        );
    }

    #[test]
    fn a_channel_is_a_name_the_server_takes() {
        let channel = channel(&"ä".repeat(60));
        assert!(channel.len() <= 63 && channel.len() > 61, "{channel}");
    }
}
