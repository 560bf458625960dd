# A physical backup comes in and is made ready beside the data; the running server does not notice. $1: bytes.
set -eu
export LC_ALL=C
into=/var/lib/mysql.wright-restore
rm -rf "$into"
free=$(df -PB1 /var/lib | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "$1" ]; then
  echo "there is room for $free bytes below /var/lib, and $1 are needed" >&2
  exit 1
fi
install -d -m 0700 "$into"
trap 'rm -rf "$into"' EXIT
trap 'exit 1' HUP INT TERM PIPE
mbstream -x -C "$into"
mariabackup --prepare --target-dir="$into" >"$into.log" 2>&1 || { tail -n 5 "$into.log" >&2; exit 1; }
rm -f "$into.log"
[ -e "$into/ibdata1" ] || { echo "the backup holds no database" >&2; exit 1; }
# Of another time, or of the backup's own making: the position is InnoDB's to say.
rm -f "$into"/grastate.dat "$into"/galera.cache "$into"/gvwstate.dat "$into"/xtrabackup_* "$into"/mariadb_backup_* "$into"/backup-my.cnf
chown -R mysql:mysql "$into"
chmod 0755 "$into"
trap - EXIT
