set -eux
cd /var/tmp/own
PG=/usr/lib/postgresql/15/bin
chown postgres . 
su postgres -c "$PG/initdb -D /var/tmp/own/pg -k -U postgres -A trust >/dev/null"
cat >> pg/postgresql.conf <<X
port = 55432
listen_addresses = '127.0.0.1'
unix_socket_directories = '/var/tmp/own'
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_slot_wal_keep_size = 2GB
max_prepared_transactions = 64
X
cat > pg/pg_hba.conf <<X
local all all trust
host  shop         drctl  127.0.0.1/32  scram-sha-256
host  replication  drctl  127.0.0.1/32  scram-sha-256
X
su postgres -c "$PG/pg_ctl -D /var/tmp/own/pg -l /var/tmp/own/pg.log -w start"
su postgres -c "psql -h /var/tmp/own -p 55432" <<'X'
CREATE DATABASE shop;
CREATE ROLE drctl LOGIN REPLICATION PASSWORD 'pgsecret';
GRANT pg_monitor TO drctl;
\c shop
CREATE TABLE accounts (id int primary key, balance int not null);
INSERT INTO accounts SELECT g, 100 FROM generate_series(1,1000) g;
GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO drctl;
GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO drctl;
GRANT EXECUTE ON FUNCTION pg_switch_wal() TO drctl;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO drctl;
X
cat > redis.conf <<X
port 56379
bind 127.0.0.1
dir /var/tmp/own
save ""
daemonize yes
pidfile /var/tmp/own/redis.pid
repl-backlog-size 256mb
user default on nopass ~* &* +@all
user drctl on >redissecret resetkeys ~drctl:cut:* +ping +hello +info +select +dbsize +psync +replconf +eval +set +config|get +client|setname
X
redis-server redis.conf
redis-cli -p 56379 set cart:1 milk
mkdir -p s3 ver; 
ROOT_ACCESS_KEY=own ROOT_SECRET_KEY=s3secret setsid bin/versitygw --port 127.0.0.1:57070 posix --versioning-dir /var/tmp/own/ver /var/tmp/own/s3 > s3.log 2>&1 &
echo $! > s3.pid
