package cohort.peers;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.TableFunction;

/** The rules that a user's window qualifies for, from a table of rules in memory. */
@FunctionHint(output = @DataTypeHint(value = "ROW<rule STRING, start_millis BIGINT, amount DOUBLE>", bridgedTo = RowData.class))
public final class Qualifying extends TableFunction<RowData> {
    private static final long serialVersionUID = 1;

    /** The rules on one type of event in windows of one size. */
    private record Both(Thresholds ofCount, Thresholds ofSum) {}

    private final ArrayList<Rule> rules;
    private transient Map<Integer, Map<StringData, Both>> thresholds;

    public Qualifying(List<Rule> rules) {
        this.rules = new ArrayList<>(rules);
    }

    @Override
    public void open(FunctionContext context) {
        thresholds = new HashMap<>();
        for (Rule rule : rules) {
            thresholds.computeIfAbsent(rule.windowMinutes, minutes -> new HashMap<>())
                .computeIfAbsent(StringData.fromString(rule.eventType), type -> of(rule.windowMinutes, rule.eventType));
        }
    }

    private Both of(int minutes, String eventType) {
        List<Rule> some = rules.stream().filter(rule -> rule.windowMinutes == minutes && rule.eventType.equals(eventType)).toList();
        return new Both(new Thresholds(some.stream().filter(Rule::isOfCount).toList()), new Thresholds(some.stream().filter(rule -> !rule.isOfCount()).toList()));
    }

    public void eval(
        @DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData eventType,
        int minutes,
        @DataTypeHint(value = "TIMESTAMP(3)", bridgedTo = TimestampData.class) TimestampData start,
        long count,
        double sum) {
        Both both = thresholds.get(minutes).get(eventType);
        if (both != null) {
            long millis = start.getMillisecond();
            both.ofCount.holding(count, rule -> collect(GenericRowData.of(rule, millis, (double) count)));
            both.ofSum.holding(sum, rule -> collect(GenericRowData.of(rule, millis, sum)));
        }
    }
}
