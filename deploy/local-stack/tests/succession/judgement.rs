//! # The judgement
//!
//! The ledger's, and what it knows nothing of: how long nobody published, and how much was published again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ledger::{Balance, Ledger};
use shared_messages::topics;
use tokio_postgres::NoTls;

use crate::DEADLINE;
use crate::buyers::RATE;
use crate::instances::Fault;
use crate::records::read_all;

/// `relay.lease` (3 s), and what a busy machine adds to noticing.
const LONGEST_VACANCY: Duration = Duration::from_secs(8);
/// Who stops gives the lease back before it ends.
const LONGEST_VACANCY_AFTER_A_STOP: Duration = Duration::from_secs(1);
/// Who is killed or frozen leaves what was sent and not yet deleted: at most what has come while Kafka was silent (a second), or
/// while nobody published (`relay.lease`), if that was just sent. Who is stopped while Kafka is silent leaves it, too.
const REPEATED_BY_A_FAULT: usize = 4 * RATE;

#[derive(Default)]
pub(crate) struct Judgement {
    vacancies: BTreeMap<Fault, Vec<Duration>>,
    balance: Option<Balance>,
}

impl Judgement {
    /// Somebody publishes again.
    pub(crate) fn reigned_again(&mut self, fault: Fault, after: Duration) {
        self.vacancies.entry(fault).or_default().push(after);
    }

    /// Hears database and topic. What stands in the topic counts as received, as nobody else reads it here.
    pub(crate) async fn hear(&mut self, ledger: &mut Ledger, database: &str, brokers: &str, topic: &str) {
        let (client, connection) =
            tokio_postgres::connect(database, NoTls).await.expect("PostgreSQL answers");
        tokio::spawn(connection);
        let orders =
            client.query("SELECT id, request_key, event_id::text FROM orders ORDER BY id", &[]).await;
        for row in orders.expect("orders") {
            let (id, request_key, event): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
            ledger.order(&id.to_string(), &request_key);
            ledger.committed(&topics::record_key(id), &event);
        }
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        let reading = tokio::task::spawn_blocking(move || read_all(&brokers, &topic, DEADLINE));
        for record in reading.await.expect("no panic").unwrap_or_else(|error| panic!("{error}")) {
            ledger.recorded(record.partition, record.offset, &record.key, &record.event);
            ledger.received(&record.event);
        }
        self.balance = Some(ledger.balance());
    }

    fn balance(&self) -> &Balance {
        self.balance.as_ref().expect("it has heard all")
    }

    fn repeats_allowed(&self) -> usize {
        self.vacancies.values().map(Vec::len).sum::<usize>() * REPEATED_BY_A_FAULT
    }

    pub(crate) fn assert_all_is_well(&self) {
        let balance = self.balance();
        assert!(balance.is_balanced(), "{:#?}", balance.findings());
        let (repeated, allowed) = (balance.counts().repeated_records, self.repeats_allowed());
        assert!(repeated <= allowed, "{repeated} published again, {allowed} allowed");
        for (fault, vacancies) in &self.vacancies {
            let allowed =
                if *fault == Fault::Stopped { LONGEST_VACANCY_AFTER_A_STOP } else { LONGEST_VACANCY };
            let longest = vacancies.iter().max().copied().unwrap_or_default();
            assert!(longest <= allowed, "nobody else published for {longest:?} after one was {fault:?}");
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.balance().counts();
        writeln!(f, "judgement")?;
        writeln!(
            f,
            "  acknowledged     {}  requests, {} without a clear answer",
            counts.acknowledged, counts.unclear
        )?;
        writeln!(f, "  committed        {}  orders in the database", counts.orders)?;
        writeln!(
            f,
            "  recorded         {}  records in the topic, {} of them repeats ({} allowed)",
            counts.records,
            counts.repeated_records,
            self.repeats_allowed()
        )?;
        for (fault, vacancies) in &self.vacancies {
            let mut sorted = vacancies.clone();
            sorted.sort();
            let (least, median, most) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            writeln!(
                f,
                "  {:<15} {:>3}  times; another published after {least:.2?} at least, {median:.2?} in the median, {most:.2?} at most",
                format!("{fault:?}").to_lowercase(),
                sorted.len(),
            )?;
        }
        write!(f, "  {}", if self.balance().is_balanced() { "balanced" } else { "NOT BALANCED" })
    }
}
