-- The database of the end-to-end test: every type that the shop of a user is likely to have, and the keys that are hard.
-- Followed by typed.connector.json. Empty: the test fills it, and compares Redis with what it finds here at the end.

create type plan as enum ('free', 'basic', 'gold');

-- Identity default: a change that leaves bio alone leaves it out of its event (it is too long for the row itself).
create table accounts (
  id bigint primary key,
  plan plan not null default 'free',
  balance numeric(12,2) not null default 0,
  rate numeric,
  score double precision,
  active boolean not null default true,
  created timestamp(3) not null default localtimestamp,
  changed timestamp not null default localtimestamp,
  seen timestamptz,
  born date,
  wakes time,
  every interval,
  settings jsonb not null default '{}',
  token uuid,
  photo bytea,
  tags text[] not null default '{}',
  marks int[],
  bio text
);
alter table accounts alter bio set storage external;

-- contact:email:{email} is a secondary key, and an address passes from one row to another. At any commit it is one row's.
create table contacts (
  id bigint primary key,
  email text not null unique,
  phone text,
  name text not null
);
alter table contacts replica identity full;

-- A composite key, of which stock:{warehouse} would be a part only.
create table stock (
  warehouse text,
  sku text,
  quantity int not null,
  changed timestamptz not null default now(),
  primary key (warehouse, sku)
);

-- No key: its rows are told apart by visitor and page, which nothing but their writer keeps unique. Its topic has one
-- partition, for records without a key spread over all there are.
create table visits (
  visitor uuid not null,
  page text not null,
  times int not null,
  last timestamptz not null
);
alter table visits replica identity full;

-- Truncated by the test.
create table coupons (
  id bigint primary key,
  code text not null
);
