//! # Database
//!
//! The pool of the requests, and sessions of their own for those who must not wait behind requests. Every
//! session is driven by the runtime that made the [`Database`], never by the thread of the request that
//! happened to need it first: an HTTP worker that stops must not take another request's transaction along.

use super::Session;
use super::admission;
use super::error::DatabaseError;
use super::metrics::{PoolMetrics, TransactionMetrics};
pub use super::pool_share::PooledSession;
use super::pool_share::{Outside, PoolShare};
use crate::settings::DatabaseSettings;
use backon::{BackoffBuilder, ExponentialBuilder};
use diesel::ConnectionError;
use diesel_async::RunQueryDsl;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod,
};
use futures_util::FutureExt;
use service_chassis::metrics::Metrics;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_util::task::TaskTracker;

/// How much longer than the server's own limit a statement is waited for.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// How long a statement of a [`Database::reading_session`] may take.
pub const LONGEST_READ: Duration = Duration::from_mins(10);

/// The way to PostgreSQL. Clones share the pool.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Session>,
    /// What this way may have of the pool; all of it if nothing is said.
    share: Option<PoolShare>,
    outside: Outside,
    config: Config,
    acquire_timeout: Duration,
    lock_timeout: Duration,
    answer_limit: Duration,
    runtime: Handle,
    transactions: TaskTracker,
    metrics: TransactionMetrics,
}

impl Database {
    /// Connects nothing yet. Must be called on the runtime that shall drive the sessions.
    ///
    /// # Errors
    /// [`DatabaseError::Refused`] when the URL or the pool's size cannot work.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let config = session_config(settings)?;
        let runtime = Handle::current();
        let mut manager_config = ManagerConfig::default();
        // A session that died while it lay in the pool is recognised by its socket.
        manager_config.recycling_method = RecyclingMethod::Fast;
        let (for_pool, driver) = (config.clone(), runtime.clone());
        manager_config.custom_setup = Box::new(move |_url| {
            let task = driver.spawn(establish(for_pool.clone()));
            async move {
                task.await.unwrap_or_else(|stopped| Err(ConnectionError::BadConnection(stopped.to_string())))
            }
            .boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(settings.url.expose(), manager_config);
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size)
            .build()
            .map_err(|error| DatabaseError::Refused(error.to_string()))?;
        let transactions = TaskTracker::new();
        let acquire_timeout = settings.acquire_timeout;
        let answer_limit = settings.statement_timeout + ANSWER_MARGIN;
        let lock_timeout = settings.lock_timeout;
        let metrics = TransactionMetrics::new();
        let (share, outside) = (None, Outside::default());
        Ok(Self {
            pool,
            share,
            outside,
            config,
            acquire_timeout,
            lock_timeout,
            answer_limit,
            runtime,
            transactions,
            metrics,
        })
    }

    /// Shows the pool and what became of transactions.
    pub fn register_metrics(&self, metrics: &mut Metrics) {
        self.metrics.register(metrics);
        metrics.shared().register_collector(Box::new(PoolMetrics(self.pool.clone(), self.outside.clone())));
    }

    /// A way to the same database that leaves so many sessions of the pool to others, however many ask on it. At least one
    /// is to be had.
    #[must_use]
    pub fn leaving(&self, sessions: usize) -> Self {
        let size = self.pool.status().max_size.saturating_sub(sessions).max(1);
        Self { share: Some(PoolShare::of(size)), ..self.clone() }
    }

    pub(super) fn metrics(&self) -> &TransactionMetrics {
        &self.metrics
    }

    /// A session from the pool, within the acquire time-out.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] and [`DatabaseError::NotAdmitted`].
    pub async fn session(&self) -> Result<PooledSession, DatabaseError> {
        let acquiring = async {
            let place = match &self.share {
                Some(share) => share.place(&self.outside).await,
                None => None,
            };
            self.pool.get().await.map(|session| PooledSession::new(session, place))
        };
        match timeout(self.acquire_timeout, acquiring).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(of_connecting(&error)),
            Err(_) => Err(DatabaseError::Unavailable(format!(
                "no connection within {:?}; all {} that may be had of the pool are busy, or none can be opened",
                self.acquire_timeout,
                self.share.as_ref().map_or(self.pool.status().max_size, |share| share.size)
            ))),
        }
    }

    /// Closes the sessions of the pool that nobody uses. New ones are opened when they are wanted.
    pub fn close_idle_sessions(&self) {
        self.pool.retain(|_, _| false);
    }

    /// A session of its own, outside the pool, whose COMMITs do not wait for the disk. Only for work that may be
    /// lost by a crash of the server without harm: a lost delete of the relay is a repeated event.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] and [`DatabaseError::NotAdmitted`].
    pub async fn relay_session(&self) -> Result<Session, DatabaseError> {
        // Who locks the outbox as a whole is waited for; locks of rows and of the quarantine are not, by the statements themselves.
        self.own_session("order-service relay", "-c synchronous_commit=off -c lock_timeout=0").await
    }

    /// A session of its own for statements that read a great deal, each for as long as [`LONGEST_READ`].
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] and [`DatabaseError::NotAdmitted`].
    pub async fn reading_session(&self) -> Result<Session, DatabaseError> {
        let limit = LONGEST_READ.as_millis();
        let options = format!("-c statement_timeout={limit} -c default_transaction_read_only=on");
        self.own_session("order-service reading", &options).await
    }

    /// Whether the database answers, on a session of its own: a pool that is busy is no database that is away.
    /// The session is kept for the next time while it works.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self, kept: &mut Option<Session>) -> Result<(), DatabaseError> {
        let mut session = match kept.take() {
            Some(session) => session,
            None => self.own_session("order-service watch", "").await?,
        };
        let ping = diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"));
        match timeout(self.acquire_timeout, ping.execute(&mut session)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.no_answer()),
        };
        *kept = Some(session);
        Ok(())
    }

    /// How long a statement is waited for, whatever the server's own limit does.
    pub(super) fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// How long a statement waits for a row that somebody else has locked.
    pub fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// Bounds a statement from this side: the server's own limit does not help when the server is frozen.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`]: a statement that writes may have been applied.
    pub async fn within_limit<T>(
        &self,
        statement: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let limit = self.answer_limit;
        timeout(limit, statement).await.unwrap_or_else(|_| {
            Err(DatabaseError::Unavailable(format!("a statement was not answered within {limit:?}")))
        })
    }

    /// The same for a statement that changes something: without an answer it may have been applied.
    ///
    /// # Errors
    /// [`DatabaseError::OutcomeUnknown`].
    pub async fn change_within_limit<T>(
        &self,
        change: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let limit = self.answer_limit;
        timeout(limit, change).await.unwrap_or_else(|_| {
            Err(DatabaseError::OutcomeUnknown(format!("a change was not answered within {limit:?}")))
        })
    }

    async fn own_session(&self, name: &str, more_options: &str) -> Result<Session, DatabaseError> {
        let mut config = self.config.clone();
        let options = config.get_options().unwrap_or_default().to_owned();
        config.application_name(name).options(format!("{options} {more_options}"));
        match timeout(self.acquire_timeout, self.runtime.spawn(establish(config))).await {
            Ok(Ok(Ok(session))) => Ok(session),
            Ok(Ok(Err(error))) => Err(of_connecting(&error)),
            Ok(Err(stopped)) => Err(DatabaseError::Unavailable(stopped.to_string())),
            Err(_) => Err(self.no_answer()),
        }
    }

    fn no_answer(&self) -> DatabaseError {
        DatabaseError::Unavailable(format!("no answer within {:?}", self.acquire_timeout))
    }

    /// Runs a transaction in a task of its own, which goes on when the caller hangs up.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        transaction: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.transactions.spawn_on(transaction, &self.runtime)
    }

    /// How many transactions run.
    pub fn running_transactions(&self) -> usize {
        self.transactions.len()
    }

    /// Ends when no transaction runs any more. New ones may still be started; stop the requests first.
    pub async fn settled(&self) {
        self.transactions.close();
        self.transactions.wait().await;
    }
}

/// Bounds a statement of a [`Database::reading_session`] from this side, too: the server may be frozen.
///
/// # Errors
/// [`DatabaseError::Unavailable`].
pub async fn within_longest_read<T>(
    reading: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let limit = LONGEST_READ + ANSWER_MARGIN;
    let no_answer = || DatabaseError::Unavailable(format!("no answer within {limit:?}"));
    timeout(limit, reading).await.unwrap_or_else(|_| Err(no_answer()))
}

/// How long to wait between attempts to reach the database again: endless, growing to 5 s, with jitter.
pub type ReconnectPauses = backon::ExponentialBackoff;

/// The pauses from their beginning.
pub fn reconnect_pauses() -> ReconnectPauses {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
        .build()
}

/// A server that accepts and then says nothing is given up as well: the driver's own time-out covers only TCP.
async fn establish(config: Config) -> Result<Session, ConnectionError> {
    let limit = config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(3));
    match timeout(limit, connect(config)).await {
        Ok(session) => session,
        Err(_) => Err(ConnectionError::BadConnection(format!("no answer within {limit:?}"))),
    }
}

async fn connect(config: Config) -> Result<Session, ConnectionError> {
    let (client, connection) =
        config.connect(tokio_postgres::NoTls).await.map_err(|error| match admission::refusal(&error) {
            Some(refusal) => ConnectionError::InvalidConnectionUrl(refusal),
            None => ConnectionError::BadConnection(with_causes(&error)),
        })?;
    let mut session = Session::try_from_client_and_connection(client, connection).await?;
    admission::admit(&mut session).await?;
    Ok(session)
}

/// Why no session can be had by this URL, if none can: it is no URL of a PostgreSQL, or wants TLS.
///
/// # Errors
/// The reason, without the URL, which may hold a password.
pub fn check_url(url: &str) -> Result<(), String> {
    let config: Config = url.parse().map_err(|error: tokio_postgres::Error| with_causes(&error))?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err("sslmode=require: this service speaks to PostgreSQL without TLS. Leave it out where the way to the server is \
                    private, or have a proxy at its side speak TLS"
            .to_owned());
    }
    Ok(())
}

/// What every session promises: durable commits, and locks that are free again soon after a client is gone.
///
/// And no plan that scans a table. A session keeps its plans, those of the foreign keys' checks too; one that was made
/// while a table was empty, and known to be, would scan it again and again while it grows, until the next ANALYZE: ten
/// times fewer orders in the first minutes of a sale. Every statement here has its index. (Without JIT, which would
/// take the penalty of such a scan for a large query.)
fn session_config(settings: &DatabaseSettings) -> Result<Config, DatabaseError> {
    let mut config: Config = settings
        .url
        .expose()
        .parse()
        .map_err(|error| DatabaseError::Refused(format!("database.url: {}", with_causes(&error))))?;
    let options = format!(
        "{} -c synchronous_commit=on -c default_transaction_isolation=read\\ committed -c lock_timeout={} -c statement_timeout={} \
         -c idle_in_transaction_session_timeout={} -c enable_seqscan=off -c jit=off {}",
        config.get_options().unwrap_or_default(),
        settings.lock_timeout.as_millis(),
        settings.statement_timeout.as_millis(),
        settings.idle_in_transaction_timeout.as_millis(),
        admission::MARK,
    );
    config.options(options.trim_start());
    config.connect_timeout(settings.acquire_timeout);
    config.keepalives_idle(Duration::from_secs(10));
    config.tcp_user_timeout(Duration::from_secs(10));
    if config.get_application_name().is_none() {
        config.application_name("order-service");
    }
    Ok(config)
}

/// An invalid URL is how [`connect`] marks a connection that was refused for good.
fn of_connecting(error: &(dyn std::error::Error + 'static)) -> DatabaseError {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    let refused = |error: &(dyn std::error::Error + 'static)| {
        // The pool's own error holds diesel's, but does not name it as its source.
        let pooled = error.downcast_ref::<PoolError>().and_then(|pooled| match pooled {
            PoolError::ConnectionError(error) => Some(error),
            PoolError::QueryError(_) => None,
        });
        match pooled.or_else(|| error.downcast_ref()) {
            Some(ConnectionError::InvalidConnectionUrl(refusal)) => Some(refusal.clone()),
            _ => None,
        }
    };
    match chain.find_map(refused) {
        Some(refusal) => DatabaseError::NotAdmitted(refusal),
        None => DatabaseError::Unavailable(innermost(error)),
    }
}

/// The pool's and diesel's errors only repeat what the driver has said, in several lines.
fn innermost(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    last.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
