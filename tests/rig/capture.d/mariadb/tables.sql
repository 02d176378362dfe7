-- The tables behind tests/fixtures-binlog: MariaDB's column types with border values.
create database shop character set utf8mb4;
use shop;
set sql_mode = '';

-- Stored here so that a signal can ask for an incremental snapshot.
create table signals (id varchar(42) primary key, type varchar(32) not null, data varchar(2048));

create table numbers (id bigint unsigned primary key, flag boolean, i1 tinyint, u1 tinyint unsigned, i2 smallint, u2 smallint unsigned,
  i3 mediumint, u3 mediumint unsigned, i4 int, u4 int unsigned, i8 bigint, u8 bigint unsigned, padded int(7) zerofill,
  money12 decimal(12,2), long38 decimal(38,10), whole decimal(20,0) unsigned, f4 float, f8 double, y year,
  bit1 bit(1), bit9 bit(9), bit64 bit(64));
insert into numbers values
  (1, false, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2000, b'0', b'0', b'0'),
  (9007199254740993, true, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 42,
   9999999999.99, 9999999999999999999999999999.9999999999, 99999999999999999999, 3.4028235e38, 1.7976931348623157e308, 2155,
   b'1', b'101010101', b'1111111111111111111111111111111111111111111111111111111111111111'),
  (18446744073709551615, null, -128, null, -32768, null, -8388608, null, -2147483648, null, -9223372036854775808, null, null,
   -9999999999.99, -9999999999999999999999999999.9999999999, null, null, null, null, null, null, null),
  (2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9223372036854775808, 1234567, 12.50, 1, 1, 1.1, 0.1, 1901, b'1', b'1', b'1');

create table times (id int primary key, d date, t time, t6 time(6), dt datetime, dt3 datetime(3), dt6 datetime(6),
  ts timestamp null, ts6 timestamp(6) null, dn date not null, dtn datetime not null, tsn timestamp not null default '1970-01-02 00:00:00');
set time_zone = '+00:00';
insert into times values
  (1, '1970-01-01', '00:00', '00:00', '1970-01-01', '1970-01-01', '1970-01-01', '1970-01-02', '1970-01-02', '1970-01-01', '1970-01-01', '1970-01-02'),
  (2, '2024-02-29', '23:59:59', '23:59:59.999999', '2024-02-29 12:30:00', '2024-02-29 12:30:00.123', '2024-02-29 12:30:00.123456',
   '2024-02-29 12:30:00', '2024-02-29 12:30:00.1', '2024-02-29', '2024-02-29 12:30:00', '2024-02-29 12:30:00'),
  (3, '9999-12-31', '838:59:59', '838:59:59.999999', '9999-12-31 23:59:59', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999',
   '2038-01-19 03:14:07', '2038-01-19 03:14:07.999999', '9999-12-31', '9999-12-31 23:59:59', '2038-01-19 03:14:07'),
  (4, '1000-01-01', '-838:59:59', '-838:59:59.000001', '1000-01-01', '1000-01-01 00:00:00.5', '1000-01-01 00:00:00.000001',
   '1970-01-01 00:00:01', '1970-01-01 00:00:01', '0001-01-01', '0001-01-01', '1970-01-01 00:00:01'),
  (5, '0000-00-00', null, null, '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00'),
  (6, '2024-00-00', '-00:00:01', '-00:00:00.5', null, null, null, null, null, '2024-05-00', '2024-00-00', '2024-02-29 12:30:00');

create table texts (id int primary key, c char(5), v varchar(60), l varchar(20) character set latin1, t text, lt longtext,
  e enum('small', 'a,b', 'it''s', ''), s set('red', 'green', 'blue'), j json, b binary(4), vb varbinary(20), bl blob,
  g geometry, p point, ls linestring) character set utf8mb4;
insert into texts values
  (1, 'a', 'quote " backslash \\ newline \n tab \t nul \0 end', 'Grüße', '', 'long', 'small', 'red,blue', '{"b": 1, "a": [1.0, 1e2, null], "b": "é"}',
   'ab', x'00ff', x'deadbeef',
   ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))'), ST_GeomFromText('POINT(1.5 -2)', 4326), ST_GeomFromText('LINESTRING(0 0,1 1)')),
  (2, '', '', '', null, null, '', '', '[]', '', '', '', null, null, null),
  (3, 'ß🦀', '日本語 🦀', 'ÿ', repeat('ä', 300), repeat('long ', 200), 'a,b', 'green', '"text"', x'00000000', x'0001', x'00', null, null, null),
  (4, null, null, null, null, null, null, null, null, null, null, null, null, null, null);

-- The type is MariaDB's own: only Debezium's connector for it takes it.
create table uuids (id int primary key, u uuid);
insert into uuids values (1, '123e4567-e89b-12d3-a456-426614174000'), (2, null);

create table customers (id int primary key, email varchar(60) unique, n int, at timestamp null);
insert into customers values (1, 'One@Example.com', 1, '2024-02-29 12:30:00'), (2, 'two@example.com', 2, null),
  (3, 'three@example.com', 3, '2037-12-31 00:00:00'), (4, 'four@example.com', 4, null);

create table composite (region varchar(8), nr int unsigned, v varchar(20), primary key (region, nr));
insert into composite values ('eu', 1, 'a'), ('eu', 2, 'b'), ('us', 4294967295, 'c');

create table keyless (v varchar(10), n int);
insert into keyless values ('a', 1), ('b', 2);

create table wiped (id int primary key, v varchar(20));
insert into wiped values (1, 'one'), (2, 'two'), (3, 'three');

create table evolving (id int primary key, v varchar(20));
insert into evolving values (1, 'a');

create table `Mixed-Case Table` (`Id` int primary key, `a column` varchar(10), `dot.ted` int);
insert into `Mixed-Case Table` values (1, 'x', 1);

create table finished (id int primary key);
