//! # The services of the stack
//!
//! What each is told. Everything not said here is the service's own default.

use std::path::Path;

use crate::multi_call::Service;
use crate::servers::ServerAddresses;
use crate::service_process::ServiceSpec;

/// The topic that the stack runs on.
pub const TOPIC: &str = shared_messages::topics::ORDER_COMPLETED;
/// Partitions of a topic that the stack creates.
pub const PARTITIONS: i32 = 6;
/// What a person who watches wants to read. The brokers' own quarrels are not it: the services say themselves when
/// Kafka is away. Nor are the steps of a rebalance: what came of it is said too. Nor that a broker in memory has no settings of topics.
const LEVEL: &str = "info,rdkafka=off,librdkafka=off,actix_server=warn,\
    service_chassis::management::readiness=off,\
    order_service::kafka::watch=warn,\
    data_platform_consumer::consumer_group::rebalance=warn,\
    data_platform_consumer::consumer_group::positions=warn,\
    data_platform_consumer::consumer_group::offset_commits=warn";

/// The three services, in the order in which they are started.
pub fn specs(program: &Path, servers: &ServerAddresses, http_port: u16) -> Vec<ServiceSpec> {
    let mut specs = vec![order_service(program, servers, http_port)];
    specs.extend((1..=2).map(|number| consumer(program, servers, number)));
    specs
}

/// The run of `order-service migrate` that comes before it serves.
pub fn migration(program: &Path, servers: &ServerAddresses) -> ServiceSpec {
    ServiceSpec { arguments: vec!["migrate".to_owned()], ..order_service(program, servers, 0) }
}

fn order_service(program: &Path, servers: &ServerAddresses, http_port: u16) -> ServiceSpec {
    let mut settings = shared(servers);
    settings.extend([
        ("DATABASE__URL", servers.database_url.clone()),
        ("HTTP__HOST", "127.0.0.1".to_owned()),
        ("HTTP__PORT", http_port.to_string()),
    ]);
    ServiceSpec {
        name: "order-service".to_owned(),
        program: program.to_owned(),
        service: Service::OrderService,
        arguments: Vec::new(),
        settings,
    }
}

fn consumer(program: &Path, servers: &ServerAddresses, number: u32) -> ServiceSpec {
    let mut settings = shared(servers);
    settings.extend([
        ("KAFKA__GROUP_ID", servers.group_id.to_owned()),
        // A killed consumer's share goes to the other one while the person who killed it still watches.
        ("KAFKA__SESSION_TIMEOUT", "6s".to_owned()),
        ("KAFKA__HEARTBEAT_INTERVAL", "2s".to_owned()),
        ("SINK__KIND", "log".to_owned()),
    ]);
    ServiceSpec {
        name: format!("consumer-{number}"),
        program: program.to_owned(),
        service: Service::DataPlatformConsumer,
        arguments: Vec::new(),
        settings,
    }
}

fn shared(servers: &ServerAddresses) -> Vec<(&'static str, String)> {
    vec![
        ("KAFKA__BOOTSTRAP_SERVERS", servers.bootstrap_servers.clone()),
        ("KAFKA__TOPIC", TOPIC.to_owned()),
        ("MANAGEMENT__HOST", "127.0.0.1".to_owned()),
        ("MANAGEMENT__PORT", "0".to_owned()),
        ("LOG__FORMAT", "json".to_owned()),
        ("LOG__LEVEL", LEVEL.to_owned()),
    ]
}
