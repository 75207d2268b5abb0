//! `docker stop`: SIGTERM, and SIGKILL only after the grace period.

use std::time::{Duration, Instant};

use crate::buyers::Buyers;
use crate::cases::kills::{settled, stock_fits};
use crate::compose::docker;
use crate::stack::{CONSUMER, ORDER_SERVICE, Stack};

/// What the compose file grants.
const GRACE: Duration = Duration::from_secs(30);
const SOME: usize = 50;

pub(crate) async fn in_good_order(stack: &Stack) {
    stack.latencies.phase("services are stopped");
    let buyers = Buyers::start(stack).await;
    let products = buyers.products;
    for part in [ORDER_SERVICE, CONSUMER] {
        buyers.bought(SOME).await;
        let began = Instant::now();
        stack.compose.run(&["stop", part]);
        let took = began.elapsed();
        for container in stack.compose.containers(part) {
            let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
            assert_eq!(code, "0", "{part} after {took:?}");
        }
        assert!(took < GRACE, "{part} took {took:?}");
        println!("docker stop {part}: exit code 0 after {:.1} s", took.as_secs_f64());
        stack.start(part);
        buyers.bought(SOME).await;
    }
    buyers.stop().await;
    let balance = settled(stack).await;
    println!("{balance}");
    assert!(balance.is_balanced(), "{balance}");
    stock_fits(stack, products).await;
}
