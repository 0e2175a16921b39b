//! Two members of a group.

use super::*;

const TOPICS: [&str; 2] = ["orders", "activity"];

fn both_until(what: &str, readers: [&mut Reader; 2], saved: &mut Positions, done: impl Fn(&Reader, &Reader) -> bool) {
    let started = Instant::now();
    let [one, two] = readers;
    while !done(one, two) {
        let stand = (one.got.len(), &one.held, two.got.len(), &two.held);
        assert!(started.elapsed() < LONG, "{what}: {stand:?} {:?} {:?}", one.errors, two.errors);
        one.step(saved);
        two.step(saved);
    }
}

#[test]
fn members_share_partitions_and_each_record_is_read_once() {
    let cluster = cluster(1, &TOPICS, 4);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut saved) = (Feed::new(&brokers), Positions::new());
    feed.put_many(&TOPICS, 4, 100);
    let mut one = Reader::join(options(&brokers, &TOPICS));
    one.read_all(&feed, &mut saved);
    assert_eq!(one.held, BTreeSet::from([0, 1, 2, 3]));
    // What comes meanwhile is read by one of them, from where the checkpoints reach.
    let mut two = Reader::join(options(&brokers, &TOPICS));
    feed.put_many(&TOPICS, 4, 100);
    both_until("shared", [&mut one, &mut two], &mut saved, |one, two| one.held.len() == 2 && two.held.len() == 2);
    assert!(one.held.is_disjoint(&two.held));
    assert_eq!(one.revoked, 1);
    feed.put_many(&TOPICS, 4, 100);
    let all = feed.all().len();
    both_until("read", [&mut one, &mut two], &mut saved, |one, two| one.got.len() + two.got.len() >= all);
    assert_each_once(&[&one, &two], &feed);
    assert_eq!((one.lost, two.lost), (0, 0));
    assert!(two.got.len() >= 2 * 2 * 100, "the second reads its share: {}", two.got.len());
    // The first leaves; the second goes on with its partitions from where they were.
    let places: Vec<u32> = one.held.iter().copied().collect();
    let leaving: Positions = places.iter().flat_map(|p| part(&one.positions, *p)).collect();
    saved.extend(leaving);
    let read = std::mem::take(&mut one.got);
    drop(one);
    two.got.extend(read);
    feed.put_many(&TOPICS, 4, 50);
    two.read_all(&feed, &mut saved);
    assert_eq!(two.held, BTreeSet::from([0, 1, 2, 3]));
}
