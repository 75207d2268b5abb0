//! # Ids
//!
//! A number that names a product cannot be passed where a user is meant.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

id!(
    /// Names an order; also the key of its Kafka record.
    OrderId
);
id!(
    /// Names a product.
    ProductId
);
id!(
    /// Names a coupon.
    CouponId
);
id!(
    /// Names a user; users themselves belong to another service.
    UserId
);
