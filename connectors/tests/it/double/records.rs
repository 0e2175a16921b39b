//! What becomes of records: values, operations, generations, times to live.

use crate::aerospike_double::{Value as Stored, code};
use aerospike::{BatchDeletePolicy, BatchReadPolicy, Bins, GenerationPolicy, RecordExistsAction};

use super::*;

async fn code_of(result: impl Future<Output = aerospike::Result<impl Sized>>) -> ResultCode {
    match result.await {
        Ok(_) => ResultCode::Ok,
        Err(err) => err.server_result_code().unwrap_or_else(|| panic!("not an answer: {err:?}")),
    }
}

#[tokio::test]
async fn bins_of_every_type_come_back() {
    let (server, client) = started().await;
    let map = Value::from(std::collections::HashMap::from([(Value::from("k"), Value::List(vec![Value::from(1), Value::Nil]))]));
    let values = [Value::from("text"), Value::from(-5), Value::from(i64::MAX), Value::from(2.5), Value::from(true), Value::Blob(vec![1, 2]), map];
    let bins: Vec<Bin> = values.iter().enumerate().map(|(i, value)| Bin::new(format!("b{i}"), value.clone())).collect();
    client.put(&sending_key(), &key("u"), &bins).await.unwrap();
    let record = client.get(&ReadPolicy::default(), &key("u"), Bins::All).await.unwrap();
    for (i, value) in values.iter().enumerate() {
        assert_eq!(&record.bins[&format!("b{i}")], value);
    }
    assert_eq!(record.generation, 1);
    assert_eq!(server.record(SET, "u").unwrap().bin("b6").unwrap().get("k").unwrap().items().len(), 2);
    let some = client.get(&ReadPolicy::default(), &key("u"), Bins::Some(vec!["b1".into(), "none".into()])).await.unwrap();
    assert_eq!(some.bins.len(), 1);
}

#[tokio::test]
async fn a_nil_deletes_a_bin_and_the_last_one_the_record() {
    let (server, client) = started().await;
    let put = async |name: &str, value| code_of(client.put(&sending_key(), &key("u"), &[Bin::new(name, value)])).await;
    assert_eq!(put("a", Value::Nil).await, ResultCode::KeyNotFoundError);
    put("a", Value::from(1)).await;
    put("b", Value::from(1)).await;
    put("a", Value::Nil).await;
    assert_eq!(server.record(SET, "u").unwrap().bins.len(), 1);
    assert_eq!(put("b", Value::Nil).await, ResultCode::Ok);
    assert!(server.records().is_empty());
    assert!(!client.delete(&WritePolicy::default(), &key("u")).await.unwrap());
}

#[tokio::test]
async fn generations_and_existence_are_checked() {
    let (_server, client) = started().await;
    let put = async |change: fn(&mut WritePolicy)| {
        let mut policy = WritePolicy::default();
        change(&mut policy);
        code_of(client.put(&policy, &key("u"), &[Bin::new("a", Value::from(1))])).await
    };
    assert_eq!(put(|p| p.record_exists_action = RecordExistsAction::UpdateOnly).await, ResultCode::KeyNotFoundError);
    assert_eq!(put(|p| p.record_exists_action = RecordExistsAction::CreateOnly).await, ResultCode::Ok);
    assert_eq!(put(|p| p.record_exists_action = RecordExistsAction::CreateOnly).await, ResultCode::KeyExistsError);
    assert_eq!(put(|p| (p.generation_policy, p.generation) = (GenerationPolicy::ExpectGenEqual, 1)).await, ResultCode::Ok);
    assert_eq!(put(|p| (p.generation_policy, p.generation) = (GenerationPolicy::ExpectGenEqual, 1)).await, ResultCode::GenerationError);
    assert_eq!(put(|p| p.record_exists_action = RecordExistsAction::Replace).await, ResultCode::Ok);
    let record = client.get(&ReadPolicy::default(), &key("u"), Bins::None).await.unwrap();
    assert_eq!(record.generation, 3);
    assert!(client.exists(&ReadPolicy::default(), &key("u")).await.unwrap());
    assert_eq!(code_of(client.touch(&WritePolicy::default(), &key("other"))).await, ResultCode::KeyNotFoundError);
    assert!(client.delete(&WritePolicy::default(), &key("u")).await.unwrap());
    assert!(!client.exists(&ReadPolicy::default(), &key("u")).await.unwrap());
}

#[tokio::test]
async fn lists_and_maps_change_together_or_not_at_all() {
    let (server, client) = started().await;
    let policy = sending_key();
    for (segment, qualified) in [(7, true), (8, true), (7, false)] {
        client.operate(&policy, &key("u"), &entered("u", segment, qualified)).await.unwrap();
    }
    let before = server.record(SET, "u").unwrap();
    assert_eq!(before.bin("segments").unwrap(), &Stored::list([7, 8]));
    assert_eq!(before.bin("results").unwrap().get("rule-7").unwrap().get("qualified"), Some(&Stored::Bool(false)));
    let strict = ListPolicy::new(ListOrderType::Unordered, ListWriteFlags::ADD_UNIQUE);
    let failing = [scalar::put(&Bin::new("userId", Value::from("v"))), lists::append(&strict, "segments", Value::from(8))];
    assert_eq!(code_of(client.operate(&policy, &key("u"), &failing)).await, ResultCode::ElementExists);
    let wrong_type = [maps::remove_by_key("results", Value::from("rule-7"), MapReturnType::NONE), lists::append(&strict, "userId", Value::from(8))];
    assert_eq!(code_of(client.operate(&policy, &key("u"), &wrong_type)).await, ResultCode::BinTypeError);
    let after = server.record(SET, "u").unwrap();
    assert_eq!((after.bins, after.generation), (before.bins, before.generation));
}

#[tokio::test]
async fn an_exit_removes_the_segment_and_its_results() {
    let (server, client) = started().await;
    for segment in [7, 8, 9] {
        client.operate(&sending_key(), &key("u"), &entered("u", segment, true)).await.unwrap();
    }
    let exit = [
        lists::remove_by_value_list("segments", vec![Value::from(7), Value::from(9)], ListReturnType::COUNT),
        maps::remove_by_key_list("results", vec![Value::from("rule-7"), Value::from("rule-9"), Value::from("none")], MapReturnType::COUNT),
        lists::get("segments", 0),
        maps::get_by_key_list("results", vec![Value::from("rule-8")], MapReturnType::KEY),
    ];
    let record = client.operate(&sending_key(), &key("u"), &exit).await.unwrap();
    let results = record.results.unwrap();
    assert_eq!(results, [Value::from(2), Value::from(2), Value::from(8), Value::List(vec![Value::from("rule-8")])]);
    let stored = server.record(SET, "u").unwrap();
    assert_eq!(stored.bin("segments").unwrap(), &Stored::list([8]));
    assert_eq!(stored.bin("results").unwrap().entries().len(), 1);
    let nothing = [lists::remove_by_value("segments", Value::from(1), ListReturnType::NONE)];
    assert_eq!(code_of(client.operate(&sending_key(), &key("nobody"), &nothing)).await, ResultCode::KeyNotFoundError);
    assert!(server.record(SET, "nobody").is_none());
}

#[tokio::test]
async fn inverted_selections_keep_what_is_named() {
    let (server, client) = started().await;
    for segment in 1..=4 {
        client.operate(&sending_key(), &key("u"), &entered("u", segment, true)).await.unwrap();
    }
    let keep = [
        lists::remove_by_value_list("segments", vec![Value::from(2), Value::from(3)], ListReturnType::VALUES.inverted()),
        maps::remove_by_key_list("results", vec![Value::from("rule-2"), Value::from("rule-3")], MapReturnType::KEY.inverted()),
    ];
    let results = client.operate(&sending_key(), &key("u"), &keep).await.unwrap().results.unwrap();
    assert_eq!(results[0], Value::List(vec![Value::from(1), Value::from(4)]));
    assert_eq!(results[1], Value::List(vec![Value::from("rule-1"), Value::from("rule-4")]));
    assert_eq!(server.record(SET, "u").unwrap().bin("segments").unwrap(), &Stored::list([2, 3]));
    let single = [maps::remove_by_key("results", Value::from("rule-2"), MapReturnType::COUNT.inverted())];
    assert_eq!(code_of(client.operate(&sending_key(), &key("u"), &single)).await, ResultCode::OpNotApplicable);
}

#[tokio::test]
async fn list_operations() {
    let (server, client) = started().await;
    let policy = WritePolicy { respond_per_each_op: true, send_key: true, ..WritePolicy::default() };
    let run = async |ops: &[Operation]| client.operate(&policy, &key("u"), ops).await.map(|record| record.results.unwrap());
    let plain = ListPolicy::default();
    let ints = |values: &[i64]| Value::List(values.iter().copied().map(Value::from).collect());
    let results = run(&[
        lists::append(&plain, "l", Value::from(5)),
        lists::append_items(&plain, "l", vec![Value::from(3), Value::from(5)]),
        lists::insert(&plain, "l", 0, Value::from(9)),
        lists::set("l", -1, Value::from(1)),
        lists::size("l"),
        lists::get("l", 0),
        lists::get_range("l", 1, 2),
        lists::get_by_rank("l", 0, ListReturnType::VALUES),
        lists::get_by_rank_range_count("l", -2, 2, ListReturnType::VALUES),
        lists::get_by_value("l", Value::from(5), ListReturnType::INDEX),
        lists::get_by_value_range("l", Value::from(3), Value::from(9), ListReturnType::COUNT),
        lists::sort("l", aerospike::ListSortFlags::DEFAULT),
        lists::pop("l", 0),
        lists::increment(&plain, "l", 0, 4),
        lists::trim("l", 0, 2),
    ])
    .await
    .unwrap();
    let expected = [
        Value::from(1),
        Value::from(3),
        Value::from(4),
        Value::Nil,
        Value::from(4),
        Value::from(9),
        ints(&[5, 3]),
        Value::from(1),
        ints(&[5, 9]),
        ints(&[1]),
        Value::from(2),
        Value::Nil,
        Value::from(1),
        Value::from(7),
        Value::from(1),
    ];
    assert_eq!(results, expected);
    assert_eq!(server.record(SET, "u").unwrap().bin("l").unwrap(), &Stored::list([7, 5]));
    let fails = async |op: Operation| run(&[op]).await.unwrap_err().server_result_code().unwrap();
    assert_eq!(fails(lists::get("l", 5)).await, ResultCode::OpNotApplicable);
    assert_eq!(fails(lists::pop("l", 5)).await, ResultCode::OpNotApplicable);
    assert_eq!(fails(maps::size("l")).await, ResultCode::BinTypeError);
    run(&[lists::set_order("l", ListOrderType::Ordered), lists::append(&plain, "l", Value::from(6))]).await.unwrap();
    assert_eq!(server.record(SET, "u").unwrap().bin("l").unwrap().items(), Stored::list([5, 6, 7]).items());
    assert_eq!(client.get(&ReadPolicy::default(), &key("u"), Bins::All).await.unwrap().bins["l"], ints(&[5, 6, 7]));
    assert_eq!(fails(lists::insert(&plain, "l", 0, Value::from(1))).await, ResultCode::OpNotApplicable);
    assert_eq!(run(&[lists::clear("l"), lists::size("l"), lists::clear("none")]).await.unwrap(), [Value::Nil, Value::from(0), Value::Nil]);
}

#[tokio::test]
async fn unique_lists_take_what_they_do_not_have() {
    let (server, client) = started().await;
    let values = |ints: &[i64]| ints.iter().copied().map(Value::from).collect::<Vec<_>>();
    let append = async |flags, ints: &[i64]| {
        let policy = ListPolicy::new(ListOrderType::Unordered, flags);
        code_of(client.operate(&sending_key(), &key("u"), &[lists::append_items(&policy, "l", values(ints))])).await
    };
    assert_eq!(append(ListWriteFlags::ADD_UNIQUE, &[1, 2]).await, ResultCode::Ok);
    assert_eq!(append(ListWriteFlags::ADD_UNIQUE, &[2, 3]).await, ResultCode::ElementExists);
    assert_eq!(append(ListWriteFlags::ADD_UNIQUE, &[3, 3]).await, ResultCode::OpNotApplicable);
    assert_eq!(append(ListWriteFlags::ADD_UNIQUE | ListWriteFlags::NO_FAIL, &[2, 3]).await, ResultCode::Ok);
    assert_eq!(server.record(SET, "u").unwrap().bin("l").unwrap(), &Stored::list([1, 2]));
    assert_eq!(append(unique().flags, &[2, 3, 3]).await, ResultCode::Ok);
    assert_eq!(server.record(SET, "u").unwrap().bin("l").unwrap(), &Stored::list([1, 2, 3]));
}

#[tokio::test]
async fn map_operations() {
    let (server, client) = started().await;
    let run = async |ops: &[Operation]| client.operate(&sending_key(), &key("u"), ops).await.map(|record| record.results.unwrap());
    let put = |flags, name: &str, value: i64| maps::put(&MapPolicy::new(maps::MapOrder::KeyOrdered, flags), "m", Value::from(name), Value::from(value));
    let items = |flags, pairs: &[(&str, i64)]| {
        let map: std::collections::HashMap<Value, Value> = pairs.iter().map(|(k, v)| (Value::from(*k), Value::from(*v))).collect();
        maps::put_items(&MapPolicy::new(maps::MapOrder::KeyOrdered, flags), "m", map)
    };
    let sizes = run(&[put(MapWriteFlags::DEFAULT, "b", 2), items(MapWriteFlags::DEFAULT, &[("c", 1), ("a", 3)]), maps::size("m")]).await.unwrap();
    assert_eq!(sizes, [Value::from(1), Value::from(3), Value::from(3)]);
    let fails = async |op: Operation| run(&[op]).await.unwrap_err().server_result_code().unwrap();
    assert_eq!(fails(put(MapWriteFlags::CREATE_ONLY, "a", 9)).await, ResultCode::ElementExists);
    assert_eq!(fails(put(MapWriteFlags::UPDATE_ONLY, "z", 9)).await, ResultCode::ElementNotFound);
    assert_eq!(fails(items(MapWriteFlags::CREATE_ONLY | MapWriteFlags::PARTIAL, &[("a", 9), ("d", 4)])).await, ResultCode::ElementExists);
    let partial = MapWriteFlags::CREATE_ONLY | MapWriteFlags::NO_FAIL | MapWriteFlags::PARTIAL;
    assert_eq!(run(&[items(partial, &[("a", 9), ("d", 4)])]).await.unwrap(), [Value::from(4)]);
    assert_eq!(run(&[items(MapWriteFlags::CREATE_ONLY | MapWriteFlags::NO_FAIL, &[("a", 9), ("e", 4)])]).await.unwrap(), [Value::from(4)]);
    assert_eq!(server.record(SET, "u").unwrap().bin("m").unwrap(), &Stored::map([("a", 3), ("b", 2), ("c", 1), ("d", 4)]));
    let results = run(&[
        maps::get_by_key("m", Value::from("a"), MapReturnType::VALUE),
        maps::get_by_key("m", Value::from("b"), MapReturnType::INDEX),
        maps::get_by_key("m", Value::from("b"), MapReturnType::RANK),
        maps::get_by_key_list("m", vec![Value::from("d"), Value::from("z")], MapReturnType::COUNT),
        maps::get_by_index("m", -1, MapReturnType::KEY),
        maps::get_by_rank("m", 0, MapReturnType::KEY),
        maps::get_by_value_range("m", Value::from(2), Value::from(4), MapReturnType::KEY),
        maps::get_by_key_range("m", Value::from("b"), Value::from("d"), MapReturnType::COUNT),
        maps::get_by_key_list("m", vec![Value::from("a")], MapReturnType::KEY_VALUE),
        maps::get_by_key("m", Value::from("z"), MapReturnType::EXISTS),
    ])
    .await
    .unwrap();
    let keys = |names: &[&str]| Value::List(names.iter().map(|name| Value::from(*name)).collect());
    let expected = [
        Value::from(3),
        Value::from(1),
        Value::from(1),
        Value::from(1),
        Value::from("d"),
        Value::from("c"),
        keys(&["a", "b"]),
        Value::from(2),
        Value::KeyValueList(vec![(Value::from("a"), Value::from(3))]),
        Value::from(false),
    ];
    assert_eq!(results, expected);
    let removed = run(&[maps::remove_by_key("m", Value::from("a"), MapReturnType::VALUE), maps::remove_by_index("m", 0, MapReturnType::KEY)]).await.unwrap();
    assert_eq!(removed, [Value::from(3), Value::from("b")]);
    run(&[maps::clear("m"), maps::set_order("m", maps::MapOrder::Unordered), maps::remove_by_key("none", Value::from("a"), MapReturnType::NONE)])
        .await
        .unwrap();
    assert_eq!(server.record(SET, "u").unwrap().bin("m").unwrap().entries().len(), 0);
    assert!(server.record(SET, "u").unwrap().bin("none").is_none());
}

#[tokio::test]
async fn times_to_live() {
    let (server, client) = started().await;
    let ttl = |user: &str| server.ttl(&server.record(SET, user).unwrap());
    let write = async |user: &str, expiration| {
        let policy = WritePolicy { expiration, ..sending_key() };
        code_of(client.operate(&policy, &key(user), &entered(user, 7, true))).await
    };
    for (user, expiration) in [("seconds", Expiration::Seconds(60)), ("default", Expiration::NamespaceDefault), ("never", Expiration::Never)] {
        assert_eq!(write(user, expiration).await, ResultCode::Ok);
    }
    assert_eq!(ttl("never"), None);
    assert!((3599..=3600).contains(&ttl("default").unwrap()));
    server.advance(Duration::from_secs(30));
    assert!((29..=30).contains(&ttl("seconds").unwrap()));
    write("seconds", Expiration::DontUpdate).await;
    assert!((29..=30).contains(&ttl("seconds").unwrap()));
    server.advance(Duration::from_secs(32));
    assert!(server.record(SET, "seconds").is_none());
    assert_eq!(code_of(client.get(&ReadPolicy::default(), &key("seconds"), Bins::All)).await, ResultCode::KeyNotFoundError);
    write("seconds", Expiration::DontUpdate).await;
    let record = server.record(SET, "seconds").unwrap();
    assert_eq!((record.generation, ttl("seconds").unwrap() > 3500), (1, true));
    assert_eq!(write("long", Expiration::Seconds(11 * 365 * 24 * 3600)).await, ResultCode::ParameterError);
}

#[tokio::test]
async fn without_nsup_nothing_may_expire() {
    let server = Server::start(Options { nsup_period: 0, default_ttl: 0, ..options() });
    let client = client(&server).await;
    let write = async |expiration| {
        let policy = WritePolicy { expiration, ..sending_key() };
        code_of(client.operate(&policy, &key("u"), &entered("u", 7, true))).await
    };
    assert_eq!(write(Expiration::Seconds(60)).await, ResultCode::FailForbidden);
    assert_eq!(write(Expiration::NamespaceDefault).await, ResultCode::Ok);
    assert_eq!(write(Expiration::Never).await, ResultCode::Ok);
    let mut rows = batch_of(users(3));
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap();
    assert_eq!(codes(&rows), [Some(ResultCode::FailForbidden); 3]);
    server.configure(|options| options.allow_ttl_without_nsup = true);
    assert_eq!(write(Expiration::Seconds(60)).await, ResultCode::Ok);
    server.configure(|options| options.stop_writes = true);
    assert_eq!(write(Expiration::Never).await, ResultCode::ServerMemError);
}

#[tokio::test]
async fn a_batch_of_many_writes() {
    let (server, client) = started().await;
    let mut rows = batch_of(users(3000));
    client.batch(&no_retries(10_000, 10_000), &mut rows).await.unwrap();
    assert!(rows.iter().all(|row| row.result_code() == Some(ResultCode::Ok)));
    let record = rows[3].record().unwrap();
    assert_eq!(record.results.as_ref().unwrap(), &[Value::Nil, Value::from(1), Value::from(1), Value::Nil]);
    assert_eq!(record.generation, 1);
    assert_eq!(server.records().len(), 3000);
    let stored = &server.records()[&(SET.to_owned(), "user-3".to_owned())];
    assert_eq!(stored.bin("userId").unwrap().as_str(), Some("user-3"));
    assert!((599..=600).contains(&server.ttl(stored).unwrap()));
    let counts = server.counts();
    assert_eq!((counts.batches, counts.batch_records, counts.records_written, counts.errors), (1, 3000, 3000, 0));
    let mut rows = vec![
        BatchOperation::read(&BatchReadPolicy::default(), key("user-1"), Bins::All),
        BatchOperation::read_ops(&BatchReadPolicy::default(), key("user-2"), vec![lists::size("segments"), scalar::get_bin("userId")]),
        BatchOperation::read(&BatchReadPolicy::default(), key("nobody"), Bins::None),
        BatchOperation::delete(&BatchDeletePolicy::default(), key("user-4")),
        BatchOperation::delete(&BatchDeletePolicy::default(), key("user-5")),
        BatchOperation::delete(&BatchDeletePolicy::default(), key("nobody")),
    ];
    client.batch(&BatchPolicy::default(), &mut rows).await.unwrap();
    let (ok, none) = (Some(ResultCode::Ok), Some(ResultCode::KeyNotFoundError));
    assert_eq!(codes(&rows), [ok, ok, none, ok, ok, none]);
    assert_eq!(rows[0].record().unwrap().bins.len(), 4);
    assert_eq!(rows[1].record().unwrap().results.as_ref().unwrap()[0], Value::from(1));
    assert_eq!(server.records().len(), 2998);
}

#[tokio::test]
async fn equal_rows_are_sent_once_and_applied_to_each() {
    let (server, client) = started().await;
    let ops = entered("everybody", 7, true);
    let policy = BatchWritePolicy::default();
    let mut rows: Vec<_> = users(50).iter().map(|user| BatchOperation::write(&policy, key(user), ops.clone())).collect();
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap();
    assert_eq!(server.records().len(), 50);
    let record = server.record_by_digest(&key("user-1").digest()).unwrap();
    assert_eq!((record.key.is_none(), record.bin("userId").unwrap().as_str()), (true, Some("everybody")));
}

#[tokio::test]
async fn a_batch_that_is_too_long_is_refused_as_a_whole() {
    let server = Server::start(Options { batch_max_requests: 10, ..options() });
    let client = client(&server).await;
    let mut rows = batch_of(users(11));
    let result = client.batch(&BatchPolicy::write_default(), &mut rows).await;
    // The client's trap: the call succeeds, the first row has the error, and the others have neither error nor record.
    assert!(result.is_ok());
    assert_eq!(rows[0].result_code(), Some(ResultCode::BatchMaxRequestsExceeded));
    assert_eq!(codes(&rows[1..]), [None; 10]);
    assert!(server.records().is_empty());
    assert_eq!(code::BATCH_MAX_REQUESTS, 151);
}

#[tokio::test]
async fn records_that_grow_too_big_are_refused() {
    let server = Server::start(Options { max_record_size: 1000, ..options() });
    let client = client(&server).await;
    let big = [Bin::new("a", Value::from("x".repeat(1001)))];
    assert_eq!(code_of(client.put(&WritePolicy::default(), &key("u"), &big)).await, ResultCode::RecordTooBig);
}

#[tokio::test]
async fn reading_all_bins_in_a_batch_write_is_refused() {
    let (_server, client) = started().await;
    let mut ops = vec![scalar::put(&Bin::new("a", Value::from(1))), scalar::get()];
    let row = |ops: &Vec<Operation>, user| BatchOperation::write(&BatchWritePolicy::default(), key(user), ops.clone());
    let mut rows = vec![row(&ops, "u"), row(&ops, "v")];
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap();
    assert_eq!(codes(&rows), [Some(ResultCode::ParameterError); 2]);
    ops.push(scalar::touch());
    client.put(&WritePolicy::default(), &key("u"), &[Bin::new("b", Value::from(2))]).await.unwrap();
    let record = client.operate(&WritePolicy::default(), &key("u"), &ops).await.unwrap();
    assert_eq!(record.bins.len(), 2);
}

#[tokio::test]
async fn scalars_are_added_to() {
    let (server, client) = started().await;
    let bin = |name: &str, value: Value| Bin::new(name, value);
    let policy = sending_key();
    for _ in 0..2 {
        client.add(&policy, &key("u"), &[bin("n", Value::from(3))]).await.unwrap();
        client.append(&policy, &key("u"), &[bin("s", Value::from("ab"))]).await.unwrap();
    }
    client.prepend(&policy, &key("u"), &[bin("s", Value::from("-"))]).await.unwrap();
    let record = server.record(SET, "u").unwrap();
    assert_eq!((record.bin("n").unwrap().as_int(), record.bin("s").unwrap().as_str()), (Some(6), Some("-abab")));
    assert_eq!(code_of(client.add(&policy, &key("u"), &[bin("s", Value::from(1))])).await, ResultCode::BinTypeError);
    let all = [scalar::delete(), scalar::put(&bin("x", Value::from(1)))];
    client.operate(&policy, &key("u"), &all).await.unwrap();
    assert_eq!(server.record(SET, "u").unwrap().bins.len(), 1);
}
