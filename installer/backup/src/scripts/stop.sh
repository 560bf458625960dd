# Stops the services $@, then the guard of the database, then the database.
set -eu
for service in "$@"; do
  systemctl stop "wright-$service"
done
if [ -e /etc/systemd/system/wright-database.service ]; then systemctl stop wright-database; fi
systemctl stop mariadb
# A unit that failed was not stopped by this, and a start later is to find it fresh.
systemctl reset-failed mariadb 2>/dev/null || true
if pgrep -x mariadbd >/dev/null; then echo "mariadbd still runs" >&2; exit 1; fi
