//! The verdict: counts for a person, findings for a test.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::{Event, Finding, Ledger, Request};

/// More findings than this are counted, not told.
const MOST_TOLD: usize = 20;

/// Whether the promise was kept.
#[derive(Clone, Debug)]
pub struct Balance {
    counts: Counts,
    findings: Vec<Finding>,
}

/// How much each station has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose buyer knows that he has bought.
    pub acknowledged: usize,
    /// Requests whose buyer knows that he has not: he was told so, or each attempt did nothing.
    pub refused: usize,
    /// Requests without an answer that tells.
    pub unclear: usize,
    /// Orders in the database.
    pub orders: usize,
    /// Events that the database has committed.
    pub events: usize,
    /// Records in the topic.
    pub records: usize,
    /// Records beyond the first of their event.
    pub repeated_records: usize,
    /// Deliveries to the data platform.
    pub receipts: usize,
    /// Deliveries beyond the first of their event.
    pub repeated_receipts: usize,
}

impl Balance {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let mut findings = Vec::new();
        check_orders(ledger, &mut findings);
        check_records(ledger, &mut findings);
        check_receipts(ledger, &mut findings);
        findings.sort();
        Self { counts: Counts::of(ledger), findings }
    }

    /// How much each station has seen.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Every broken promise; none is what a test wants.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether every promise was kept.
    pub fn is_balanced(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Counts {
    fn of(ledger: &Ledger) -> Self {
        let mut counts = Self {
            orders: ledger.orders.len(),
            events: ledger.events.len(),
            records: ledger.records.len(),
            receipts: ledger.receipts.len(),
            ..Self::default()
        };
        for request in ledger.requests.values() {
            if !request.promised.is_empty() {
                counts.acknowledged += 1;
            } else if request.refused || request.all_turned_away() {
                counts.refused += 1;
            } else {
                counts.unclear += 1;
            }
        }
        let recorded: HashSet<&str> = ledger.records.values().map(|record| record.id.as_str()).collect();
        let received: HashSet<&str> = ledger.receipts.iter().map(String::as_str).collect();
        counts.repeated_records = counts.records - recorded.len();
        counts.repeated_receipts = counts.receipts - received.len();
        counts
    }
}

fn check_orders(ledger: &Ledger, findings: &mut Vec<Finding>) {
    let mut by_request: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for order in &ledger.orders {
        by_request.entry(&order.request_key).or_default().push(&order.id);
    }
    for (request_key, request) in &ledger.requests {
        let orders = by_request.remove(request_key.as_str()).unwrap_or_default();
        check_answers(request_key, request, &orders, findings);
    }
    let unasked = by_request.into_values().flatten();
    findings.extend(unasked.map(|order| Finding::NeverAskedFor { order: order.to_owned() }));

    let mut committed = HashSet::new();
    let doubled = ledger.events.iter().filter(|event| !committed.insert(event.id.as_str()));
    findings.extend(doubled.map(|event| Finding::CommittedTwice { event: event.id.clone() }));

    let with_event: HashSet<&str> = ledger.events.iter().map(|event| event.key.as_str()).collect();
    let silent = ledger.orders.iter().filter(|order| !with_event.contains(order.id.as_str()));
    findings.extend(silent.map(|order| Finding::NoEvent { order: order.id.clone() }));
}

/// Each answer is judged by itself: one that was true does not make up for one that was not.
fn check_answers(request_key: &str, request: &Request, orders: &[&str], findings: &mut Vec<Finding>) {
    let request_key = || request_key.to_owned();
    let lost = request.promised.iter().filter(|order| !orders.contains(&order.as_str()));
    findings
        .extend(lost.map(|order| Finding::OrderLost { request_key: request_key(), order: order.clone() }));
    if request.promised.len() > 1 {
        let orders = request.promised.iter().cloned().collect();
        findings.push(Finding::PromisedDifferently { request_key: request_key(), orders });
    }
    if (request.refused || request.all_turned_away()) && !orders.is_empty() {
        findings.push(Finding::RefusedButBought { request_key: request_key(), order: orders.join(", ") });
    }
    if orders.len() > 1 {
        let orders = orders.iter().copied().map(str::to_owned).collect();
        findings.push(Finding::BoughtTwice { request_key: request_key(), orders });
    }
}

fn check_records(ledger: &Ledger, findings: &mut Vec<Finding>) {
    let keys: HashMap<&str, &str> =
        ledger.events.iter().map(|event| (event.id.as_str(), event.key.as_str())).collect();
    let mut partitions: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for ((partition, _), record) in &ledger.records {
        partitions.entry(&record.key).or_default().insert(*partition);
        match keys.get(record.id.as_str()) {
            None => findings.push(Finding::RecordedUncommitted { event: record.id.clone() }),
            Some(key) if *key != record.key => {
                findings.push(Finding::WrongKey { event: record.id.clone(), key: record.key.clone() });
            }
            Some(_) => {}
        }
    }
    for (key, partitions) in partitions {
        if partitions.len() > 1 {
            let partitions = partitions.into_iter().collect();
            findings.push(Finding::KeyInSeveralPartitions { key: key.to_owned(), partitions });
        }
    }
    // In one partition the map's order is the order of the offsets; across partitions a key has none.
    let first = first_places(ledger.records.values().map(|record| record.id.as_str()));
    for event in &ledger.events {
        if !first.contains_key(event.id.as_str()) {
            findings.push(Finding::NotRecorded { event: event.id.clone() });
        }
    }
    findings.extend(
        late(&ledger.events, &first)
            .map(|event| Finding::RecordedOutOfOrder { key: event.key.clone(), event: event.id.clone() }),
    );
}

fn check_receipts(ledger: &Ledger, findings: &mut Vec<Finding>) {
    let committed: HashSet<&str> = ledger.events.iter().map(|event| event.id.as_str()).collect();
    let first = first_places(ledger.receipts.iter().map(String::as_str));
    for event in first.keys() {
        if !committed.contains(event) {
            findings.push(Finding::ReceivedUncommitted { event: (*event).to_owned() });
        }
    }
    for event in &ledger.events {
        if !first.contains_key(event.id.as_str()) {
            findings.push(Finding::NotReceived { event: event.id.clone() });
        }
    }
    findings.extend(
        late(&ledger.events, &first)
            .map(|event| Finding::ReceivedOutOfOrder { key: event.key.clone(), event: event.id.clone() }),
    );
}

/// Where each event was seen for the first time.
fn first_places<'a>(events: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut first = HashMap::new();
    for (place, event) in events.enumerate() {
        first.entry(event).or_insert(place);
    }
    first
}

/// The events that were first seen after a later one of their key.
fn late<'a>(events: &'a [Event], first: &HashMap<&str, usize>) -> impl Iterator<Item = &'a Event> {
    let mut earliest_of_later: HashMap<&str, usize> = HashMap::new();
    let mut late = Vec::new();
    for event in events.iter().rev() {
        let Some(place) = first.get(event.id.as_str()) else { continue };
        let later = earliest_of_later.entry(&event.key).or_insert(usize::MAX);
        if place > later {
            late.push(event);
        }
        *later = (*later).min(*place);
    }
    late.into_iter()
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acknowledged, refused, unclear, orders, events, .. } = self.counts;
        let Counts { records, repeated_records, receipts, repeated_receipts, .. } = self.counts;
        writeln!(f, "ledger")?;
        writeln!(
            f,
            "  acknowledged {acknowledged:>8}  requests; {refused} refused, {unclear} without a clear answer"
        )?;
        writeln!(f, "  committed    {orders:>8}  orders in the database, with {events} events")?;
        writeln!(f, "  recorded     {records:>8}  records in the topic, {repeated_records} of them repeats")?;
        writeln!(
            f,
            "  received     {receipts:>8}  deliveries to the data platform, {repeated_receipts} of them repeats"
        )?;
        for finding in self.findings.iter().take(MOST_TOLD) {
            writeln!(f, "  BROKEN       {finding}")?;
        }
        match self.findings.len() {
            0 => write!(f, "  balanced: nothing missing, nothing unexpected, every key in order"),
            broken @ 1..=MOST_TOLD => write!(f, "  NOT BALANCED: {broken} promise(s) broken"),
            broken => write!(f, "  NOT BALANCED: {broken} promises broken, {} not shown", broken - MOST_TOLD),
        }
    }
}
