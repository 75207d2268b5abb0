//! # The book
//!
//! What was committed to the outbox, written down by the database itself, whoever has committed it; and the ledger's verdict on what
//! became of it. So the crash points of the relay (P6, P7, P9 to P14) are judged like all others.

use crate::rig::{Rig, Shop};
use ledger::{Counts, Ledger};
use rdkafka::message::{Headers, Message, OwnedMessage};

/// A row that comes back from quarantine is in it already.
const BOOK: &str = "
    CREATE TABLE book (n bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL, event_id uuid PRIMARY KEY);
    CREATE FUNCTION enter() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO book (key, event_id) VALUES (NEW.key, NEW.event_id) ON CONFLICT DO NOTHING; RETURN NULL; END';
    CREATE TRIGGER enter AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION enter()";

impl Rig {
    /// A fresh shop whose outbox is kept book of.
    pub(crate) async fn shop_with_book(&self) -> Shop {
        let shop = self.shop().await;
        shop.execute(BOOK).await;
        shop
    }
}

impl Shop {
    /// Asserts that every event that was committed, but for those in quarantine, is among the records, and nothing else is, and that the
    /// first ones of each key are in the order of their commits.
    ///
    /// The topic is the last station here: its records count as received.
    pub(crate) async fn balanced(&self, records: &[OwnedMessage]) -> Counts {
        let mut ledger = Ledger::default();
        let book = "SELECT key, event_id::text FROM book WHERE event_id NOT IN (SELECT event_id FROM outbox_quarantine) ORDER BY n";
        for row in self.session().await.query(book, &[]).await.unwrap() {
            ledger.committed(row.get(0), row.get(1));
        }
        let mut by_place: Vec<&OwnedMessage> = records.iter().collect();
        by_place.sort_by_key(|record| (record.partition(), record.offset()));
        for record in by_place {
            let key = String::from_utf8_lossy(record.key().unwrap());
            ledger.recorded(record.partition(), record.offset(), &key, &event_of(record));
            ledger.received(&event_of(record));
        }
        let balance = ledger.balance();
        assert!(balance.is_balanced(), "{balance}");
        balance.counts()
    }
}

/// The event's id, as readers see it.
pub(crate) fn event_of(record: &OwnedMessage) -> String {
    let mut headers = record.headers().unwrap().iter();
    let id = headers.find(|header| header.key == "ce_id").unwrap().value.unwrap();
    String::from_utf8(id.to_vec()).unwrap()
}
