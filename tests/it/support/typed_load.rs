//! The load of the end-to-end test: inserts, updates, deletes, key changes, moves of secondary keys, rollbacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use postgres::Client;

/// A text of this length leaves its row (TOAST), so that changes which do not touch it leave it out.
const LONG: usize = 3_000;

/// What the writers know and the database does not tell.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Accounts whose last change left the long text out.
    pub(crate) without_bio: BTreeSet<u64>,
    /// Statements that were committed.
    pub(crate) statements: usize,
}

impl Left {
    /// Adds what another writer knows. Writers own their ids.
    pub(crate) fn extend(&mut self, other: Left) {
        self.without_bio.extend(other.without_bio);
        self.statements += other.statements;
    }
}

/// A small generator of its own: the same load for the same writer, but for what races decide.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

struct Account {
    long: bool,
    without_bio: bool,
}

struct Writer<'a> {
    client: &'a mut Client,
    dice: Dice,
    base: u64,
    next: u64,
    accounts: BTreeMap<u64, Account>,
    contacts: Vec<u64>,
    visits: BTreeSet<(usize, usize)>,
    statements: usize,
}

/// Writes until told to stop.
pub(crate) fn load(client: &mut Client, writer: u64, stop: &AtomicBool, done: &AtomicUsize) -> Left {
    let mut writer = Writer {
        client,
        dice: Dice(writer + 7),
        base: (writer + 1) * 1_000_000,
        next: 0,
        accounts: BTreeMap::new(),
        contacts: Vec::new(),
        visits: BTreeSet::new(),
        statements: 0,
    };
    while !stop.load(Ordering::Relaxed) {
        writer.turn();
        done.fetch_add(1, Ordering::Relaxed);
        // Keeps the writers from starving the broker and Debezium on a small machine.
        std::thread::sleep(Duration::from_millis(3));
    }
    let without_bio = writer.accounts.iter().filter(|(_, account)| account.without_bio).map(|(id, _)| *id);
    Left { without_bio: without_bio.collect(), statements: writer.statements }
}

impl Writer<'_> {
    fn turn(&mut self) {
        match self.dice.roll(10) {
            0..=3 => self.account(),
            4..=6 => self.contact(),
            7..=8 => self.stock(),
            _ => self.visit(),
        }
    }

    /// Commits the statements, or rolls them back one time in ten; true where they were committed.
    fn commit(&mut self, statements: &str) -> bool {
        let end = if self.dice.roll(10) == 0 { "rollback" } else { "commit" };
        match self.client.batch_execute(&format!("begin; {statements}; {end}")) {
            Ok(()) => {
                self.statements += usize::from(end == "commit");
                end == "commit"
            }
            // A row that another writer holds, an address that is taken: part of the load.
            Err(_) => {
                self.client.batch_execute("rollback").unwrap();
                false
            }
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.base + self.next
    }

    fn account(&mut self) {
        let known = (!self.accounts.is_empty()).then(|| {
            let nth = self.dice.roll(self.accounts.len());
            *self.accounts.keys().nth(nth).unwrap()
        });
        match (self.dice.roll(10), known) {
            (0..=2, _) | (_, None) => {
                let id = self.fresh();
                let (columns, long) = self.account_columns();
                let insert = format!(
                    "insert into accounts (id, plan, balance, rate, score, active, created, seen, born, wakes, every, \
                     settings, token, photo, tags, marks, bio) values ({id}, {columns})"
                );
                if self.commit(&insert) {
                    self.accounts.insert(id, Account { long, without_bio: false });
                }
            }
            (3..=6, Some(id)) => {
                let balance = self.dice.pick(&["0", "-0.01", "9999999999.99", "12.50", "7.1"]);
                let plan = self.dice.pick(&["free", "basic", "gold"]);
                let update = format!(
                    "update accounts set balance = {balance}, plan = '{plan}', changed = localtimestamp where id = {id}"
                );
                if self.commit(&update) {
                    let account = self.accounts.get_mut(&id).unwrap();
                    account.without_bio = account.long;
                }
            }
            (7, Some(id)) => {
                let (bio, long) = self.bio();
                if self.commit(&format!(
                    "update accounts set bio = {bio}, changed = localtimestamp where id = {id}"
                )) {
                    self.accounts.insert(id, Account { long, without_bio: false });
                }
            }
            (8, Some(id)) => {
                let to = self.fresh();
                if self.commit(&format!("update accounts set id = {to} where id = {id}")) {
                    let Account { long, .. } = self.accounts.remove(&id).unwrap();
                    self.accounts.insert(to, Account { long, without_bio: long });
                }
            }
            (_, Some(id)) => {
                if self.commit(&format!("delete from accounts where id = {id}")) {
                    self.accounts.remove(&id);
                }
            }
        }
    }

    fn bio(&mut self) -> (String, bool) {
        match self.dice.roll(3) {
            0 => ("null".into(), false),
            1 => ("'short, with \"quotes\" and ünïcödé'".into(), false),
            // Another length each time, so that setting it is always a change of it.
            _ => (format!("repeat('long ', {})", LONG / 5 + self.dice.roll(1_000)), true),
        }
    }

    fn account_columns(&mut self) -> (String, bool) {
        let (bio, long) = self.bio();
        let dice = &mut self.dice;
        let columns = [
            dice.pick(&["'free'", "'basic'", "'gold'"]),
            dice.pick(&["0", "-0.01", "9999999999.99", "12.50"]),
            dice.pick(&[
                "null",
                "0",
                "12.500",
                "123456789012345678901234567890.123456789",
                "-0.000001",
                "1000",
                "1e30",
            ]),
            dice.pick(&[
                "null",
                "0",
                "1.5",
                "-1e300",
                "3.141592653589793",
                "1e10",
                "'NaN'",
                "'-Infinity'",
                "1e-7",
            ]),
            dice.pick(&["true", "false"]),
            dice.pick(&[
                "'2024-02-29 12:30:00.123'",
                "'0001-01-01'",
                "'1969-12-31 23:59:59.999'",
                "'2024-11-01 09:57:00.25'",
            ]),
            dice.pick(&[
                "null",
                "'2024-11-01 09:57:00.25+02'",
                "'infinity'",
                "'1900-01-01 00:00:00.000001+00'",
                "now()",
            ]),
            dice.pick(&[
                "null",
                "'2000-02-29'",
                "'0044-03-15 BC'",
                "'infinity'",
                "'-infinity'",
                "'12024-01-01'",
                "'1969-12-31'",
            ]),
            dice.pick(&["null", "'00:00'", "'24:00:00'", "'10:33:04.5'", "'23:59:59.999999'"]),
            dice.pick(&[
                "null",
                "'1 year 2 mons 3 days 04:05:06.78'",
                "'-1 days'",
                "'0'",
                "'36:00:00'",
                "'-0.5 seconds'",
            ]),
            dice.pick(&[
                "'{}'",
                r#"'{"a": [1, 2, {"b": null}], "big": 12345678901234567890, "q": "\"x\""}'"#,
            ]),
            dice.pick(&["null", "gen_random_uuid()"]),
            dice.pick(&["null", "'\\x'", "'\\x00ff10'"]),
            dice.pick(&["'{}'", r#"'{a,"b c",NULL}'"#]),
            dice.pick(&["null", "'{1,2,NULL,-5}'"]),
        ];
        (format!("{}, {bio}", columns.join(", ")), long)
    }

    fn contact(&mut self) {
        let address = format!("'pool{}@example.com'", self.dice.roll(60));
        let own = |writer: &mut Self| {
            let nth = writer.dice.roll(writer.contacts.len().max(1));
            writer.contacts.get(nth).copied().unwrap_or(0)
        };
        match self.dice.roll(8) {
            0..=2 => {
                let id = self.fresh();
                let phone = self.dice.pick(&["null", "'+44 1'"]);
                if self
                    .commit(&format!("insert into contacts values ({id}, {address}, {phone}, 'Name {id}')"))
                {
                    self.contacts.push(id);
                }
            }
            3 => {
                let id = own(self);
                self.commit(&format!("update contacts set email = {address} where id = {id}"));
            }
            4 => {
                let id = own(self);
                self.commit(&format!("update contacts set name = name || '.' where id = {id}"));
            }
            // An address passes from one row to another within a transaction, and back to a third.
            5 => {
                let (a, b) = (own(self), own(self));
                if a != b {
                    self.commit(&format!(
                        "create temp table held on commit drop as select id, email from contacts where id in ({a}, {b}); \
                         update contacts set email = 'free' || id where id in ({a}, {b}); \
                         update contacts set email = held.email from held where contacts.id = {a} and held.id = {b}; \
                         update contacts set email = held.email from held where contacts.id = {b} and held.id = {a}"
                    ));
                }
            }
            6 => {
                let id = own(self);
                let to = self.fresh();
                if id != 0 && self.commit(&format!("update contacts set id = {to} where id = {id}")) {
                    self.contacts.retain(|known| *known != id);
                    self.contacts.push(to);
                }
            }
            _ => {
                let id = own(self);
                if id != 0 && self.commit(&format!("delete from contacts where id = {id}")) {
                    self.contacts.retain(|known| *known != id);
                }
            }
        }
    }

    fn stock(&mut self) {
        let warehouse = self.dice.pick(&["north", "south", "east:1"]);
        let sku = self.dice.roll(20);
        let quantity = self.dice.roll(100);
        let statement = match self.dice.roll(6) {
            0 => format!("delete from stock where warehouse = '{warehouse}' and sku = 'sku-{sku}'"),
            1 => format!(
                "update stock set sku = 'moved-{quantity}' where warehouse = '{warehouse}' and sku = 'sku-{sku}'"
            ),
            _ => format!(
                "insert into stock values ('{warehouse}', 'sku-{sku}', {quantity}) \
                 on conflict (warehouse, sku) do update set quantity = {quantity}, changed = now()"
            ),
        };
        self.commit(&statement);
    }

    fn visit(&mut self) {
        let (visitor, page) = (self.dice.roll(6), self.dice.roll(5));
        let of =
            format!("visitor = '{:08x}-0000-4000-8000-00000000000{visitor}' and page = '/{page}'", self.base);
        let known = self.visits.contains(&(visitor, page));
        match (known, self.dice.roll(5)) {
            (false, _) => {
                let insert = format!(
                    "insert into visits values ('{:08x}-0000-4000-8000-00000000000{visitor}', '/{page}', 1, now())",
                    self.base
                );
                if self.commit(&insert) {
                    self.visits.insert((visitor, page));
                }
            }
            (true, 0) => {
                if self.commit(&format!("delete from visits where {of}")) {
                    self.visits.remove(&(visitor, page));
                }
            }
            (true, _) => {
                self.commit(&format!("update visits set times = times + 1, last = now() where {of}"));
            }
        }
    }
}
