//! Ways to fail, and what the client makes of them.

use std::time::Instant;

use crate::aerospike_double::{Hang, code};
use aerospike::{Bins, ErrorKind};

use super::*;

async fn write(client: &Client, user: &str) -> aerospike::Result<aerospike::Record> {
    let mut policy = sending_key();
    (policy.base_policy.total_timeout, policy.base_policy.socket_timeout) = (500, 300);
    client.operate(&policy, &key(user), &entered(user, 7, true)).await
}

fn describe(what: &str, err: &aerospike::Error, since: Instant) {
    println!(
        "{what}: {:?}, code {:?}/{}, in doubt {}, after {:?}, cause {:?}\n    {err}",
        err.kind(),
        err.server_result_code(),
        err.result_code(),
        err.in_doubt(),
        since.elapsed(),
        err.cause().map(|cause| format!("{:?}", cause.kind()))
    );
}

#[tokio::test]
async fn a_server_that_is_down_comes_up_with_its_records() {
    let (server, client) = started().await;
    write(&client, "u").await.unwrap();
    let port = server.port();
    for idle in [0, 2000] {
        server.down();
        pause(idle).await;
        let start = Instant::now();
        let err = write(&client, "v").await.unwrap_err();
        describe("down, single", &err, start);
        let start = Instant::now();
        let mut rows = batch_of(users(5));
        let err = client.batch(&no_retries(500, 300), &mut rows).await.unwrap_err();
        describe("down, batch", &err, start);
        println!("    rows {:?}, in doubt {:?}, connected {}", codes(&rows), rows.iter().filter(|row| row.in_doubt()).count(), client.is_connected());
        server.up();
        assert_eq!(server.port(), port);
        let start = Instant::now();
        while write(&client, "w").await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10));
            pause(20).await;
        }
        println!("usable again {:?} after it was up", start.elapsed());
        assert!(server.record(SET, "u").is_some());
    }
}

#[tokio::test]
async fn a_client_may_start_before_its_server() {
    let server = server();
    server.down();
    let policy = ClientPolicy { tend_interval: 250, fail_if_not_connected: false, ..ClientPolicy::default() };
    let strict = Client::new(&ClientPolicy::default(), &server.address()).await.err().unwrap();
    describe("no server", &strict, Instant::now());
    let client = Client::new(&policy, &server.address()).await.unwrap();
    let start = Instant::now();
    describe("no server yet, single", &write(&client, "u").await.unwrap_err(), start);
    let mut rows = batch_of(users(3));
    describe("no server yet, batch", &client.batch(&no_retries(500, 300), &mut rows).await.unwrap_err(), start);
    println!("    rows {:?}", codes(&rows));
    server.up();
    let start = Instant::now();
    while write(&client, "u").await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        pause(20).await;
    }
    println!("usable {:?} after the server started", start.elapsed());
}

#[tokio::test]
async fn messages_fail_with_a_code() {
    let (server, client) = started().await;
    for code in [code::DEVICE_OVERLOAD, code::KEY_BUSY, code::TIMEOUT, code::SERVER_MEMORY, code::FORBIDDEN, code::PARTITION_UNAVAILABLE] {
        server.faults().fail_messages(1, code);
        let start = Instant::now();
        let err = write(&client, "u").await.unwrap_err();
        describe(&format!("single {code}"), &err, start);
        assert_eq!(err.server_result_code().map(u8::from).or(err.cause().and_then(|c| c.server_result_code()).map(u8::from)), Some(code));
        server.faults().fail_messages(1, code);
        let mut rows = batch_of(users(3));
        client.batch(&no_retries(500, 300), &mut rows).await.unwrap();
        println!("    batch rows {:?} in doubt {}", codes(&rows), rows[0].in_doubt());
        assert!(rows.iter().all(|row| row.result_code().map(u8::from) == Some(code)));
        write(&client, "u").await.unwrap();
    }
    assert_eq!(server.records().len(), 1);
}

#[tokio::test]
async fn a_batch_fails_in_part() {
    let (server, client) = started().await;
    server.faults().fail_every(10, code::DEVICE_OVERLOAD);
    let mut rows = batch_of(users(95));
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap();
    let failed: Vec<usize> = (0..95).filter(|i| rows[*i].result_code() == Some(ResultCode::DeviceOverload)).collect();
    assert_eq!(failed, [9, 19, 29, 39, 49, 59, 69, 79, 89]);
    assert!(failed.iter().all(|i| rows[*i].record().is_none() && !rows[*i].in_doubt()));
    assert_eq!((server.records().len(), server.counts().errors), (86, 9));
    let mut again: Vec<_> = rows.into_iter().filter(|row| row.result_code() != Some(ResultCode::Ok)).collect();
    server.faults().clear();
    client.batch(&BatchPolicy::write_default(), &mut again).await.unwrap();
    assert_eq!(server.records().len(), 95);
}

#[tokio::test]
async fn a_batch_that_need_not_answer_all_hides_what_was_done() {
    let (server, client) = started().await;
    server.faults().fail_record(key("user-4").digest(), code::KEY_BUSY);
    let mut rows = batch_of(users(3000));
    let policy = BatchPolicy { respond_all_keys: false, ..no_retries(5000, 5000) };
    client.batch(&policy, &mut rows).await.unwrap();
    assert_eq!(server.records().len(), 2999, "all rows are done");
    assert_eq!(rows[4].result_code(), Some(ResultCode::KeyBusy));
    assert_eq!(rows[0].result_code(), Some(ResultCode::KeyBusy), "the trailer's error lands on the first row, which was done");
    assert_eq!((rows[5].result_code(), rows[2999].result_code()), (Some(ResultCode::Ok), None), "rows after the block of the error are not answered");
}

#[tokio::test]
async fn a_batch_of_one_is_no_batch() {
    let (server, client) = started().await;
    let one = async |fail: Option<u8>| {
        server.faults().fail_messages(u64::from(fail.is_some()), fail.unwrap_or(0));
        let mut rows = batch_of(users(1));
        let result = client.batch(&BatchPolicy::write_default(), &mut rows).await;
        println!("one row, {fail:?}: {:?}, row {:?}, in doubt {}", result.as_ref().map_err(|err| err.kind()), codes(&rows), rows[0].in_doubt());
        (result.is_ok(), rows[0].result_code(), rows[0].in_doubt())
    };
    assert_eq!(one(None).await, (true, Some(ResultCode::Ok), false));
    assert_eq!(one(Some(code::FORBIDDEN)).await, (true, Some(ResultCode::FailForbidden), false));
    assert_eq!(one(Some(code::DEVICE_OVERLOAD)).await, (false, Some(ResultCode::DeviceOverload), true));
    assert_eq!(server.counts().batches, 0);
    let record = server.record(SET, "user-0").unwrap();
    assert!((590..=600).contains(&server.ttl(&record).unwrap()));
}

#[tokio::test]
async fn rows_that_cannot_be_routed_are_gone_from_the_slice() {
    let (server, client) = started().await;
    server.down();
    for _ in 0..100 {
        if !client.is_connected() {
            break;
        }
        pause(50).await;
    }
    let mut rows = batch_of(users(3));
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap_err();
    assert_eq!(rows[0].batch_record().key.namespace(), "", "the caller's rows were replaced by placeholders");
    server.up();
    for _ in 0..100 {
        if client.is_connected() {
            break;
        }
        pause(50).await;
    }
    println!("again with the same rows: {:?}", client.batch(&BatchPolicy::write_default(), &mut rows).await.map_err(|err| err.to_string()));
    assert!(server.records().is_empty());
    let mut rows = batch_of(users(3));
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap();
    assert_eq!(server.records().len(), 3);
}

#[tokio::test]
async fn a_batch_refused_as_a_whole() {
    let (server, client) = started().await;
    server.faults().fail_batches(1, code::BATCH_QUEUES_FULL);
    let mut rows = batch_of(users(3));
    let result = client.batch(&BatchPolicy::write_default(), &mut rows).await;
    println!("{result:?} {:?}", codes(&rows));
    assert!(result.is_ok());
    assert_eq!(codes(&rows[1..]), [None, None]);
    assert!(server.records().is_empty());
}

#[tokio::test]
async fn lost_answers_leave_the_client_in_doubt() {
    let (server, client) = started().await;
    server.faults().lose_answers(1);
    let start = Instant::now();
    let err = write(&client, "u").await.unwrap_err();
    describe("answer lost, single", &err, start);
    assert!(err.in_doubt());
    assert!(server.record(SET, "u").is_some());
    server.faults().lose_answers(1);
    let mut rows = batch_of(users(20));
    let err = client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap_err();
    describe("answer lost, batch", &err, start);
    println!("    rows {:?}", codes(&rows[..2]));
    assert!(rows.iter().all(|row| row.in_doubt() && row.result_code() == Some(ResultCode::Timeout)));
    assert_eq!(server.records().len(), 21);
    server.faults().lose_requests(1);
    let err = write(&client, "x").await.unwrap_err();
    describe("request lost, single", &err, start);
    assert!(server.record(SET, "x").is_none());
    server.faults().lose_answers(1);
    let mut rows = batch_of(users(20));
    client.batch(&BatchPolicy::default(), &mut rows).await.unwrap();
    assert_eq!(rows[0].record().unwrap().generation, 3, "the default policy of batches writes twice");
}

#[tokio::test]
async fn delays_end_in_timeouts() {
    let (server, client) = started().await;
    server.faults().delay_answers(Duration::from_millis(100));
    let start = Instant::now();
    write(&client, "u").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
    server.faults().delay_answers(Duration::from_secs(2));
    for (total, socket) in [(500, 200), (500, 30_000), (500, 0), (0, 300)] {
        let start = Instant::now();
        let mut policy = sending_key();
        (policy.base_policy.total_timeout, policy.base_policy.socket_timeout) = (total, socket);
        let err = client.operate(&policy, &key("v"), &entered("v", 7, true)).await.unwrap_err();
        describe(&format!("delayed, single, total {total}, socket {socket}"), &err, start);
        assert!(err.in_doubt());
        let start = Instant::now();
        let mut rows = batch_of(users(5));
        let err = client.batch(&no_retries(total, socket), &mut rows).await.unwrap_err();
        describe(&format!("delayed, batch, total {total}, socket {socket}"), &err, start);
        println!("    rows {:?} in doubt {}", codes(&rows[..1]), rows[0].in_doubt());
        assert!(rows[0].in_doubt());
    }
    assert_eq!(server.records().len(), 7);
}

#[tokio::test]
async fn hanging_messages_are_done_late() {
    let (server, client) = started().await;
    server.faults().hang(Hang::Records);
    let err = write(&client, "u").await.unwrap_err();
    describe("hanging", &err, Instant::now());
    assert!(server.records().is_empty());
    server.faults().hang(Hang::Nothing);
    for _ in 0..100 {
        if server.record(SET, "u").is_some() {
            break;
        }
        pause(10).await;
    }
    assert!(server.record(SET, "u").is_some());
    server.faults().hang(Hang::Everything);
    let mut rows = batch_of(users(3));
    client.batch(&no_retries(300, 200), &mut rows).await.unwrap_err();
    pause(3000).await;
    println!("connected while it hangs: {}, nodes {:?}", client.is_connected(), client.node_names());
    server.down();
    server.faults().clear();
    server.up();
    let start = Instant::now();
    while write(&client, "w").await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        pause(20).await;
    }
    assert_eq!(server.records().len(), 2, "what hung when the server went down is not done");
    assert!(client.get(&ReadPolicy::default(), &key("u"), Bins::All).await.is_ok());
}

#[tokio::test]
async fn an_overloaded_server_trips_the_circuit_breaker() {
    let (server, _) = started().await;
    let policy = ClientPolicy { tend_interval: 60_000, ..ClientPolicy::default() };
    let client = Client::new(&policy, &server.address()).await.unwrap();
    server.faults().fail_messages(u64::MAX, code::DEVICE_OVERLOAD);
    let mut tripped = None;
    for i in 0..200 {
        let err = write(&client, "u").await.unwrap_err();
        let err = err.cause().unwrap_or(&err).clone();
        if matches!(err.kind(), ErrorKind::MaxErrorRate) && tripped.is_none() {
            tripped = Some(i);
            describe("tripped", &err, Instant::now());
        }
    }
    println!("tripped after {tripped:?} failures");
    server.faults().clear();
    let mut rows = batch_of(users(3));
    let err = client.batch(&no_retries(500, 300), &mut rows).await;
    println!("batch while tripped: {err:?} rows {:?}", codes(&rows));
}

#[tokio::test]
async fn a_dropped_client_goes_on_until_it_is_closed() {
    let (server, client) = started().await;
    let infos = async || {
        let before = server.counts().infos;
        pause(700).await;
        server.counts().infos - before
    };
    let other = client.clone();
    drop(client);
    assert!(infos().await > 0);
    other.close().await.unwrap();
    assert_eq!(infos().await, 0);
    drop(other);
    let left = self::client(&server).await;
    drop(left);
    println!("after the last client was dropped unclosed: {} info messages, {} connections", infos().await, server.counts().open_connections);
}

#[tokio::test]
async fn a_batch_that_is_cancelled_is_written_nevertheless() {
    let (server, client) = started().await;
    server.faults().delay_answers(Duration::from_millis(300));
    let mut rows = batch_of(users(5));
    let policy = no_retries(2000, 2000);
    assert!(tokio::time::timeout(Duration::from_millis(50), client.batch(&policy, &mut rows)).await.is_err());
    assert_eq!(rows[0].batch_record().key.namespace(), "", "the rows went with the batch");
    server.faults().clear();
    pause(100).await;
    assert_eq!(server.records().len(), 5);
}

#[tokio::test]
async fn connections_of_before_a_restart_are_not_used() {
    let (server, client) = started().await;
    let mut first = Vec::new();
    for i in 0..20 {
        let writes = (0..8).map(|j| {
            let client = client.clone();
            tokio::spawn(async move { write(&client, &format!("{i}-{j}")).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        server.down();
        server.up();
        let start = Instant::now();
        first.push((write(&client, "first").await.is_ok(), start.elapsed()));
    }
    println!("first write after a restart: {} of 20 well, the slowest after {:?}", first.iter().filter(|f| f.0).count(), first.iter().map(|f| f.1).max());
    assert!(first.iter().all(|f| f.0));
}
