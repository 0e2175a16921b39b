package cohort.peers;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.serialization.SimpleStringEncoder;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.fs.Path;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.DeserializationFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectReader;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** Classic rules as audience jobs are written by hand: for each event of a user, a loop over all rules. */
public final class FlinkDataStream {
    /** An event, as Flink's own serializer knows it. */
    public static final class Event {
        public String userId;
        public String eventType;
        public long timestamp;
        public double value;
    }

    /** What a rule has seen of a user in one window. */
    public static final class Seen {
        public long count;
        public double sum;
    }

    public static void main(String[] args) throws Exception {
        Job.run(args, FlinkDataStream::start);
    }

    private static JobClient start(Job job) throws Exception {
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(job.configuration());
        FileSource<String> source = FileSource.forRecordStreamFormat(new TextLineInputFormat(), new Path(job.events())).build();
        Duration outOfOrderness = Duration.ofSeconds(Job.OUT_OF_ORDERNESS_SECONDS);
        WatermarkStrategy<Event> watermarks =
            WatermarkStrategy.<Event>forBoundedOutOfOrderness(outOfOrderness).withTimestampAssigner((event, previous) -> event.timestamp);
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "events")
            .map(new Decode())
            .assignTimestampsAndWatermarks(watermarks)
            .keyBy(event -> event.userId)
            .process(new EachRule(job.rules()))
            .sinkTo(FileSink.forRowFormat(new Path(job.output()), new SimpleStringEncoder<String>()).build());
        return environment.executeAsync("rules");
    }

    /** JSON to events. */
    private static final class Decode extends RichMapFunction<String, Event> {
        private static final long serialVersionUID = 1;
        private transient ObjectReader reader;

        @Override
        public void open(OpenContext context) {
            reader = new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).readerFor(Event.class);
        }

        @Override
        public Event map(String line) throws Exception {
            return reader.readValue(line);
        }
    }

    /** State for each rule, user and window; what qualifies is told when the window closes. */
    private static final class EachRule extends KeyedProcessFunction<String, Event, String> {
        private static final long serialVersionUID = 1;
        private final ArrayList<Rule> rules;
        private transient MapState<String, Seen> states;

        EachRule(List<Rule> rules) {
            this.rules = new ArrayList<>(rules);
        }

        @Override
        public void open(OpenContext context) {
            states = getRuntimeContext().getMapState(new MapStateDescriptor<>("seen", String.class, Seen.class));
        }

        @Override
        public void processElement(Event event, Context context, Collector<String> out) throws Exception {
            for (Rule rule : rules) {
                long start = event.timestamp - Math.floorMod(event.timestamp, rule.windowMillis());
                long last = start + rule.windowMillis() - 1;
                if (!rule.eventType.equals(event.eventType) || last <= context.timerService().currentWatermark()) {
                    continue;
                }
                String key = key(rule, start);
                Seen seen = states.get(key);
                seen = seen == null ? new Seen() : seen;
                seen.count += 1;
                seen.sum += event.value;
                states.put(key, seen);
                context.timerService().registerEventTimeTimer(last);
            }
        }

        @Override
        public void onTimer(long last, OnTimerContext context, Collector<String> out) throws Exception {
            for (Rule rule : rules) {
                if ((last + 1) % rule.windowMillis() != 0) {
                    continue;
                }
                long start = last + 1 - rule.windowMillis();
                Seen seen = states.get(key(rule, start));
                if (seen == null) {
                    continue;
                }
                double value = rule.isOfCount() ? seen.count : seen.sum;
                if (rule.holds(value)) {
                    out.collect(rule.id + ',' + context.getCurrentKey() + ',' + start + ',' + value);
                }
                states.remove(key(rule, start));
            }
        }

        private static String key(Rule rule, long start) {
            return rule.id + '@' + start;
        }
    }
}
