//! # The stack
//!
//! Servers, migration, services, sample orders, summary; and everything taken down again in the opposite order,
//! so that what runs can finish.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::arrivals::Arrivals;
use crate::console::{Colour, Console, grouped};
use crate::flash_sale::{self, Outcome};
use crate::ledger::{Ledger, LedgerError};
use crate::sample_orders;
use crate::servers::{Servers, ServersError};
use crate::service_log::Level;
use crate::service_process::{OnLine, ServiceError, ServiceProcess, ServiceSpec};
use crate::services;
use crate::shop::{Shop, ShopError, client_with_idle, local_client};
use crate::summary::{Summary, seconds};
use crate::supervised_service::SupervisedService;

const READY: Duration = Duration::from_mins(1);
/// To arrive, beyond the time that so many orders take of themselves.
const ARRIVAL: Duration = Duration::from_mins(1);
const ORDERS_A_SECOND: u32 = 20;

/// Why the stack does not stand.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Somebody else listens there.
    #[error("port {0} is taken: choose another with --port")]
    PortTaken(u16),
    /// The port cannot be used for another reason.
    #[error("cannot listen on 127.0.0.1:{port} ({cause}): choose another port with --port")]
    Port {
        /// The port.
        port: u16,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// PostgreSQL or the broker.
    #[error(transparent)]
    Servers(#[from] ServersError),
    /// order-service or a consumer.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A sample order.
    #[error(transparent)]
    Shop(#[from] ShopError),
    /// The database behind the summary.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The program's own path.
    #[error("cannot find this program's own file: {0}")]
    Program(#[source] std::io::Error),
    /// order-service says nothing of its address.
    #[error("order-service did not say where it listens")]
    NoAddress,
}

/// Everything that runs.
pub struct Stack {
    servers: Servers,
    services: Vec<SupervisedService>,
    arrivals: Arrivals,
    client: reqwest::Client,
    http: SocketAddr,
    /// Where each service's probes and metrics are.
    management: Vec<SocketAddr>,
    console: Console,
}

/// The services once they are ready.
struct Started {
    services: Vec<SupervisedService>,
    http: SocketAddr,
    management: Vec<SocketAddr>,
}

impl Stack {
    /// Starts everything and returns when it is ready for orders.
    pub async fn start(arguments: &Arguments, console: &Console) -> Result<Self, StackError> {
        let began = Instant::now();
        check_port(arguments.port)?;
        let program = engines::this_executable::path().map_err(StackError::Program)?;
        let client = local_client()?;
        console.line(&console.paint(Colour::Bold, "local stack: an order's whole way, on this machine"));
        let servers = Servers::start(arguments, console).await?;
        servers.describe(console);
        console.progress(&format!("servers ready after {}; starting the services", seconds(began.elapsed())));

        let migration = services::migration(&program, &servers.addresses);
        migration.run(shown(console, &migration, 0, &Arrivals::default())).await?;
        let arrivals = Arrivals::default();
        let Started { services, http, management } =
            start_services(arguments, &program, &servers, &arrivals, &client, console).await?;
        console.progress(&format!("all ready after {}", seconds(began.elapsed())));
        Ok(Self { servers, services, arrivals, client, http, management, console: console.clone() })
    }

    /// Places the sample orders and waits until they have arrived, or should have.
    pub async fn show_orders(&self, count: u32) -> Result<Summary, StackError> {
        let ledger = Ledger::open(&self.servers.addresses.database_url).await?;
        let shop = Shop::new(self.client.clone(), format!("http://{}", self.http));
        let placed = sample_orders::place(&shop, count, &self.console).await?;
        let committed = ledger.committed().await?;
        let patience = ARRIVAL + Duration::from_secs((count / ORDERS_A_SECOND).into());
        self.arrivals.complete(&committed, patience).await;
        let summary = Summary {
            committed: committed.len(),
            arrived: self.arrivals.compare(&committed),
            placed,
            others_use_the_topic: !self.servers.both_are_new(),
        };
        summary.show(&self.console);
        Ok(summary)
    }

    /// Holds a flash sale and waits until what was sold has arrived; whether all was as promised, and the product.
    pub async fn show_flash_sale(&self, size: flash_sale::Size) -> Result<(bool, i64), StackError> {
        let ledger = Ledger::open(&self.servers.addresses.database_url).await?;
        let shop = Shop::new(client_with_idle(size.connections)?, format!("http://{}", self.http));
        self.console.heading(&format!(
            "flash sale: {} requests for {} pieces of one product, by {} connections at once",
            grouped(size.requests.into()),
            grouped(size.pieces.into()),
            size.connections
        ));
        let sale = flash_sale::hold(&shop, size).await?;
        let committed = ledger.committed().await?;
        let patience = ARRIVAL + Duration::from_secs((size.pieces / ORDERS_A_SECOND).into());
        self.arrivals.complete(&committed, patience).await;
        let outcome = Outcome {
            committed: ledger.order_ids().await?,
            arrived: self.arrivals.compare(&committed),
            others_use_the_topic: !self.servers.both_are_new(),
        };
        Ok((sale.show(&self.console, &outcome), sale.product_id))
    }

    /// Says what a person can do now.
    pub fn invite(&self, product_id: i64) {
        let root = format!("http://{}", self.http);
        let console = &self.console;
        console.heading("it stays up");
        console.fact("try it", &format!("{root}/docs"));
        console.fact("order", &format!("curl -i {root}/orders -H 'content-type: application/json' \\"));
        let body = format!(r#"{{"userId": 1, "items": [{{"productId": {product_id}, "quantity": 1}}]}}"#);
        console.fact("", &format!("  -d '{body}'"));
        let metrics = self.services.iter().zip(&self.management);
        for (service, management) in metrics {
            console.fact("metrics", &format!("curl -s http://{management}/metrics   # {}", service.name()));
        }
        console.fact("database", &format!("psql '{}'", self.servers.addresses.database_url));
        let ids: Vec<String> =
            self.services.iter().map(|service| format!("{} {}", service.name(), service.id())).collect();
        console.fact("kill one", &format!("kill -9 PID, and watch it come back: {}", ids.join(", ")));
        console.fact("end", "Ctrl-C ends everything and removes what it made");
        console.line("");
    }

    /// Returns, with a sentence, when a server has ended that nobody stopped.
    pub async fn broken(&self) -> String {
        self.servers.ended().await
    }

    /// Takes everything down: order-service first, so that what it accepted is published and delivered.
    pub async fn stop(self) {
        let mut services = self.services.into_iter();
        if let Some(order_service) = services.next() {
            order_service.stop().await;
        }
        let consumers: Vec<_> = services.map(|consumer| tokio::spawn(consumer.stop())).collect();
        for consumer in consumers {
            // A panic over there has dropped the process, which killed it.
            consumer.await.ok();
        }
        self.servers.stop().await;
    }
}

/// Before anything is started, as a taken port is the likeliest of mistakes.
fn check_port(port: u16) -> Result<(), StackError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::AddrInUse => Err(StackError::PortTaken(port)),
        Err(cause) => Err(StackError::Port { port, cause }),
    }
}

async fn start_services(
    arguments: &Arguments,
    program: &Path,
    servers: &Servers,
    arrivals: &Arrivals,
    client: &reqwest::Client,
    console: &Console,
) -> Result<Started, StackError> {
    let mut started: Vec<(ServiceProcess, ServiceSpec, OnLine)> = Vec::new();
    for (number, spec) in services::specs(program, &servers.addresses, arguments.port).into_iter().enumerate()
    {
        let on_line = if arguments.flash_sale {
            shown_if_wrong(console, &spec, number, arrivals)
        } else {
            shown(console, &spec, number, arrivals)
        };
        let process = spec.start(on_line.clone())?;
        started.push((process, spec, on_line));
    }
    let (mut http, mut management) = (None, Vec::new());
    for (process, spec, _) in &mut started {
        let listening = process.ready(client, READY).await?;
        // Any port would have done, but once it is known it is kept: a restart must be found where it was.
        spec.settings.push(("MANAGEMENT__PORT", listening.management.port().to_string()));
        if let Some(address) = listening.http {
            spec.settings.push(("HTTP__PORT", address.port().to_string()));
        }
        http = http.or(listening.http);
        management.push(listening.management);
    }
    let services = started
        .into_iter()
        .map(|(process, spec, on_line)| SupervisedService::watch(process, spec, on_line, console.clone()))
        .collect();
    Ok(Started { services, http: http.ok_or(StackError::NoAddress)?, management })
}

/// Shows a service's lines under its name, and takes note of what arrives.
fn shown(console: &Console, spec: &ServiceSpec, number: usize, arrivals: &Arrivals) -> OnLine {
    const COLOURS: [Colour; 3] = [Colour::Cyan, Colour::Magenta, Colour::Blue];
    let (console, arrivals, name) = (console.clone(), arrivals.clone(), spec.name.clone());
    let colour = COLOURS[number % COLOURS.len()];
    Arc::new(move |line| {
        // In this order, or the summary could stand above the line that it counts.
        console.service(&name, colour, line);
        arrivals.note(line);
    })
}

/// The same, for a sale in which a line for each order would be thousands.
fn shown_if_wrong(console: &Console, spec: &ServiceSpec, number: usize, arrivals: &Arrivals) -> OnLine {
    let (show, arrivals) = (shown(console, spec, number, &Arrivals::default()), arrivals.clone());
    Arc::new(move |line| {
        if line.level != Level::Other {
            show(line);
        }
        arrivals.note(line);
    })
}
