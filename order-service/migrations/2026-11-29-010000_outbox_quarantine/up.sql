-- Rows of the outbox that Kafka will never take, and the later rows of their keys, which must not overtake them. They
-- stay until an operator releases or discards them.
CREATE TABLE outbox_quarantine (
    seq bigint PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    event_id uuid NOT NULL,
    payload text NOT NULL,
    headers jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Why it was refused; null: an earlier row of its key is here.
    cause text
);
CREATE INDEX outbox_quarantine_key ON outbox_quarantine (key, seq);
