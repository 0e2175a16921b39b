//! The server, driven by the official client.

use std::time::Duration;

use crate::aerospike_double::{Options, Server};
use aerospike::operations::{Operation, lists, maps, scalar};
use aerospike::{
    AuthMode, BatchOperation, BatchPolicy, BatchWritePolicy, Bin, Client, ClientPolicy, Expiration, Key, ListOrderType, ListPolicy, ListReturnType,
    ListWriteFlags, MapPolicy, MapReturnType, MapWriteFlags, ReadPolicy, ResultCode, Value, WritePolicy,
};

mod cluster;
mod faults;
mod records;
mod throughput;

const NAMESPACE: &str = "segments";
const SET: &str = "user_segments";

fn options() -> Options {
    Options { namespace: NAMESPACE.into(), nsup_period: 120, default_ttl: 3600, ..Options::default() }
}

fn server() -> Server {
    Server::start(options())
}

async fn client(server: &Server) -> Client {
    let policy = ClientPolicy { tend_interval: 250, ..ClientPolicy::default() };
    Client::new(&policy, &server.address()).await.unwrap()
}

async fn started() -> (Server, Client) {
    let server = server();
    let client = client(&server).await;
    (server, client)
}

fn key(user: &str) -> Key {
    Key::new(NAMESPACE, SET, Value::from(user)).unwrap()
}

fn unique() -> ListPolicy {
    ListPolicy::new(ListOrderType::Unordered, ListWriteFlags::ADD_UNIQUE | ListWriteFlags::NO_FAIL | ListWriteFlags::PARTIAL)
}

fn sending_key() -> WritePolicy {
    WritePolicy { send_key: true, ..WritePolicy::default() }
}

/// What Cohort writes for a user who enters a segment.
fn entered(user: &str, segment: i64, qualified: bool) -> Vec<Operation> {
    let result = Value::from(std::collections::BTreeMap::from([
        (Value::from("qualified"), Value::from(qualified)),
        (Value::from("value"), Value::from(12.5)),
        (Value::from("timestamp"), Value::from(1_700_000_000_000_i64)),
    ]));
    let ordered = MapPolicy::new(maps::MapOrder::KeyOrdered, MapWriteFlags::DEFAULT);
    vec![
        scalar::put(&Bin::new("userId", Value::from(user))),
        lists::append_items(&unique(), "segments", vec![Value::from(segment)]),
        maps::put(&ordered, "results", Value::from(format!("rule-{segment}")), result),
        scalar::put(&Bin::new("lastUpdated", Value::from(1_700_000_000_000_i64))),
    ]
}

fn batch_of(users: impl IntoIterator<Item = String>) -> Vec<BatchOperation> {
    let policy = BatchWritePolicy { send_key: true, expiration: Expiration::Seconds(600), ..BatchWritePolicy::default() };
    users.into_iter().map(|user| BatchOperation::write(&policy, key(&user), entered(&user, 7, true))).collect()
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("user-{i}")).collect()
}

fn no_retries(total: u32, socket: u32) -> BatchPolicy {
    let mut policy = BatchPolicy::write_default();
    (policy.base_policy.total_timeout, policy.base_policy.socket_timeout) = (total, socket);
    policy
}

fn codes(rows: &[BatchOperation]) -> Vec<Option<ResultCode>> {
    rows.iter().map(BatchOperation::result_code).collect()
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
