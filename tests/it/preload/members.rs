//! Rows that are members of sets and sorted sets: what is missing in a board is a wrong answer, so that taking back is not enough.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Desk, as_of, long_ago};
use crate::support::redis::{Client, RedisServer};
use crate::support::rig::Rig;
use crate::support::scene::{LONG, envelope, record_key};
use crate::support::topic::Topic;
use crate::support::{broker, wait_for};

const REGIONS: usize = 3;

/// A row's region and points.
type Row = (usize, usize);

/// An entity of a set and a sorted set a region.
fn boards(topic: &str, more: &str) -> String {
    format!(
        r#"
[[entity]]
name = "t"
topics = ["{topic}"]
key_columns = ["id"]
replica_identity = "full"
columns = {{ points = "int" }}
{more}
  [[entity.write]]
  key = "in:{{region}}"
  value = {{ set = {{ member = "{{id}}" }} }}
  ttl = "none"
  [[entity.write]]
  key = "board:{{region}}"
  value = {{ sorted_set = {{ member = "{{id}}", score = "points" }} }}
  ttl = "none"
"#
    )
}

fn settings(topic: &str, redis: u16, more: &str) -> String {
    let brokers = Rig::shared().brokers();
    format!(
        "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{topic}\"\nstart = \"earliest\"\n[redis]\n\
         url = \"redis://127.0.0.1:{redis}/0\"\n[errors]\non_error = \"stop\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
        boards(topic, more)
    )
}

/// Settings of boards that nothing protects.
pub(super) fn without_topic(redis: u16, more: &str) -> String {
    format!(
        "[kafka]\nbrokers = \"127.0.0.1:1\"\ngroup = \"g\"\n[redis]\nurl = \"redis://127.0.0.1:{redis}/0\"\n{}",
        boards("t", more)
    )
}

/// Rows as NDJSON, of regions 0 to 2.
pub(super) fn board_rows(ids: std::ops::Range<usize>) -> String {
    exported(ids.map(|id| (id, (id % REGIONS, id))))
}

fn image(id: usize, (region, points): Row) -> String {
    format!(r#"{{"id":{id},"region":{region},"points":{points}}}"#)
}

fn exported(rows: impl IntoIterator<Item = (usize, Row)>) -> String {
    rows.into_iter().map(|(id, row)| image(id, row) + "\n").collect()
}

fn update(id: usize, before: Option<Row>, after: Row, lsn: usize) -> String {
    let before = before.map_or("null".to_owned(), |row| image(id, row));
    envelope("u", &before, &image(id, after), lsn)
}

/// What the boards hold: of each row where it is, and with which score.
fn held(client: &mut Client) -> BTreeMap<usize, Vec<Row>> {
    let mut held: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    let mut in_sets: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for region in 0..REGIONS {
        let scored: Vec<(usize, usize)> =
            client.run(&["ZRANGE", &format!("board:{region}"), "0", "-1", "WITHSCORES"]);
        for (id, points) in scored {
            held.entry(id).or_default().push((region, points));
        }
        for id in client.run::<Vec<usize>>(&["SMEMBERS", &format!("in:{region}")]) {
            in_sets.entry(id).or_default().push(region);
        }
    }
    for (id, rows) in &held {
        let regions: Vec<usize> = rows.iter().map(|row| row.0).collect();
        assert_eq!(in_sets.remove(id), Some(regions), "row {id} of set and board");
    }
    assert_eq!(in_sets, BTreeMap::new(), "only in a set");
    held
}

#[test]
fn members_are_added_if_absent_or_moved() {
    let redis = RedisServer::start();
    let desk = Desk::new(&without_topic(redis.port, ""));
    let mut client = redis.client();
    client.run::<()>(&["ZADD", "board:1", "99", "1", "5", "other"]);
    client.run::<()>(&["SADD", "in:1", "1"]);
    client.run::<()>(&["SET", "in:2", "no set"]);
    desk.file("a.ndjson", exported([(1, (1, 10)), (4, (1, 40)), (2, (2, 20)), (4, (1, 41))]));
    let done = desk.run(&["--unprotected", "--ttl", "1h", "--max-errors", "0", "a.ndjson"]);
    // What stands there of another type is Redis' to refuse, and stays.
    assert_eq!((done.code, done.count("keys_refused")), (7, 1), "{done:?}");
    assert_eq!((done.count("keys_written"), done.count("keys_present")), (3, 2), "{done:?}");
    assert_eq!(done.count("keys_repeated"), 2, "{done:?}");
    let board =
        |client: &mut Client| client.run::<Vec<String>>(&["ZRANGE", "board:1", "0", "-1", "WITHSCORES"]);
    assert_eq!(board(&mut client), ["other", "5", "4", "40", "1", "99"]);
    assert_eq!(client.run::<Vec<usize>>(&["SMEMBERS", "in:1"]).len(), 2);
    assert_eq!(client.run::<String>(&["GET", "in:2"]), "no set");
    assert_eq!(client.run::<i64>(&["PTTL", "board:1"]), -1, "members do not expire");

    client.run::<()>(&["DEL", "in:2"]);
    let done = desk.run(&["--unprotected", "--overwrite", "--restart", "a.ndjson"]);
    assert_eq!((done.code, done.count("keys_written")), (0, 6), "{done:?}");
    assert_eq!(board(&mut client), ["other", "5", "1", "10", "4", "41"]);
    let refused = desk.run(&["--unprotected", "--sweep", "a.ndjson"]);
    assert!(refused.code == 2 && refused.err.contains("which members"), "{refused:?}");
}

/// The lanes move, remove and add rows all the while: at the end the boards hold just what the rows are.
fn beside_a_lane(name: &str, more: &str, overwrite: &[&str]) {
    const ROWS: usize = 4_000;
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), name, 2);
    let partition = |id: usize| i32::try_from(id % 2).unwrap();
    let first = |id: usize| (id % REGIONS, id);
    // The topic holds of the time before only some: the rest the export brings.
    for id in (0..ROWS).step_by(2) {
        let record = update(id, None, first(id), 1);
        topic.append_at(partition(id), &record_key(id), Some(&record), long_ago());
    }
    topic.flush();
    let settings = settings(name, redis.port, more);
    let instance = crate::support::instance::Bench::new(&settings).start();
    let mut client = redis.client();
    let count = |client: &mut Client, command: &str, key: &str| {
        (0..REGIONS).map(|region| client.run::<usize>(&[command, &format!("{key}:{region}")])).sum::<usize>()
    };
    let there =
        wait_for(LONG, || count(&mut client, "ZCARD", "board") + count(&mut client, "SCARD", "in") == ROWS);
    assert!(there, "{}", instance.story());
    let desk = Desk::new(&settings);
    desk.file("a.ndjson", board_rows(0..ROWS));

    let stop = AtomicBool::new(false);
    let rows = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rows: Vec<Option<Row>> = (0..ROWS).map(|id| Some(first(id))).collect();
            let mut step = 1_usize;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..40 {
                    step += 1;
                    // Some change over and over.
                    let id =
                        step.wrapping_mul(2_654_435_761) % if step.is_multiple_of(5) { 20 } else { ROWS };
                    let former = rows[id];
                    let next = (step % REGIONS, if step.is_multiple_of(2) { first(id).1 } else { step });
                    let value = match former {
                        Some(row) if step.is_multiple_of(3) => {
                            rows[id] = None;
                            envelope("d", &image(id, row), "null", step)
                        }
                        _ => {
                            rows[id] = Some(next);
                            update(id, former, next, step)
                        }
                    };
                    topic.append(partition(id), Some(&record_key(id)), Some(&value));
                }
                topic.flush();
                std::thread::sleep(Duration::from_millis(5));
            }
            rows
        });
        let (mut taken_back, mut put_right) = (0, 0);
        for _ in 0..3 {
            let as_of = as_of();
            let arguments = [&["--as-of", &as_of, "a.ndjson"][..], overwrite].concat();
            let done = desk.run(&arguments);
            assert_eq!((done.code, done.count("unsettled")), (0, 0), "{done:?}");
            taken_back += done.count("taken_back");
            put_right += done.count("put_right");
        }
        stop.store(true, Ordering::Relaxed);
        println!("{taken_back} members were taken back, {put_right} put right");
        writer.join().unwrap()
    });
    let brokers = Rig::shared().brokers();
    let ends = broker::ends(brokers, name, 2);
    let caught_up = wait_for(LONG, || broker::committed(brokers, name, name, 2) == ends);
    assert!(caught_up, "{}", instance.story());
    assert_eq!(instance.stop(), 0);
    let held = held(&mut client);
    for (id, row) in rows.into_iter().enumerate() {
        let expected: Vec<Row> = row.into_iter().collect();
        assert_eq!(held.get(&id).cloned().unwrap_or_default(), expected, "row {id}");
    }
}

#[test]
fn beside_a_lane_boards_hold_what_the_rows_are() {
    beside_a_lane("preload_boards", "", &[]);
}

#[test]
fn beside_a_lane_boards_that_are_overwritten_hold_what_the_rows_are() {
    beside_a_lane("preload_boards_over", "", &["--overwrite"]);
}

#[test]
fn beside_a_lane_guarded_boards_hold_what_the_rows_are() {
    beside_a_lane("preload_boards_guarded", "guard = { by = \"source\" }", &["--overwrite"]);
}

/// No lane runs here: while their chunk is on its way, rows leave and come back, and others leave without a word of where
/// they were.
fn left_while_it_was_loaded(name: &str, more: &str) {
    const ROWS: usize = 3_000;
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), name, 1);
    topic.append_at(0, &record_key(0), Some(&update(0, None, (0, 0), 1)), long_ago());
    topic.flush();
    let desk = Desk::new(&settings(name, redis.port, more));
    desk.file("a.ndjson", exported((0..ROWS).map(|id| (id, (0, id)))));
    let as_of = as_of();
    let running = desk.start(&["--as-of", &as_of, "--rate", "4000", "a.ndjson"]);
    let mut client = redis.client();
    let mut gone = 0;
    for next in (0..ROWS).step_by(500) {
        let there = || client.run::<Option<f64>>(&["ZSCORE", "board:0", &next.to_string()]).is_some();
        assert!(wait_for(LONG, there), "{next}: {}", running.said());
        redis.signal("-STOP");
        for id in next..next + 100 {
            gone += 1;
            let records = if id % 2 == 0 {
                let left = envelope("d", &image(id, (0, id)), "null", 100 + id);
                vec![left, update(id, None, (0, 7), 9_000 + id)]
            } else {
                vec![update(id, None, (1, id), 9_000 + id)]
            };
            for record in records {
                topic.append(0, Some(&record_key(id)), Some(&record));
            }
        }
        topic.flush();
        redis.signal("-CONT");
    }
    let done = running.end();
    assert_eq!((done.code, done.count("unsettled")), (0, 0), "{done:?}");
    assert!(done.count("taken_back") > 0, "{done:?}");
    let left_alone = usize::try_from(done.count("keys_changed")).unwrap();
    let held = held(&mut client);
    let untouched = (0..ROWS).filter(|id| id % 500 >= 100);
    for id in untouched {
        assert_eq!(held.get(&id), Some(&vec![(0, id)]), "row {id}");
    }
    // What came back is there, whichever of its changes raced; what was not yet written is left to the lanes: none runs.
    let came_back = |id: &usize| id % 500 < 100 && id.is_multiple_of(2);
    let missing = (0..ROWS).filter(came_back).filter(|id| !held.contains_key(id)).count();
    // Each row has two members, every other row came back, and a chunk may end between two.
    assert!(missing * 4 <= left_alone + 24, "{missing} that came back are not there: {done:?}");
    // What had been settled before is a lane's to remove.
    let still = held.keys().filter(|id| *id % 500 < 100 && *id % 2 == 1).count();
    assert!(still < gone / 4, "{still} of {} that left are still there", gone / 2);
}

#[test]
fn members_that_leave_while_they_are_loaded_are_gone_and_those_that_come_back_are_there() {
    left_while_it_was_loaded("preload_left", "");
}

#[test]
fn guarded_members_that_leave_while_they_are_loaded_are_gone() {
    left_while_it_was_loaded("preload_left_guarded", "guard = { by = \"source\" }");
}
