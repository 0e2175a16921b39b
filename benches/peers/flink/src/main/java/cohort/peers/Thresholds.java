package cohort.peers;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;
import org.apache.flink.table.data.StringData;

/** The rules on one value, sorted, so that those which hold are found without looking at the others. */
final class Thresholds {
    /** A rule and a threshold of it, its end where only a range qualifies. */
    private record Bound(double threshold, double end, StringData rule) {}

    /** Hold for values from the threshold on. */
    private final Bound[] lower;
    /** Hold for values up to the threshold; the largest comes first. */
    private final Bound[] upper;
    private final Bound[] equal;

    Thresholds(List<Rule> rules) {
        List<Bound> above = new ArrayList<>();
        List<Bound> below = new ArrayList<>();
        List<Bound> near = new ArrayList<>();
        for (Rule rule : rules) {
            StringData id = StringData.fromString(rule.id);
            double threshold = rule.threshold;
            double tolerance = rule.tolerance();
            switch (rule.operator) {
                case "GT" -> above.add(new Bound(Math.nextUp(threshold), 0, id));
                case "GTE" -> above.add(new Bound(threshold, 0, id));
                case "LT" -> below.add(new Bound(Math.nextDown(threshold), 0, id));
                case "LTE" -> below.add(new Bound(threshold, 0, id));
                case "EQ" -> near.add(new Bound(threshold - tolerance, threshold + tolerance, id));
                case "NEQ" -> {
                    below.add(new Bound(Math.nextDown(threshold - tolerance), 0, id));
                    above.add(new Bound(Math.nextUp(threshold + tolerance), 0, id));
                }
                default -> throw new IllegalStateException("operator " + rule.operator);
            }
        }
        Comparator<Bound> rising = Comparator.comparingDouble(Bound::threshold);
        lower = sorted(above, rising);
        upper = sorted(below, rising.reversed());
        equal = sorted(near, rising);
    }

    private static Bound[] sorted(List<Bound> bounds, Comparator<Bound> order) {
        Bound[] sorted = bounds.toArray(Bound[]::new);
        Arrays.sort(sorted, order);
        return sorted;
    }

    void holding(double value, Consumer<StringData> each) {
        for (int at = 0; at < lower.length && lower[at].threshold <= value; at++) {
            each.accept(lower[at].rule);
        }
        for (int at = 0; at < upper.length && upper[at].threshold >= value; at++) {
            each.accept(upper[at].rule);
        }
        for (int at = firstAbove(equal, value - 2 * Rule.SUM_TOLERANCE); at < equal.length && equal[at].threshold <= value; at++) {
            if (value <= equal[at].end) {
                each.accept(equal[at].rule);
            }
        }
    }

    /** The first bound whose threshold is not below a value. */
    private static int firstAbove(Bound[] bounds, double value) {
        int from = 0;
        int to = bounds.length;
        while (from < to) {
            int middle = (from + to) >>> 1;
            if (bounds[middle].threshold < value) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        return from;
    }
}
