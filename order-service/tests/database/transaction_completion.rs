//! The callback runs after COMMIT, and only then; the messages are committed with the work, or not at all.

use crate::cases;
use crate::rig::{Rig, Shop};
use futures_util::FutureExt;
use order_service::outbox::message::OutboxMessage;
use order_service::outbox::message_headers::MessageHeaders;
use order_service::storage::error::DatabaseError;
use order_service::storage::transaction_completion::{Outcome, RollbackCause, Transaction, in_transaction};
use order_service::storage::{outbox, stock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use uuid::Uuid;

cases!(
    the_callback_runs_when_others_can_see_the_commit,
    the_callback_waits_while_commit_waits,
    a_rollback_drops_callbacks_and_messages,
    a_panic_drops_callbacks_and_messages,
    a_failed_commit_drops_callbacks_and_messages,
    a_swallowed_database_error_is_a_rollback,
    a_connection_lost_during_commit_is_unknown,
    a_connection_lost_before_commit_is_a_rollback,
    it_refuses_to_be_nested,
    work_that_leaves_a_savepoint_open_is_rolled_back,
    work_that_fails_with_a_savepoint_open_holds_no_lock,
    a_savepoint_inside_of_work_has_no_callbacks_of_its_own,
    a_caller_that_hangs_up_separates_nothing,
    a_panicking_callback_changes_nothing,
    messages_keep_their_order,
);

const MESSAGES: &str = "SELECT count(*) FROM outbox";
const WAITING_FOR_THE_LOCK: &str =
    "SELECT pid::bigint FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()";

#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn callback(&self) -> impl FnOnce() + Send + 'static {
        let count = self.0.clone();
        move || {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn message(key: &str) -> OutboxMessage {
    OutboxMessage {
        topic: "order-completed".to_owned(),
        key: key.to_owned(),
        event_id: Uuid::now_v7(),
        payload: "{}".to_owned(),
        headers: MessageHeaders::of([("ce_type", "order-completed.v1")]),
    }
}

async fn insert(transaction: &mut Transaction) -> Result<(), DatabaseError> {
    run_sql(transaction, "INSERT INTO product (name) VALUES ('thing')").await
}

async fn run_sql(transaction: &mut Transaction, sql: &str) -> Result<(), DatabaseError> {
    use diesel_async::SimpleAsyncConnection;
    Ok(transaction.session().batch_execute(sql).await?)
}

/// Work that inserts a product, registers a message and a callback, and then does `sql`.
async fn insert_and(shop: &Shop, calls: &Counter, sql: &'static str) -> Outcome<(), DatabaseError> {
    let callback = calls.callback();
    in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.publish(message("1"));
            transaction.after_commit(callback);
            insert(transaction).await?;
            run_sql(transaction, sql).await
        }
        .boxed()
    })
    .await
}

async fn the_callback_runs_when_others_can_see_the_commit(rig: Arc<Rig>) {
    let shop = Arc::new(rig.shop().await);
    let (sender, seen) = oneshot::channel();
    let (observer, runtime) = (shop.clone(), Handle::current());
    let outcome = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.after_commit(move || {
                let rows =
                    block_in_place(|| runtime.block_on(observer.number("SELECT count(*) FROM product")));
                sender.send(rows).expect("the test waits");
            });
            insert(transaction).await
        }
        .boxed()
    });
    assert!(matches!(outcome.await, Outcome::Committed(())));
    assert_eq!(seen.await, Ok(1));
}

async fn the_callback_waits_while_commit_waits(rig: Arc<Rig>) {
    let shop = Arc::new(rig.shop().await);
    shop.commits_wait("product").await;
    let holder = shop.session().await;
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let calls = Counter::default();
    let committing = tokio::spawn({
        let (shop, calls) = (shop.clone(), calls.clone());
        async move { insert_and(&shop, &calls, "SELECT 1").await }
    });
    until_commit_waits(&shop).await;
    assert_eq!(calls.count(), 0, "COMMIT has not succeeded yet");
    holder.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    assert!(matches!(committing.await.unwrap(), Outcome::Committed(())));
    assert_eq!(calls.count(), 1);
}

/// The session that waits inside COMMIT.
async fn until_commit_waits(shop: &Shop) -> i64 {
    let session = shop.session().await;
    loop {
        if let Some(row) = session.query_opt(WAITING_FOR_THE_LOCK, &[]).await.unwrap() {
            return row.get(0);
        }
        tokio::task::yield_now().await;
    }
}

async fn a_rollback_drops_callbacks_and_messages(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    let outcome = insert_and(&shop, &calls, "INSERT INTO stock VALUES (99, 1, 1)").await;
    assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Work(_))), "{outcome:?}");
    nothing_happened(&shop, &calls).await;
}

async fn nothing_happened(shop: &Shop, calls: &Counter) {
    assert_eq!(calls.count(), 0);
    assert_eq!(shop.number(MESSAGES).await, 0);
    assert_eq!(shop.number("SELECT count(*) FROM product").await, 0);
}

async fn a_panic_drops_callbacks_and_messages(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    let callback = calls.callback();
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.publish(message("1"));
            transaction.after_commit(callback);
            insert(transaction).await?;
            panic!("on purpose, by a test");
        }
        .boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Panicked)), "{outcome:?}");
    nothing_happened(&shop, &calls).await;
}

async fn a_failed_commit_drops_callbacks_and_messages(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    let deferred = "ALTER TABLE stock ALTER CONSTRAINT stock_product_id_fkey DEFERRABLE INITIALLY DEFERRED";
    shop.execute(deferred).await;
    let outcome = insert_and(&shop, &calls, "INSERT INTO stock VALUES (99, 1, 1)").await;
    assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Database(_))), "{outcome:?}");
    nothing_happened(&shop, &calls).await;
}

async fn a_swallowed_database_error_is_a_rollback(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    for with_message in [true, false] {
        let callback = calls.callback();
        let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
            async move {
                if with_message {
                    transaction.publish(message("1"));
                }
                transaction.after_commit(callback);
                insert(transaction).await?;
                run_sql(transaction, "SELECT 1 / 0").await.unwrap_err();
                Ok(())
            }
            .boxed()
        })
        .await;
        assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Database(_))), "{outcome:?}");
        nothing_happened(&shop, &calls).await;
    }
}

async fn a_connection_lost_during_commit_is_unknown(rig: Arc<Rig>) {
    let shop = Arc::new(rig.shop().await);
    shop.commits_wait("product").await;
    let holder = shop.session().await;
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let calls = Counter::default();
    let committing = tokio::spawn({
        let (shop, calls) = (shop.clone(), calls.clone());
        async move { insert_and(&shop, &calls, "SELECT 1").await }
    });
    let pid = until_commit_waits(&shop).await;
    holder.batch_execute(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
    let outcome = committing.await.unwrap();
    assert!(matches!(outcome, Outcome::Unknown(DatabaseError::Unavailable(_))), "{outcome:?}");
    assert_eq!(calls.count(), 0);
}

async fn a_connection_lost_before_commit_is_a_rollback(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    let callback = calls.callback();
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.publish(message("1"));
            transaction.after_commit(callback);
            insert(transaction).await?;
            run_sql(transaction, "SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
            Ok(())
        }
        .boxed()
    })
    .await;
    let lost = |error: &DatabaseError| matches!(error, DatabaseError::Unavailable(_));
    assert!(
        matches!(&outcome, Outcome::RolledBack(RollbackCause::Database(error)) if lost(error)),
        "{outcome:?}"
    );
    nothing_happened(&shop, &calls).await;
}

async fn it_refuses_to_be_nested(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    let (database, callback) = (shop.database.clone(), calls.callback());
    let outcome: Outcome<_, DatabaseError> = in_transaction(&shop.database, move |_| {
        async move {
            let inner = in_transaction(&database, move |transaction| {
                transaction.after_commit(callback);
                async move { insert(transaction).await }.boxed()
            });
            Ok(matches!(inner.await, Outcome::RolledBack(RollbackCause::Nested)))
        }
        .boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::Committed(true)), "{outcome:?}");
    nothing_happened(&shop, &calls).await;
}

async fn work_that_leaves_a_savepoint_open_is_rolled_back(rig: Arc<Rig>) {
    use diesel_async::{AnsiTransactionManager, TransactionManager};
    let (shop, calls) = (rig.shop().await, Counter::default());
    let callback = calls.callback();
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.after_commit(callback);
            insert(transaction).await?;
            AnsiTransactionManager::begin_transaction(transaction.session()).await?;
            Ok(())
        }
        .boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Unbalanced)), "{outcome:?}");
    nothing_happened(&shop, &calls).await;
}

async fn work_that_fails_with_a_savepoint_open_holds_no_lock(rig: Arc<Rig>) {
    use diesel_async::{AnsiTransactionManager, TransactionManager};
    let shop = rig.shop().await;
    shop.stock(&[(10, 5)]).await;
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, |transaction| {
        async move {
            run_sql(transaction, "SELECT * FROM stock FOR UPDATE").await?;
            AnsiTransactionManager::begin_transaction(transaction.session()).await?;
            run_sql(transaction, "SELECT 1 / 0").await
        }
        .boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Work(_))), "{outcome:?}");
    // It would wait for longer than a case may take.
    shop.execute("UPDATE stock SET on_hand = 4").await;
}

async fn a_savepoint_inside_of_work_has_no_callbacks_of_its_own(rig: Arc<Rig>) {
    use diesel_async::AsyncConnection;
    let (shop, calls) = (rig.shop().await, Counter::default());
    let (callback, observed) = (calls.callback(), calls.clone());
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.after_commit(callback);
            transaction
                .session()
                .transaction::<_, DatabaseError, _>(async |session| {
                    stock::restock(session, order_service::domain::ids::ProductId(1), 1).await.map(drop)
                })
                .await?;
            assert_eq!(observed.count(), 0, "releasing a savepoint is no COMMIT");
            Ok(())
        }
        .boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::Committed(())), "{outcome:?}");
    assert_eq!(calls.count(), 1);
}

async fn a_caller_that_hangs_up_separates_nothing(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let (started, working) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let (sender, called) = oneshot::channel();
    let mut calling = Box::pin(in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.publish(message("1"));
            transaction.after_commit(move || sender.send(()).expect("the test waits"));
            insert(transaction).await?;
            started.send(()).expect("the test waits");
            may_go_on.await.expect("the test lets it go on");
            Ok::<_, DatabaseError>(())
        }
        .boxed()
    }));
    tokio::select! {
        _ = &mut calling => panic!("it was not let go on"),
        working = working => working.unwrap(),
    }
    drop(calling);
    go_on.send(()).expect("the work waits");
    called.await.expect("the callback runs although nobody waits for the answer");
    assert_eq!(shop.number(MESSAGES).await, 1);
}

async fn a_panicking_callback_changes_nothing(rig: Arc<Rig>) {
    let (shop, calls) = (rig.shop().await, Counter::default());
    let callback = calls.callback();
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.after_commit(|| panic!("on purpose, by a test"));
            transaction.after_commit(callback);
            insert(transaction).await
        }
        .boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::Committed(())), "{outcome:?}");
    assert_eq!(calls.count(), 1, "the next callback runs all the same");
}

async fn messages_keep_their_order(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let messages: Vec<OutboxMessage> = (0..100).map(|n| message(&(n % 7).to_string())).collect();
    let expected = messages.clone();
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        for message in messages {
            transaction.publish(message);
        }
        async { Ok(()) }.boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::Committed(())), "{outcome:?}");
    let session = shop.database.session().await.unwrap();
    let limit = outbox::BatchLimit { rows: 1000, bytes: i64::MAX };
    let pending = outbox::pending(&session, outbox::Unread { above: 0, but: &[] }, limit).await.unwrap();
    let read: Vec<OutboxMessage> = pending.into_iter().map(|pending| pending.message).collect();
    assert_eq!(read, expected);
}
