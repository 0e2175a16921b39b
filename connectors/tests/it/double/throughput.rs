//! How much one client gets out of the server.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_fast_enough() {
    let (server, client) = started().await;
    const ROUNDS: usize = 10;
    let mut building = Duration::ZERO;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let built = Instant::now();
        let mut rows = batch_of(users(1000));
        building += built.elapsed();
        let policy = no_retries(20_000, 20_000);
        client.batch(&policy, &mut rows).await.unwrap();
        assert!(rows.iter().all(|row| row.result_code() == Some(ResultCode::Ok)));
    }
    let rate = (ROUNDS * 1000) as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} records/s in batches of 1000, of which the client's building of rows took {building:?} of {:?}", start.elapsed());
    assert_eq!(server.counts().records_written, (ROUNDS * 1000) as u64);
    assert!(rate > 500.0);
}
