//! The proxy before a real server: what each way to break a COMMIT leaves in the database and with the client.

use engines::postgres::{PostgresOptions, PrivatePostgres};
use engines::tcp_proxy::{Break, Commit, Passed, TcpProxy};
use tokio::try_join;
use tokio_postgres::{Client, NoTls};

use crate::Outcome;

const INSERT: &str = "BEGIN; INSERT INTO bought VALUES (1)";

struct Stage {
    server: PrivatePostgres,
    proxy: TcpProxy,
    /// Not by the proxy.
    observer: Client,
}

impl Stage {
    async fn set() -> Result<Self, Box<dyn std::error::Error>> {
        let server = PrivatePostgres::start(PostgresOptions::for_tests()).await?;
        let observer = connect(&server.url("postgres")).await?;
        observer.batch_execute("CREATE TABLE bought (id int)").await?;
        let proxy = TcpProxy::start(server.address()).await?;
        Ok(Self { server, proxy, observer })
    }

    async fn buyer(&self) -> Result<Client, tokio_postgres::Error> {
        connect(&self.proxy.url(&self.server.url("postgres"))).await
    }

    async fn bought(&self) -> Result<i64, tokio_postgres::Error> {
        Ok(self.observer.query_one("SELECT count(*) FROM bought", &[]).await?.get(0))
    }

    /// Until the server has noticed that the buyer is gone; a waiting TRUNCATE shows that his lock is free.
    async fn emptied(&self) -> Result<(), tokio_postgres::Error> {
        self.observer.batch_execute("TRUNCATE bought").await
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A cut COMMIT is applied if it was answered, else not; the client knows nothing either way.
pub(crate) async fn cuts() -> Outcome {
    let stage = Stage::set().await?;
    for (commit, bought) in [(Commit::NotSent, 0), (Commit::Answered, 1)] {
        let buyer = stage.buyer().await?;
        buyer.batch_execute(INSERT).await?;
        stage.proxy.arm(commit, Break::Cut);
        let error = buyer.batch_execute("COMMIT").await.expect_err("its answer is lost");
        assert!(error.is_closed() || error.code().is_none(), "{commit:?}: {error}");
        stage.proxy.struck().await;
        assert_eq!(stage.bought().await?, bought, "{commit:?}");
        stage.emptied().await?;
    }
    // It was armed once: the next one passes.
    let buyer = stage.buyer().await?;
    buyer.batch_execute(INSERT).await?;
    buyer.batch_execute("COMMIT").await?;
    assert_eq!(stage.bought().await?, 1);
    stage.server.stop().await;
    Ok(())
}

/// In silence the server gives the transaction up by its own time-out, and the client hears nothing of it.
pub(crate) async fn falls_silent() -> Outcome {
    let stage = Stage::set().await?;
    for (commit, bought) in [(Commit::NotSent, 0), (Commit::Answered, 1)] {
        let buyer = stage.buyer().await?;
        buyer.batch_execute("SET idle_in_transaction_session_timeout = 100").await?;
        buyer.batch_execute(INSERT).await?;
        stage.proxy.arm(commit, Break::Silence);
        let mut committing = Box::pin(buyer.batch_execute("COMMIT"));
        tokio::select! {
            answer = &mut committing => return Err(format!("{commit:?}: answered {answer:?}").into()),
            () = stage.proxy.struck() => {}
        }
        assert_eq!(stage.bought().await?, bought, "{commit:?}");
        tokio::select! {
            answer = &mut committing => return Err(format!("{commit:?}: answered {answer:?}").into()),
            emptied = stage.emptied() => emptied?,
        }
        stage.proxy.cut();
        committing.await.expect_err("the connection is cut");
    }
    stage.server.stop().await;
    Ok(())
}

/// A proxy that refuses lets nobody in, and those who are in stay.
pub(crate) async fn refuses() -> Outcome {
    let stage = Stage::set().await?;
    let early = stage.buyer().await?;
    stage.proxy.refuse(true);
    assert!(stage.buyer().await.is_err());
    early.batch_execute("SELECT 1").await?;
    stage.proxy.refuse(false);
    stage.buyer().await?.batch_execute("SELECT 1").await?;
    stage.proxy.cut();
    assert!(early.batch_execute("SELECT 1").await.is_err());
    stage.server.stop().await;
    Ok(())
}

/// The client knows that it has lost its connection, and the server does not.
pub(crate) async fn is_half_open() -> Outcome {
    let stage = Stage::set().await?;
    let buyer = stage.buyer().await?;
    buyer.batch_execute("BEGIN; LOCK TABLE bought").await?;
    stage.proxy.arm(Commit::NotSent, Break::HalfOpen);
    buyer.batch_execute("COMMIT").await.expect_err("its answer is lost");
    stage.observer.batch_execute("SET lock_timeout = 100").await?;
    assert!(stage.emptied().await.is_err(), "the lock is held");
    // Others pass.
    stage.buyer().await?.batch_execute("SELECT 1").await?;
    stage.proxy.cut();
    stage.observer.batch_execute("SET lock_timeout = 0").await?;
    stage.emptied().await?;
    stage.server.stop().await;
    Ok(())
}

/// Two statements that are sent together are one round trip, and two if the second waits for the first.
pub(crate) async fn counts_round_trips() -> Outcome {
    let stage = Stage::set().await?;
    let buyer = stage.buyer().await?;
    let (one, two) = (buyer.prepare("SELECT 1").await?, buyer.prepare("SELECT 2").await?);
    stage.proxy.expect_round_trips(&[2, 1]);
    try_join!(buyer.query(&one, &[]), buyer.query(&two, &[]))?;
    buyer.query(&one, &[]).await?;
    assert_eq!(stage.proxy.passed(), Passed { requests: 3, answers: 3, prepared: 0 });

    stage.proxy.expect_round_trips(&[2, 1]);
    let mut in_turns = Box::pin(async {
        buyer.query(&one, &[]).await?;
        buyer.query(&two, &[]).await
    });
    // Its answer is there, as a server that has nothing to do answers at once.
    let stuck = async {
        while stage.proxy.passed().requests == 0 {
            tokio::task::yield_now().await;
        }
        connect(&stage.server.url("postgres")).await
    };
    tokio::select! {
        answer = &mut in_turns => return Err(format!("answered {answer:?}").into()),
        connected = stuck => drop(connected?),
    }
    assert_eq!(stage.proxy.passed(), Passed { requests: 1, answers: 0, prepared: 0 });
    // The one that was missing comes.
    let (_, third) = try_join!(in_turns, buyer.query("SELECT 3", &[]))?;
    assert_eq!(third[0].get::<_, i32>(0), 3);
    assert_eq!(stage.proxy.passed().prepared, 1);
    stage.server.stop().await;
    Ok(())
}
