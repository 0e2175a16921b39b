package cohort.peers;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;

/** What a job reads and writes. */
record Job(String events, List<Rule> rules, String output, int slots) {
    /** How far the watermark lies behind the newest event, as in Cohort. */
    static final int OUT_OF_ORDERNESS_SECONDS = 30;

    /** Starts a job, in streaming mode. */
    interface Start {
        JobClient of(Job job) throws Exception;
    }

    /**
     * Runs a job twice: over a few events, so that the JVM has loaded and compiled what a job in service has, and over all.
     * All that comes before the second is start-up.
     */
    static void run(String[] args, Start start) throws Exception {
        String report = args[4];
        int slots = Integer.parseInt(args[5]);
        List<Rule> rules = Rule.read(args[2]);
        start.of(new Job(args[0], rules, args[3] + ".warm-up", slots)).getJobExecutionResult().get();
        double startup = ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
        JobClient client = start.of(new Job(args[1], rules, args[3], slots));
        double seconds = client.getJobExecutionResult().get().getNetRuntime() / 1e3;
        Files.writeString(Path.of(report), String.format(Locale.ROOT, "{\"seconds\": %f, \"startup_cpu_seconds\": %f}%n", seconds, startup));
    }

    Configuration configuration() {
        Configuration configuration = new Configuration();
        configuration.setString("execution.runtime-mode", "STREAMING");
        configuration.setString("parallelism.default", Integer.toString(slots));
        configuration.setString("taskmanager.numberOfTaskSlots", Integer.toString(slots));
        configuration.setString("taskmanager.memory.managed.size", "512m");
        configuration.setString("pipeline.object-reuse", "true");
        return configuration;
    }
}
