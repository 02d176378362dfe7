-- What Redis must hold for every row of typed.sql, as `key, value`: written from the contract of how types are
-- rendered, and not with Stoker's code. A value that begins with `#hash ` is a hash, one that begins with `#set ` or
-- `#sorted_set ` the members of one.
with
moments as (
  select *,
    -- a date of any year, ISO 8601 with a year zero and a sign
    case when born in ('infinity', '-infinity') then born::text
         else case when extract(year from born) < 0
                   then '-' || lpad((-extract(year from born) - 1)::text, 4, '0')
                   when extract(year from born) > 9999 then '+' || extract(year from born)::text
                   else lpad(extract(year from born)::text, 4, '0') end || to_char(born, '-MM-DD') end as born_text,
    case when seen in ('infinity', '-infinity') then seen::text
         else case when extract(year from seen at time zone 'UTC') < 0
                   then '-' || lpad((-extract(year from seen at time zone 'UTC') - 1)::text, 4, '0')
                   else lpad(extract(year from seen at time zone 'UTC')::text, 4, '0') end
              || regexp_replace(to_char(seen at time zone 'UTC', '-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', '') || 'Z' end as seen_text,
    regexp_replace(to_char(created, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', '') as created_text,
    regexp_replace(to_char(changed, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', '') as changed_text,
    -- Debezium's text, as it comes
    'P' || extract(year from every) || 'Y' || extract(month from every) || 'M' || extract(day from every) || 'DT'
        || extract(hour from every) || 'H' || extract(minute from every) || 'M'
        || coalesce(nullif(rtrim(trim_scale(extract(second from every))::text, '.'), ''), '0') || 'S' as every_text
  from accounts
)
select 'account:' || id, json_build_object(
    'id', id, 'plan', plan, 'balance', balance::text, 'rate', trim_scale(rate)::text,
    'score', case when score::text in ('NaN', 'Infinity', '-Infinity') then to_json(score::text) else to_json(score) end,
    'active', active, 'created', created_text, 'changed', changed_text, 'seen', seen_text, 'born', born_text,
    'wakes', wakes::text, 'every', every_text, 'settings', settings::text, 'token', token,
    'photo', translate(encode(photo, 'base64'), E'\n', ''), 'tags', to_json(tags), 'marks', to_json(marks), 'bio', bio
  )::text from moments
union all
select 'account:' || id || ':card', json_build_object('id', id, 'plan', plan, 'total', balance::text)::text from accounts
union all
select 'account:' || id || ':h', '#hash ' || json_strip_nulls(json_build_object(
    'id', id::text, 'plan', plan, 'balance', balance::text, 'rate', trim_scale(rate)::text, 'born', born_text, 'token', token))::text
  from moments
union all
select 'account:gold:' || id, plan || ' ' || balance from accounts where plan = 'gold'
union all
select 'contact:' || id, json_build_object('id', id, 'email', email, 'phone', phone, 'name', name)::text from contacts
union all
select 'contact:email:' || lower(email), id::text from contacts
union all
select 'stock:' || warehouse || ':' || sku, json_build_object('warehouse', warehouse, 'sku', sku, 'quantity', quantity,
    'changed', regexp_replace(to_char(changed at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', '') || 'Z')::text from stock
union all
select 'visit:' || visitor || ':' || page, json_build_object('visitor', visitor, 'page', page, 'times', times,
    'last', regexp_replace(to_char(last at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', '') || 'Z')::text from visits
union all
select 'accounts-by-balance', '#sorted_set ' || json_object_agg(id, balance) from accounts having count(*) > 0
union all
select 'contact-emails', '#set ' || json_agg(lower(email)) from contacts having count(*) > 0
union all
select 'stock-of:' || warehouse, '#sorted_set ' || json_object_agg(sku, quantity) from stock group by warehouse
union all
select 'visits-of:' || visitor, '#sorted_set ' || json_object_agg(page, floor(extract(epoch from last) * 1000)) from visits
  group by visitor
union all
select 'coupon:' || id, json_build_object('id', id, 'code', code)::text from coupons
