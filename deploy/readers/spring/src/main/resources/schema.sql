-- The events that had their effect. Its unique key is what drops a repeat.
CREATE TABLE IF NOT EXISTS handled_event (
    event_id text PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT now()
);

-- The effect: what your service does with an order. A sum, because a sum shows at once when an event counts twice.
CREATE TABLE IF NOT EXISTS revenue_by_day (
    day date PRIMARY KEY,
    orders bigint NOT NULL,
    paid_amount bigint NOT NULL
);
