-- For the audit, which reads the orders of a range of time. Orders are only ever added, each a little later than the one
-- before, so a summary of every 128 pages finds a range as well as a tree would, and costs an order next to nothing.
--
-- Building it reads the whole table, in which nobody can write meanwhile; that may take longer than a session's statement.
SET LOCAL statement_timeout = 0;
CREATE INDEX orders_completed_at ON orders USING brin (completed_at) WITH (autosummarize = on);
