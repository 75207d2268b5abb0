//! # `noop_1_partition`, `noop_6_partitions`
//!
//! Records a second with a platform that takes each at once: what the consumer itself costs, against what librdkafka needs to
//! hand the same records over.

use super::member::{Job, Member, rate};
use super::platform::{Goal, Manners};
use super::raw::{Fetch, Look};
use super::records::Topic;
use super::{ConsumerBench, row};
use crate::Failure;
use crate::report::{Row, Series, figure, say};

/// Unique keys, then a few: `…_100_keys`.
pub(super) async fn measure(
    bench: &ConsumerBench<'_>,
    measure: &str,
    unique: &Topic,
    few: &Topic,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (measure, topic, keys) in
        [(measure.to_owned(), unique, "unique keys"), (format!("{measure}_100_keys"), few, "100 keys")]
    {
        say(&format!("\n{measure}: {} records", topic.records))?;
        let [mut ours, mut raw, mut by_default, mut headers] = [(); 4].map(|()| Series::default());
        for round in 1..=bench.options.rounds {
            ours.push(deliver(bench, topic, round).await?);
            let as_ours = Fetch::AsTheConsumer;
            raw.push(poll(bench, topic, (as_ours, Look::KeyAndValue), round).await?);
            headers.push(poll(bench, topic, (as_ours, Look::Headers), round).await?);
            by_default.push(poll(bench, topic, (Fetch::ByDefault, Look::KeyAndValue), round).await?);
        }
        let note = format!("{keys}, a platform that takes all at once, against raw librdkafka");
        rows.push(row(&measure, ours, raw.clone(), "records/s", &note));
        let note =
            "raw librdkafka that looks at the headers, which we have to, against the one that does not";
        rows.push(row(&format!("{measure}_headers"), headers, raw.clone(), "records/s", note));
        let note = "raw librdkafka with our fetch settings, against its own";
        rows.push(row(&format!("{measure}_fetch"), raw, by_default, "records/s", note));
    }
    Ok(rows)
}

async fn deliver(bench: &ConsumerBench<'_>, topic: &Topic, round: u32) -> Result<f64, Failure> {
    let manners = Manners { goal: Goal::Taken(topic.records), ..bench.manners() };
    let found = bench.consume(topic, &manners, &[])?.finished().await?;
    let rate = rate(topic.records, &found);
    say(&format!("  round {round}: ours {} records/s; {}", figure(rate), found.usage()))?;
    Ok(rate)
}

async fn poll(
    bench: &ConsumerBench<'_>,
    topic: &Topic,
    (fetch, look): (Fetch, Look),
    round: u32,
) -> Result<f64, Failure> {
    let (records, partitions) = (topic.records, topic.partitions);
    let job = Job::Poll { fetch, look, records, partitions, beside: bench.broker.processes() };
    let found = Member::start(bench.broker, topic, &job, &bench.changes(&[]))?.finished().await?;
    let rate = rate(records, &found);
    let how = match (fetch, look) {
        (Fetch::ByDefault, _) => "raw, its own fetch settings,",
        (Fetch::AsTheConsumer, Look::KeyAndValue) => "raw",
        (Fetch::AsTheConsumer, Look::Headers) => "raw, with the headers,",
    };
    say(&format!("  round {round}: {how} {} records/s; {}", figure(rate), found.usage()))?;
    Ok(rate)
}
