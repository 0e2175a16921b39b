//! A worker with two partitions of Avro, one of which meets a schema that cannot be had.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};

use crate::checkpoint::{Adoption, Checkpoint, CheckpointError, CheckpointStore};
use crate::decode::Reason;
use crate::formats::avro_bytes::Bytes;
use crate::formats::schemas::{Registered, SchemaKind, SchemaSource};
use crate::formats::{Away, Encoding, Format, Formats, Framing, SchemaCache, Writer};
use crate::outbox::{OutboxStatus, Outgoing};
use crate::partition::Settings;
use crate::relay::Reads;
use crate::source::{Polled, Positions, RawBatch, Source, SourceError};
use crate::worker::{Command, Deployment, Measures, Programs, Running, Scratch, Worker, WorkerSettings, WorkerStatus};

const SCHEMA: &str = r#"{"type": "record", "name": "Event", "fields": [
    {"name": "userId", "type": "string"}, {"name": "eventType", "type": "string"}, {"name": "timestamp", "type": "long"}]}"#;
const SEGMENT: &str = "CREATE SEGMENT s AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 minute')
    GROUP BY user_id, window_start, window_end HAVING count(*) >= 1;";
/// Long enough for whatever is to happen.
const LONG: Duration = Duration::from_secs(30);

/// What the test and the worker's doubles share.
#[derive(Default)]
struct World {
    /// Records of each partition that were not read yet: their schema and their time.
    records: BTreeMap<u32, VecDeque<(u32, i64)>>,
    read: BTreeMap<u32, i64>,
    passed_over: Vec<u32>,
    /// Schemas that are there; others are away.
    schemas: BTreeSet<u32>,
    /// Questions for schemas, and whether they are never answered but once.
    asked: usize,
    silent: bool,
    /// What happens when records are polled next.
    when_polled: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no panic")
    }

    fn put(&self, partition: u32, records: &[(u32, i64)]) {
        self.world().records.entry(partition).or_default().extend(records);
    }
}

struct TwoPartitions {
    shared: Shared,
    formats: Arc<Formats>,
    can_pass_over: bool,
}

impl Source for TwoPartitions {
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<Polled, SourceError> {
        into.clear();
        let mut world = self.shared.world();
        let passed_over = world.passed_over.clone();
        let next = world.records.iter_mut().find(|(partition, records)| max_rows > 0 && !records.is_empty() && !passed_over.contains(partition));
        let Some((&partition, records)) = next else {
            drop(world);
            std::thread::sleep(timeout.min(Duration::from_millis(5)));
            return Ok(Polled::Nothing);
        };
        // Two at a time, so that there is always a batch behind the first.
        let some: Vec<(u32, i64)> = records.drain(..records.len().min(2)).collect();
        into.partition = partition;
        for (schema, time) in some {
            let offset = world.read.entry(partition).or_default();
            into.push(&Bytes::default().text("u").text("view").long(time).framed(schema), &"t".into(), *offset, 0);
            *offset += 1;
        }
        world.when_polled.take().into_iter().for_each(|happens| happens());
        Ok(Polled::Records)
    }

    fn partitions(&self) -> Vec<u32> {
        vec![0, 1]
    }

    fn start(&mut self, _: u32, known: &Positions) -> Result<Positions, SourceError> {
        Ok(known.clone())
    }

    fn begin(&mut self, _: &Positions) -> Result<(), SourceError> {
        Ok(())
    }

    fn pass_over(&mut self, partitions: &[u32]) -> bool {
        if self.can_pass_over {
            self.shared.world().passed_over = partitions.to_vec();
        }
        self.can_pass_over || partitions.is_empty()
    }

    fn lag(&self, partition: u32) -> u64 {
        self.shared.world().records.get(&partition).map_or(0, |records| records.len() as u64)
    }

    fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.formats)
    }
}

impl SchemaSource for Shared {
    fn fetch(&self, id: u32) -> Result<Option<Registered>, Away> {
        self.world().asked += 1;
        // The first question is answered, and no other until somebody ends the silence.
        while self.world().asked > 1 && self.world().silent {
            std::thread::sleep(Duration::from_millis(5));
        }
        let is_there = self.world().schemas.contains(&id);
        is_there.then(|| Some(Registered { kind: SchemaKind::Avro, text: SCHEMA.into(), references: vec![] })).ok_or_else(|| Away { id, why: "away".into() })
    }
}

struct Nowhere;

impl CheckpointStore for Nowhere {
    fn save(&self, _: &Checkpoint) -> Result<u64, CheckpointError> {
        Ok(0)
    }

    fn load(&self, _: u32) -> Result<Option<Checkpoint>, CheckpointError> {
        Ok(None)
    }

    fn adopt(&self, _: &Adoption) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn adoptions(&self, _: u32, _: i64) -> Result<Vec<Adoption>, CheckpointError> {
        Ok(vec![])
    }
}

impl Programs for Nowhere {
    fn at(&self, _: i64) -> Option<Deployment> {
        None
    }
}

/// A worker that runs, and what it hands over.
struct Runs {
    shared: Shared,
    status: Arc<Mutex<WorkerStatus>>,
    commands: Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
    outgoing: Receiver<Outgoing>,
}

impl Runs {
    fn start(can_pass_over: bool, shared: Shared) -> Runs {
        let newest = deployment(1);
        let writer = Writer::Registry(Arc::new(SchemaCache::new(Box::new(shared.clone()))));
        let encoding = Encoding::Avro { framing: Framing::Confluent, writer, reader: None };
        let formats = Arc::new(Formats { default: Format { encoding, mapping: None }, topics: BTreeMap::new() });
        let settings = WorkerSettings {
            state: Settings { out_of_orderness: 0, ..Settings::default() },
            batch_rows: 100,
            linger: Duration::from_millis(5),
            // What has no records holds nothing back.
            idle_timeout: 0,
            max_future: i64::MAX,
            checkpoint_interval: LONG,
            refresh_interval: Duration::ZERO,
            worker_memory: 1 << 30,
            reads: Reads::Events,
        };
        let open =
            |partition| Running::restore(partition, &Nowhere, settings.state.clone(), &newest, minutes(20), (&Nowhere, &formats)).expect("nothing is stored").0;
        let partitions = vec![open(0), open(1)];
        let ((commands, receive), (out, outgoing)) = (channel(), sync_channel(100_000));
        let status = Arc::new(Mutex::new(WorkerStatus::default()));
        let worker = Worker {
            source: Box::new(TwoPartitions { shared: shared.clone(), formats, can_pass_over }),
            partitions,
            parked: vec![],
            newest,
            programs: Arc::new(Nowhere),
            commands: receive,
            out,
            outbox: Arc::new(OutboxStatus::default()),
            store: Arc::new(Nowhere),
            settings,
            clock: Arc::new(|| minutes(20)),
            status: Arc::clone(&status),
            sent: 0,
            stopped: false,
            woken: None,
            restored: (0, 0),
            measures: Measures::default(),
            scratch: Scratch::default(),
            waiting: Default::default(),
        };
        let thread = std::thread::spawn(move || worker.run().expect("it goes on"));
        Runs { shared, status, commands, thread: Some(thread), outgoing }
    }

    fn status(&self) -> WorkerStatus {
        self.status.lock().expect("no panic").clone()
    }

    /// Events that each partition took.
    fn events(&self) -> Vec<u64> {
        self.status().partitions.iter().map(|p| p.counts.events.values().sum()).collect()
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < LONG, "{what}: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The reasons of dead letters so far.
    fn refused(&self) -> Vec<Reason> {
        let letters = self.outgoing.try_iter().filter_map(|o| if let Outgoing::DeadLetters(letters) = o { Some(letters) } else { None });
        letters.flatten().map(|letter| letter.reason).collect()
    }

    fn stop(mut self) {
        self.shared.world().silent = false;
        self.commands.send(Command::Stop).expect("it runs");
        // What waits for the last words to be written need not wait here.
        let outgoing = std::mem::replace(&mut self.outgoing, sync_channel(0).1);
        let writer = std::thread::spawn(move || {
            for outgoing in outgoing {
                if let Outgoing::Done(done) = outgoing {
                    let _ = done.send(());
                }
            }
        });
        self.thread.take().expect("it was started").join().expect("it ended well");
        writer.join().expect("no panic");
    }
}

fn deployment(revision: i64) -> Deployment {
    let text = SourceText { name: "t".into(), kind: SourceKind::Sql, text: SEGMENT.into(), id: None };
    Deployment::new(revision, Arc::new(compile(&[text], &CompileOptions::default()).expect("compiles")))
}

#[test]
fn what_was_polled_and_did_not_run_is_told_as_not_read() {
    let shared = Shared::default();
    shared.world().schemas.insert(1);
    let runs = Runs::start(true, shared.clone());
    let (tell, told) = channel();
    let (commands, status) = (runs.commands.clone(), Arc::clone(&runs.status));
    // A program that comes between the poll and the run is taken first, and the worker says how it stands then.
    shared.world().when_polled = Some(Box::new(move || {
        commands.send(Command::Deploy(deployment(2))).expect("it runs");
        let ask = move |_: &mut [Running]| tell.send(status.lock().expect("no panic").partitions[0].clone()).expect("it is waited for");
        commands.send(Command::Ask(Box::new(ask))).expect("it runs");
    }));
    shared.put(0, &[(1, minutes(1)); 3]);
    let then = told.recv_timeout(LONG).expect("it is told");
    assert_eq!((then.revision, then.lag, then.positions.is_empty()), (2, 3, true), "two in hand, and one that was not polled");
    runs.until("all is read", |runs| runs.events() == [3, 0] && runs.status().partitions[0].lag == 0);
    runs.stop();
}

fn minutes(n: i64) -> i64 {
    n * 60_000
}

#[test]
fn a_partition_waits_for_its_schema_and_the_other_goes_on() {
    let shared = Shared::default();
    shared.world().schemas.insert(1);
    shared.put(0, &[(2, minutes(1)), (1, minutes(1)), (1, minutes(2))]);
    let runs = Runs::start(true, shared.clone());
    runs.until("it waits", |runs| runs.status().waits_for_schema);
    assert_eq!(runs.status().source_error.as_deref(), Some("schema 2: away"));
    // Far ahead of what waits.
    shared.put(1, &[(1, minutes(9)); 7]);
    runs.until("the other partition is read", |runs| runs.events() == [0, 7]);
    // A question that nobody answers holds up nobody.
    shared.world().silent = true;
    let asked = shared.world().asked;
    runs.until("it asks again", |_| shared.world().asked > asked);
    shared.put(1, &[(1, minutes(10)); 5]);
    runs.until("the other partition is read on", |runs| runs.events() == [0, 12]);
    let status = runs.status();
    assert_eq!((shared.world().passed_over.clone(), status.partitions[0].lag), (vec![0], 3));
    assert!(status.partitions.iter().all(|p| p.closed.is_none() && !(p.partition == 0 && p.idle)), "time stands still: {status:?}");
    assert!(status.partitions[0].positions.is_empty(), "{status:?}");
    // A stop would not lose anything; but here the schema comes.
    shared.world().schemas.insert(2);
    shared.world().silent = false;
    runs.until("all is read", |runs| runs.events() == [3, 12] && !runs.status().waits_for_schema);
    assert_eq!(runs.status().source_error, None);
    shared.put(0, &[(2, minutes(25))]);
    runs.until("reading goes on", |runs| runs.events() == [4, 12] && shared.world().passed_over.is_empty());
    runs.until("time passes", |runs| runs.status().partitions.iter().all(|p| p.closed >= Some(minutes(20))));
    assert_eq!(runs.refused(), [], "nothing was late");
    runs.stop();
}

#[test]
fn where_the_source_cannot_pass_over_a_partition_nothing_is_read() {
    let shared = Shared::default();
    shared.world().schemas.insert(1);
    shared.put(0, &[(2, minutes(1)), (1, minutes(2))]);
    let runs = Runs::start(false, shared.clone());
    runs.until("it waits", |runs| runs.status().waits_for_schema);
    shared.put(1, &[(1, minutes(9)); 3]);
    let asked = shared.world().asked;
    runs.until("it asks on", |_| shared.world().asked > asked + 1);
    assert_eq!((runs.events(), shared.world().records[&1].len()), (vec![0, 0], 3));
    assert!(runs.status().partitions.iter().all(|p| !p.idle));
    shared.world().schemas.insert(2);
    runs.until("all is read", |runs| runs.events() == [2, 3] && !runs.status().waits_for_schema);
    assert_eq!(runs.refused(), []);
    runs.stop();
}

#[test]
fn stopping_and_leaving_do_not_wait_for_a_schema() {
    let shared = Shared::default();
    shared.put(0, &[(2, minutes(1))]);
    let runs = Runs::start(true, shared.clone());
    runs.until("it waits", |runs| runs.status().waits_for_schema);
    shared.world().silent = true;
    let asked = shared.world().asked;
    runs.until("it asks again", |_| shared.world().asked > asked);
    let started = Instant::now();
    runs.commands.send(Command::Ask(Box::new(|_| ()))).expect("it runs");
    runs.stop();
    assert!(started.elapsed() < LONG);
}
