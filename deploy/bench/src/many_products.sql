-- The transaction of complete_orders as an ordinary service runs it. No colon may stand before a letter or digit in a
-- text: pgbench would take it for a variable.
\set product random(1, 1000)
\set user random(1, 100000)
\set key random(1, 9223372036854775806)
BEGIN;
SELECT product_id, price, on_hand FROM stock WHERE product_id = :product FOR NO KEY UPDATE;
SELECT id, user_id, request_key, fingerprint, event_id, coupon_id, total_amount, discount_amount, completed_at FROM orders WHERE user_id = :user AND request_key = 'a-request-key-of-a-uuids-' || :key::text;
SELECT nextval('order_id_seq') AS order_id \gset
UPDATE stock SET on_hand = on_hand - 1 WHERE product_id = :product;
INSERT INTO orders (id, user_id, request_key, fingerprint, event_id, total_amount, discount_amount, completed_at) VALUES (:order_id, :user, 'a-request-key-of-a-uuids-' || :key::text, decode('700c29437f308a4b700c29437f308a4b700c29437f308a4b700c29437f308a4b', 'hex'), gen_random_uuid(), 1000, 0, now());
INSERT INTO order_line (order_id, line_number, product_id, quantity, unit_price) VALUES (:order_id, 1, :product, 1, 1000);
INSERT INTO outbox (topic, key, event_id, payload, headers) VALUES ('order-completed', :order_id::text, gen_random_uuid(), '{"occurredAt": "2025-05-29T01.43.46.137371Z","orderId": 15000000,"eventId": "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90","userId": 70000,"lines": [{"productId": 1,"quantity": 1,"unitPrice": 1000,"lineAmount": 1000}],"totalAmount": 1000,"discountAmount": 0,"paidAmount": 1000}', '{"ce_id": "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90", "ce_time": "2025-05-29T01.43.46.137371Z", "ce_type": "order-completed.v1", "ce_source": "/order-service", "ce_subject": "15000000", "content-type": "application/json", "ce_specversion": "1.0"}');
COMMIT;
