DROP TABLE outbox;
DROP TABLE order_line;
DROP TABLE orders;
DROP TABLE coupon;
DROP TABLE stock;
DROP TABLE product;
