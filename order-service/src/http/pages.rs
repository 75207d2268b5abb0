//! # Pages
//!
//! Lists come in pages by id: ask for what is `after` the last id of the page before.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: i64 = 50;
const MOST: i64 = 200;

/// Which page.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The last id of the page before; nothing for the first page.
    after: Option<i64>,
    /// Most items, 1 to 200; 50 when it is not said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

impl PageQuery {
    /// The last id of the page before.
    pub fn after(self) -> i64 {
        self.after.unwrap_or(0)
    }

    /// Most items; what is beyond the bounds is brought within.
    pub fn limit(self) -> i64 {
        self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST)
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, by id.
    items: Vec<T>,
    /// Send this as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

impl<T> Page<T> {
    /// A full page may have a next one.
    pub fn new(items: Vec<T>, query: PageQuery, id: impl Fn(&T) -> i64) -> Self {
        let is_full = i64::try_from(items.len()).is_ok_and(|count| count >= query.limit());
        let next = if is_full { items.last().map(id) } else { None };
        Self { items, next }
    }
}
