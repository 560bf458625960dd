# The guard's unit is started when the server is in the cluster, so this waits for that.
set -eu
if [ -e /etc/systemd/system/wright-database.service ]; then
  systemctl start wright-database
else
  systemctl start mariadb
fi
