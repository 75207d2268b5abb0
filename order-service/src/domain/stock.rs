//! # Stock
//!
//! The shelf as one transaction sees it: the rows it has locked, and what the orders decided so far have
//! taken from them. Nothing is taken unless all of an order can be.

use super::ids::ProductId;
use super::money::Money;
use std::collections::{BTreeMap, BTreeSet};

/// One product's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockItem {
    /// The price of one piece.
    pub price: Money,
    /// Pieces that can still be sold; never negative.
    pub on_hand: i64,
}

/// A quantity of one product that is more than what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The product that ran out.
    pub product_id: ProductId,
    /// How many the order wants, over all of its lines.
    pub wanted: i64,
    /// How many are left.
    pub left: i64,
}

/// The locked stock rows of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    items: BTreeMap<ProductId, StockItem>,
    touched: BTreeSet<ProductId>,
}

impl Shelf {
    /// The rows as they were when they were locked.
    pub fn new(rows: impl IntoIterator<Item = (ProductId, StockItem)>) -> Self {
        Self { items: rows.into_iter().collect(), touched: BTreeSet::new() }
    }

    /// The row of a product; `None` when there is no such product.
    pub fn item(&self, product_id: ProductId) -> Option<StockItem> {
        self.items.get(&product_id).copied()
    }

    /// The first product of which there is less than wanted. A product without a row has nothing.
    ///
    /// # Errors
    /// The [`Shortage`].
    pub fn check(&self, wanted: &BTreeMap<ProductId, i64>) -> Result<(), Shortage> {
        let shortage = wanted.iter().find_map(|(&product_id, &wanted)| {
            let left = self.item(product_id).map_or(0, |item| item.on_hand);
            (wanted > left).then_some(Shortage { product_id, wanted, left })
        });
        shortage.map_or(Ok(()), Err)
    }

    /// Takes all of `wanted`, or nothing.
    ///
    /// # Errors
    /// The [`Shortage`] that stands in the way.
    pub fn take(&mut self, wanted: &BTreeMap<ProductId, i64>) -> Result<(), Shortage> {
        self.check(wanted)?;
        for (product_id, quantity) in wanted {
            if let Some(item) = self.items.get_mut(product_id) {
                item.on_hand -= quantity;
                self.touched.insert(*product_id);
            }
        }
        Ok(())
    }

    /// What must be written: every product from which something was taken, and what is left of it, in the
    /// order of their ids.
    pub fn remaining(&self) -> impl Iterator<Item = (ProductId, i64)> {
        self.touched.iter().filter_map(|id| self.items.get(id).map(|item| (*id, item.on_hand)))
    }
}
