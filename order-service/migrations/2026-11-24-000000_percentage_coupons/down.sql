-- Refused while there is a coupon by percentage: what it promises has no place in the older form.
ALTER TABLE coupon ALTER COLUMN discount_amount SET NOT NULL;
ALTER TABLE coupon
    DROP CONSTRAINT coupon_one_form,
    DROP CONSTRAINT coupon_cap_of_percent,
    DROP COLUMN discount_percent,
    DROP COLUMN max_discount_amount;
