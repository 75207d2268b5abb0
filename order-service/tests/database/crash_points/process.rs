//! order-service as a process of its own, to be killed: this executable, started again.

use crate::rig::{PATIENT, Shop};
use engines::child_process::{self, ChildProcess};
use engines::this_executable;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, ExitStatus};
use tokio::sync::watch;

const ROLE: &str = "--as-order-service";

/// The first thing that `main` does.
pub(crate) fn enter_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    (arguments.next()? == ROLE)
        .then(|| order_service::command_line::main([program].into_iter().chain(arguments)))
}

/// This executable as order-service, over this shop.
fn command(shop: &Shop, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(this_executable::path().unwrap());
    command.arg(ROLE);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("ORDER_SERVICE__") {
            command.env_remove(name);
        }
    }
    let url = shop.own.url();
    let own = [("HTTP__PORT", "0"), ("MANAGEMENT__PORT", "0"), ("DATABASE__URL", &url)];
    for (name, value) in PATIENT.into_iter().chain(own).chain(more.iter().copied()) {
        command.env(format!("ORDER_SERVICE__{name}"), OsString::from(value));
    }
    command
}

/// What a command of order-service exits with, and says.
pub(crate) async fn answer_of_command(shop: &Shop, arguments: &[&str]) -> (i32, String) {
    answer_of_command_with(shop, &[], arguments).await
}

pub(crate) async fn answer_of_command_with(
    shop: &Shop,
    settings: &[(&str, &str)],
    arguments: &[&str],
) -> (i32, String) {
    let mut command = command(shop, settings);
    command.args(arguments);
    let answer = tokio::task::spawn_blocking(move || child_process::run(&mut command)).await.unwrap();
    let (status, said) = answer.unwrap();
    (status.code().expect("it ends by itself"), said)
}

pub(crate) struct ServiceProcess {
    child: ChildProcess,
    address: SocketAddr,
    management: SocketAddr,
    log: watch::Receiver<String>,
}

impl ServiceProcess {
    /// One that does not publish; returns when it listens.
    pub(crate) async fn start(shop: &Shop) -> Self {
        Self::start_with(shop, &[("RELAY__ENABLED", "false")]).await
    }

    /// One with these settings; returns when it listens.
    pub(crate) async fn start_with(shop: &Shop, more: &[(&str, &str)]) -> Self {
        let mut command = command(shop, more);
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(std::process::Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = ChildProcess::spawn(&mut command).unwrap();
        // It holds our end of the pipe.
        drop(command);
        let (said, mut log) = watch::channel(String::new());
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                said.send_modify(|log| *log = format!("{log}{line}\n"));
            }
        });
        let listens = log.wait_for(|log| address_in(log, "management=").is_some()).await;
        let listens = listens.expect("it listens").clone();
        let address = |of| address_in(&listens, of).expect("an address");
        Self { child, address: address("http="), management: address("management="), log }
    }

    /// Returns when its log has this.
    pub(crate) async fn until_says(&self, words: &str) {
        self.log.clone().wait_for(|log| log.contains(words)).await.expect(words);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of one of its metrics, written as `/metrics` writes it.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let url = format!("http://{}/metrics", self.management);
        let page = reqwest::get(url).await.unwrap().text().await.unwrap();
        crate::metrics::value(&page, series)
    }

    /// SIGKILL, and its end.
    pub(crate) async fn kill(&self) {
        self.child.kill();
        self.child.exited().await;
    }

    pub(crate) fn id(&self) -> i32 {
        self.child.id()
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.child.freeze();
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.child.thaw();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.child.terminate();
    }

    pub(crate) async fn exited(&self) -> ExitStatus {
        self.child.exited().await
    }

    /// Orders one piece of `product`; none when no answer came.
    pub(crate) fn orders_one(
        &self,
        user: i64,
        key: &str,
        product: i64,
        coupon: Option<i64>,
    ) -> impl Future<Output = Option<(u16, Value)>> + Send + use<> {
        answer_to(order_of_one(&Client::new(), self.address, (user, key), product, coupon))
    }
}

fn address_in(log: &str, of: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("listening http="))?;
    let (_, rest) = line.split_once(of)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// An order of one piece of `product`.
pub(crate) fn order_of_one(
    client: &Client,
    address: SocketAddr,
    (user, key): (i64, &str),
    product: i64,
    coupon: Option<i64>,
) -> RequestBuilder {
    let items = json!([{"productId": product, "quantity": 1}]);
    let body = json!({"userId": user, "items": items, "couponId": coupon});
    client.post(format!("http://{address}/orders")).header("idempotency-key", key).json(&body)
}

/// Status and body; none when no answer came.
pub(crate) async fn answer_to(request: RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    Some((response.status().as_u16(), response.json().await.ok()?))
}
