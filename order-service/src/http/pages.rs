//! # Pages
//!
//! Lists come in pages by id: ask for what is `after` the last id of the page before.

use super::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: i64 = 50;
const MOST: i64 = 200;

/// Which page.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The last id of the page before; nothing for the first page.
    after: Option<i64>,
    /// Most items, 1 to 200; 50 when it is not said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

impl PageQuery {
    /// The query, if it can be answered.
    ///
    /// # Errors
    /// A problem that names what is out of its bounds.
    pub fn within_bounds(self) -> Result<Self, Problem> {
        let mut wrong = Vec::new();
        if !(1..=MOST).contains(&self.limit()) {
            wrong.push(("limit".to_owned(), format!("must be from 1 to {MOST}")));
        }
        if self.after() < 0 {
            wrong.push(("after".to_owned(), "must not be negative".to_owned()));
        }
        if wrong.is_empty() { Ok(self) } else { Err(Problem::invalid_fields(wrong)) }
    }

    /// The last id of the page before.
    pub fn after(self) -> i64 {
        self.after.unwrap_or(0)
    }

    /// Most items.
    pub fn limit(self) -> i64 {
        self.limit.unwrap_or(DEFAULT_LIMIT)
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
