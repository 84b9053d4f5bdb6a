//! PostgreSQL through the conformance suite. `HALLMARK_TEST_POSTGRES` names a server (`postgres://…`) whose user may
//! create databases; without it these cases do not run and say so. `.ci/run` starts a server and sets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hallmark::adapters::postgres::Postgres;
use hallmark::ports::Storage;

use crate::conformance::Engine;

/// A database of its own on the test server; dropped at the end.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    async fn fresh() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("HALLMARK_TEST_POSTGRES") else {
            eprintln!(
                "NOT RUN: set HALLMARK_TEST_POSTGRES=postgres://… to run the PostgreSQL conformance cases"
            );
            return None;
        };
        let name = format!(
            "hallmark_{}_{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        statement(&server, &format!("CREATE DATABASE {name}")).await;
        let mut url = url::Url::parse(&server).expect("HALLMARK_TEST_POSTGRES is a URL");
        url.set_path(&name);
        Some(Self {
            server,
            url: url.to_string(),
            name,
        })
    }
}

async fn statement(server: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls)
        .await
        .expect("the test server");
    let running = tokio::spawn(connection);
    client.batch_execute(sql).await.expect(sql);
    drop(client);
    running.await.expect("the connection").expect("the connection");
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (
            self.server.clone(),
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(statement(&server, &sql));
        });
        if dropping.join().is_err() {
            eprintln!("the database {} is left behind", self.name);
        }
    }
}

#[async_trait::async_trait]
impl Engine for Database {
    async fn open(&self) -> Arc<dyn Storage> {
        Arc::new(Postgres::open(&self.url).await.expect("open the database"))
    }

    fn shared(&self) -> bool {
        true
    }
}

crate::conformance_tests!(match Database::fresh().await {
    Some(database) => database,
    None => return,
});
