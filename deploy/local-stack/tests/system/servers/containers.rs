//! # Real servers, in containers
//!
//! The images that people run, by testcontainers. PostgreSQL keeps its promises here: it waits for the disk, which
//! testcontainers' module would otherwise switch off.

use std::sync::Arc;

use testcontainers_modules::postgres::Postgres;
use testcontainers_modules::testcontainers::bollard::errors::Error as EngineError;
use testcontainers_modules::testcontainers::core::IntoContainerPort;
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{ContainerAsync, ContainerRequest, Image, ImageExt};
use tokio_postgres::NoTls;

use super::kafka_container::{self, KafkaContainer};
use super::{Kafka, Servers, ServersError};
use crate::docker::{LABEL, Run, with_causes};

const POSTGRES_TAG: &str = "17";
const POSTGRES_PORT: u16 = 5432;
const USER: &str = "postgres";
pub(super) const THIS_MACHINE: &str = "127.0.0.1";

pub(crate) struct ContainerServers {
    run: Arc<Run>,
    host: String,
    postgres_url: String,
    postgres_version: String,
    kafka: KafkaContainer,
    /// Removed when it is dropped.
    _postgres: ContainerAsync<Postgres>,
}

impl ContainerServers {
    pub(crate) async fn start(run: Arc<Run>) -> Result<Self, ServersError> {
        // Both before either is started: an image that is not to be had is told at once.
        provide_image(&run, postgres_image(&run, "")).await?;
        provide_image(&run, kafka_container::image(&run, "", 0)).await?;
        let password = uuid::Uuid::new_v4().simple().to_string();
        let postgres = postgres_image(&run, &password)
            .start()
            .await
            .map_err(|error| not_started("PostgreSQL", &error))?;
        let (host, port) = address(&postgres).await.map_err(|error| not_started("PostgreSQL", &*error))?;
        let postgres_url = format!("postgres://{USER}:{password}@{host}:{port}/postgres");
        let postgres_version =
            version(&postgres_url).await.map_err(|error| not_started("PostgreSQL", &error))?;
        let kafka = KafkaContainer::start(&run, &host).await?;
        Ok(Self { run, host, postgres_url, postgres_version, kafka, _postgres: postgres })
    }
}

impl Servers for ContainerServers {
    fn describe(&self) -> String {
        format!(
            "Apache Kafka {} ({}) and PostgreSQL {} (postgres:{POSTGRES_TAG}), in containers",
            kafka_container::TAG,
            kafka_container::image(&self.run, "", 0).descriptor(),
            self.postgres_version
        )
    }

    fn postgres(&self) -> String {
        self.postgres_url.clone()
    }

    fn kafka(&self) -> &dyn Kafka {
        &self.kafka
    }

    fn own_kafka(&self) -> Box<dyn Kafka> {
        let started = waited(KafkaContainer::start(&self.run, &self.host));
        Box::new(started.unwrap_or_else(|error| panic!("{error}")))
    }
}

/// As many connections as the private server of the other lane takes.
fn postgres_image(run: &Run, password: &str) -> ContainerRequest<Postgres> {
    Postgres::default()
        .with_fsync_enabled()
        .with_user(USER)
        .with_password(password)
        .with_tag(POSTGRES_TAG)
        .with_cmd(["-c", "max_connections=200"])
        .with_label(LABEL, run.name())
}

/// Returns once the engine has the image, pulled if need be.
async fn provide_image<I: Image>(run: &Run, image: ContainerRequest<I>) -> Result<(), ServersError> {
    let name = image.descriptor();
    let failed = |cause: String| ServersError::Image { image: name.clone(), cause };
    match run.docker().inspect_image(&name).await {
        Ok(_) => Ok(()),
        Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => {
            eprintln!("system tests: pulling {name}");
            image.pull_image().await.map(drop).map_err(|error| failed(with_causes(&error)))
        }
        Err(error) => Err(failed(with_causes(&error))),
    }
}

pub(super) fn not_started(what: &'static str, error: &dyn std::error::Error) -> ServersError {
    ServersError::Container { what, cause: with_causes(error) }
}

type Boxed = Box<dyn std::error::Error>;

/// Where a client on this machine reaches the container.
async fn address(postgres: &ContainerAsync<Postgres>) -> Result<(String, u16), Boxed> {
    let host = match postgres.get_host().await?.to_string() {
        // As a name it may mean ::1 first, where not every engine listens.
        name if name == "localhost" => THIS_MACHINE.to_owned(),
        other => other,
    };
    let port = postgres.get_host_port_ipv4(POSTGRES_PORT.tcp()).await?;
    Ok((host, port))
}

/// What the server says of itself: `17.6`, without the builder's remarks.
async fn version(url: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let version: String = client.query_one("SHOW server_version", &[]).await?.try_get(0)?;
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}

/// The result of `doing`, from a place that cannot await: a trait of both lanes, a destructor.
pub(super) fn waited<T>(doing: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(doing))
}
