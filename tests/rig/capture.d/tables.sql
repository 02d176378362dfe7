-- The tables behind tests/fixtures: every column type with border values, and every replica identity.
create extension hstore; create extension citext; create extension ltree;
create type mood as enum ('sad', 'ok', 'happy');

-- Stored here so that a signal can ask for an incremental snapshot.
create table signals (id text primary key, type text not null, data text);

create table numbers (id bigint primary key, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, plain numeric, money12 numeric(12,2),
  long38 numeric(38,10), rounded numeric(6,-2), cash money, b bool, bit1 bit(1), bit9 bit(9), bits bit varying(20), o oid);
insert into numbers values
  (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, B'0', B'000000000', B'', 0),
  (9007199254740993, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 123456789012345678901234567890.0123456789,
   9999999999.99, 9999999999999999999999999999.9999999999, 123400, 92233720368547758.07, true, B'1', B'101010101', B'11111111111111111111', 4294967295),
  (-9223372036854775808, -32768, -2147483648, -9223372036854775808, '-Infinity', 'NaN', -0.000000000000000000001, -9999999999.99,
   -9999999999999999999999999999.9999999999, -99900, -92233720368547758.08, null, null, null, null, null),
  (2, 1, 1, 1, 1.1, 0.1, 12.500, 12.50, 1, 100, 0.01, true, B'1', B'000000001', B'1', 1);

create table times (id int primary key, d date, t time, t3 time(3), tz timetz, ts timestamp, ts3 timestamp(3), tstz timestamptz, iv interval);
insert into times values
  (1, '1970-01-01', '00:00', '00:00', '00:00+00', '1970-01-01', '1970-01-01', '1970-01-01Z', '0'),
  (2, '2024-02-29', '24:00', '23:59:59.999', '23:59:59.999999-15:59', '2024-02-29 12:30:00.123456', '2024-02-29 12:30:00.123', '2024-02-29 12:30:00.1+02',
   '1 year 2 mons 3 days 04:05:06.789'),
  (3, 'infinity', '10:33:04.5', null, null, 'infinity', 'infinity', 'infinity', '-178000000 years'),
  (4, '-infinity', null, null, null, '-infinity', '-infinity', '-infinity', '-1 day +00:00:00.000001'),
  (5, '0044-03-15 BC', '12:00', '12:00', '12:00+02', '0044-03-15 12:00:00 BC', '0044-03-15 12:00:00.5 BC', '0044-03-15 12:00:00Z BC', '90 minutes'),
  (6, '12024-01-01', '00:00:00.000001', '00:00:00.001', '00:00:00.1+05:30', '12024-01-01 01:02:03', '12024-01-01 01:02:03', '12024-01-01 01:02:03Z', '99 days'),
  (7, '1582-10-04', '23:59:59.999999', null, null, '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999', '1969-12-31 23:59:59.999999Z', null);

create table texts (id int primary key, t text, v varchar(20), c char(5), ci citext, u uuid, j json, jb jsonb, x xml, by bytea, e mood, ip inet, net cidr,
  mac macaddr, path ltree, words tsvector, h hstore, p point, r int4range);
insert into texts values
  (1, '', '', '', '', '00000000-0000-0000-0000-000000000000', '{}', '{}', '<a/>', '', 'ok', '::1', '10.0.0.0/8', '00:00:00:00:00:00', '', '', '', '(0,0)', 'empty'),
  (2, E'quote " back \\ slash / tab \t line \n nul-like \u0001 é 日本 🦀', 'ça', 'ab', 'MiXed', 'b68a35a7-17ad-35b3-af2a-ae46edb4545a',
   '{"b": 1.0, "a": 1e3, "b": 2}', '{"b": 1.0, "a": [null, true, 18446744073709551616]}', '<a b="c">d</a>', '\x00ff10deadbeef', 'happy', '192.168.0.1/24', '2001:db8::/32',
   '08:00:2b:01:02:03', 'Top.Science', 'a fat cat', 'a=>1, "b c"=>NULL', '(1.5,-2)', '[1,5)'),
  (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null),
  (4, '__debezium_unavailable_value', 'null', 'true', 'x', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'null', '"text"', null, '\x6e756c6c', 'sad', null, null, null, null, null, null, null, null);

create table arrays (id int primary key, t text[], i int4[], l int8[], u uuid[], d date[], n numeric[], b bool[], f float8[], ts timestamptz[]);
insert into arrays values
  (1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
  (2, '{a,NULL,"b\"c",""}', '{1,NULL,-2147483648}', '{9223372036854775807,9007199254740993}', '{b68a35a7-17ad-35b3-af2a-ae46edb4545a}', '{2024-02-29,1969-12-31}',
   '{12.50,-0.001}', '{t,f,NULL}', '{0.1,NaN}', '{2024-02-29 12:30:00.1+02}'),
  (3, null, null, null, null, null, null, null, null, null);

-- Each column is moved out of the row at a few hundred bytes, so that a change of n leaves all of them out of its event.
create table toasted (id int primary key, n int not null, t text, by bytea, j json, jb jsonb, ta text[], ia int4[], la int8[], ua uuid[], da date[], h hstore);
alter table toasted set (toast_tuple_target = 128);
do $$ declare c text; begin
  foreach c in array array['t','by','j','jb','ta','ia','la','ua','da','h'] loop execute format('alter table toasted alter %I set storage external', c); end loop;
end $$;
create function wide(id int, seed int) returns toasted language sql as $$
  select id, seed, repeat(md5(seed::text), 8), decode(repeat(md5(seed::text), 16), 'hex'), json_build_object('k', repeat(md5(seed::text), 8)),
    jsonb_build_object('k', repeat(md5(seed::text), 8)), array(select md5((seed + n)::text) from generate_series(1, 8) n), array(select seed + n from generate_series(1, 64) n),
    array(select seed + n::bigint from generate_series(1, 32) n), array(select md5((seed + n)::text)::uuid from generate_series(1, 16) n),
    array(select date '2024-01-01' + n from generate_series(1, 64) n), hstore('k', repeat(md5(seed::text), 8)) $$;
insert into toasted select * from wide(1, 1);
insert into toasted (id, n) values (2, 2);

create table id_default (id int primary key, email text not null, n int not null default 7, big bigint, at timestamptz not null default '2024-01-01Z');
create table id_full (id int primary key, email text not null, n int not null default 7, long text);
alter table id_full replica identity full; alter table id_full alter long set storage external;
create table id_index (id int primary key, code text not null, note text);
create unique index id_index_code on id_index (code); alter table id_index replica identity using index id_index_code;
create table id_nothing (id int primary key, v text); alter table id_nothing replica identity nothing;
create table composite (region text, nr int, v text, primary key (region, nr));
create table keyless (v text, n int); alter table keyless replica identity full;
create table wiped (id int primary key, v text);
create table "Mixed-Case Table" ("Id" int primary key, "a column" text, "dot.ted" int);
create table evolving (id int primary key, v text);
create table finished (id int primary key);

insert into id_default (id, email) select n, 'd' || n || '@example.com' from generate_series(1, 4) n;
insert into id_full select n, 'f' || n || '@example.com', n, repeat(md5(n::text), 70) from generate_series(1, 3) n;
insert into id_index select n, 'code' || n, 'note' from generate_series(1, 3) n;
insert into id_nothing values (1, 'a');
insert into composite values ('eu', 1, 'a'), ('eu', 2, 'b'), ('us', 1, 'c');
insert into keyless values ('a', 1), ('b', 2), ('b', 2);
insert into wiped select n, 'x' from generate_series(1, 3) n;
insert into "Mixed-Case Table" values (1, 'x', 1);
insert into evolving values (1, 'a');
