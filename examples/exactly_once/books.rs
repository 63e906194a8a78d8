//! What must be true in the end.

use std::{collections::BTreeMap, error::Error};

use sqlx::PgPool;

/// How many accounts there are, and what each begins with.
pub(crate) const ACCOUNTS: i32 = 10;
const BALANCE: i64 = 1_000_000;

pub(crate) struct Books(PgPool);

impl Books {
    /// Opens new ones.
    pub(crate) async fn open(pool: PgPool) -> Result<Self, sqlx::Error> {
        // Nothing but the transaction keeps a transfer from being made twice: `key` may repeat.
        sqlx::raw_sql(
            "DROP TABLE IF EXISTS accounts, transfers;
             CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
             CREATE TABLE transfers (id bigserial PRIMARY KEY, key text NOT NULL,
                 source int NOT NULL, target int NOT NULL, amount bigint NOT NULL);",
        )
        .execute(&pool)
        .await?;
        sqlx::query("INSERT INTO accounts SELECT id, $2 FROM generate_series(1, $1) AS id")
            .bind(ACCOUNTS)
            .bind(BALANCE)
            .execute(&pool)
            .await?;
        Ok(Self(pool))
    }

    /// Compares them with what the clients were told: which transfer was made for each key.
    pub(crate) async fn close(&self, told: BTreeMap<String, i64>) -> Result<(), Box<dyn Error>> {
        let made: Vec<(String, i64)> =
            sqlx::query_as("SELECT key, id FROM transfers ORDER BY key, id")
                .fetch_all(&self.0)
                .await?;
        if let Some(twice) = made.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("made twice: {twice:?}").into());
        }
        let made: BTreeMap<_, _> = made.into_iter().collect();
        if made != told {
            let wrong = |(key, _): &(&String, &i64)| made.get(*key) != told.get(*key);
            let wrong: Vec<_> = made.iter().chain(&told).filter(wrong).collect();
            return Err(format!("made and told of differ: {wrong:?}").into());
        }
        self.balance().await
    }

    /// Each account has what its transfers leave it with, and no money came or went.
    async fn balance(&self) -> Result<(), Box<dyn Error>> {
        let wrong: Vec<(i32, i64)> = sqlx::query_as(
            "SELECT id, balance FROM accounts WHERE balance <> $1
                 + (SELECT coalesce(sum(amount), 0) FROM transfers WHERE target = accounts.id)
                 - (SELECT coalesce(sum(amount), 0) FROM transfers WHERE source = accounts.id)",
        )
        .bind(BALANCE)
        .fetch_all(&self.0)
        .await?;
        if !wrong.is_empty() {
            return Err(format!("the books do not balance: {wrong:?}").into());
        }
        let all = "SELECT sum(balance)::bigint FROM accounts";
        let all: i64 = sqlx::query_scalar(all).fetch_one(&self.0).await?;
        if all != BALANCE * i64::from(ACCOUNTS) {
            return Err(format!("there is {all} in all").into());
        }
        Ok(())
    }
}
