-- What Redis must hold at the end of the demo, one JSON object a line: what the rows of the database, stoker.toml and
-- the contract of how types are rendered say, and not Stoker's code. `ttl_ms` are the bounds of a key just written.
with seed as (select min(updated_at) as inserted_at from products)
select line from (
  select 'customer:' || id as key, json_build_object('key', 'customer:' || id, 'json', json_build_object(
      'id', id, 'email', email, 'phone', phone, 'name', name, 'status', status, 'balance', balance::text,
      'updated_at', to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'deleted_at', null),
    'ttl_ms', json_build_array(3240000, 3960000)) as line
  from customers where deleted_at is null
  union all
  select email, json_build_object('key', 'customer-by-email:' || lower(email), 'text', id::text,
    'ttl_ms', json_build_array(3600000, 3600000))
  from customers where deleted_at is null
  union all
  select 'customer-card:' || id, json_build_object('key', 'customer-card:' || id, 'json', json_build_object(
      'id', id, 'name', name, 'balance', balance::text),
    'ttl_ms', json_build_array(3600000, 3600000))
  from customers where deleted_at is null and status = 'active'
  union all
  select 'product:' || id, json_build_object('key', 'product:' || id, 'json', json_build_object(
      'id', id, 'sku', sku, 'name', name, 'price', price::text, 'description', description,
      'updated_at', to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    'ttl_ms', json_build_array(77760000, 95040000))
  -- A text of this length does not lie in its row: a change of the price leaves it out of the event, and the key is gone.
  from products, seed where length(description) < 2000 or updated_at = inserted_at
  union all
  select 'price:' || id, json_build_object('key', 'price:' || id, 'text', price::text,
    'ttl_ms', json_build_array(86400000, 86400000))
  from products
  union all
  select 'order:' || id, json_build_object('key', 'order:' || id, 'hash', json_build_object(
      'id', id::text, 'customer_id', customer_id::text, 'status', status, 'total', total::text,
      'placed_at', regexp_replace(to_char(placed_at, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', ''),
      'expires_at', to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    'ttl_ms', json_build_array(604800000, 604800000))
  from orders
) as keys order by key
