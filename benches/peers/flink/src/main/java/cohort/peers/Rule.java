package cohort.peers;

import java.io.File;
import java.io.IOException;
import java.io.Serializable;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/** A SegmentRule, as in the JSON that Cohort reads. */
public final class Rule implements Serializable {
    private static final long serialVersionUID = 1;

    /** How far a sum may be from the threshold of EQ and still equal it. */
    public static final double SUM_TOLERANCE = 0.001;

    public String id;
    public String segmentId;
    public String eventType;
    public String attribute;
    public String operator;
    public double threshold;
    public int windowMinutes;

    public static List<Rule> read(String path) throws IOException {
        return List.of(new ObjectMapper().readValue(new File(path), Rule[].class));
    }

    public boolean isOfCount() {
        return attribute.equals("count");
    }

    public double tolerance() {
        return isOfCount() ? 0 : SUM_TOLERANCE;
    }

    public long windowMillis() {
        return windowMinutes * 60_000L;
    }

    /** Whether a value qualifies. */
    public boolean holds(double value) {
        return switch (operator) {
            case "GT" -> value > threshold;
            case "GTE" -> value >= threshold;
            case "LT" -> value < threshold;
            case "LTE" -> value <= threshold;
            case "EQ" -> Math.abs(value - threshold) <= tolerance();
            case "NEQ" -> Math.abs(value - threshold) > tolerance();
            default -> throw new IllegalStateException("operator " + operator);
        };
    }
}
