//! The Aerospike sink when servers refuse, lose or hold up what it sends: on the server in the tests, as real ones cannot
//! be told to.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use cohort_connectors::aerospike::AerospikeOptions;
use cohort_engine::sink::{Amiss, Sink};

use crate::aerospike::{Bench, One, batch, bench, options, said, server};
use crate::aerospike_double::{Hang, Options, Server, code};

/// A server and a sink with a record written, so that it is connected.
fn connected() -> (Server, Bench) {
    if std::env::var("AEROSPIKE_HOSTS").is_ok() {
        eprintln!("SKIPPED on the real Aerospike: a test that needs a server which fails when told to");
    }
    let double = server();
    let mut bench = bench(AerospikeOptions { timeout: Duration::from_millis(500), ..options(&double.address()) });
    bench.sink.write(&[batch(&users(1, 1))], &mut Amiss::default()).unwrap();
    (double, bench)
}

/// A result for each of some users.
fn users(count: u8, time: i64) -> Vec<One> {
    (0..count).map(|user| (user, 0, true, time)).collect()
}

/// That the first `count` users have the result of a time.
fn all_have(bench: &Bench, count: u8, time: i64) {
    for user in 0..count {
        let (segments, results) = said(bench.get(&format!("u{user}")));
        assert!(segments.contains("big") && results["rule big"] == time, "u{user}: {segments:?} {results:?}");
    }
}

#[test]
fn a_batch_that_is_refused_as_a_whole_is_sent_again() {
    let (double, mut bench) = connected();
    let before = bench.status.batches.load(Relaxed);
    double.faults().fail_batches(2, code::BATCH_QUEUES_FULL);
    bench.sink.write(&[batch(&users(50, 2))], &mut Amiss::default()).unwrap();
    all_have(&bench, 50, 2);
    assert_eq!(bench.status.batches.load(Relaxed) - before, 3);
    assert_eq!(bench.status.retries.load(Relaxed), 100, "all of it, twice");
}

#[test]
fn what_was_not_answered_is_sent_again() {
    let (double, mut bench) = connected();
    double.faults().lose_answers(1);
    bench.sink.write(&[batch(&users(50, 2))], &mut Amiss::default()).unwrap();
    all_have(&bench, 50, 2);
    double.faults().lose_requests(1);
    bench.sink.write(&[batch(&users(50, 3))], &mut Amiss::default()).unwrap();
    all_have(&bench, 50, 3);
    let retries = bench.status.retries.load(Relaxed);
    assert!(retries >= 50, "{retries}: a write whose answer is lost may not have been done");
}

#[test]
fn a_flush_ends_though_the_server_does_not_answer() {
    let (double, mut bench) = connected();
    for hang in [Hang::Records, Hang::Everything] {
        double.faults().hang(hang);
        let started = Instant::now();
        let error = bench.sink.write(&[batch(&users(50, 2))], &mut Amiss::default()).unwrap_err();
        assert!(!error.fatal && started.elapsed() < Duration::from_secs(20), "{error} after {:?}", started.elapsed());
        double.faults().clear();
    }
    // What hung is done only now, so the same results are written again: of others, it would not be known which are last.
    let started = Instant::now();
    while let Err(error) = bench.sink.write(&[batch(&users(50, 2))], &mut Amiss::default()) {
        assert!(!error.fatal && started.elapsed() < Duration::from_secs(20), "{error}");
    }
    all_have(&bench, 50, 2);
}

#[test]
fn only_the_first_batch_goes_while_the_breaker_is_open() {
    let (double, mut bench) = connected();
    let flush = batch(&users(250, 2));
    double.faults().fail_batches(1_000, code::BATCH_QUEUES_FULL);
    assert!(!bench.sink.write(std::slice::from_ref(&flush), &mut Amiss::default()).unwrap_err().fatal);
    assert_eq!((bench.status.open.load(Relaxed), bench.status.opened.load(Relaxed)), (1, 1));
    let before = bench.status.batches.load(Relaxed);
    assert!(!bench.sink.write(std::slice::from_ref(&flush), &mut Amiss::default()).unwrap_err().fatal);
    assert_eq!(bench.status.batches.load(Relaxed) - before, 5, "the first of three batches, five times");
    assert_eq!(double.records().len(), 1);
    double.faults().clear();
    bench.sink.write(std::slice::from_ref(&flush), &mut Amiss::default()).unwrap();
    assert_eq!((bench.status.open.load(Relaxed), bench.status.opened.load(Relaxed)), (0, 1));
    all_have(&bench, 250, 2);
}

#[test]
fn a_server_may_come_after_the_sink() {
    let double = server();
    double.down();
    let mut bench = bench(AerospikeOptions { timeout: Duration::from_millis(500), ..options(&double.address()) });
    let started = Instant::now();
    let error = bench.sink.write(&[batch(&users(1, 1))], &mut Amiss::default()).unwrap_err();
    assert!(!error.fatal && started.elapsed() < Duration::from_secs(10), "{error} after {:?}", started.elapsed());
    double.up();
    bench.sink.write(&[batch(&users(1, 1))], &mut Amiss::default()).unwrap();
    all_have(&bench, 1, 1);
    assert_eq!(bench.status.open.load(Relaxed), 0);
}

#[test]
fn a_host_that_is_dead_is_passed_over() {
    let double = server();
    let dead = server();
    let hosts = format!("{},{}", dead.address(), double.address());
    dead.down();
    let started = Instant::now();
    let mut bench = bench(options(&hosts));
    bench.sink.write(&[batch(&users(50, 1))], &mut Amiss::default()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    all_have(&bench, 50, 1);
}

#[test]
fn a_login_that_is_refused_is_told_without_the_password() {
    let double = Server::start(Options { namespace: "segments".into(), user: Some(("cohort".into(), "right-one".into())), ..Options::default() });
    let as_user = |user: &str, password: &str| bench(AerospikeOptions { login: Some((user.into(), password.into())), ..options(&double.address()) });
    for (user, password) in [("cohort", "wrong-one"), ("nobody", "right-one")] {
        let error = as_user(user, password).sink.write(&[batch(&users(1, 1))], &mut Amiss::default()).unwrap_err();
        assert!(error.fatal && error.message.contains("login refused"), "{error}");
        assert!(!format!("{error} {error:?}").contains(password), "{error}");
    }
    let mut right = as_user("cohort", "right-one");
    right.sink.write(&[batch(&users(1, 1))], &mut Amiss::default()).unwrap();
    all_have(&right, 1, 1);
}
