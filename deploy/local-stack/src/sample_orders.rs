//! # Sample orders
//!
//! A few products and coupons, then orders by several buyers; every fourth uses a coupon. At the end two that
//! must be refused, to show that a refusal takes nothing and publishes nothing. What is refused for lack of
//! stock is a product of its own, which no sample buys: however many samples there are, it stays scarce.

use std::time::Instant;

use crate::console::{Console, grouped};
use crate::shop::{Answer, Basket, Item, Shop, ShopError};

/// Name and price in minor units.
const PRODUCTS: [(&str, i64); 3] = [("Ring light", 1_500), ("Tripod", 4_200), ("Backdrop", 900)];
/// Its stock is small, and no sample order buys it.
const SCARCE: (&str, i64, i64) = ("Softbox", 2_700, 118);
/// More than there is of it, and as much as one line may ask for.
const TOO_MANY: u32 = 1_000;
const DISCOUNT: i64 = 500;
const BUYERS: i64 = 4;
const COUPON_EVERY: u32 = 4;
/// Pieces of each product that are left when every sample order was bought.
const LEFT_OVER: i64 = 100;
const MOST_PIECES: i64 = 3;

/// What the samples came to.
#[derive(Debug)]
pub struct Placed {
    /// When the first order was sent.
    pub began: Instant,
    /// Answered with 201.
    pub completed: u32,
    /// Refused, as was intended.
    pub refused: u32,
    /// Bought although it should have been refused, or the other way round.
    pub wrong: Vec<String>,
    /// A product to go on with.
    pub product_id: i64,
}

struct Catalogue {
    /// What the samples buy.
    products: Vec<i64>,
    /// What nobody gets enough of.
    scarce: i64,
    coupons: Vec<i64>,
}

/// Stocks the shop and places `count` orders, and then the two that are refused.
pub async fn place(shop: &Shop, count: u32, console: &Console) -> Result<Placed, ShopError> {
    let catalogue = stock(shop, count).await?;
    let coupons = catalogue.coupons.len();
    console.heading(&format!(
        "{} sample orders, {} of them with a coupon, and two that must be refused",
        grouped(count.into()),
        coupons
    ));
    let mut placed = Placed {
        began: Instant::now(),
        completed: 0,
        refused: 0,
        wrong: Vec::new(),
        product_id: catalogue.products[0],
    };
    for number in 0..count {
        let basket = sample(&catalogue, number);
        match shop.place_order(&basket).await? {
            Answer::Completed(_) => placed.completed += 1,
            Answer::Refused(problem) => placed.wrong.push(format!("a sample order: {}", problem.detail)),
        }
    }
    for (what, basket, expected) in to_be_refused(&catalogue) {
        match shop.place_order(&basket).await? {
            Answer::Refused(problem) if problem.problem_type.ends_with(expected) => {
                placed.refused += 1;
                console.fact("refused", &format!("{what}: {}", problem.detail));
            }
            Answer::Refused(problem) => placed.wrong.push(format!("{what}: {}", problem.detail)),
            Answer::Completed(order) => {
                placed.completed += 1;
                placed.wrong.push(format!("{what} was bought as order {}", order.order_id));
            }
        }
    }
    Ok(placed)
}

async fn stock(shop: &Shop, count: u32) -> Result<Catalogue, ShopError> {
    let pieces = i64::from(count) * MOST_PIECES + LEFT_OVER;
    let [first, others @ ..] = PRODUCTS;
    let mut products = vec![shop.create_product(first.0, first.1, pieces).await?];
    let (name, price, few) = SCARCE;
    let scarce = shop.create_product(name, price, few).await?;
    for (name, price) in others {
        products.push(shop.create_product(name, price, pieces).await?);
    }
    let mut catalogue = Catalogue { products, scarce, coupons: Vec::new() };
    for number in (0..count).filter(|number| uses_coupon(*number)) {
        catalogue.coupons.push(shop.issue_coupon(buyer(number), DISCOUNT).await?);
    }
    Ok(catalogue)
}

fn buyer(number: u32) -> i64 {
    i64::from(number) % BUYERS + 1
}

fn uses_coupon(number: u32) -> bool {
    number.is_multiple_of(COUPON_EVERY)
}

fn sample(catalogue: &Catalogue, number: u32) -> Basket {
    let index = usize::try_from(number).unwrap_or(0);
    let product_id = catalogue.products[index % catalogue.products.len()];
    let quantity = number % 3 + 1;
    let nth_coupon = index.div_euclid(4);
    let coupon_id = uses_coupon(number).then(|| catalogue.coupons[nth_coupon]);
    Basket { user_id: buyer(number), items: vec![Item { product_id, quantity }], coupon_id }
}

fn to_be_refused(catalogue: &Catalogue) -> [(&'static str, Basket, &'static str); 2] {
    let one = |product_id, quantity| vec![Item { product_id, quantity }];
    let greedy = vec![
        // The first line alone would be bought; because of the second, none of it is taken.
        Item { product_id: catalogue.products[0], quantity: 1 },
        Item { product_id: catalogue.scarce, quantity: TOO_MANY },
    ];
    [
        ("more than is left", Basket { user_id: 1, items: greedy, coupon_id: None }, "/out-of-stock"),
        (
            "a coupon a second time",
            Basket {
                user_id: 1,
                items: one(catalogue.products[0], 1),
                coupon_id: catalogue.coupons.first().copied(),
            },
            "/coupon-used",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::MOST_ORDERS;

    #[test]
    fn no_sample_buys_what_is_to_be_refused_and_every_sample_gets_its_coupon() {
        for count in [1, 8, 385, 386, 400, 5_000, MOST_ORDERS] {
            let coupons = (0..count).filter(|number| uses_coupon(*number)).map(i64::from).collect();
            let catalogue = Catalogue { products: vec![1, 3, 4], scarce: 2, coupons };
            for number in 0..count {
                let basket = sample(&catalogue, number);
                assert!(basket.items.iter().all(|item| catalogue.products.contains(&item.product_id)));
                assert_eq!(basket.coupon_id, uses_coupon(number).then_some(i64::from(number)));
            }
            let [(_, greedy, _), _] = to_be_refused(&catalogue);
            let refused: Vec<_> =
                greedy.items.iter().filter(|item| item.product_id == catalogue.scarce).collect();
            assert!(refused.len() == 1 && i64::from(refused[0].quantity) > SCARCE.2);
        }
    }
}
