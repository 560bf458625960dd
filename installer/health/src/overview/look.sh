export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
dir=$(mktemp -d /run/wright-look.XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# NAME COMMAND: beside the others, for at most four seconds.
part() {
  (
    text=$(timeout -k 1 4 sh -c "$2" 2>&1 </dev/null)
    code=$?
    printf '==begin %s\n%s\n==end %s %s\n' "$1" "$text" "$1" "$code" >"$dir/$1"
  ) &
}

part up 'cat /proc/uptime; cut -d " " -f 22 /proc/1/stat; cat /proc/sys/kernel/random/boot_id'
part version 'wright --version'
part addresses 'ip -o addr show scope global'
part units 'systemctl list-units --state=failed --plain --no-legend --no-pager | head -n 20'
part clock 'if [ "$(systemd-detect-virt --container)" = systemd-nspawn ]; then echo container; else chronyc -c tracking; fi'
part disks 'for dir in / /var /var/log /var/tmp /var/lib/mysql /var/lib/postgresql /var/lib/rabbitmq /var/lib/ovn /var/lib/wright /var/lib/libvirt; do if [ -d "$dir" ]; then df -PB1 "$dir"; fi; done'
[ -r /etc/wright/tls/node.pem ] && part certificate 'head -c 65536 /etc/wright/tls/node.pem'
[ -r /etc/wright/database.toml ] && part guards 'wright --output json database status'
[ -e /etc/mysql/mariadb.conf.d/90-wright.cnf ] && part connections "mariadb --connect-timeout=3 -NBe \"SELECT COUNT(*) FROM information_schema.processlist WHERE user NOT IN ('root', 'system user', 'event_scheduler', 'unauthenticated user')\""
ls /etc/postgresql/*/main/conf.d/wright.conf >/dev/null 2>&1 && part connections "cd / && runuser -u postgres -- psql -XAtc \"SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'postgres'\""
if [ -e /etc/rabbitmq/rabbitmq-env.conf ]; then
  # A program of Erlang's in C, a hundred times cheaper than `rabbitmqctl`; it reads the cookie from the user's home.
  part broker '. /etc/rabbitmq/rabbitmq-env.conf
    runuser -u rabbitmq -- env HOME=/var/lib/rabbitmq erl_call -timeout 3 -n "$NODENAME" -e <<END
Names = fun(L) -> lists:join(",", [atom_to_list(N) || N <- L]) end,
Call = fun(New, Old) -> F = case erlang:function_exported(rabbit_nodes, New, 0) of true -> New; false -> Old end, rabbit_nodes:F() end,
Alarm = fun({{resource_limit, R, N}, _}) -> io_lib:format("~w at ~s", [R, N]); (A) -> io_lib:format("~w", [A]) end,
lists:flatten(io_lib:format("members ~s;running ~s;partitions ~s;alarms ~s;", [Names(Call(list_members, all)), Names(Call(list_running, all_running)), Names(rabbit_node_monitor:partitions()), lists:join(",", [Alarm(A) || A <- rabbit_alarm:get_alarms()])])).
END'
fi
if [ -e /etc/default/ovn-central ] && [ -x /usr/bin/ovn-nbctl ]; then
  part raft-nb 'ovs-appctl -T 3 -t /run/ovn/ovnnb_db.ctl cluster/status OVN_Northbound'
  part raft-sb 'ovs-appctl -T 3 -t /run/ovn/ovnsb_db.ctl cluster/status OVN_Southbound'
  part chassis 'ovn-sbctl --no-leader-only --timeout=3 --format=json --columns=_uuid,name,hostname,other_config list Chassis'
  part gateways 'ovn-sbctl --no-leader-only --timeout=3 --format=json --columns=chassis find Port_Binding type=chassisredirect'
fi
[ -e /etc/openvswitch/system-id.conf ] && part ovn-controller 'ovn-appctl -T 3 -t ovn-controller connection-status'
wait
cat "$dir"/*
echo ==whole
