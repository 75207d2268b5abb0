//! # A broker that speaks Kafka's protocol
//!
//! librdkafka's mock cluster: real sockets, groups, offsets and an idempotent producer's bookkeeping, in
//! memory. It is not Kafka: it keeps at most 5 MiB a partition and nothing once it is gone.
//!
//! Two ways to have one:
//!
//! - [`MockBroker`], in this process, with every fault the mock cluster knows ([`MockBroker::cluster`]);
//! - [`BrokerProcess`], the same in a process of its own. **Whoever starts other processes needs this one**:
//!   the mock cluster's connections are not closed on exec, so a child inherits them and holds them open. A
//!   broker that goes down would then not be seen to go by anyone who was connected before.
//!
//! And the real one, where a Docker engine answers: [`KafkaContainer`]. [`FencedProxy`] stands before any of them.

mod broker_process;
mod container;
mod fenced_proxy;
mod mock_broker;

pub(crate) use broker_process::{BROKER, serve_until_told_to_end};
pub use broker_process::{BrokerError, BrokerProcess};
pub use container::{KafkaContainer, KafkaContainerError};
pub use fenced_proxy::FencedProxy;
pub use mock_broker::MockBroker;
