-- What happens to those tables while the connectors follow.
use shop;
set sql_mode = '';
set time_zone = '+00:00';
insert into numbers (id, i8, u8, money12, y) values (3, 1, 10000000000000000000, 0.1, 0);
update numbers set f8 = 1e10, u8 = 9223372036854775807, money12 = -0.05 where id = 1;
delete from numbers where id = 2;
-- the same border values again as changes: Debezium reads them another way in a snapshot
insert into numbers select if(id > 1000000, id - 10, id + 10), flag, i1, u1, i2, u2, i3, u3, i4, u4, i8, u8, padded, money12, long38, whole, f4, f8, y, bit1, bit9, bit64
  from numbers where id > 1000000;
delete from numbers where id = 18446744073709551615;
insert into times select id + 10, d, t, t6, dt, dt3, dt6, ts, ts6, dn, dtn, tsn from times;
update times set t = '-01:00:00', ts = '2024-06-01 00:00:00' where id = 2;
delete from times where id = 4;
insert into texts select id + 10, c, v, l, t, lt, e, s, j, b, vb, bl, g, p, ls from texts;
update texts set t = null, s = 'red,green,blue', e = 'it''s' where id = 1;
update texts set j = json_set(j, '$.a', true) where id = 11;
delete from texts where id = 2;
insert into uuids select id + 10, u from uuids;

insert into customers values (5, 'five@example.com', 5, null);
update customers set n = 8 where id = 1;
update customers set email = 'moved@example.com' where id = 1;
update customers set id = 11 where id = 1;
delete from customers where id = 2;
begin;
  update customers set email = 'free@example.com' where id = 11;
  update customers set email = 'moved@example.com' where id = 3;
commit;
begin;
  update customers set id = 30 where id = 3;
  update customers set id = 3 where id = 4;
  update customers set id = 4 where id = 30;
commit;
begin;
  update customers set n = 99 where id = 5;
rollback;
-- many rows in one event, and one row under its own key again
update customers set n = n + 100;
insert into customers values (5, 'again@example.com', 6, null) on duplicate key update email = 'again@example.com';
replace into customers values (5, 'replaced@example.com', 7, null);

update composite set v = 'changed' where region = 'eu' and nr = 1;
update composite set region = 'us', nr = 9 where region = 'eu' and nr = 2;
delete from composite where region = 'us' and nr = 4294967295;

-- what follows lies in another file of the binlog
flush binary logs;
update customers set n = 1000 where id = 5;
delete from customers where id = 5;

insert into keyless values ('c', 3);
update keyless set n = 4 where v = 'b';
delete from keyless where v = 'a';

insert into wiped values (4, 'before the truncate');
truncate wiped;
insert into wiped values (5, 'after the truncate');

update `Mixed-Case Table` set `a column` = 'y';
delete from `Mixed-Case Table`;

alter table evolving add column added int default 3;
insert into evolving values (2, 'b', 4);
alter table evolving change column v renamed varchar(20), modify column added bigint unsigned;
update evolving set renamed = 'c', added = 18446744073709551615 where id = 1;
alter table evolving drop column added;
insert into evolving values (3, 'd');

insert into signals values ('again', 'execute-snapshot', '{"data-collections": ["shop.composite"], "type": "incremental"}');
