#![allow(missing_docs, clippy::panic)]
//! Decode, aggregate, compare, derived segments, checkpoints, compile and a change of program, each alone: `cargo bench -p cohort-benches`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use cohort_compiler::program::{Compare, Threshold, View};
use cohort_compiler::{CompileCache, CompileOptions, Program, SourceKind, SourceText, compile, compile_cached};
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::having::{Listed, ViewIndex};
use cohort_engine::{Late, Partition, Settings};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 65_536;

fn segments(n: usize) -> String {
    let mut sql = String::new();
    for i in 0..n {
        let _ = writeln!(
            sql,
            "CREATE SEGMENT s{i} AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'view' GROUP BY user_id, window_start, window_end HAVING sum(value) > {};",
            1000 + i
        );
    }
    sql
}

fn program(n: usize) -> Arc<Program> {
    compiled(segments(n))
}

/// Ten segments, and `n` that each combine two of them.
fn derived(n: usize) -> String {
    let mut sql = segments(10);
    for i in 0..n {
        let (a, b) = (i % 10, (i * 7 + 1) % 10);
        let join = if i % 3 == 0 { "LEFT ANTI JOIN" } else { "JOIN" };
        let _ = writeln!(sql, "CREATE SEGMENT d{i} AS SELECT a.user_id, a.value FROM s{a} a {join} s{b} b USING (user_id, window_start, window_end);");
    }
    sql
}

/// Twenty segments that nearly everybody is in.
fn program_of_low_bars() -> Arc<Program> {
    compiled(segments(20).replace("> 1", "> 0.1"))
}

fn compiled(text: String) -> Arc<Program> {
    let source = SourceText { name: "bench".into(), kind: SourceKind::Sql, text, id: None };
    match compile(&[source], &CompileOptions::default()) {
        Ok(program) => Arc::new(program),
        Err(errors) => panic!("{errors}"),
    }
}

fn events() -> Vec<u8> {
    let mut data = String::new();
    for i in 0..EVENTS {
        let (user, time) = (i * 2_654_435_761 % 50_000, 1_700_000_000_000 + i);
        let _ = writeln!(
            data,
            "{{\"userId\":\"user_{user:06}\",\"eventType\":\"view\",\"timestamp\":{time},\"value\":{}.25,\"sessionId\":\"s{user}\",\"metadata\":{{\"category\":\"toys\"}}}}",
            i % 300
        );
    }
    data.into_bytes()
}

fn decoded(program: &Program) -> EventBatch {
    let (data, mut spans, mut batch, mut rejected) = (events(), vec![], EventBatch::default(), vec![]);
    split_lines(&data, &mut spans);
    JsonDecoder::new(projection(program)).decode(&data, &spans, Topics::None, &mut batch, &mut rejected);
    batch
}

fn parts(c: &mut Criterion) {
    let program = program(100);
    let data = events();
    let mut group = c.benchmark_group("parts");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(20);
    group.bench_function("decode", |b| {
        let (mut decoder, mut spans, mut batch, mut rejected) = (JsonDecoder::new(projection(&program)), vec![], EventBatch::default(), vec![]);
        b.iter(|| {
            split_lines(&data, &mut spans);
            decoder.decode(&data, &spans, Topics::None, &mut batch, &mut rejected);
            black_box(batch.len())
        });
    });
    let batch = decoded(&program);
    group.bench_function("aggregate and compare", |b| {
        let mut partition = Partition::new(Arc::clone(&program), Settings::default());
        let (mut out, mut late) = (vec![], Late::default());
        b.iter(|| {
            out.clear();
            let _ = partition.process(black_box(&batch), &mut out, &mut late);
            out.len()
        });
    });
    group.bench_function("100 derived segments, to the close", |b| {
        let with_derived = compiled(derived(100));
        let batch = decoded(&with_derived);
        b.iter(|| {
            let mut partition = Partition::new(Arc::clone(&with_derived), Settings::default());
            let (mut out, mut late) = (vec![], Late::default());
            let _ = partition.process(black_box(&batch), &mut out, &mut late);
            let _ = partition.finish(partition.newest().unwrap_or(0), &mut out);
            out.len()
        });
    });
    group.bench_function("one more segment over groups that are there", |b| {
        let (mut partition, more) = (Partition::new(Arc::clone(&program), Settings::default()), self::program(101));
        let (mut out, mut late) = (vec![], Late::default());
        let _ = partition.process(&batch, &mut out, &mut late);
        let mut turn = 0;
        b.iter(|| {
            turn += 1;
            let next = if turn % 2 == 0 { &program } else { &more };
            partition.adopt(Arc::clone(next), None).is_ok()
        });
    });
    let mut kept = Partition::new(program_of_low_bars(), Settings::default());
    let processed = kept.process(&batch, &mut vec![], &mut Late::default());
    group.bench_function("copy of state for a checkpoint", |b| b.iter(|| processed.is_ok() && kept.snapshot().is_ok()));
    group.bench_function("tables of state for a checkpoint", |b| b.iter(|| processed.is_ok() && kept.save().is_ok()));
    group.finish();
    let threshold = |i: u32| Threshold { view: View::Sum(0), compare: Compare::Gt, value: f64::from(i), tolerance: 0.0 };
    let thresholds: Vec<(Listed, Threshold)> = (0..10_000).map(|i| (Listed { segment: i, own_value: true }, threshold(i))).collect();
    let index = ViewIndex::build(&thresholds);
    c.bench_function("one crossing among 10,000 thresholds", |b| {
        b.iter(|| {
            let mut crossed = 0;
            index[0].flips(black_box(Some(4999.5)), black_box(Some(5000.5)), |_, _| crossed += 1);
            crossed
        });
    });
    let source = SourceText { name: "bench".into(), kind: SourceKind::Sql, text: segments(100), id: None };
    c.bench_function("compile 1,000 segments of which one is new", |b| {
        let mut cache = CompileCache::default();
        let text = |i: usize| SourceText { name: i.to_string(), kind: SourceKind::Sql, text: segments(1000).lines().nth(i).unwrap_or_default().into(), id: None };
        let mut sources: Vec<SourceText> = (0..1000).map(text).collect();
        let mut turn = 0;
        b.iter(|| {
            turn += 1;
            sources[0].text = format!("CREATE SEGMENT s0 AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end HAVING count(*) > {turn}");
            compile_cached(&sources, &CompileOptions::default(), &mut cache).is_ok()
        });
    });
    c.bench_function("compile 100 segments", |b| b.iter(|| compile(black_box(std::slice::from_ref(&source)), &CompileOptions::default()).is_ok()));
}

criterion_group!(benches, parts);
criterion_main!(benches);
