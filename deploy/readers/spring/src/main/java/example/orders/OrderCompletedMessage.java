package example.orders;

import java.time.LocalDateTime;
import java.util.List;
import java.util.Objects;
import java.util.UUID;

/**
 * The value of a record. Declare the fields that you need: unknown ones are ignored, and more may be added.
 *
 * <p>All times are UTC, whatever this machine's zone is. Amounts are integers of minor units. Everything after
 * {@code orderId} is absent in a record of the original demonstration, and {@code couponId} wherever no coupon was
 * used.
 */
record OrderCompletedMessage(
        LocalDateTime occurredAt,
        Long orderId,
        UUID eventId,
        Long userId,
        List<Line> lines,
        Long totalAmount,
        Long discountAmount,
        Long paidAmount,
        Long couponId) {

    record Line(long productId, int quantity, long unitPrice, long lineAmount) {}

    /** What is not there is null by then; half an order must not pass for a whole one. */
    OrderCompletedMessage {
        Objects.requireNonNull(occurredAt, "occurredAt is missing");
        Objects.requireNonNull(orderId, "orderId is missing");
        if (eventId != null) {
            Objects.requireNonNull(paidAmount, "paidAmount is missing");
        }
    }
}
