//! The broker in a process of its own.

use std::time::Duration;

use engines::kafka::BrokerProcess;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(30);

fn client(broker: &BrokerProcess) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "reader")
        .set("reconnect.backoff.max.ms", "200")
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    config
}

/// A record sent while the brokers are down arrives once they are up.
pub(crate) async fn down_and_up() -> Outcome {
    let broker = BrokerProcess::start(3)?;
    assert_eq!(broker.bootstrap_servers().split(',').count(), 3);
    broker.create_topic("events", 6, 3)?;
    let producer: BaseProducer = client(&broker).create()?;
    let topics = producer.client().fetch_metadata(Some("events"), PATIENCE)?;
    assert_eq!(topics.topics()[0].partitions().len(), 6);

    broker.all_down()?;
    producer
        .send(BaseRecord::to("events").partition(2).key("15").payload("sent"))
        .map_err(|(error, _)| error)?;
    assert!(producer.flush(Duration::from_millis(300)).is_err(), "nobody is there to take it");
    broker.all_up()?;
    producer.flush(PATIENCE)?;

    let reader: BaseConsumer = client(&broker).create()?;
    let mut start = TopicPartitionList::new();
    start.add_partition_offset("events", 2, Offset::Beginning)?;
    reader.assign(&start)?;
    let record = reader.poll(PATIENCE).ok_or("nothing arrived")??;
    assert_eq!(record.payload(), Some(&b"sent"[..]));
    // A consumer that outlives its broker takes long to close.
    drop(record);
    drop(reader);
    broker.stop().await;
    Ok(())
}
