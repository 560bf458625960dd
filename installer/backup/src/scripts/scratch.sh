# A physical backup comes in and is started as a server of its own, without a network, as user mysql; says rows and
# checksums of its tables, and goes. $1: bytes. $2: the script that asks for the tables.
set -eu
export LC_ALL=C
free=$(df -PB1 /var/tmp | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "$1" ]; then
  echo "there is room for $free bytes below /var/tmp, and $1 are needed" >&2
  exit 1
fi
dir=$(mktemp -d /var/tmp/wright-verify.XXXXXX)
server=
clean() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$dir"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM PIPE
mkdir "$dir/data"
mbstream -x -C "$dir/data"
nice -n 10 mariabackup --prepare --target-dir="$dir/data" >"$dir/log" 2>&1 || { tail -n 5 "$dir/log" >&2; exit 1; }
chown -R mysql:mysql "$dir"
setpriv --reuid=mysql --regid=mysql --clear-groups nice -n 10 mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/s" --pid-file="$dir/pid" \
  --skip-networking --skip-log-bin --innodb-buffer-pool-size=32M --performance-schema=OFF --tmpdir="$dir" >"$dir/log" 2>&1 </dev/null &
server=$!
tries=0
until mariadb-admin --no-defaults --socket="$dir/s" --user=root ping >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ $tries -gt 600 ] || ! kill -0 "$server" 2>/dev/null; then
    echo "the scratch server does not start:" >&2
    tail -n 5 "$dir/log" >&2
    exit 1
  fi
  sleep 0.2
done
sh -c "$2" sh "$dir/s"
