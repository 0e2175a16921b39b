package cohort.peers;

import java.util.List;
import java.util.stream.Collectors;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Classic rules in Flink SQL: whatever their number, one aggregation of each size of window by user and type of event,
 * and one function that looks up the thresholds.
 */
public final class FlinkSql {
    private static final String EVENTS = """
        CREATE TABLE events (
          userId STRING, eventType STRING, `timestamp` BIGINT, `value` DOUBLE,
          event_time AS TO_TIMESTAMP_LTZ(`timestamp`, 3),
          WATERMARK FOR event_time AS event_time - INTERVAL '%d' SECOND
        ) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'json')""";

    private static final String RESULTS = """
        CREATE TABLE results (rule STRING, userId STRING, window_start BIGINT, amount DOUBLE)
        WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'csv', 'csv.disable-quote-character' = 'true')""";

    private static final String WINDOW = """
        SELECT userId, eventType, %d AS minutes, window_start, COUNT(*) AS n, COALESCE(SUM(`value`), 0) AS total
        FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(event_time), INTERVAL '%d' MINUTES))
        WHERE eventType IN (%s)
        GROUP BY userId, eventType, window_start, window_end""";

    private static final String ROWS = """
        INSERT INTO results
        SELECT q.rule, w.userId, q.start_millis, q.amount
        FROM (%s) AS w, LATERAL TABLE(qualifying(w.eventType, w.minutes, w.window_start, w.n, w.total)) AS q""";

    public static void main(String[] args) throws Exception {
        Job.run(args, FlinkSql::start);
    }

    private static JobClient start(Job job) {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.newInstance().withConfiguration(configuration(job)).build());
        tables.createTemporarySystemFunction("qualifying", new Qualifying(job.rules()));
        tables.executeSql(EVENTS.formatted(Job.OUT_OF_ORDERNESS_SECONDS, job.events()));
        tables.executeSql(RESULTS.formatted(job.output()));
        String windows = job.rules().stream().map(rule -> rule.windowMinutes).distinct().sorted()
            .map(minutes -> window(minutes, job.rules()))
            .collect(Collectors.joining("\nUNION ALL\n"));
        return tables.executeSql(ROWS.formatted(windows)).getJobClient().orElseThrow();
    }

    private static Configuration configuration(Job job) {
        Configuration configuration = job.configuration();
        configuration.setString("table.local-time-zone", "UTC");
        configuration.setString("table.exec.mini-batch.enabled", "true");
        configuration.setString("table.exec.mini-batch.allow-latency", "1 s");
        configuration.setString("table.exec.mini-batch.size", "10000");
        configuration.setString("table.optimizer.agg-phase-strategy", "TWO_PHASE");
        return configuration;
    }

    private static String window(int minutes, List<Rule> rules) {
        String types = rules.stream().filter(rule -> rule.windowMinutes == minutes).map(rule -> "'" + rule.eventType + "'")
            .distinct().collect(Collectors.joining(", "));
        return WINDOW.formatted(minutes, minutes, types);
    }
}
