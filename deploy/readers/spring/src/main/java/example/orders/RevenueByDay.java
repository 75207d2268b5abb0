package example.orders;

import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.stereotype.Repository;
import org.springframework.transaction.annotation.Transactional;

/** The effect of an order, once for each event, however often the event comes. */
@Repository
class RevenueByDay {
    private final JdbcTemplate jdbc;

    RevenueByDay(JdbcTemplate jdbc) {
        this.jdbc = jdbc;
    }

    /**
     * Both statements are one transaction: either the event is known and has its effect, or neither. If another
     * instance is just handling the same event, the INSERT waits until that one has committed.
     *
     * @return false: the event is a repeat, and nothing was changed
     */
    @Transactional
    boolean add(String eventId, OrderCompletedMessage order) {
        int inserted = jdbc.update(
                "INSERT INTO handled_event (event_id) VALUES (?) ON CONFLICT (event_id) DO NOTHING", eventId);
        if (inserted == 0) {
            return false;
        }
        jdbc.update(
                """
                INSERT INTO revenue_by_day AS r (day, orders, paid_amount) VALUES (?, 1, ?)
                ON CONFLICT (day) DO UPDATE
                SET orders = r.orders + 1, paid_amount = r.paid_amount + EXCLUDED.paid_amount
                """,
                order.occurredAt().toLocalDate(),
                order.paidAmount() == null ? 0 : order.paidAmount());
        return true;
    }
}
