//! A whole service in this process, on ports of its own, without a relay.

use crate::rig::{Shop, settings_but};
use order_service::startup::Service;
use reqwest::{Client, Response};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) management: SocketAddr,
    pub(crate) client: Client,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// One that waits for a slow machine.
    pub(crate) async fn start(shop: &Shop) -> Self {
        Self::start_with(shop, &[]).await
    }

    /// The same, but for these variables.
    pub(crate) async fn start_with(shop: &Shop, more: &[(&str, &str)]) -> Self {
        let alone = [("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1"), ("RELAY__ENABLED", "false")];
        let settings = settings_but(&shop.own.url(), &[alone.as_slice(), more].concat());
        let service = Service::build(settings).await.expect("it starts");
        let (address, management) = (service.http_address(), service.management_address());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            service.run_until_stopped(async { drop(stopped.await) }).await.expect("a clean stop");
        });
        Self { address, management, client: Client::new(), stop, task }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        let url = format!("http://{}{path}", self.address);
        self.client.post(url).json(body).send().await.unwrap()
    }

    pub(crate) async fn read(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    pub(crate) async fn created(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).await;
        assert_eq!(response.status(), 201, "{path} {body}");
        response.json().await.unwrap()
    }
}
