-- One turn of the shop's life, for pgbench (-n -f load.sql): some of everything that a change stream can hold.
\set customer random(1, 300)
\set other random(1, 300)
\set product random(1, 100)
\set order random(1, 100000)
\set dice random(1, 100)

\if :dice <= 30
  insert into orders (customer_id, total) values (:customer, :order / 100.0);
\elif :dice <= 50
  update orders set status = case status when 'new' then 'paid'::order_status when 'paid' then 'sent' else status end
  where id = (select max(id) - :product from orders where id < 1000000);
\elif :dice <= 58
  -- one statement chooses and deletes, so that two sessions do not wait for each other
  delete from orders where id = (select min(id) from orders where status in ('sent', 'cancelled'));
\elif :dice <= 78
  update customers set balance = balance + :dice, updated_at = now() where id = :customer;
\elif :dice <= 86
  update products set price = price + 0.01, updated_at = now() where id = :product;
\elif :dice <= 92
  -- a new e-mail address: the old entry has to go
  update customers set email = 'moved' || txid_current() || '@example.com', updated_at = now() where id = :customer;
\elif :dice <= 95
  -- an address passes from one customer to another
  begin;
  select coalesce((select email from customers where id = :customer for update), 'nobody' || txid_current()) as held \gset
  update customers set email = 'free' || txid_current() || '@example.com', updated_at = now() where id = :customer;
  update customers set email = ':held', updated_at = now() where id = :other;
  commit;
\elif :dice <= 97
  -- a changed key: Debezium sends a delete under the old one and a create under the new one
  update orders set id = id + 1000000 where id = (select max(id) from orders where id < 1000000);
\elif :dice <= 98
  update customers set deleted_at = case when deleted_at is null then now() end, updated_at = now() where id = :customer;
\elif :dice <= 99
  begin;
  delete from customers where id = :customer;
  insert into customers (id, email, name) values (:customer, 'new' || txid_current() || '@example.com', 'New customer') on conflict (id) do nothing;
  commit;
\else
  begin;
  update products set name = 'never seen' where id = :product;
  rollback;
\endif
