//! # Schema
//!
//! The tables as diesel sees them. A test compares this file with the migrated database, column by column.
#![expect(missing_docs, reason = "the tables and columns are described in the migrations")]

use diesel::{allow_tables_to_appear_in_same_query, joinable, table};

table! {
    product (id) {
        id -> BigInt,
        name -> Text,
        created_at -> Timestamptz,
    }
}

table! {
    stock (product_id) {
        product_id -> BigInt,
        price -> BigInt,
        on_hand -> BigInt,
    }
}

table! {
    coupon (id) {
        id -> BigInt,
        user_id -> BigInt,
        discount_amount -> Nullable<BigInt>,
        expires_at -> Nullable<Timestamptz>,
        issued_at -> Timestamptz,
        used_by_order_id -> Nullable<BigInt>,
        discount_percent -> Nullable<Integer>,
        max_discount_amount -> Nullable<BigInt>,
    }
}

table! {
    orders (id) {
        id -> BigInt,
        user_id -> BigInt,
        request_key -> Text,
        fingerprint -> Binary,
        event_id -> Uuid,
        coupon_id -> Nullable<BigInt>,
        total_amount -> BigInt,
        discount_amount -> BigInt,
        completed_at -> Timestamptz,
    }
}

table! {
    order_line (order_id, line_number) {
        order_id -> BigInt,
        line_number -> Integer,
        product_id -> BigInt,
        quantity -> Integer,
        unit_price -> BigInt,
    }
}

table! {
    outbox (seq) {
        seq -> BigInt,
        topic -> Text,
        key -> Text,
        event_id -> Uuid,
        payload -> Text,
        headers -> Jsonb,
        created_at -> Timestamptz,
    }
}

table! {
    outbox_quarantine (seq) {
        seq -> BigInt,
        topic -> Text,
        key -> Text,
        event_id -> Uuid,
        payload -> Text,
        headers -> Jsonb,
        created_at -> Timestamptz,
        quarantined_at -> Timestamptz,
        cause -> Nullable<Text>,
    }
}

table! {
    relay_lease (id) {
        id -> Integer,
        holder -> Nullable<Uuid>,
        holder_name -> Nullable<Text>,
        until -> Timestamptz,
        since -> Nullable<Timestamptz>,
        scan_floor -> BigInt,
        rescans -> BigInt,
        ttl -> Nullable<Interval>,
        published_up_to -> BigInt,
        published_at_rescans -> BigInt,
    }
}

joinable!(stock -> product (product_id));
joinable!(order_line -> orders (order_id));
allow_tables_to_appear_in_same_query!(product, stock, coupon, orders, order_line, outbox);
