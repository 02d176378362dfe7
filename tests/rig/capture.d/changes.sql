-- What happens to those tables while the connectors follow. Each statement is a transaction of its own unless it says so.
insert into numbers (id, i8, plain, money12) values (3, 1, 1e20, 0.1);
update numbers set f8 = 1e10, plain = 12.5, money12 = -0.05 where id = 1;
delete from numbers where id = 2;
-- the same border values again as changes: Debezium reads them another way in a snapshot
insert into numbers select id + 1, i2, i4, i8, f4, f8, plain, money12, long38, rounded, cash, b, bit1, bit9, bits, o from numbers where abs(id / 2) > 1;
insert into times select id + 10, d, t, t3, tz, ts, ts3, tstz, iv from times where id > 1;
insert into texts select id + 10, t, v, c, ci, u, j, jb, x, by, e, ip, net, mac, path, words, h, p, r from texts where id = 2;
insert into arrays select id + 10, t, i, l, u, d, n, b, f, ts from arrays where id = 2;
insert into times (id, d, ts) values (8, '0001-01-01', '0001-01-01');
update times set ts = 'infinity' where id = 1;
delete from times where id = 7;
insert into texts (id, t) values (5, 'only text');
update texts set t = null where id = 2;
delete from texts where id = 1;
update arrays set t = '{z}' where id = 1;
delete from arrays where id = 3;

-- every column is left out, then one is given again, then the row goes
update toasted set n = 100 where id = 1;
update toasted set t = repeat(md5('again'), 8) where id = 1;
update toasted set id = 3 where id = 1;
delete from toasted where id = 3;

insert into id_default (id, email) values (5, 'd5@example.com');
update id_default set n = 8 where id = 1;
update id_default set email = 'moved@example.com' where id = 1;
update id_default set id = 11 where id = 1;
delete from id_default where id = 2;
begin;
  update id_default set id = -3 where id = 3;
  update id_default set id = 3 where id = 4;
  update id_default set id = 4 where id = -3;
commit;
begin;
  update id_default set n = 99 where id = 5;
rollback;

update id_full set n = 8 where id = 1;
update id_full set email = 'moved@example.com' where id = 1;
update id_full set id = 11 where id = 1;
delete from id_full where id = 2;
begin;
  update id_full set email = 'free@example.com' where id = 11;
  update id_full set email = 'moved@example.com' where id = 3;
commit;

update id_index set note = 'changed' where id = 1;
update id_index set code = 'moved' where id = 1;
update id_index set id = 11 where id = 1;
delete from id_index where id = 2;

-- the server refuses updates and deletes of a published table without a replica identity
insert into id_nothing values (2, 'b');

update composite set v = 'changed' where region = 'eu' and nr = 1;
update composite set region = 'us', nr = 9 where region = 'eu' and nr = 2;
delete from composite where region = 'us' and nr = 1;

insert into keyless values ('c', 3);
update keyless set n = 4 where v = 'b';
delete from keyless where v = 'a';

insert into wiped values (4, 'before the truncate');
truncate wiped;
insert into wiped values (5, 'after the truncate');

update "Mixed-Case Table" set "a column" = 'y';
delete from "Mixed-Case Table";

alter table evolving add column added int default 3;
insert into evolving values (2, 'b', 4);
alter table evolving rename column v to renamed;
alter table evolving alter added type bigint;
update evolving set renamed = 'c' where id = 1;
alter table evolving drop column added;
insert into evolving values (3, 'd');

select pg_logical_emit_message(true, 'note', 'hello');
select pg_logical_emit_message(false, 'bytes', '\x00ff'::bytea);

insert into signals values ('again', 'execute-snapshot', '{"data-collections": ["public.composite"], "type": "incremental"}');
