//! PostgreSQL's protocol, as psql and a client library speak it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::limits::SLOW;
use crate::live::{BIG, Live, now, purchase};
use crate::tls::certificate;

/// psql, where there is one: `scripts/postgres.sh` installs it along with the server.
fn psql_command() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|v| v.path().join("bin/psql"));
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).map(|p| p.join("psql")).collect::<Vec<_>>();
    let found = on_path.into_iter().chain(installed).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: psql (there is none; scripts/postgres.sh installs it)");
    }
    found
}

/// What psql said, on both outputs, and whether it was content.
struct Said {
    ok: bool,
    out: String,
    err: String,
}

/// A service that speaks the protocol.
struct Server {
    live: Live,
    port: u16,
}

impl Server {
    fn start(data: &Path, set: &[&str], env: &[(&str, &str)]) -> Server {
        let set: Vec<&str> = ["source.partitions=1", "server.postgres=127.0.0.1:0"].into_iter().chain(set.iter().copied()).collect();
        let live = Live::start_with(data, &set, env).unwrap_or_else(|said| panic!("the service does not start: {said}"));
        let said = live.said();
        let port = said.split("cohort speaks PostgreSQL on 127.0.0.1:").nth(1).and_then(|rest| rest.lines().next()).and_then(|p| p.trim().parse().ok());
        Server { live, port: port.unwrap_or_else(|| panic!("no port in {said}")) }
    }

    fn psql(&self, psql: &Path, password: &str, connection: &str, commands: &[&str]) -> Said {
        let mut command = Command::new(psql);
        let target = format!("host=127.0.0.1 port={} user=ana dbname=cohort connect_timeout=10 {connection}", self.port);
        command.args(["-X", "-w", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1", "-d", &target]);
        commands.iter().for_each(|c| {
            command.args(["-c", c]);
        });
        let output = command.env("PGPASSWORD", password).env("LC_ALL", "C.UTF-8").env_remove("PGSSLMODE").output().expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    async fn connect(&self, password: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("ana").dbname("cohort").password(password).connect_timeout(Duration::from_secs(10));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn client(&self) -> Client {
        self.connect("").await.expect("a connection")
    }
}

fn db(error: &tokio_postgres::Error) -> &DbError {
    error.as_db_error().unwrap_or_else(|| panic!("no error of the service: {error:?}"))
}

/// Rows of a simple query, as texts.
async fn texts(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let row = |m: SimpleQueryMessage| match m {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(String::from)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

#[tokio::test]
async fn psql_creates_a_segment_and_sees_its_members() {
    let Some(psql) = psql_command() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[], &[]);
    let said = server.psql(&psql, "", "", &[&format!("CREATE SEGMENT big AS {BIG}"), "CREATE SEGMENT IF NOT EXISTS big AS SELECT 1"]);
    assert!(said.ok, "{}", said.err);
    assert_eq!(said.out, "CREATE SEGMENT\nCREATE SEGMENT\n");
    server.live.settled().await;
    let at = now();
    server.live.post("/events", json!([purchase("u1", at, 300.25), purchase("u1", at, 300.25), purchase("ü 2", at, 700.0)])).await;
    server.live.until("members", Duration::from_secs(5), async || server.live.segments_of("ü 2").await == ["big"]).await;
    let said = server.psql(&psql, "", "", &["\\pset format unaligned", "\\pset tuples_only", "SELECT user_id, segment, value FROM memberships ORDER BY 1"]);
    assert!(said.ok && said.out.ends_with("u1|big|600.5\nü 2|big|700\n"), "{}{}", said.out, said.err);

    // What HTTP says, psql says.
    let plan = server.live.post("/explain", json!({"sql": "SEGMENT big"})).await.body["plan"].as_str().expect("a plan").to_string();
    let said = server.psql(&psql, "", "", &["\\pset format unaligned", "\\pset tuples_only", "EXPLAIN SEGMENT big"]);
    let unmeasured = |text: &str| text.lines().map(|l| l.split("  [").next().unwrap_or_default().to_string()).collect::<Vec<_>>();
    assert!(unmeasured(&said.out).ends_with(&unmeasured(&plan)), "{}\n{plan}", said.out);
    let said = server.psql(&psql, "", "", &["SHOW SEGMENTS"]);
    for shown in ["name", "big", "CHANGES", "(1 row)"] {
        assert!(said.out.contains(shown), "{}", said.out);
    }
    let said = server.psql(&psql, "", "", &["ALTER SEGMENT big PAUSE", "DROP SEGMENT big", "DROP SEGMENT IF EXISTS big", "SELECT count(*) FROM segments"]);
    assert!(said.ok && said.out.starts_with("ALTER SEGMENT\nDROP SEGMENT\nDROP SEGMENT\n"), "{}{}", said.out, said.err);
    // An error has its code, a hint, and a mark below its place.
    let said = server.psql(&psql, "", "", &["SELECT user_id,\n  nothing FROM memberships"]);
    assert!(!said.ok);
    for part in ["ERROR:  42703: ", "nothing", "LINE 2:   nothing FROM memberships", "          ^", "HINT:  "] {
        assert!(said.err.contains(part), "{part:?} is not in {}", said.err);
    }
}

#[tokio::test]
async fn psql_and_bi_tools_find_their_way() {
    let Some(psql) = psql_command() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[], &[]);
    for (command, shown) in [
        ("\\d", "memberships"),
        ("\\d+", "install_events"),
        ("\\dt", "public | results"),
        ("\\dt+ mem*", "memberships"),
        ("\\dt nothing", ""),
        ("\\dv", ""),
        ("\\d memberships", "expires_at   | timestamp with time zone"),
        ("\\d+ public.events", "metadata   | json"),
        ("\\d pg_class", "relname"),
        ("\\l", "cohort"),
        ("\\dn", "public"),
        ("\\du", "cohort"),
        ("\\df", ""),
        ("\\dT", ""),
        ("\\di", ""),
        ("\\dx", ""),
        ("\\dp", "memberships"),
        ("\\db", "pg_default"),
        ("\\conninfo", "\"cohort\""),
        ("\\encoding", "UTF8"),
    ] {
        let said = server.psql(&psql, "", "", &[command]);
        assert!(!said.err.contains("ERROR") && !said.err.contains("psql: error"), "{command}: {}", said.err);
        assert!(said.out.contains(shown), "{command}: {}", said.out);
    }
    let client = server.client().await;
    // As drivers and tools ask.
    for (sql, rows) in [
        ("SELECT version()", 1),
        ("SELECT current_database(), current_schema(), current_user, session_user", 1),
        ("SHOW server_version", 1),
        ("SHOW TRANSACTION ISOLATION LEVEL", 1),
        ("SET extra_float_digits = 3; SET application_name = 'a tool'; SET client_encoding TO 'UTF8'; SHOW application_name", 1),
        ("SELECT set_config('bytea_output', 'hex', false)", 1),
        ("SELECT current_setting('server_version_num')", 1),
        ("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'", 7),
        ("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'memberships' ORDER BY ordinal_position", 7),
        ("SELECT schema_name FROM information_schema.schemata", 3),
        ("SELECT * FROM information_schema.key_column_usage", 0),
        (
            "SELECT nspname AS TABLE_SCHEM FROM pg_catalog.pg_namespace WHERE nspname <> 'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname = \
          (pg_catalog.current_schemas(true))[1]) ORDER BY TABLE_SCHEM",
            3,
        ),
        (
            "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true \
          THEN 'SYSTEM TABLE' ELSE 'TABLE' END AS TABLE_TYPE, d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN \
          pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND \
          (false OR (c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')) ORDER BY TABLE_TYPE, TABLE_SCHEM, TABLE_NAME",
            7,
        ),
        (
            "SELECT * FROM (SELECT n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull, a.atttypmod, \
          a.attlen, t.typtypmod, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity, \
          pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, dsc.description, t.typbasetype, t.typtype FROM pg_catalog.pg_namespace n JOIN \
          pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid) JOIN pg_catalog.pg_type t ON \
          (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum) LEFT JOIN \
          pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) WHERE c.relkind in ('r','p','v','f','m') AND a.attnum > 0 \
          AND NOT a.attisdropped AND c.relname LIKE 'results') c WHERE true ORDER BY nspname, c.relname, attnum",
            8,
        ),
        (
            "SELECT result.TABLE_NAME, result.COLUMN_NAME FROM (SELECT ct.relname AS TABLE_NAME, a.attname AS COLUMN_NAME, \
          (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) \
          JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) WHERE i.indisprimary) result",
            0,
        ),
        (
            "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = \
          pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p']) AND pg_catalog.pg_class.relpersistence != 't' AND \
          pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog' AND \
          pg_catalog.pg_namespace.nspname != 'information_schema'",
            7,
        ),
        (
            "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
          WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef) AS \"DEFAULT\" FROM pg_catalog.pg_attribute a \
          WHERE a.attrelid = 'public.segments'::regclass AND a.attnum > 0",
            6,
        ),
        ("SELECT oid, typname FROM pg_type WHERE typname IN ('text', 'float8')", 2),
        ("SELECT relname, (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c WHERE relname = 'events'", 1),
        ("SELECT count(*) FROM pg_index", 1),
        ("SELECT datname FROM pg_database WHERE datallowconn", 1),
        ("SELECT n.oid, n.* FROM pg_namespace n WHERE nspname NOT LIKE 'pg/_' || '%' ESCAPE '/'", 2),
        ("SELECT typname FROM pg_type t JOIN pg_proc p ON p.oid = t.typreceive WHERE p.proname = 'array_recv'", 1),
        ("SELECT relname FROM pg_class WHERE relname = 'schemata' AND pg_table_is_visible(oid)", 0),
        ("SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_name = 'results'", 1),
        ("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; DISCARD ALL; DEALLOCATE ALL", 1),
        ("", 0),
        (" ; ; ", 0),
    ] {
        assert_eq!(texts(&client, sql).await.len(), rows, "{sql}");
    }
    assert_eq!(texts(&client, "SHOW TimeZone").await, [[Some("UTC".to_string())]]);
    let types = texts(&client, "SELECT data_type FROM information_schema.columns WHERE table_name = 'results' ORDER BY ordinal_position").await;
    let types: Vec<_> = types.into_iter().flatten().flatten().collect();
    assert_eq!(types[2..6], ["text", "boolean", "double precision", "timestamp with time zone"]);
}

#[tokio::test]
async fn prepared_statements_have_parameters_and_types() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[], &[]);
    let client = server.client().await;
    client.batch_execute(&format!("CREATE SEGMENT big AS {BIG}")).await.expect("a segment");
    server.live.settled().await;
    let at = now();
    server.live.post("/events", json!((0..20).map(|u| purchase(&format!("u{u}"), at, 501.0 + f64::from(u))).collect::<Vec<_>>())).await;
    server.live.settled().await;

    let rows = client.query("SELECT user_id, segment, value, since, window_end FROM memberships ORDER BY user_id", &[]).await.expect("rows");
    let http = server.live.select("SELECT user_id, segment, value, window_end FROM memberships ORDER BY user_id").await;
    assert_eq!(rows.len(), 20);
    for (row, other) in rows.iter().zip(&http) {
        let (user, segment, value): (&str, &str, f64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(json!([user, segment, value]), json!([other["user_id"], other["segment"], other["value"]]));
        let since: std::time::SystemTime = row.get(3);
        assert!(since.elapsed().is_ok_and(|e| e < Duration::from_secs(60)), "{since:?}");
        let end: std::time::SystemTime = row.get(4);
        assert!(end > since);
    }

    let statement = client.prepare("SELECT user_id, value FROM memberships WHERE user_id = $1 AND value > $2").await.expect("a statement");
    assert_eq!(statement.params().iter().map(|t| t.name()).collect::<Vec<_>>(), ["text", "float8"]);
    assert_eq!(statement.columns().iter().map(|c| (c.name(), c.type_().name())).collect::<Vec<_>>(), [("user_id", "text"), ("value", "float8")]);
    for (user, least, found) in [("u3", 100.0, 1), ("u3", 900.0, 0), ("o'nobody; --", 0.0, 0)] {
        assert_eq!(client.query(&statement, &[&user, &least]).await.expect("rows").len(), found, "{user}");
    }
    let row = client
        .query_one(
            "SELECT count(*), true, 1::smallint, 2::int, 'x', NULL::text, max(since), 1.25::numeric(10,2)::text, array_agg(user_id) FROM memberships",
            &[],
        )
        .await
        .expect("a row");
    let (count, yes, small, int): (i64, bool, i16, i32) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!((count, yes, small, int, row.get::<_, &str>(4), row.get::<_, Option<&str>>(5)), (20, true, 1, 2, "x", None));
    assert_eq!((row.get::<_, &str>(7), row.get::<_, Vec<String>>(8).len()), ("1.25", 20));
    let int = client.query_one("SELECT $1::int + 1 AS n", &[&41i32]).await.expect("a row");
    assert_eq!(int.columns()[0].name(), "n");
    let typed =
        client.prepare_typed("SELECT user_id FROM memberships WHERE user_id = ANY($1)", &[tokio_postgres::types::Type::TEXT_ARRAY]).await.expect("a statement");
    assert_eq!(client.query(&typed, &[&vec!["u1", "u2", "nobody"]]).await.expect("rows").len(), 2);
    assert_eq!(client.query("SELECT user_id FROM memberships LIMIT $1 OFFSET $2", &[&5i64, &18i64]).await.expect("rows").len(), 2);
    let since = std::time::SystemTime::now() + Duration::from_secs(60);
    assert_eq!(client.query("SELECT user_id FROM memberships WHERE since > $1", &[&since]).await.expect("no rows").len(), 0);
    assert!(client.query_one("EXPLAIN SEGMENT big", &[]).await.is_err_and(|e| e.to_string().contains("unexpected number of rows")));
    assert_eq!(client.query("SHOW SEGMENTS", &[]).await.expect("rows")[0].get::<_, &str>("name"), "big");
    assert_eq!(client.execute("DROP SEGMENT IF EXISTS nothing", &[]).await.expect("done"), 0);

    // Rows in portions.
    let mut client = client;
    let transaction = client.transaction().await.expect("BEGIN");
    let portal = transaction.bind("SELECT user_id FROM memberships ORDER BY 1", &[]).await.expect("a portal");
    let mut portions = vec![];
    for _ in 0..4 {
        portions.push(transaction.query_portal(&portal, 8).await.expect("rows").len());
    }
    assert_eq!(portions, [8, 8, 4, 0]);
    transaction.commit().await.expect("COMMIT");

    // Statements are bounded, and one that is wrong spoils nothing.
    let mut kept = vec![];
    let refused = loop {
        match client.prepare("SELECT 1").await {
            Ok(statement) => kept.push(statement),
            Err(error) => break error,
        }
        assert!(kept.len() < 1_000, "there is no bound");
    };
    assert_eq!(db(&refused).code().code(), "53400");
    drop(kept);
    let wrong = client.query("SELECT nothing FROM memberships", &[]).await.expect_err("an error");
    assert_eq!((db(&wrong).code().code(), db(&wrong).position()), ("42703", Some(&ErrorPosition::Original(8))));
    assert_eq!(client.query("SELECT 1", &[]).await.expect("rows").len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_told_as_postgresql_tells_it() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[], &[]);
    let client = server.client().await;
    client.batch_execute(&format!("CREATE SEGMENT big AS {BIG}")).await.expect("a segment");
    for (sql, code, position) in [
        ("SELECT *\nFROM nowhere", "42P01", None),
        ("SELECT user_id, nothing FROM memberships", "42703", Some(17)),
        ("SELECT nofunction(value) FROM memberships", "42883", None),
        ("SELECT user_id FROM memberships WHERE", "42601", None),
        ("SELECT 1; SELEC 1", "42601", Some(11)),
        ("SELECT 'open", "42601", Some(8)),
        ("SELECT 1/0", "22012", None),
        ("CREATE TABLE t (a int)", "42601", Some(8)),
        (&format!("CREATE SEGMENT big AS {BIG}"), "42710", None),
        (
            "CREATE SEGMENT x AS SELECT user_id, coun(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end",
            "42601",
            Some(37),
        ),
        ("DROP SEGMENT nothing", "42704", None),
        ("INSERT INTO events VALUES (1)", "25006", None),
        ("COPY memberships TO STDOUT", "0A000", None),
        ("SHOW nothing", "42704", None),
        ("SET client_encoding = 'LATIN1'", "22023", None),
    ] {
        let error = client.simple_query(sql).await.expect_err(sql);
        let error = db(&error);
        let found = error.position().map(|p| if let ErrorPosition::Original(n) = p { *n } else { 0 });
        assert_eq!(error.code().code(), code, "{sql}: {error:?}");
        assert!(position.is_none() || found == position, "{sql}: {error:?}");
        assert!(!error.message().is_empty(), "{sql}");
        if matches!(code, "42P01" | "42703" | "0A000" | "25006") {
            assert!(error.hint().is_some(), "{sql}: {error:?}");
        }
    }
    // The transaction that nothing comes of: after an error it takes nothing but its end.
    client.batch_execute("BEGIN").await.expect("BEGIN");
    client.simple_query("SELECT nothing").await.expect_err("an error");
    assert_eq!(db(&client.simple_query("SELECT 1").await.expect_err("refused")).code().code(), "25P02");
    client.batch_execute("ROLLBACK; SELECT 1").await.expect("goes on");
    // What came before an error in one text stays.
    client.batch_execute("DROP SEGMENT big; SELECT nothing").await.expect_err("an error");
    assert_eq!(server.live.select("SELECT * FROM segments").await.len(), 0);
}

#[tokio::test]
async fn tokens_are_passwords() {
    let data = tempfile::tempdir().expect("a folder");
    let token = |role: &str| format!("{{name=\"{role}er\",role=\"{role}\",secret_env=\"TOKEN_{role}\"}}");
    let tokens = format!("server.tokens=[{},{}]", token("read"), token("write"));
    let server = Server::start(data.path(), &[&tokens], &[("TOKEN_read", "reader-secret"), ("TOKEN_write", "writer-secret")]);
    for wrong in ["nothing", ""] {
        let refused = server.connect(wrong).await.expect_err("refused");
        assert!(wrong.is_empty() || db(&refused).code().code() == "28P01", "{refused:?}");
    }
    let create = format!("CREATE SEGMENT big AS {BIG}");
    let reader = server.connect("reader-secret").await.expect("a reader");
    for sql in [&create, "DROP SEGMENT big", "ALTER SEGMENT big PAUSE"] {
        assert_eq!(db(&reader.simple_query(sql).await.expect_err("refused")).code().code(), "42501", "{sql}");
    }
    for sql in ["SELECT * FROM memberships", "SHOW SEGMENTS", "EXPLAIN ALL SEGMENTS"] {
        reader.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    let writer = server.connect("writer-secret").await.expect("a writer");
    writer.batch_execute(&create).await.expect("a segment");
    assert_eq!(texts(&reader, "SELECT name FROM segments").await, [[Some("big".to_string())]]);
    if let Some(psql) = psql_command() {
        let refused = server.psql(&psql, "nothing", "", &["SELECT 1"]);
        assert!(!refused.ok && refused.err.contains("password authentication failed"), "{}", refused.err);
        assert!(server.psql(&psql, "reader-secret", "", &["SELECT 1"]).ok);
    }
    // Nobody from elsewhere without a token.
    let open = Live::start_with(&data.path().join("open"), &["server.postgres=0.0.0.0:0"], &[]).err().expect("refused");
    assert!(open.contains("server.postgres") && open.contains("server.tokens"), "{open}");
}

#[tokio::test]
async fn statements_end_in_time() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[], &[]);
    let events: Vec<Value> = (0..12_000).map(|u| purchase(&format!("u{u}"), now(), 1.0)).collect();
    server.live.post("/events", json!(events)).await;
    server.live.settled().await;
    let (client, other) = (server.client().await, server.client().await);
    // By the service's own limit, by the client's, and by a request of the client's.
    let own = async {
        let started = Instant::now();
        let error = other.simple_query(SLOW).await.expect_err("too slow");
        (db(&error).code().code().to_string(), started.elapsed())
    };
    let asked = async {
        client.batch_execute("SET statement_timeout = '300ms'").await.expect("SET");
        let started = Instant::now();
        let error = client.simple_query(SLOW).await.expect_err("too slow");
        assert_eq!(db(&error).code().code(), "57014", "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        client.batch_execute("RESET statement_timeout").await.expect("RESET");
        let started = Instant::now();
        let cancel = client.cancel_token();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancel.cancel_query(NoTls).await.expect("sent");
        };
        let (error, ()) = tokio::join!(client.query(SLOW, &[]), stop);
        let error = error.expect_err("cancelled");
        assert_eq!(db(&error).code().code(), "57014", "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        client.simple_query("SELECT 1").await.expect("goes on");
    };
    let ((code, took), ()) = tokio::join!(own, asked);
    assert_eq!(code, "57014");
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
    // More rows than are shown are told of.
    if let Some(psql) = psql_command() {
        let said = server.psql(&psql, "", "", &["\\o /dev/null", "SELECT user_id FROM events"]);
        assert!(said.ok && said.err.contains("WARNING:  01000: there are more rows than the 10000 that are shown"), "{}", said.err);
    }
}

#[tokio::test]
async fn connections_are_bounded_and_broken_ones_harm_nobody() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(data.path(), &[], &[]);
    let long = format!("Q{}", "\u{7f}".repeat(40));
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x08\x04\xd2\x16\x2f\x16\x03\x01\x02", b"\0\0\0\x03", b"\xff\xff\xff\xff\xff", b"", long.as_bytes()]
    {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.expect("a connection");
        socket.write_all(garbage).await.expect("sent");
        socket.shutdown().await.expect("ended");
        let mut answer = vec![];
        let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.expect("closed");
    }
    // A message that is longer than is accepted, of a client that is known.
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.expect("a connection");
    socket.write_all(b"\0\0\0\x12\0\x03\0\0user\0ana\0\0Q\x40\0\0\0").await.expect("sent");
    let mut answer = vec![];
    tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.expect("closed").expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains("08P01"), "{}", String::from_utf8_lossy(&answer));

    let mut clients = vec![];
    let refused = loop {
        match server.connect("").await {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 200, "there is no bound");
    };
    assert_eq!((clients.len(), db(&refused).code().code()), (64, "53300"));
    // A statement can be cancelled all the same, and who goes makes room.
    clients[0].cancel_token().cancel_query(NoTls).await.expect("taken");
    clients.truncate(60);
    server.live.until("room", Duration::from_secs(5), async || server.connect("").await.is_ok()).await;
    let metrics = server.live.get("/metrics").await.body.as_str().expect("text").to_string();
    for name in
        ["cohort_postgres_connections_total{outcome=\"accepted\"}", "cohort_postgres_connections_total{outcome=\"refused\"}", "cohort_postgres_connections "]
    {
        assert!(metrics.contains(name), "{name} is not in the metrics");
    }
    assert_eq!(server.live.request(Method::GET, "/healthz").send().await.expect("an answer").status(), 200);

    // The service stops, and says so.
    let last = clients.pop().expect("a client");
    let (ended, took) = server.live.terminate();
    assert!(ended.success() && took < Duration::from_secs(10), "{ended} after {took:?}");
    let error = last.simple_query("SELECT 1").await.expect_err("it is gone");
    assert!(error.is_closed() || db(&error).code().code() == "57P01", "{error:?}");
}

#[tokio::test]
async fn tls_by_the_certificate_of_the_service() {
    let Some(psql) = psql_command() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let Some((own, key)) = certificate(data.path(), "own") else { return };
    let Some((other, _)) = certificate(data.path(), "other") else { return };
    let tls = format!("server.tls={{certificate=\"{}\",key=\"{}\"}}", own.display(), key.display());
    let server = Server::start(&data.path().join("data"), &[&tls], &[]);
    let verified = |root: &Path| format!("sslmode=verify-full sslrootcert={}", root.display());
    let said = server.psql(&psql, "", &verified(&own), &["\\conninfo", "SELECT 1"]);
    assert!(said.ok && said.out.contains("TLSv1.3"), "{}{}", said.out, said.err);
    assert!(server.psql(&psql, "", "", &["SELECT 1"]).ok, "TLS is what psql tries first");
    assert!(!server.psql(&psql, "", &verified(&other), &["SELECT 1"]).ok, "another certificate is not trusted");
    let plain = server.psql(&psql, "", "sslmode=disable", &["SELECT 1"]);
    assert!(!plain.ok && plain.err.contains("TLS only"), "{}", plain.err);
}
