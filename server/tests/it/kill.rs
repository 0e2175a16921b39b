//! kill -9 at random moments under steady load, with segments changing: the longer run, by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{BIG, Live, SHOP, Step, appended, now, numbers, outcome, purchase, step};

const KILLS: usize = 20;
/// Batches of events; segments change during the first of them, so that all windows that decide the outcome lie after.
const BATCHES: u64 = 700;
const CHANGING: u64 = 500;
const EVENTS: u64 = 400;
const USERS: u64 = 2_000;

const SET: [&str; 5] = ["source.partitions=3", "time.out_of_orderness=2s", "time.idle_timeout=1h", "engine.batch_linger=5ms", "checkpoint.interval=500ms"];

/// Events and changes of segments, in order.
fn story(seed: u64) -> Vec<Step> {
    let mut random = numbers(seed);
    let (mut steps, mut time) = (vec![], 1_700_000_000_000i64);
    steps.extend(SHOP.map(|(name, sql)| Step::Put(name, sql.to_string())));
    for batch in 0..BATCHES {
        let event = |_| {
            time += random(3) as i64;
            let kind = ["purchase", "view", "install"][random(3) as usize];
            // Few users are busy.
            let user = random(USERS).min(random(USERS)).min(random(USERS));
            json!({"userId": format!("u{user}"), "eventType": kind, "timestamp": time - random(1_500) as i64, "value": random(200) as f64 / 8.0,
                   "sessionId": format!("s{}", random(4))})
        };
        steps.push(Step::Events((0..EVENTS).map(event).collect()));
        if batch >= CHANGING {
            continue;
        }
        match random(8) {
            0 => steps.push(Step::Put("spenders", SHOP[0].1.replace("> 40", &format!("> {}", 20 + random(60))))),
            1 => steps.push(Step::Put("busy", SHOP[1].1.replace(">= 6", &format!(">= {}", 3 + random(5))))),
            2 => steps.push(Step::Drop("quiet")),
            3 => steps.push(Step::Put("quiet", SHOP[2].1.to_string())),
            4 => steps.push(Step::Drop("visits")),
            5 => steps.push(Step::Put("visits", SHOP[3].1.to_string())),
            _ => {}
        }
    }
    // Every segment is there in the end, and the last windows close.
    steps.insert(steps.len() - 150, Step::Put("quiet", SHOP[2].1.to_string()));
    steps.insert(steps.len() - 150, Step::Put("visits", SHOP[3].1.to_string()));
    let end = |u| json!({"userId": format!("u{u}"), "eventType": "end", "timestamp": time - time % 20_000 + 23_000});
    steps.push(Step::Events((0..USERS).map(end).collect()));
    steps
}

/// Where the process is killed: at a step, and how long after it began. Each has its own part of the story, so that it
/// finds a process that has started again.
fn kills(seed: u64, steps: usize) -> Vec<(usize, Duration)> {
    let mut random = numbers(seed ^ 0x006b_696c_6c39);
    let part = (steps - 100) / KILLS;
    (0..KILLS).map(|n| (10 + n * part + random(part as u64 / 2) as usize, Duration::from_millis(random(60)))).collect()
}

fn kill_later(live: &Live, after: Duration) {
    let id = live.id();
    std::thread::spawn(move || {
        std::thread::sleep(after);
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
    });
}

/// How a run went.
struct Run {
    outcome: (Vec<Value>, Vec<Value>),
    starts: Vec<Duration>,
    seconds: f64,
}

/// Takes a step without waiting for what it comes to; `Err` when the process is gone.
async fn take(live: &Live, s: &Step) -> Result<(), reqwest::Error> {
    match s {
        Step::Events(events) => live.try_send(live.request(Method::POST, "/events").json(events)).await.map(|answer| assert_eq!(answer.status, 200)),
        other => step(live, other, 0).await,
    }
}

/// Takes a step that failed once more, unless it had taken effect.
async fn take_again(live: &Live, s: &Step, done: i64) -> Result<(), reqwest::Error> {
    live.settled_soon().await;
    match s {
        Step::Events(_) if appended(live).await? > done => Ok(()),
        other => take(live, other).await,
    }
}

/// Takes all steps, one after the other; what fails is taken again by the next process.
async fn run(steps: &[Step], kills: &[(usize, Duration)]) -> Run {
    let data = tempfile::tempdir().expect("a folder");
    let started = Instant::now();
    let mut live = Live::start(data.path(), &SET);
    let (mut starts, mut done, mut kills) = (vec![], 0, kills.iter().peekable());
    for (n, s) in steps.iter().enumerate() {
        while let Some((_, after)) = kills.next_if(|(at, _)| *at == n) {
            kill_later(&live, *after);
        }
        let mut taken = take(&live, s).await;
        while taken.is_err() {
            let restarted = Instant::now();
            live.kill();
            live = Live::start(data.path(), &SET);
            starts.push(restarted.elapsed());
            taken = take_again(&live, s, done).await;
        }
        done += if let Step::Events(events) = s { events.len() as i64 } else { 0 };
    }
    // A kill that came while nothing was asked shows now.
    if appended(&live).await.is_err() {
        live.kill();
        live = Live::start(data.path(), &SET);
    }
    live.settled().await;
    assert_eq!(appended(&live).await.expect("a status"), done, "each event is in the log once");
    assert_eq!(live.get("/readyz").await.status, 200);
    Run { outcome: outcome(&live).await, starts, seconds: started.elapsed().as_secs_f64() }
}

/// `COHORT_KILL_SEEDS="1 2 3"` names other stories than the first.
#[tokio::test]
#[ignore = "takes minutes; see docs/operations.md"]
async fn twenty_kills_under_load_change_nothing() {
    let seeds = std::env::var("COHORT_KILL_SEEDS").unwrap_or_else(|_| "1".into());
    for seed in seeds.split_whitespace().map(|s| s.parse().expect("a number")) {
        let steps = story(seed);
        let changes = steps.iter().filter(|s| !matches!(s, Step::Events(_))).count();
        let undisturbed = run(&steps, &[]).await;
        let killed = run(&steps, &kills(seed, steps.len())).await;
        let longest = killed.starts.iter().max().copied().unwrap_or_default();
        eprintln!(
            "seed {seed}: {} events, {changes} changes of segments; {:.1} s undisturbed, {:.1} s with {} kills that were met, longest start {longest:?}; {} memberships",
            BATCHES * EVENTS + USERS,
            undisturbed.seconds,
            killed.seconds,
            killed.starts.len(),
            undisturbed.outcome.0.len()
        );
        assert!(killed.starts.len() >= KILLS * 3 / 4, "{} kills were met", killed.starts.len());
        assert!(undisturbed.outcome.0.len() > 100, "{} memberships", undisturbed.outcome.0.len());
        assert_eq!(killed.outcome.1, undisturbed.outcome.1, "the catalog");
        let only = |a: &[Value], b: &[Value]| a.iter().filter(|m| !b.contains(m)).cloned().collect::<Vec<_>>();
        let (more, fewer) = (only(&killed.outcome.0, &undisturbed.outcome.0), only(&undisturbed.outcome.0, &killed.outcome.0));
        assert_eq!((more, fewer), (vec![], vec![]), "seed {seed}");
    }
}

/// A segment that is dropped while the process is dead: who was in it by results since the last checkpoint leaves.
#[tokio::test]
async fn a_change_that_came_after_the_kill_lets_members_leave() {
    let data = tempfile::tempdir().expect("a folder");
    let set = ["source.partitions=1", "checkpoint.interval=1h"];
    let live = Live::start(&data.path().join("killed"), &set);
    assert_eq!(live.post("/segments", json!({"name": "big", "sql": BIG})).await.status, 201);
    live.settled().await;
    live.post("/events", json!([purchase("u1", now(), 600.0)])).await;
    live.until("a member", Duration::from_secs(5), || async { live.segments_of("u1").await == ["big"] }).await;
    live.kill();
    let catalog = format!("catalog.url=sqlite:{}", data.path().join("killed/catalog.db").display());
    let mut other = Live::start(&data.path().join("other"), &[set[0], &catalog]);
    assert_eq!(other.call(Method::DELETE, "/segments/big", json!({})).await.status, 204);
    assert!(other.terminate().0.success());
    let live = Live::start(&data.path().join("killed"), &set);
    live.until("the exit", Duration::from_secs(5), || async { live.segments_of("u1").await.is_empty() }).await;
}
