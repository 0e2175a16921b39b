//! The Aerospike sink: what records hold after results, however often they are written. Against the server in the tests,
//! and a real one in AEROSPIKE_HOSTS (namespace AEROSPIKE_NAMESPACE, else `segments`), in a set of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cohort_connectors::aerospike::record::Profile;
use cohort_connectors::aerospike::sink::{AerospikeSink, AerospikeStatus};
use cohort_connectors::aerospike::{Aerospike, AerospikeOptions};
use cohort_engine::sink::{Amiss, MemberBatch, ResultBatch, SegmentName, Sink, Touch};
use cohort_engine::{ResultKind, ResultRow};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::aerospike_double::{Options, Server, code};

pub(crate) const NAMES: [&str; 4] = ["big", "busy", "loyal", "new"];
static SETS: AtomicU32 = AtomicU32::new(0);

/// A sink with what reads back what it wrote.
pub(crate) struct Bench {
    pub(crate) sink: AerospikeSink,
    pub(crate) aerospike: Aerospike,
    pub(crate) status: Arc<AerospikeStatus>,
    pub(crate) runtime: tokio::runtime::Runtime,
}

pub(crate) fn options(hosts: &str) -> AerospikeOptions {
    AerospikeOptions {
        hosts: hosts.into(),
        namespace: std::env::var("AEROSPIKE_NAMESPACE").unwrap_or_else(|_| "segments".into()),
        set: format!("test_{}_{}", std::process::id(), SETS.fetch_add(1, Ordering::Relaxed)),
        ttl: Duration::from_secs(600),
        timeout: Duration::from_secs(1),
        login: None,
        tls: None,
        batch: 100,
        in_flight: 4,
    }
}

pub(crate) fn bench(options: AerospikeOptions) -> Bench {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (aerospike, status) = (Aerospike::new(options), Arc::new(AerospikeStatus::default()));
    Bench { sink: AerospikeSink::new(aerospike.clone(), runtime.handle().clone(), Arc::clone(&status)), aerospike, status, runtime }
}

impl Bench {
    pub(crate) fn get(&self, user: &str) -> Option<Profile> {
        self.runtime.block_on(self.aerospike.get(user)).unwrap()
    }
}

pub(crate) fn server() -> Server {
    Server::start(Options { namespace: "segments".into(), ..Options::default() })
}

/// Runs a test against the server in the tests, and against a real one if there is one.
pub(crate) fn on_each(test: impl Fn(&mut Bench)) {
    let double = server();
    test(&mut bench(options(&double.address())));
    match std::env::var("AEROSPIKE_HOSTS") {
        Ok(hosts) => test(&mut bench(options(&hosts))),
        Err(_) => eprintln!("SKIPPED: the same on a real Aerospike (none in AEROSPIKE_HOSTS)"),
    }
}

pub(crate) fn names() -> Arc<Vec<SegmentName>> {
    Arc::new(NAMES.iter().map(|n| SegmentName { segment: (*n).into(), rule: format!("rule {n}").as_str().into() }).collect())
}

/// So many names, some of them long.
pub(crate) fn many_names(count: usize) -> Arc<Vec<SegmentName>> {
    let name =
        |i: usize| SegmentName { segment: format!("segment{}", "_".repeat(i * 9)).as_str().into(), rule: format!("{}rule {i}", "r".repeat(i)).as_str().into() };
    Arc::new((0..count).map(name).collect())
}

pub(crate) fn row(segment: usize, time: i64) -> ResultRow {
    ResultRow {
        segment: segment as u32,
        user: 0,
        kind: ResultKind::Final,
        qualified: true,
        value: (time % 3 != 0).then_some(time as f64 / 4.0),
        timestamp: time,
        window_start: time - 60_000,
        window_end: time,
    }
}

/// A result: user, segment, whether they are a member after it, time.
pub(crate) type One = (u8, usize, bool, i64);

pub(crate) fn batch(results: &[One]) -> ResultBatch {
    let mut batch = ResultBatch { names: names(), ..ResultBatch::default() };
    for &(user, segment, member, time) in results {
        batch.users.push(format!("u{user}").as_bytes());
        batch.member.push(member);
        batch.rows.push(ResultRow { qualified: member, ..row(segment, time) });
    }
    batch
}

pub(crate) fn members(users: &[(u8, &[usize])], time: i64) -> MemberBatch {
    let mut batch = MemberBatch { names: names(), ..MemberBatch::default() };
    for (user, segments) in users {
        batch.users.push(format!("u{user}").as_bytes());
        batch.rows.extend(segments.iter().map(|s| row(*s, time)));
        batch.ends.push(batch.rows.len() as u32);
    }
    batch
}

/// What a profile says, without when it was written: segments, and the time of each rule's result.
pub(crate) fn said(profile: Option<Profile>) -> (BTreeSet<String>, BTreeMap<String, i64>) {
    let profile = profile.unwrap_or_default();
    (profile.segments, profile.results.into_iter().map(|(rule, r)| (rule, r.timestamp)).collect())
}

pub(crate) fn expected(held: &BTreeMap<usize, i64>) -> (BTreeSet<String>, BTreeMap<String, i64>) {
    let segments = held.keys().map(|s| NAMES[*s].to_string()).collect();
    (segments, held.iter().map(|(s, time)| (format!("rule {}", NAMES[*s]), *time)).collect())
}

#[test]
fn a_record_holds_what_results_came_to() {
    on_each(|bench| {
        bench.sink.write(&[batch(&[(1, 0, true, 100_001), (1, 1, true, 100_002), (1, 0, true, 100_003)])], &mut Amiss::default()).unwrap();
        let profile = bench.get("u1").unwrap();
        assert_eq!(profile.user, "u1");
        assert_eq!(said(Some(profile.clone())), expected(&BTreeMap::from([(0, 100_003), (1, 100_002)])));
        let result = &profile.results["rule big"];
        assert_eq!((result.qualified, result.value, result.window_start, result.window_end), (true, Some(25_000.75), 40_003, 100_003));
        assert_eq!(profile.results["rule busy"].value, None);
        assert!(profile.ttl.is_some_and(|s| (590..=600).contains(&s)), "{:?}", profile.ttl);
        bench.sink.write(&[batch(&[(1, 0, false, 100_004)])], &mut Amiss::default()).unwrap();
        assert_eq!(said(bench.get("u1")), expected(&BTreeMap::from([(1, 100_002)])), "an exit removes its segment and nothing else");
    });
}

#[test]
fn however_often_results_are_written_the_record_is_the_same() {
    on_each(|bench| {
        let flushes = prop::collection::vec((prop::collection::vec((0u8..5, 0usize..4, any::<bool>()), 1..12), 1usize..4), 1..8);
        let mut time = 1_000_000;
        let mut runner = TestRunner::new(ProptestConfig { cases: 60, ..ProptestConfig::default() });
        let held: std::cell::RefCell<BTreeMap<u8, BTreeMap<usize, i64>>> = Default::default();
        let (bench, time) = (std::cell::RefCell::new(bench), std::cell::RefCell::new(&mut time));
        runner
            .run(&flushes, |flushes| {
                let (mut bench, mut held, mut time) = (bench.borrow_mut(), held.borrow_mut(), time.borrow_mut());
                for (results, times) in flushes {
                    let results: Vec<One> = results
                        .into_iter()
                        .map(|(user, segment, member)| {
                            **time += 1;
                            (user, segment, member, **time)
                        })
                        .collect();
                    for &(user, segment, member, time) in &results {
                        let held = held.entry(user).or_default();
                        if member {
                            held.insert(segment, time)
                        } else {
                            held.remove(&segment)
                        };
                    }
                    (0..times).for_each(|_| bench.sink.write(&[batch(&results)], &mut Amiss::default()).unwrap());
                }
                for (user, held) in held.iter() {
                    prop_assert_eq!(said(bench.get(&format!("u{user}"))), expected(held));
                }
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn memberships_are_replaced_as_a_whole() {
    on_each(|bench| {
        bench.sink.write(&[batch(&[(1, 0, true, 100_000), (1, 1, true, 100_001)])], &mut Amiss::default()).unwrap();
        for _ in 0..2 {
            bench.sink.replace(&members(&[(1, &[1, 2]), (2, &[3]), (3, &[])], 200_000)).unwrap();
            assert_eq!(said(bench.get("u1")), expected(&BTreeMap::from([(1, 100_001), (2, 200_000)])), "what was there is kept, the rest is made");
            assert_eq!(said(bench.get("u2")), expected(&BTreeMap::from([(3, 200_000)])));
            assert_eq!(said(bench.get("u3")), expected(&BTreeMap::new()));
        }
    });
}

#[test]
fn only_records_that_are_there_live_on() {
    let double = server();
    let mut bench = bench(options(&double.address()));
    bench.sink.write(&[batch(&[(1, 0, true, 1)])], &mut Amiss::default()).unwrap();
    double.advance(Duration::from_secs(400));
    let mut touch = Touch::default();
    ["u1", "u2"].iter().for_each(|u| touch.users.push(u.as_bytes()));
    bench.sink.touch(&touch, &mut Amiss::default()).unwrap();
    double.advance(Duration::from_secs(400));
    assert_eq!(said(bench.get("u1")), expected(&BTreeMap::from([(0, 1)])));
    assert!(bench.get("u2").is_none(), "a touch makes no record");
    double.advance(Duration::from_secs(400));
    assert!(bench.get("u1").is_none(), "without another it expires");
}

#[test]
fn what_is_refused_for_now_is_sent_again() {
    let double = server();
    let mut bench = bench(options(&double.address()));
    double.faults().fail_every(5, code::KEY_BUSY);
    let results: Vec<One> = (0..250).map(|u| (u as u8, 0, true, 7)).collect();
    bench.sink.write(&[batch(&results)], &mut Amiss::default()).unwrap();
    double.faults().clear();
    assert_eq!(double.records().len(), 250);
    let retries = bench.status.retries.load(Ordering::Relaxed);
    assert!((50..100).contains(&retries), "{retries}: only those that were refused");
    assert_eq!(bench.status.records.load(Ordering::Relaxed), 250);
}

#[test]
fn a_store_that_is_away_is_tried_with_one_batch_first() {
    let double = server();
    let mut bench = bench(options(&double.address()));
    let results: Vec<One> = (0..250).map(|u| (u as u8, 0, true, 7)).collect();
    bench.sink.write(&[batch(&results)], &mut Amiss::default()).unwrap();
    double.down();
    let started = Instant::now();
    let error = bench.sink.write(&[batch(&results)], &mut Amiss::default()).unwrap_err();
    assert!(!error.fatal && started.elapsed() < Duration::from_secs(30), "{error} after {:?}", started.elapsed());
    assert_eq!((bench.status.open.load(Ordering::Relaxed), bench.status.opened.load(Ordering::Relaxed)), (1, 1));
    let sent = bench.status.batches.load(Ordering::Relaxed);
    assert!(bench.sink.write(&[batch(&results)], &mut Amiss::default()).is_err());
    assert!(bench.status.batches.load(Ordering::Relaxed) - sent <= 5, "one batch, some times");
    double.up();
    let started = Instant::now();
    while let Err(error) = bench.sink.write(&[batch(&results)], &mut Amiss::default()) {
        assert!(!error.fatal && started.elapsed() < Duration::from_secs(30), "{error}");
    }
    assert_eq!(bench.status.open.load(Ordering::Relaxed), 0);
}

#[test]
fn what_can_never_work_says_so() {
    let double = Server::start(Options { namespace: "segments".into(), max_record_size: 300, ..Options::default() });
    let mut small = bench(options(&double.address()));
    let error = small.sink.write(&[batch(&[(1, 0, true, 1), (1, 1, true, 1), (1, 2, true, 1), (1, 3, true, 1)])], &mut Amiss::default()).unwrap_err();
    assert!(error.fatal && error.message.contains("u1"), "{error}");
    let mut lost = bench(AerospikeOptions { namespace: "other".into(), ..options(&double.address()) });
    let error = lost.sink.write(&[batch(&[(1, 0, true, 1)])], &mut Amiss::default()).unwrap_err();
    assert!(error.fatal && error.message.contains("no namespace \"other\""), "{error}");
    double.configure(|o| o.nsup_period = 0);
    let mut forever = bench(options(&double.address()));
    let error = forever.sink.write(&[batch(&[(1, 0, true, 1)])], &mut Amiss::default()).unwrap_err();
    assert!(error.fatal && error.message.contains("nsup-period 0"), "{error}");
}
