//! The client of schema registries: what it asks for, whom it asks next, and what it makes of each answer.

use std::time::{Duration, Instant};

use cohort_connectors::registry::{Login, Registry, RegistryOptions};
use cohort_engine::formats::Away;
use cohort_engine::formats::schemas::{Registered, SchemaKind, SchemaSource};
use tokio::runtime::Handle;

use crate::registry_double::{self as double, Mode};

fn options(urls: &[&str]) -> RegistryOptions {
    RegistryOptions { urls: urls.iter().map(ToString::to_string).collect(), timeout: Duration::from_secs(2), ..RegistryOptions::default() }
}

/// Asks as workers do, from a thread of its own.
async fn fetch(options: &RegistryOptions, id: u32) -> Result<Option<Registered>, Away> {
    let registry = Registry::new(options, Handle::current()).expect("a client");
    tokio::task::spawn_blocking(move || registry.fetch(id)).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_comes_with_all_that_it_names() {
    let registry = double::Registry::start().await;
    registry.add(5, "PROTOBUF", "main", &[("b.proto", "b/subject", 2), ("a.proto", "a", 1)]);
    registry.add_version("b/subject", 2, "PROTOBUF", "b", &[("a.proto", "a", 1), ("c.proto", "c", 7)]);
    registry.add_version("a", 1, "PROTOBUF", "a", &[("c.proto", "c", 7)]);
    registry.add_version("c", 7, "PROTOBUF", "c", &[("b.proto", "b/subject", 2)]);
    let found = fetch(&options(&[&registry.url]), 5).await.expect("answers").expect("is there");
    let pair = |name: &str, text: &str| (name.to_string(), text.to_string());
    assert_eq!((found.kind, found.text.as_str()), (SchemaKind::Protobuf, "main"));
    // Each after those that it names; the circle ends.
    assert_eq!(found.references, [pair("c.proto", "c"), pair("a.proto", "a"), pair("b.proto", "b")]);
    assert_eq!(registry.asked().len(), 4, "none is asked for twice: {:?}", registry.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_registry_says_that_there_is_no_schema() {
    let registry = double::Registry::start().await;
    let options = options(&[&registry.url]);
    assert_eq!(fetch(&options, 1).await, Ok(None));
    for status in [404, 500, 503, 429, 302] {
        registry.set_mode(Mode::Broken(status));
        let away = fetch(&options, 1).await.expect_err("is away");
        assert!(away.id == 1 && away.why.contains(&status.to_string()), "{away}");
    }
    registry.set_mode(Mode::Well);
    registry.add(1, "AVRO", "\"string\"", &[("x", "gone", 1)]);
    let away = fetch(&options, 1).await.expect_err("what it names is not there");
    assert!(away.why.contains("version 1 of gone"), "{away}");
    registry.add(1, "SOMETHING", "?", &[]);
    assert_eq!(fetch(&options, 1).await.map(|found| found.map(|f| f.kind)), Ok(Some(SchemaKind::Other)));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_tried_in_turn_and_the_one_that_answers_is_kept() {
    let (silent, broken, well) = (double::Registry::start().await, double::Registry::start().await, double::Registry::start().await);
    silent.set_mode(Mode::Silent);
    broken.set_mode(Mode::Broken(503));
    well.add(1, "AVRO", "\"string\"", &[]);
    // Nobody listens there.
    let closed = "http://127.0.0.1:1";
    let options = RegistryOptions { timeout: Duration::from_secs(4), ..options(&[&silent.url, closed, &broken.url, &format!("{}/", well.url)]) };
    let registry = std::sync::Arc::new(Registry::new(&options, Handle::current()).expect("a client"));
    let ask = async || {
        let registry = std::sync::Arc::clone(&registry);
        tokio::task::spawn_blocking(move || registry.fetch(1)).await.expect("no panic")
    };
    assert!(ask().await.expect("all are tried within the time").is_some());
    assert_eq!((silent.asked().len(), broken.asked().len(), well.asked().len()), (1, 1, 1));
    assert!(ask().await.expect("and the one that answers is asked first").is_some());
    assert_eq!((silent.asked().len(), broken.asked().len(), well.asked().len()), (1, 1, 2));
    well.set_mode(Mode::Silent);
    let started = Instant::now();
    let away = ask().await.expect_err("none answers");
    assert!(started.elapsed() < Duration::from_secs(8), "{away} after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_brought_and_never_shown() {
    let registry = double::Registry::start().await;
    registry.add(1, "AVRO", "\"string\"", &[]);
    for (login, header) in [(Login::Basic("me".into(), "s3cret".into()), "Basic bWU6czNjcmV0"), (Login::Bearer("t0ken".into()), "Bearer t0ken")] {
        registry.set_login(header);
        let with = RegistryOptions { login, ..options(&[&registry.url]) };
        assert!(fetch(&with, 1).await.expect("is let in").is_some());
        registry.set_login("Bearer other");
        let away = fetch(&with, 1).await.expect_err("is not let in");
        assert!(away.why.contains("401") && !away.why.contains("s3cret") && !away.why.contains("t0ken"), "{away}");
    }
    let shown = options(&["http://me:s3cret@registry"]).check().expect_err("a password in an address").to_string();
    assert!(shown.contains("no password") && !shown.contains("s3cret"), "{shown}");
    for wrong in ["registry:8081", "", "ftp://registry"] {
        assert!(options(&[wrong]).check().is_err(), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_of_a_runtime_that_ended() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let registry = Registry::new(&options(&["http://127.0.0.1:1"]), runtime.handle().clone()).expect("a client");
    runtime.shutdown_background();
    let away = tokio::task::spawn_blocking(move || registry.fetch(1)).await.expect("no panic").expect_err("nobody asks any more");
    assert!(away.why.contains("no answer"), "{away}");
}
