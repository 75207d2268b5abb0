-- A coupon takes off a fixed amount, or a whole percentage of the total with or without a cap. What stands here is
-- all of the first form and stays valid; a program of before this migration goes on to read and to insert those. It
-- fails on a coupon by percentage, and sells nothing, rather than sell at a wrong price: so issue the first of them when no
-- such program runs any more.
ALTER TABLE coupon
    ALTER COLUMN discount_amount DROP NOT NULL,
    ADD COLUMN discount_percent integer,
    ADD COLUMN max_discount_amount bigint,
    ADD CONSTRAINT coupon_percent CHECK (discount_percent BETWEEN 1 AND 100),
    ADD CONSTRAINT coupon_cap CHECK (max_discount_amount > 0),
    ADD CONSTRAINT coupon_one_form CHECK (num_nonnulls(discount_amount, discount_percent) = 1),
    ADD CONSTRAINT coupon_cap_of_percent CHECK (max_discount_amount IS NULL OR discount_percent IS NOT NULL);
