#!/bin/sh
# A small OVN in network namespaces, with the userspace datapath: no kernel module is needed, and nothing outside the
# namespaces is touched. $L is a short prefix for the namespaces' names, $D a folder for sockets, pid files and logs.
#   ovn-lab.sh central | chassis NAME ADDRESS [gateway] | port CHASSIS PORT MAC GUEST | outside CHASSIS | down
set -e
in_ns() { ns=$1; shift; ip netns exec "$L-$ns" "$@"; }

# A namespace on the underlay 10.50.0.0/24. Userspace switches see packets before any card fills in checksums, so
# offloading must be off on every end of the wire; else ping works and TCP does not.
host() {
    ip netns add "$L-$1"
    ip -n "$L-$1" link set lo up
    ip link add "u$1" netns "$L-sw" type veth peer name eth0 netns "$L-$1"
    ip -n "$L-sw" link set "u$1" master br0 up
    ip -n "$L-$1" link set eth0 up
    ip -n "$L-$1" addr add "$2/24" dev eth0
    in_ns "$1" ethtool -K eth0 tx off >/dev/null
}

case $1 in
central)
    ip netns add "$L-sw"
    ip -n "$L-sw" link add br0 type bridge
    ip -n "$L-sw" link set br0 up
    host c 10.50.0.10
    for db in nb sb; do
        ovsdb-tool create "$D/$db.db" "/usr/share/ovn/ovn-$db.ovsschema"
        port=6641; [ $db = nb ] || port=6642
        in_ns c ovsdb-server --detach --no-chdir --pidfile="$D/$db.pid" --log-file="$D/$db.log" --unixctl="$D/$db.ctl" \
            --remote="punix:$D/$db.sock" --remote="ptcp:$port:10.50.0.10" "$D/$db.db"
    done
    OVN_RUNDIR=$D in_ns c ovn-northd --detach --no-chdir --pidfile="$D/northd.pid" --log-file="$D/northd.log" --unixctl="$D/northd.ctl" \
        --ovnnb-db="unix:$D/nb.sock" --ovnsb-db="unix:$D/sb.sock"
    ;;
chassis)
    name=$2; address=$3; C=$D/$name
    mkdir "$C"
    export OVS_RUNDIR="$C" OVN_RUNDIR="$C"
    host "$name" "$address"
    ovsdb-tool create "$C/conf.db" /usr/share/openvswitch/vswitch.ovsschema
    in_ns "$name" ovsdb-server --detach --no-chdir --pidfile="$C/db.pid" --log-file="$C/db.log" --remote="punix:$C/db.sock" --unixctl="$C/db.ctl" "$C/conf.db"
    vsctl() { ovs-vsctl --timeout=60 --db="unix:$C/db.sock" "$@"; }
    vsctl --no-wait init
    in_ns "$name" ovs-vswitchd --detach --no-chdir --pidfile="$C/vswitchd.pid" --log-file="$C/vswitchd.log" --unixctl="$C/vswitchd.ctl" "unix:$C/db.sock"
    vsctl add-br br-phy -- set bridge br-phy datapath_type=netdev fail_mode=standalone -- add-port br-phy eth0
    ip -n "$L-$name" addr flush dev eth0
    ip -n "$L-$name" addr add "$address/24" dev br-phy
    ip -n "$L-$name" link set br-phy up
    in_ns "$name" ethtool -K br-phy tx off >/dev/null
    vsctl set open . external-ids:system-id="$name" external-ids:hostname="$name.domain.tld" \
        external-ids:ovn-remote=tcp:10.50.0.10:6642 external-ids:ovn-encap-type=geneve external-ids:ovn-encap-ip="$address" \
        external-ids:ovn-bridge-datapath-type=netdev
    if [ "$4" = gateway ]; then
        vsctl add-br br-ext -- set bridge br-ext datapath_type=netdev -- \
            set open . external-ids:ovn-bridge-mappings=physnet-app:br-ext external-ids:ovn-cms-options=enable-chassis-as-gw
        ip -n "$L-$name" link set br-ext up
    fi
    in_ns "$name" ovn-controller --detach --no-chdir --pidfile="$C/controller.pid" --log-file="$C/controller.log" "unix:$C/db.sock"
    ;;
port)
    chassis=$2; port=$3; mac=$4; guest=$5
    ip netns add "$L-$guest"
    ip -n "$L-$guest" link set lo up
    ip link add "v$guest" netns "$L-$chassis" type veth peer name eth0 netns "$L-$guest"
    ip -n "$L-$guest" link set eth0 address "$mac" up
    ip -n "$L-$chassis" link set "v$guest" up
    in_ns "$guest" ethtool -K eth0 tx off >/dev/null
    ovs-vsctl --timeout=60 --db="unix:$D/$chassis/db.sock" add-port br-int "v$guest" -- set interface "v$guest" external-ids:iface-id="$port"
    ;;
outside)
    ip netns add "$L-out"
    ip link add vout netns "$L-$2" type veth peer name eth0 netns "$L-out"
    ip -n "$L-out" link set eth0 up
    ip -n "$L-out" addr add 172.31.0.254/24 dev eth0
    ip -n "$L-$2" link set vout up
    in_ns out ethtool -K eth0 tx off >/dev/null
    ovs-vsctl --timeout=60 --db="unix:$D/$2/db.sock" add-port br-ext vout
    ;;
down)
    set +e
    find "$D" -name '*.pid' | while read -r file; do kill -9 "$(cat "$file")" 2>/dev/null; done
    ip netns list | while read -r ns _; do
        case $ns in "$L"-*) ip netns del "$ns" ;; esac
    done
    ;;
esac
