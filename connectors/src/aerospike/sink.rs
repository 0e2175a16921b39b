//! Results → records. All results of a user in a flush become one operation on one record; records go in batches,
//! some at a time. A flush is done when all are written, so results of one user reach the record in order.
//!
//! What may succeed later is tried again, with pauses that grow and differ; what may not ends it. After a flush that
//! failed as a whole the breaker is open: the next one sends a single batch first, and the rest when that was taken.
//!
//! Every operation ends by asking how many segments the record holds. A record that expired while the store was away
//! is made anew by the next result, with that one alone, and a touch of it finds nothing: such users are reported, and
//! told anew as a whole.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aerospike::operations::Operation;
use aerospike::policy::RecordExistsAction;
use aerospike::{BatchOperation, BatchPolicy, BatchWritePolicy, Client, Expiration, ResultCode};
use cohort_engine::sink::{Amiss, MemberBatch, ResultBatch, Sink, SinkError, Touch};
use futures::{StreamExt, TryStreamExt, stream};
use rand::Rng;
use tokio::runtime::Handle;

use super::record::{self, Change, replace, touch};
use super::{Aerospike, AerospikeProblem, is_fatal};

/// How often records that were not taken are sent again before the flush has failed.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What a sink did so far.
#[derive(Debug, Default)]
pub struct AerospikeStatus {
    /// Records written.
    pub records: AtomicU64,
    /// Batches sent.
    pub batches: AtomicU64,
    /// Records that were not taken, and sent again.
    pub retries: AtomicU64,
    /// Times that the breaker opened.
    pub opened: AtomicU64,
    /// 1 while it is open.
    pub open: AtomicU64,
}

/// Writes results to Aerospike.
pub struct AerospikeSink {
    aerospike: Aerospike,
    runtime: Handle,
    status: Arc<AerospikeStatus>,
}

/// A record with what is to be done to it.
struct Planned {
    partition: u32,
    user: String,
    operations: Vec<Operation>,
    /// How many segments it holds then; none, where nobody counted.
    held: Option<u32>,
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl AerospikeSink {
    /// A sink; used from a thread that is not the runtime's.
    pub fn new(aerospike: Aerospike, runtime: Handle, status: Arc<AerospikeStatus>) -> Self {
        AerospikeSink { aerospike, runtime, status }
    }

    /// Does all that is planned; `must_exist` for what concerns only records that are there. Users whose records then
    /// hold another number of segments, or are not there, go to `amiss`.
    fn run(&self, planned: Vec<Planned>, must_exist: bool, amiss: &mut Amiss) -> Result<(), SinkError> {
        if planned.is_empty() {
            return Ok(());
        }
        let found = Mutex::new(std::mem::take(amiss));
        let outcome = self.runtime.block_on(self.flush(planned, must_exist, &found));
        *amiss = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let open = u64::from(outcome.is_err());
        if self.status.open.swap(open, Ordering::Relaxed) < open {
            self.status.opened.fetch_add(1, Ordering::Relaxed);
        }
        outcome.map_err(|e| SinkError { sink: format!("aerospike {}", e.hosts), message: e.message, fatal: e.fatal })
    }

    async fn flush(&self, planned: Vec<Planned>, must_exist: bool, amiss: &Mutex<Amiss>) -> Result<(), AerospikeProblem> {
        let client = self.aerospike.client().await?;
        let size = self.aerospike.options.batch.max(1);
        let mut batches: Vec<Vec<Planned>> = vec![];
        let mut planned = planned.into_iter().peekable();
        while planned.peek().is_some() {
            batches.push(planned.by_ref().take(size).collect());
        }
        if self.status.open.load(Ordering::Relaxed) == 1 {
            // One batch to see whether it is worth sending the others.
            let first = batches.swap_remove(0);
            self.batch(client, first, must_exist, amiss).await?;
        }
        let sent = stream::iter(batches.into_iter().map(|batch| self.batch(client, batch, must_exist, amiss)));
        sent.buffer_unordered(self.aerospike.options.in_flight.max(1)).try_collect().await
    }

    /// Sends a batch, and again what of it was not taken.
    async fn batch(&self, client: &Client, mut planned: Vec<Planned>, must_exist: bool, amiss: &Mutex<Amiss>) -> Result<(), AerospikeProblem> {
        let (mut pause, mut last) = (FIRST_PAUSE, None);
        for _ in 0..ATTEMPTS {
            let (left, problem) = self.send(client, planned, must_exist, amiss).await?;
            if left.is_empty() {
                return Ok(());
            }
            self.status.retries.fetch_add(left.len() as u64, Ordering::Relaxed);
            (planned, last) = (left, problem);
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(jittered).await;
            pause *= 3;
        }
        let left = planned.len();
        let why = last.map_or_else(|| "no reason given".to_string(), |p| p.message);
        Err(self.aerospike.problem(format!("{left} records were not taken, the last for: {why}"), false))
    }

    /// Sends a batch once; returns what of it was not taken and may be later, and why.
    async fn send(
        &self,
        client: &Client,
        planned: Vec<Planned>,
        must_exist: bool,
        amiss: &Mutex<Amiss>,
    ) -> Result<(Vec<Planned>, Option<AerospikeProblem>), AerospikeProblem> {
        let write = self.write_policy(must_exist);
        let operation = |planned: &Planned| Ok(BatchOperation::write(&write, self.aerospike.key(&planned.user)?, planned.operations.clone()));
        let mut sent: Vec<BatchOperation> = planned.iter().map(operation).collect::<Result<_, AerospikeProblem>>()?;
        self.status.batches.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let outcome = client.batch(&self.policy(), &mut sent).await;
        metrics::histogram!("cohort_aerospike_batch_seconds").record(started.elapsed().as_secs_f64());
        let (mut left, mut problem) = (vec![], None);
        let report = |planned: &Planned| amiss.lock().unwrap_or_else(PoisonError::into_inner).push(planned.partition, planned.user.as_bytes());
        for (operation, planned) in sent.iter().zip(planned) {
            match operation.result_code() {
                Some(ResultCode::Ok) => {
                    self.status.records.fetch_add(1, Ordering::Relaxed);
                    let held = operation.record().and_then(record::held);
                    if planned.held.is_some_and(|wanted| held.is_some_and(|held| held != wanted)) {
                        report(&planned);
                    }
                }
                Some(ResultCode::KeyNotFoundError) if must_exist => report(&planned),
                code => {
                    let why = operation.error().map_or_else(|| self.aerospike.problem("not answered", false), |e| self.aerospike.failed(e));
                    if code.is_some_and(is_fatal) || why.fatal {
                        return Err(self.aerospike.problem(format!("record of {:?}: {}", planned.user, why.message), true));
                    }
                    problem = Some(why);
                    left.push(planned);
                }
            }
        }
        if let (Err(error), true) = (&outcome, left.is_empty()) {
            // Everything was answered all the same.
            tracing::debug!(%error, "aerospike batch");
        } else if let Err(error) = &outcome {
            let failed = self.aerospike.failed(error);
            if failed.fatal {
                return Err(failed);
            }
            problem.get_or_insert(failed);
        }
        Ok((left, problem))
    }

    fn policy(&self) -> BatchPolicy {
        let millis = u32::try_from(self.aerospike.options.timeout.as_millis()).unwrap_or(u32::MAX);
        let mut policy = BatchPolicy::write_default();
        (policy.base_policy.total_timeout, policy.base_policy.socket_timeout) = (millis, millis);
        policy
    }

    fn write_policy(&self, must_exist: bool) -> BatchWritePolicy {
        let ttl = u32::try_from(self.aerospike.options.ttl.as_secs()).unwrap_or(u32::MAX).max(1);
        BatchWritePolicy {
            expiration: Expiration::Seconds(ttl),
            send_key: true,
            record_exists_action: if must_exist { RecordExistsAction::UpdateOnly } else { RecordExistsAction::Update },
            ..BatchWritePolicy::default()
        }
    }
}

impl Sink for AerospikeSink {
    fn name(&self) -> &'static str {
        "aerospike"
    }

    fn write(&mut self, batches: &[ResultBatch], amiss: &mut Amiss) -> Result<(), SinkError> {
        let mut changes: BTreeMap<&str, Change<'_>> = BTreeMap::new();
        for batch in batches {
            (0..batch.rows.len()).for_each(|row| changes.entry(batch.user(row)).or_default().add(batch, row));
        }
        let now = now();
        let planned = changes.into_iter().map(|(user, change)| Planned {
            partition: change.partition,
            user: user.to_string(),
            operations: change.operations(user, now),
            held: change.held,
        });
        self.run(planned.collect(), false, amiss)
    }

    fn replace(&mut self, members: &MemberBatch) -> Result<(), SinkError> {
        let now = now();
        let planned = members.iter().map(|(user, rows)| Planned {
            partition: members.partition,
            user: user.to_string(),
            operations: replace(user, &members.names, rows, now),
            held: None,
        });
        self.run(planned.collect(), false, &mut Amiss::default())
    }

    fn touch(&mut self, members: &Touch, amiss: &mut Amiss) -> Result<(), SinkError> {
        let planned = (0..members.users.len()).map(|i| Planned {
            partition: members.partition,
            user: String::from_utf8_lossy(members.users.get(i)).into_owned(),
            operations: touch(),
            held: members.held.get(i).copied(),
        });
        self.run(planned.collect(), true, amiss)
    }
}
