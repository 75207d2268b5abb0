//! A desk whose worker waits for a row that an operator has locked, so that whatever is placed meanwhile is its next batch.

use crate::rig::Shop;
use order_service::checkout::Checkout;
use order_service::checkout::error::CheckoutError;
use order_service::checkout::request::OrderRequest;
use order_service::domain::order::CompletedOrder;
use tokio::task::{JoinHandle, yield_now};

pub(crate) type Answer = Result<CompletedOrder, CheckoutError>;

pub(crate) struct HeldDesk {
    checkout: Checkout,
    operator: tokio_postgres::Client,
    first: JoinHandle<Answer>,
}

impl HeldDesk {
    /// By this order of product 1.
    pub(crate) async fn by(first: OrderRequest, shop: &Shop, checkout: &Checkout) -> Self {
        let operator = shop.session().await;
        operator.batch_execute("BEGIN; SELECT * FROM stock WHERE product_id = 1 FOR UPDATE").await.unwrap();
        let (checkout, desk) = (checkout.clone(), checkout.clone());
        let first = tokio::spawn(async move { desk.complete(first).await });
        shop.until_locked(1).await;
        Self { checkout, operator, first }
    }

    /// Places these orders, and returns when they wait, in their order.
    pub(crate) async fn place(
        &self,
        orders: impl IntoIterator<Item = OrderRequest>,
    ) -> Vec<JoinHandle<Answer>> {
        let mut placed = Vec::new();
        for order in orders {
            let (desk, waiting) = (self.checkout.clone(), self.checkout.waiting());
            placed.push(tokio::spawn(async move { desk.complete(order).await }));
            while self.checkout.waiting() == waiting {
                yield_now().await;
            }
        }
        placed
    }

    /// What the first order was answered.
    pub(crate) async fn let_go(self) -> Answer {
        self.operator.batch_execute("ROLLBACK").await.unwrap();
        self.first.await.unwrap()
    }
}
