//! A whole service in this process, on ports of its own, without a relay.

use crate::rig::{Shop, settings_with};
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
    pub(crate) async fn start(shop: &Shop) -> Self {
        Self::start_with(shop, &[]).await
    }

    pub(crate) async fn start_with(shop: &Shop, more: &[(&'static str, &str)]) -> Self {
        let changes = [
            ("DATABASE__URL", shop.own.url()),
            ("DATABASE__ACQUIRE_TIMEOUT", "1s".to_owned()),
            ("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1".to_owned()),
            ("RELAY__ENABLED", "false".to_owned()),
        ];
        let changes: Vec<(&str, &str)> =
            changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let changes = [changes.as_slice(), more].concat();
        let service = Service::build(settings_with(&changes)).await.expect("it starts");
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
