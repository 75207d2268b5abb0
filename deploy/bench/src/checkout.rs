//! # The benchmark `checkout`
//!
//! What the README explains, measure by measure. Within a round both sides of a measure are taken one right after
//! the other, so that a machine that gets slower does so for both.

mod latency;
mod overload;
mod single_order;
mod throughput;

use crate::Failure;
use crate::command_line::{Measure, Options};
use crate::load::{self, Load, Pace, Plan, Products};
use crate::processor::Watched;
use crate::report::{self, Row, say};
use crate::servers::Servers;
use crate::service::Service;

const NAME: &str = "checkout";
/// A smoke run's figures mean nothing, so they do not take the place of those that do.
const SMOKE_NAME: &str = "checkout-smoke";
/// The connections that peaks are looked for at.
const CONNECTIONS: [usize; 3] = [32, 128, 512];
const SMOKE_CONNECTIONS: [usize; 1] = [32];

/// Everything that a measure needs.
pub(crate) struct Bench {
    servers: Servers,
    options: Options,
}

/// How one run of order-service differs from the others.
#[derive(Clone, Copy, Debug)]
struct Setting {
    relay: bool,
    broker_frozen: bool,
    log_level: Option<&'static str>,
    desk_workers: Option<&'static str>,
}

const USUAL: Setting = Setting { relay: true, broker_frozen: false, log_level: None, desk_workers: None };
const RELAY_OFF: Setting = Setting { relay: false, ..USUAL };
const BROKER_FROZEN: Setting = Setting { broker_frozen: true, ..USUAL };
/// The line that says where it listens is waited for.
const FEW_LINES: Setting = Setting { log_level: Some("warn,order_service::startup=info"), ..USUAL };

const TWO_WORKERS: Setting = Setting { desk_workers: Some("2"), ..USUAL };

/// Measures what the options name and publishes it.
pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let bench = Bench { servers: Servers::start(&options.kafka).await?, options: options.clone() };
    bench.introduce()?;
    let measured = bench.measure().await;
    bench.servers.stop().await;
    report::publish(if options.smoke { SMOKE_NAME } else { NAME }, &measured?)
}

impl Bench {
    fn introduce(&self) -> Result<(), Failure> {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        say(&format!(
            "checkout: {} rounds of {} s; {processors} processors for everything; PostgreSQL {}, fsync on; \
             broker: {}",
            self.options.rounds,
            self.options.window().as_secs(),
            self.servers.postgres.version(),
            self.servers.broker.name(),
        ))?;
        if self.options.smoke {
            say("a smoke run: it shows that everything runs, and its figures mean nothing")?;
        }
        if cfg!(debug_assertions) {
            say("built without optimisation: its figures mean nothing (cargo run --release -p bench)")?;
        }
        Ok(())
    }

    async fn measure(&self) -> Result<Vec<Row>, Failure> {
        let wants = |measure| self.options.wants(measure);
        let mut rows = Vec::new();
        if wants(Measure::HotProduct) {
            rows.extend(throughput::measure(self, Products::Hot).await?);
        }
        if wants(Measure::ManyProducts) {
            rows.extend(throughput::measure(self, Products::Many).await?);
        }
        if wants(Measure::PostP99) {
            rows.extend(latency::measure(self).await?);
        }
        if wants(Measure::OverloadGoodput) || wants(Measure::Memory) {
            rows.extend(overload::measure(self).await?);
        }
        if wants(Measure::SingleOrder) {
            rows.push(single_order::measure(self).await?);
        }
        Ok(rows)
    }

    fn connections(&self) -> &'static [usize] {
        if self.options.smoke { &SMOKE_CONNECTIONS } else { &CONNECTIONS }
    }

    fn most_connections(&self) -> usize {
        self.connections().iter().copied().max().unwrap_or_default()
    }

    fn plan(&self, products: Products, pace: Pace, connections: usize) -> Plan {
        Plan { products, pace, connections, warm_up: self.options.warm_up(), window: self.options.window() }
    }

    async fn serve(&self, database_url: &str, setting: Setting) -> Result<Service, Failure> {
        let relay = (!setting.relay).then_some(("RELAY__ENABLED", "false"));
        let log = setting.log_level.map(|level| ("LOG__LEVEL", level));
        let workers = setting.desk_workers.map(|workers| ("DESK__WORKERS", workers));
        let changes: Vec<_> = relay.into_iter().chain(log).chain(workers).collect();
        let kafka = self.servers.broker.bootstrap_servers();
        Service::start(database_url, &kafka, &changes).await
    }

    fn watched(&self, service: &Service) -> Watched {
        let (postgres, brokers) = (self.servers.postgres.id(), self.servers.broker.ids());
        Watched { service: Some(service.id()), postgres, brokers }
    }

    /// A new database, a new order-service, this load, and both gone again.
    async fn load(&self, setting: Setting, plan: Plan) -> Result<Load, Failure> {
        let shop = self.servers.shop().await?;
        let service = self.serve(&shop.url(), setting).await?;
        let freezing = async {
            if setting.broker_frozen {
                // In the middle of publishing: the producer is connected and has events under way.
                tokio::time::sleep(plan.warm_up / 2).await;
                return self.servers.broker.freeze();
            }
            Ok(())
        };
        let driving = load::drive(service.address, plan, self.watched(&service));
        let (load, frozen) = tokio::join!(driving, freezing);
        self.servers.broker.thaw()?;
        service.kill().await;
        frozen?;
        load
    }
}
