//! # What a case plays in
//!
//! A migrated database, a topic and a group of its own; services are started when the case says so, with the
//! settings it gives, and their words are shown when the case fails.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use engines::postgres::TestDatabase;
use local_stack::multi_call::Service;
use local_stack::service_log::LogLine;
use local_stack::service_process::{ServiceProcess, ServiceSpec};
use local_stack::shop::local_client;
use tokio_postgres::NoTls;

use crate::docker::Run;
use crate::heard::{DEADLINE, Heard, within};
use crate::requests::Api;
use crate::servers::{ContainerServers, Kafka, LocalServers, Servers, ServersError};
use crate::topic_reader::{self, TopicReader};

pub(crate) const PARTITIONS: i32 = 6;
const LEVEL: &str = "info,rdkafka=off,librdkafka=off";
static SCENES: AtomicU64 = AtomicU64::new(0);

/// What all cases share.
pub(crate) struct Stage {
    pub(crate) servers: Box<dyn Servers>,
    pub(crate) client: reqwest::Client,
    template: TestDatabase,
}

impl Stage {
    /// In containers of this run; without one, on the local stack's engines.
    pub(crate) async fn build(run: Option<Arc<Run>>) -> Result<Self, ServersError> {
        let servers: Box<dyn Servers> = match run {
            Some(run) => Box::new(ContainerServers::start(run).await?),
            None => Box::new(LocalServers::start().await?),
        };
        let template = TestDatabase::create(&servers.postgres()).await.expect("a database");
        let migrate = ServiceSpec {
            name: "migrate".to_owned(),
            program: program(),
            service: Service::OrderService,
            arguments: vec!["migrate".to_owned()],
            settings: vec![("DATABASE__URL", template.url())],
        };
        let migrated = migrate.run(Heard::default().listener()).await;
        migrated.unwrap_or_else(|error| panic!("{error}"));
        Ok(Self { servers, client: local_client().expect("a client"), template })
    }

    pub(crate) async fn end(self) {
        // Its destructor waits; not on a thread of the runtime.
        let dropped = tokio::task::spawn_blocking(move || drop(self));
        dropped.await.expect("nothing panics at the end");
    }
}

/// This package's program: every service, and the command itself.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_local-stack"))
}

/// One case's own world.
pub(crate) struct Scene {
    pub(crate) stage: Arc<Stage>,
    pub(crate) topic: String,
    database: TestDatabase,
    /// None: the brokers that all share.
    own_kafka: Option<Box<dyn Kafka>>,
    said: Mutex<Vec<(String, Heard)>>,
    /// What all services of the case say.
    pub(crate) everybody: Heard,
}

/// An order-service that is ready.
pub(crate) struct OrderService {
    pub(crate) process: ServiceProcess,
    pub(crate) api: Api,
    pub(crate) heard: Heard,
}

/// A consumer, ready or on its way to it.
pub(crate) struct Consumer {
    pub(crate) process: ServiceProcess,
    pub(crate) heard: Heard,
}

impl Scene {
    pub(crate) async fn set(stage: Arc<Stage>) -> Self {
        let database = TestDatabase::copy_of(&stage.template).await.expect("a copy");
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let topic = format!("order-completed-{}-{number}", std::process::id());
        stage.servers.kafka().create_topic(&topic, PARTITIONS);
        Self { stage, topic, database, own_kafka: None, said: Mutex::default(), everybody: Heard::default() }
    }

    /// With brokers that this case may hurt.
    pub(crate) fn with_own_kafka(mut self) -> Self {
        let kafka = self.stage.servers.own_kafka();
        kafka.create_topic(&self.topic, PARTITIONS);
        self.own_kafka = Some(kafka);
        self
    }

    /// The name of another topic, which nobody has created.
    pub(crate) fn with_a_topic_that_is_missing(mut self) -> Self {
        self.topic.push_str("-later");
        self
    }

    pub(crate) fn kafka(&self) -> &dyn Kafka {
        self.own_kafka.as_deref().unwrap_or_else(|| self.stage.servers.kafka())
    }

    /// Starts order-service and waits until it is ready.
    pub(crate) async fn order_service(&self, settings: &[(&'static str, &str)]) -> OrderService {
        let mut given = self.shared();
        given.extend([("DATABASE__URL", self.database.url()), ("HTTP__PORT", "0".to_owned())]);
        let (process, heard) = self.start("order-service", Service::OrderService, &[], given, settings);
        let ready = process.ready(&self.stage.client, DEADLINE).await;
        let http = ready.unwrap_or_else(|error| panic!("{error}")).http.expect("it says where it listens");
        OrderService { process, api: Api::new(self.stage.client.clone(), http), heard }
    }

    /// Runs `order-service topics`: how it ended, and everything that it said.
    pub(crate) async fn topics_command(&self, settings: &[(&'static str, &str)]) -> (ExitStatus, String) {
        ended(self.start("topics", Service::OrderService, &["topics"], self.shared(), settings)).await
    }

    /// Runs `data-platform-consumer positions` for this case's group: how it ended, and everything that it said.
    pub(crate) async fn positions_command(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let mut given = self.shared();
        given.push(("KAFKA__GROUP_ID", self.group()));
        let arguments = [&["positions"], arguments].concat();
        ended(self.start("positions", Service::DataPlatformConsumer, &arguments, given, &[])).await
    }

    /// Starts a consumer of this case's group; it may not have joined yet.
    pub(crate) fn consumer(&self, name: &str, settings: &[(&'static str, &str)]) -> Consumer {
        let mut given = self.shared();
        given.extend([
            ("KAFKA__GROUP_ID", self.group()),
            ("KAFKA__SESSION_TIMEOUT", "6s".to_owned()),
            ("KAFKA__HEARTBEAT_INTERVAL", "500ms".to_owned()),
            ("SINK__KIND", "log".to_owned()),
            ("SINK__LOG__WAIT", "10ms".to_owned()),
        ]);
        let (process, heard) = self.start(name, Service::DataPlatformConsumer, &[], given, settings);
        Consumer { process, heard }
    }

    fn group(&self) -> String {
        format!("group-of-{}", self.topic)
    }

    /// How many records this case's group has committed.
    pub(crate) fn committed_records(&self) -> i64 {
        let servers = self.kafka().bootstrap_servers();
        topic_reader::committed_records(&servers, &self.group(), &self.topic, PARTITIONS)
    }

    pub(crate) async fn so_many_are_committed(&self, records: i64) {
        let committed = async {
            while self.committed_records() < records {
                tokio::task::yield_now().await;
            }
        };
        within("positions are committed", committed).await;
    }

    fn shared(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KAFKA__BOOTSTRAP_SERVERS", self.kafka().bootstrap_servers()),
            ("KAFKA__TOPIC", self.topic.clone()),
            ("MANAGEMENT__PORT", "0".to_owned()),
            ("LOG__FORMAT", "json".to_owned()),
            ("LOG__LEVEL", LEVEL.to_owned()),
        ]
    }

    fn start(
        &self,
        name: &str,
        service: Service,
        arguments: &[&str],
        mut settings: Vec<(&'static str, String)>,
        more: &[(&'static str, &str)],
    ) -> (ServiceProcess, Heard) {
        settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let spec = ServiceSpec {
            name: name.to_owned(),
            program: program(),
            service,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings,
        };
        let heard = Heard::default();
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), heard.clone()));
        let (own, all) = (heard.listener(), self.everybody.listener());
        let listener = Arc::new(move |line: &LogLine| {
            own(line);
            all(line);
        });
        let process = spec.start(listener).unwrap_or_else(|error| panic!("{error}"));
        (process, heard)
    }

    /// A reader of this case's topic, from its beginning.
    pub(crate) fn reader(&self) -> TopicReader {
        TopicReader::open(&self.kafka().bootstrap_servers(), &self.topic, PARTITIONS)
    }

    /// How many rows of `table` there are.
    pub(crate) async fn rows(&self, table: &str) -> i64 {
        self.numbers(&format!("SELECT count(*) FROM {table}")).await[0]
    }

    /// The ids of the rows of `table`.
    pub(crate) async fn ids(&self, table: &str) -> Vec<i64> {
        self.numbers(&format!("SELECT id FROM {table}")).await
    }

    async fn numbers(&self, query: &str) -> Vec<i64> {
        let (client, connection) =
            tokio_postgres::connect(&self.database.url(), NoTls).await.expect("connects");
        let asking = async move {
            let rows = client.query(query, &[]).await.expect("an answer");
            rows.iter().map(|row| row.get(0)).collect()
        };
        let (numbers, _) = tokio::join!(asking, connection);
        numbers
    }

    /// Returns once every event was published and its row deleted.
    pub(crate) async fn outbox_is_empty(&self) {
        let emptied = async {
            while self.rows("outbox").await > 0 {
                tokio::task::yield_now().await;
            }
        };
        within("the outbox is empty", emptied).await;
    }
}

async fn ended((process, heard): (ServiceProcess, Heard)) -> (ExitStatus, String) {
    // A command never listens: told at the end of its output, so that everything was heard.
    let listening = within("the command says all", process.listening()).await;
    assert!(listening.is_err(), "a command listens nowhere: {listening:?}");
    let status = within("the command ends", process.exited()).await;
    (status, heard.messages().join("\n"))
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (name, heard) in self.said.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for message in heard.messages() {
                eprintln!("{name} | {message}");
            }
        }
    }
}
