package cohort.flink;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;

/**
 * Runs files of Flink SQL one after the other in this process, as sql-client's -f does, and waits for their jobs. A statement ends with a semicolon at
 * the end of a line; a statement set is one statement up to its END.
 */
public final class RunSql {
    private static final Pattern SETTING = Pattern.compile("SET '(.*)' = '(.*)'\\s*");

    public static void main(String[] args) throws Exception {
        for (String file : args) {
            run(file);
            System.out.println("done " + file);
        }
        // Threads of the cluster in this process may live on.
        System.exit(0);
    }

    private static void run(String file) throws Exception {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.newInstance().withConfiguration(configuration()).build());
        for (String statement : statements(Files.readString(Path.of(file)))) {
            Matcher setting = SETTING.matcher(statement);
            if (setting.matches()) {
                tables.getConfig().set(setting.group(1), setting.group(2));
                continue;
            }
            if (Boolean.getBoolean("explain") && (statement.startsWith("EXECUTE") || statement.startsWith("INSERT"))) {
                System.out.println(tables.explainSql(statement));
            }
            TableResult result;
            try {
                result = tables.executeSql(statement);
            } catch (Exception e) {
                throw new IllegalStateException(file + ":\n" + statement, e);
            }
            JobClient job = result.getJobClient().orElse(null);
            if (job != null) {
                System.out.println("running " + file);
                job.getJobExecutionResult().get();
            }
        }
    }

    private static Configuration configuration() {
        Configuration configuration = new Configuration();
        String slots = System.getProperty("slots", "2");
        configuration.setString("parallelism.default", slots);
        configuration.setString("taskmanager.numberOfTaskSlots", slots);
        configuration.setString("taskmanager.memory.managed.size", "256m");
        configuration.setString("taskmanager.memory.network.min", "128m");
        configuration.setString("taskmanager.memory.network.max", "128m");
        return configuration;
    }

    private static List<String> statements(String text) {
        List<String> statements = new ArrayList<>();
        StringBuilder open = new StringBuilder();
        boolean set = false;
        for (String line : text.split("\n")) {
            String code = line.strip();
            if (open.isEmpty() && (code.isEmpty() || code.startsWith("--"))) {
                continue;
            }
            open.append(line).append('\n');
            set |= code.startsWith("EXECUTE STATEMENT SET");
            if (code.endsWith(";") && !code.startsWith("--") && (!set || code.equals("END;"))) {
                statements.add(open.substring(0, open.lastIndexOf(";")));
                open.setLength(0);
                set = false;
            }
        }
        if (!open.toString().isBlank()) {
            throw new IllegalArgumentException("a statement without an end: " + open);
        }
        return statements;
    }
}
