//! Connecting: logins, namespaces, what info tells, several nodes, other processes' bytes.

use std::io::{Read, Write};
use std::net::TcpStream;

use aerospike::{AdminPolicy, BatchOperation, ErrorKind};

use super::*;

async fn with_login(server: &Server, auth_mode: AuthMode) -> aerospike::Result<Client> {
    Client::new(&ClientPolicy { auth_mode, tend_interval: 250, ..ClientPolicy::default() }, &server.address()).await
}

fn internal(user: &str, password: &str) -> AuthMode {
    AuthMode::Internal(user.into(), password.into())
}

#[tokio::test]
async fn only_the_right_password_logs_in() {
    let server = Server::start(Options { user: Some(("cohort".into(), "secret".into())), ..options() });
    let start = std::time::Instant::now();
    let client = with_login(&server, internal("cohort", "secret")).await.unwrap();
    println!("connected with a login after {:?}", start.elapsed());
    client.operate(&sending_key(), &key("u"), &entered("u", 7, true)).await.unwrap();
    assert_eq!(server.records().len(), 1);
    println!("{:?} after {:?}", server.counts(), start.elapsed());
    for (mode, code) in [(internal("cohort", "wrong"), "Error 65"), (internal("nobody", "secret"), "Error 60"), (AuthMode::None, "not authenticated")] {
        let err = with_login(&server, mode).await.err().unwrap();
        println!("{code}: {:?} {:?} {err}", err.kind(), err.server_result_code());
        assert!(matches!(err.kind(), ErrorKind::Connection));
        assert!(err.to_string().contains(code), "{err}");
    }
    assert!(server.counts().logins > 2);
}

#[tokio::test]
async fn a_login_where_none_is_needed_does_no_harm() {
    let server = server();
    let client = with_login(&server, internal("cohort", "secret")).await.unwrap();
    client.operate(&sending_key(), &key("u"), &entered("u", 7, true)).await.unwrap();
}

#[tokio::test]
async fn the_client_finds_an_unknown_namespace_itself() {
    let (server, client) = started().await;
    let other = |user: &str| Key::new("other", SET, Value::from(user)).unwrap();
    let err = client.put(&WritePolicy::default(), &other("u"), &[Bin::new("a", Value::from(1))]).await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::InvalidNamespace));
    assert_eq!(err.server_result_code(), None);
    let mut rows: Vec<_> = ["u", "v"].map(|user| BatchOperation::write(&BatchWritePolicy::default(), other(user), entered(user, 7, true))).into();
    let err = client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap_err();
    println!("batch: {:?} {err} {:?}", err.kind(), codes(&rows));
    assert_eq!(server.counts().messages, 0);
}

/// A message for one record that the client does not send.
fn message(namespace: &str) -> Vec<u8> {
    let mut body = vec![22, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    body[1] = 3;
    body.extend((namespace.len() as u32 + 1).to_be_bytes());
    body.push(0);
    body.extend(namespace.as_bytes());
    body.extend([0, 0, 0, 21, 4]);
    body.extend([7; 20]);
    let mut out = vec![2, 3, 0, 0, 0, 0, 0, body.len() as u8];
    out.extend(body);
    out
}

fn exchange(server: &Server, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(sent).unwrap();
    let mut answer = [0; 30];
    let mut got = 0;
    while got < answer.len() {
        match stream.read(&mut answer[got..]) {
            Ok(0) | Err(_) => break,
            Ok(n) => got += n,
        }
    }
    answer[..got].to_vec()
}

#[test]
fn bytes_of_others() {
    let server = server();
    assert_eq!(exchange(&server, &message("other"))[13], 20);
    assert_eq!(exchange(&server, &message(NAMESPACE))[13], 2);
    assert!(exchange(&server, &[9; 40]).is_empty());
    let mut cut = message(NAMESPACE);
    cut[9 + 18] = 200;
    assert!(exchange(&server, &cut).is_empty());
    let closed = Server::start(Options { user: Some(("cohort".into(), "secret".into())), ..options() });
    assert_eq!(exchange(&closed, &message(NAMESPACE))[13], 80);
}

#[tokio::test]
async fn info_tells_the_configuration() {
    let server = Server::start(Options { namespace_info: vec![("storage-engine".into(), "device".into()), ("x".into(), "y".into())], ..options() });
    let client = client(&server).await;
    let node = client.random_node().unwrap();
    let asked = format!("namespace/{NAMESPACE}");
    let info = node.info(&AdminPolicy::default(), &[&asked, "namespaces", "namespace/other", "status", "nonsense"]).await.unwrap();
    let told: std::collections::HashMap<_, _> = info[&asked].split(';').filter_map(|pair| pair.split_once('=')).collect();
    assert_eq!((told["nsup-period"], told["default-ttl"], told["allow-ttl-without-nsup"]), ("120", "3600", "false"));
    assert_eq!((told["storage-engine"], told["stop_writes"], told["x"]), ("device", "false", "y"));
    assert_eq!((info["namespaces"].as_str(), info["namespace/other"].as_str(), info["status"].as_str()), (NAMESPACE, "type=unknown", "ok"));
    assert!(info["nonsense"].starts_with("ERROR:4:"));
    let of_client = client.info(&AdminPolicy::default(), &[&format!("get-config:context=namespace;namespace={NAMESPACE}")]).await;
    println!("{of_client:?}");
}

#[tokio::test]
async fn two_nodes_share_the_records() {
    let server = Server::start(Options { nodes: 2, ..options() });
    let client = client(&server).await;
    assert_eq!(client.nodes().len(), 2);
    let mut rows = batch_of(users(100));
    client.batch(&BatchPolicy::write_default(), &mut rows).await.unwrap();
    assert!(rows.iter().all(|row| row.result_code() == Some(ResultCode::Ok)));
    assert_eq!((server.counts().batches, server.records().len()), (2, 100));
    server.down_node(1);
    let mut lost = 0;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut rows = batch_of(users(100));
        let result = client.batch(&no_retries(300, 200), &mut rows).await;
        let failed = rows.iter().filter(|row| row.result_code() != Some(ResultCode::Ok)).count();
        assert_eq!(result.is_err(), failed > 0);
        lost += failed;
        if failed == 0 {
            break;
        }
        pause(100).await;
        assert!(rounds < 100);
    }
    println!("{lost} rows failed in {rounds} rounds until the other node had all partitions; nodes: {:?}", client.node_names());
    server.up_node(1);
    for _ in 0..40 {
        if client.nodes().len() == 2 {
            break;
        }
        pause(100).await;
    }
    assert_eq!(client.nodes().len(), 2);
}

#[tokio::test]
async fn connections_are_limited() {
    let server = Server::start(Options { max_connections: 3, ..options() });
    let client = std::sync::Arc::new(client(&server).await);
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move { client.operate(&sending_key(), &key(&format!("u{i}")), &entered("u", 7, true)).await })
        })
        .collect();
    let mut failed = 0;
    for task in tasks {
        failed += usize::from(task.await.unwrap().is_err());
    }
    println!("{failed} of 20 failed with at most 3 connections");
    assert!(server.counts().open_connections <= 3);
    assert!(failed < 20);
}
