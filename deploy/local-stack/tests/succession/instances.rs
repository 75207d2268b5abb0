//! # The instances
//!
//! Three of order-service on one database, each at a port of its own that it keeps; what befalls one, and how long it takes until
//! another publishes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use local_stack::multi_call::Service;
use local_stack::service_log::LogLine;
use local_stack::service_process::{OnLine, ServiceProcess, ServiceSpec};
use local_stack::shop::local_client;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_postgres::NoTls;

use crate::DEADLINE;
use crate::throne::{Accession, Throne};

const INSTANCES: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What befalls the instance that publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL.
    Killed,
    /// SIGSTOP until another publishes and longer, and SIGCONT.
    Frozen,
    /// SIGTERM.
    Stopped,
}

/// The leader that something has befallen, what, and when.
pub(crate) struct Befallen {
    leader: Accession,
    fault: Fault,
    at: Instant,
}

/// Where they serve at the moment; nowhere while it is away.
pub(crate) type Addresses = Arc<Mutex<BTreeMap<usize, SocketAddr>>>;

pub(crate) struct Instances {
    settings: Vec<(&'static str, String)>,
    throne: Throne,
    running: Vec<ServiceProcess>,
    addresses: Addresses,
    client: reqwest::Client,
    began: Instant,
}

impl Instances {
    /// Brings the schema up to date, starts all, and waits until they are ready.
    pub(crate) async fn start(database: &str, brokers: &str, topic: &str) -> Self {
        let settings = vec![
            ("DATABASE__URL", database.to_owned()),
            ("KAFKA__BOOTSTRAP_SERVERS", brokers.to_owned()),
            ("KAFKA__TOPIC", topic.to_owned()),
            ("TOPICS__REPLICATION_FACTOR", "1".to_owned()),
            ("TOPICS__MIN_INSYNC_REPLICAS", "1".to_owned()),
            ("HTTP__PORT", "0".to_owned()),
            ("MANAGEMENT__PORT", "0".to_owned()),
            ("LOG__FORMAT", "json".to_owned()),
        ];
        let client = local_client().expect("a client");
        let mut all = Self {
            settings,
            throne: Throne::default(),
            running: Vec::new(),
            addresses: Addresses::default(),
            client,
            began: Instant::now(),
        };
        all.command(&["migrate"]).await;
        for instance in 0..INSTANCES {
            let process = all.serve(instance).await;
            all.running.push(process);
        }
        all
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Arc::clone(&self.addresses)
    }

    /// Returns once it has.
    pub(crate) async fn befalls_the_leader(&mut self, fault: Fault) -> Befallen {
        let leader = self.throne.last().await;
        let process = &self.running[leader.instance];
        let name = process.name();
        println!("  {:7.2} s  {name}, which publishes, is {fault:?}", self.began.elapsed().as_secs_f64());
        let mut at = Instant::now();
        match fault {
            Fault::Frozen => process.process().freeze(),
            Fault::Killed => {
                self.is_away(leader.instance);
                process.process().kill();
                process.exited().await;
            }
            Fault::Stopped => {
                self.is_away(leader.instance);
                let status = process.stop().await;
                assert!(status.success(), "{name} was asked to stop and ended with {status}");
                // Until it has ended it publishes.
                at = Instant::now();
            }
        }
        Befallen { leader, fault, at }
    }

    /// Returns when somebody else publishes and all are there again: how long nobody published.
    pub(crate) async fn goes_on(
        &mut self,
        Befallen { leader, fault, at }: Befallen,
        longer: Duration,
    ) -> Duration {
        let next = self.throne.after(leader).await;
        if fault == Fault::Frozen {
            sleep(longer).await;
            self.running[leader.instance].process().thaw();
        } else {
            self.running[leader.instance] = self.serve(leader.instance).await;
        }
        let vacant = next.at.saturating_duration_since(at);
        println!("             order-service-{} publishes after {vacant:.2?}", next.instance + 1);
        vacant
    }

    async fn serve(&self, instance: usize) -> ServiceProcess {
        let throne = self.throne.clone();
        let on_line: OnLine = Arc::new(move |line: &LogLine| throne.read(instance, line));
        let spec = self.spec(format!("order-service-{}", instance + 1), &[]);
        let process = spec.start(on_line).unwrap_or_else(|error| panic!("{error}"));
        let listening = process.ready(&self.client, DEADLINE).await.unwrap_or_else(|error| panic!("{error}"));
        let http = listening.http.expect("it says where it listens");
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(instance, http);
        process
    }

    fn is_away(&self, instance: usize) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance);
    }

    fn spec(&self, name: String, arguments: &[&str]) -> ServiceSpec {
        ServiceSpec {
            name,
            program: engines::this_executable::path().expect("this program"),
            service: Service::OrderService,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings: self.settings.clone(),
        }
    }

    async fn command(&self, arguments: &[&str]) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&said);
        let on_line: OnLine = Arc::new(move |line: &LogLine| {
            listener.lock().unwrap_or_else(PoisonError::into_inner).push(line.message.clone());
        });
        let ended = self.spec(arguments.join(" "), arguments).run(on_line).await;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        ended.unwrap_or_else(|error| panic!("{error}\n{said}"));
    }

    /// Returns once no event waits for its publication.
    pub(crate) async fn outbox_is_empty(&self, database: &str) {
        let (client, connection) =
            tokio_postgres::connect(database, NoTls).await.expect("PostgreSQL answers");
        tokio::spawn(connection);
        let began = Instant::now();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let count = client.query_one("SELECT count(*) FROM outbox", &[]).await.expect("an outbox");
            let waiting: i64 = count.get(0);
            if waiting == 0 {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{waiting} events still wait after {DEADLINE:?}");
        }
    }

    /// `order-service audit` ends with 0.
    pub(crate) async fn audit_finds_nothing(&self) {
        self.command(&["audit", "--last", "1d"]).await;
    }

    pub(crate) async fn stop(&mut self) {
        for process in self.running.drain(..) {
            let status = process.stop().await;
            assert!(status.success(), "{} was asked to stop and ended with {status}", process.name());
        }
    }
}
