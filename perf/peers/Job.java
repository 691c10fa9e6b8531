package ebbtide.peers;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Map;

/** The rule of perf/rules/every-event for both peers, with the arithmetic of `EveryEventJob` in perf/jobs.py. */
public final class Job {
  /** The points that each type of event adds to the score. */
  public static final Map<String, Double> POINTS =
      Map.of("page_viewed", 1.0, "product_viewed", 2.0, "cart_updated", 3.0, "checkout_started", 4.0,
          "order_completed", 5.0);
  static final String TRIGGER_TYPE = "cart_updated";
  static final double LIMIT = 8.0;
  static final double HALF_LIFE_MS = 14 * 86_400_000.0;
  static final long DAY_MS = 86_400_000L;

  private static final ObjectMapper MAPPER =
      new ObjectMapper().configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);

  private Job() {}

  /** The fields of an event that the job reads. */
  public static class Event {
    public String id;
    public String type;
    public String user_id;
    public String time;
  }

  /** A user's state. */
  public static final class User {
    public double score;
    public long atMs;
    public long sentAtMs;
  }

  /** A send command, with the fields of Ebbtide's. */
  public record Command(String id, String trigger, String occurrence, String step, String user_id, String template,
      String purpose, Map<String, Object> data, String decided_at, String expires_at) {}

  /** A reader of events, as this class or one that extends it. */
  public static ObjectReader reader(Class<? extends Event> kind) {
    return MAPPER.readerFor(kind);
  }

  /** Adds the event to the user's score as of the event's time; returns the command that follows at the clock, or null. */
  public static byte[] apply(User user, Event event, long clockMs) throws JsonProcessingException {
    Double points = POINTS.get(event.type);
    if (points == null) {
      return null;
    }
    long eventMs = OffsetDateTime.parse(event.time).toInstant().toEpochMilli();
    user.score = decayed(user.score, user.atMs, eventMs) + points;
    user.atMs = eventMs;
    if (!event.type.equals(TRIGGER_TYPE) || decayed(user.score, user.atMs, clockMs) <= LIMIT) {
      return null;
    }
    if (user.sentAtMs > clockMs - DAY_MS) {
      return null;
    }
    user.sentAtMs = clockMs;
    return MAPPER.writeValueAsBytes(new Command("hot-" + event.id, "hot", event.id, "hot", event.user_id, "hot",
        "marketing", Map.of(), Instant.ofEpochMilli(clockMs).toString(),
        Instant.ofEpochMilli(clockMs + DAY_MS).toString()));
  }

  private static double decayed(double score, long sinceMs, long nowMs) {
    return score * Math.pow(0.5, Math.max(0, nowMs - sinceMs) / HALF_LIFE_MS);
  }
}
