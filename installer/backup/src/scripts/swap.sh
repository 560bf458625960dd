# The server's data are set aside under $2. $1 `restored`: what was made ready takes their place; `joins`: an empty folder
# does, and the server takes its data from the cluster.
set -eu
if pgrep -x mariadbd >/dev/null; then echo "mariadbd runs" >&2; exit 1; fi
aside=/var/lib/mysql.$2
[ ! -e "$aside" ] || { echo "$aside is there already" >&2; exit 1; }
if [ "$1" = restored ]; then [ -e /var/lib/mysql.wright-restore/ibdata1 ] || { echo "nothing was made ready" >&2; exit 1; }; fi
# An exchange that broke off here before has set them aside already.
if [ -e /var/lib/mysql ]; then mv /var/lib/mysql "$aside"; fi
if [ "$1" = restored ]; then
  mv /var/lib/mysql.wright-restore /var/lib/mysql
else
  install -d -o mysql -g mysql -m 0755 /var/lib/mysql
fi
sync -f /var/lib
