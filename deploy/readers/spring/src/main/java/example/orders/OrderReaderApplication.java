package example.orders;

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.context.event.EventListener;
import org.springframework.core.NestedExceptionUtils;
import org.springframework.kafka.event.ConsumerStoppedEvent;
import org.springframework.kafka.listener.CommonContainerStoppingErrorHandler;
import org.springframework.kafka.listener.CommonDelegatingErrorHandler;
import org.springframework.kafka.listener.CommonErrorHandler;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.MessageListenerContainer;
import org.springframework.kafka.support.serializer.DeserializationException;
import org.springframework.util.backoff.ExponentialBackOff;

@SpringBootApplication
class OrderReaderApplication {
    private static final Logger LOG = LoggerFactory.getLogger(OrderReaderApplication.class);

    public static void main(String[] arguments) {
        SpringApplication.run(OrderReaderApplication.class, arguments);
    }

    /**
     * Spring's own default gives up on a record after ten tries and goes on with the next: an order would be lost
     * to a database that was away for a moment. Here such a failure is tried again for ever, and a record that
     * cannot be read stops the reader before its position is committed. (Dead letters of your own are the
     * alternative: a {@code DeadLetterPublishingRecoverer}.)
     */
    @Bean
    CommonErrorHandler errorHandler() {
        var stopping = new StopAndSayWhere();
        var waits = new ExponentialBackOff(500, 2);
        waits.setMaxInterval(10_000);
        var retrying = new DefaultErrorHandler(waits);
        // It would skip some kinds of failure at once, a ClassCastException for one.
        retrying.setClassifications(Map.of(), true);
        retrying.setRetryListeners((record, failure, attempt) -> say("is tried again", record, failure));

        var handler = new CommonDelegatingErrorHandler(retrying);
        handler.setErrorHandlers(Map.of(
                DeserializationException.class, stopping,
                OrderListener.UnreadableRecordException.class, stopping));
        handler.setCauseChainTraversing(true);
        return handler;
    }

    /** A reader that has stopped for good must not look alive: the process ends, and with an error. */
    @EventListener
    void endWith(ConsumerStoppedEvent event) {
        if (event.getReason() != ConsumerStoppedEvent.Reason.NORMAL) {
            // Not on the listener's own thread: ending the application waits for that one.
            new Thread(() -> System.exit(1), "end").start();
        }
    }

    /** Spring's own lines do not say which record it was, and nothing at all of one that is tried again. */
    private static void say(String what, ConsumerRecord<?, ?> record, Exception failure) {
        String cause = NestedExceptionUtils.getMostSpecificCause(failure).getMessage();
        LOG.error("topic {}, partition {}, offset {} {}: {}",
                record.topic(), record.partition(), record.offset(), what, cause);
    }

    private static class StopAndSayWhere extends CommonContainerStoppingErrorHandler {
        @Override
        public void handleRemaining(
                Exception failure,
                List<ConsumerRecord<?, ?>> records,
                Consumer<?, ?> consumer,
                MessageListenerContainer container) {
            say("cannot be read, so this reader stops", records.get(0), failure);
            super.handleRemaining(failure, records, consumer, container);
        }
    }
}
