//! The same tests on SQLite, and on PostgreSQL where `COHORT_TEST_POSTGRES` names one.

use serde_json::json;

use super::*;

fn create(name: &str) -> Edit {
    Edit::Create { name: name.into(), body: json!({"name": name, "sql": "SELECT 1"}), description: "é".into(), origin: "api".into(), active: true }
}

/// Runs a test on a fresh catalog of each kind.
async fn on_each<F: Future<Output = ()>>(test: impl Fn(String) -> F) {
    let folder = tempfile::tempdir().expect("a folder");
    test(format!("sqlite:{}", folder.path().join("some/where/catalog.db").display())).await;
    let Ok(server) = std::env::var("COHORT_TEST_POSTGRES") else {
        eprintln!("skipped on PostgreSQL: COHORT_TEST_POSTGRES is not set");
        return;
    };
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    sqlx::any::install_default_drivers();
    let admin = AnyPool::connect(&server).await.expect("a PostgreSQL");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.expect("a database");
    let base = server.rsplit_once('/').map_or(server.as_str(), |(base, _)| base);
    test(format!("{base}/{name}")).await;
}

#[tokio::test]
async fn segments_are_kept_with_their_history() {
    on_each(|url| async move {
        let catalog = Catalog::open(&url).await.expect("a catalog");
        assert_eq!(catalog.all().await.expect("all"), (0, vec![]));
        assert_eq!(catalog.apply(&[create("a"), create("ünï")], "me", 5).await.expect("created").0, 2);
        let (revision, all) = catalog.all().await.expect("all");
        assert_eq!((revision, all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>()), (2, vec!["a", "ünï"]));
        let id = all[0].id.clone();
        let replace = |name: &str, version| Edit::Replace {
            id: id.clone(),
            name: name.into(),
            body: json!({"sql": "SELECT 2"}),
            description: String::new(),
            expected_version: version,
        };
        assert!(matches!(catalog.apply(&[replace("b", Some(7))], "you", 6).await, Err(CatalogError::Stale { version: 1, .. })));
        assert!(matches!(catalog.apply(&[replace("ünï", None)], "you", 6).await, Err(CatalogError::NameTaken { .. })));
        assert_eq!(catalog.apply(&[replace("b", Some(1))], "you", 6).await.expect("replaced").0, 3);
        assert_eq!(catalog.apply(&[Edit::SetActive { id: id.clone(), active: false }], "you", 7).await.expect("paused").0, 4);
        assert_eq!(catalog.apply(&[Edit::Drop { id: id.clone() }], "me", 8).await.expect("dropped").0, 5);
        assert!(matches!(catalog.apply(&[Edit::Drop { id: id.clone() }], "me", 8).await, Err(CatalogError::Unknown { .. })));
        assert_eq!(catalog.revision().await.expect("a revision"), 5);
        let actions: Vec<_> = catalog.versions(&id).await.expect("versions").into_iter().map(|c| (c.action, c.version, c.by)).collect();
        let expected = [("drop", 4, "me"), ("pause", 3, "you"), ("replace", 2, "you"), ("create", 1, "me")];
        assert_eq!(actions, expected.map(|(a, v, b)| (a.to_string(), v, b.to_string())));
        assert_eq!(catalog.audit(2, Some(4)).await.expect("changes").iter().map(|c| c.revision).collect::<Vec<_>>(), [3, 2]);
        let names = |at: i64| {
            let catalog = catalog.clone();
            async move { catalog.active_at(at).await.expect("a past").into_iter().map(|s| s.1).collect::<Vec<_>>() }
        };
        assert_eq!(names(2).await, ["a", "ünï"]);
        assert_eq!(names(3).await, ["b", "ünï"]);
        assert_eq!(names(4).await, ["ünï"]);
        let again = Catalog::open(&url).await.expect("the same");
        assert_eq!(again.all().await.expect("all").1.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn changes_are_made_all_or_none() {
    on_each(|url| async move {
        let catalog = Catalog::open(&url).await.expect("a catalog");
        assert!(matches!(catalog.apply(&[create("a"), create("b"), create("a")], "me", 1).await, Err(CatalogError::NameTaken { name }) if name == "a"));
        assert_eq!(catalog.all().await.expect("all"), (0, vec![]));
        assert!(catalog.audit(10, None).await.expect("changes").is_empty());
    })
    .await;
}

#[tokio::test]
async fn writers_take_turns() {
    on_each(|url| async move {
        let (one, other) = (Catalog::open(&url).await.expect("a catalog"), Catalog::open(&url).await.expect("a catalog"));
        let writers = (0..8).map(|w| {
            let catalog = if w % 2 == 0 { one.clone() } else { other.clone() };
            tokio::spawn(async move {
                for i in 0..5 {
                    catalog.apply(&[create(&format!("{w} {i}"))], "me", 1).await.expect("created");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer");
        }
        assert_eq!(other.revision().await.expect("a revision"), 40);
        let revisions: Vec<_> = one.audit(100, None).await.expect("changes").into_iter().map(|c| c.revision).collect();
        assert_eq!(revisions, (1..=40).rev().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn passwords_stay_secret() {
    let error = Catalog::open("postgres://me:hidden-word@127.0.0.1:1/nowhere").await.map(|_| ()).expect_err("nothing there");
    let text = format!("{error} {error:?}");
    assert!(text.contains("me:***@127.0.0.1:1/nowhere") && !text.contains("hidden-word"), "{text}");
    assert_eq!(redacted("sqlite:./a/b.db"), "sqlite:./a/b.db");
    assert_eq!(redacted("postgres://me@host/db"), "postgres://me@host/db");
}
