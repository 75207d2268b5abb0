-- What is sold. Price and stock stand in a table of their own, so that the hot row of a flash sale is small.
CREATE TABLE product (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The hot table: updated by every order, so rows stay narrow, pages keep room for HOT updates, and there is
-- no index but the key.
CREATE TABLE stock (
    product_id bigint PRIMARY KEY REFERENCES product (id),
    price bigint NOT NULL CHECK (price >= 0),
    on_hand bigint NOT NULL CHECK (on_hand >= 0)
) WITH (fillfactor = 50);

CREATE TABLE coupon (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    discount_amount bigint NOT NULL CHECK (discount_amount > 0),
    expires_at timestamptz,
    issued_at timestamptz NOT NULL DEFAULT now(),
    used_by_order_id bigint
);
CREATE INDEX coupon_user_id ON coupon (user_id, id);

CREATE SEQUENCE order_id_seq;

-- The request key makes a repeated request buy once; the event id outlives the outbox row, so that an order
-- can be audited and its event published again under the same id.
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL,
    request_key text NOT NULL,
    fingerprint bytea NOT NULL,
    event_id uuid NOT NULL,
    coupon_id bigint REFERENCES coupon (id),
    total_amount bigint NOT NULL CHECK (total_amount >= 0),
    discount_amount bigint NOT NULL CHECK (discount_amount BETWEEN 0 AND total_amount),
    completed_at timestamptz NOT NULL,
    CONSTRAINT orders_request_key UNIQUE (user_id, request_key)
);
ALTER SEQUENCE order_id_seq OWNED BY orders.id;

CREATE TABLE order_line (
    order_id bigint NOT NULL REFERENCES orders (id),
    line_number integer NOT NULL,
    product_id bigint NOT NULL REFERENCES product (id),
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price bigint NOT NULL CHECK (unit_price >= 0),
    PRIMARY KEY (order_id, line_number)
);

-- A row is an event that must still be published; it is deleted after Kafka acknowledged it, by exact seq.
-- seq is drawn after the stock rows were locked, so within one key its order is the order of the commits.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    event_id uuid NOT NULL,
    payload text NOT NULL,
    headers jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);
