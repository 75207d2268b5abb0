package example.orders;

import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;

/** Takes one record after the other; the position is committed after a method returned, never before. */
@Component
class OrderListener {
    private final RevenueByDay revenue;

    OrderListener(RevenueByDay revenue) {
        this.revenue = revenue;
    }

    @KafkaListener(topics = "${topic}")
    void onRecord(ConsumerRecord<String, OrderCompletedMessage> record) {
        String type = header(record, "ce_type");
        if (type != null && !type.equals("order-completed.v1")) {
            throw new UnreadableRecordException("unknown event type or version " + type);
        }
        OrderCompletedMessage order = record.value();
        if (order == null) {
            throw new UnreadableRecordException("it has no value");
        }
        boolean first = revenue.add(eventId(record, order), order);
        System.out.printf(
                "order %d: %s, %s%n",
                order.orderId(),
                order.paidAmount() == null ? "amount unknown" : order.paidAmount() + " paid",
                first ? "counted" : "a repeat, dropped");
    }

    /** A record of the original demonstration has no id: the place where it lies stands in for it. */
    private static String eventId(ConsumerRecord<?, ?> record, OrderCompletedMessage order) {
        String id = header(record, "ce_id");
        if (id != null) {
            return id;
        }
        return order.eventId() != null
                ? order.eventId().toString()
                : record.topic() + "-" + record.partition() + "-" + record.offset();
    }

    private static String header(ConsumerRecord<?, ?> record, String name) {
        Header header = record.headers().lastHeader(name);
        return header == null || header.value() == null ? null : new String(header.value(), StandardCharsets.UTF_8);
    }

    /** Nothing that a second try would mend. */
    static class UnreadableRecordException extends RuntimeException {
        UnreadableRecordException(String cause) {
            super(cause);
        }
    }
}
