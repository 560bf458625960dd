#!/bin/sh
# Brings the guest up: drivers, config drive or metadata service, addresses, host name, keys, SSH, user data.
# Every step is a line on the console that begins with `guest:`.
export PATH=/bin:/sbin
METADATA=http://169.254.169.254/openstack/latest
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mkdir -p /run/drive /run/config

say() {
    read -r up idle </proc/uptime
    echo "guest: $up $*" >/dev/console
}
load() { for module in $(cat /lib/modules/$1); do insmod /lib/modules/$module.ko 2>/dev/null; done; }
# Values of a flattened JSON file whose path matches.
values() { sed -n "s/^$2	//p" /run/config/$1.flat 2>/dev/null; }
flatten() { [ -s /run/config/$1 ] && awk -f /etc/guest/json.awk </run/config/$1 >/run/config/$1.flat; }

config_drive() {
    device=$(findfs LABEL=config-2 2>/dev/null || findfs LABEL=CONFIG-2 2>/dev/null) || return 1
    mount -t iso9660 -o ro $device /run/drive 2>/dev/null || mount -t vfat -o ro $device /run/drive || return 1
    cp /run/drive/openstack/latest/* /run/config/ 2>/dev/null
    umount /run/drive
    say "config drive on $device"
}

fetch() { timeout 5 wget -q -O /run/config/$1 $METADATA/$1 2>/dev/null || { rm -f /run/config/$1; return 1; }; }
metadata_service() {
    tries=0
    until fetch meta_data.json; do
        tries=$((tries + 1))
        [ $tries -ge 15 ] && return 1
        sleep 1
    done
    fetch user_data
    fetch vendor_data.json
    say "metadata service"
}

# Addresses that are fixed in network_data.json, where the network has no DHCP.
static_address() {
    number=0
    while type=$(values network_data.json "networks\.$number\.type"); [ -n "$type" ]; do
        link=$(values network_data.json "networks\.$number\.link")
        if [ "$type" = ipv4 ] && [ "$(link_mac "$link")" = "$(cat /sys/class/net/$1/address)" ]; then
            address=$(values network_data.json "networks\.$number\.ip_address")
            ip addr add $address/$(prefix $(values network_data.json "networks\.$number\.netmask")) dev $1
            route=0
            while gateway=$(values network_data.json "networks\.$number\.routes\.$route\.gateway"); [ -n "$gateway" ]; do
                to=$(values network_data.json "networks\.$number\.routes\.$route\.network")
                bits=$(prefix $(values network_data.json "networks\.$number\.routes\.$route\.netmask"))
                if [ "$to" = 0.0.0.0 ]; then ip route replace default via $gateway; else ip route replace $to/$bits via $gateway; fi
                route=$((route + 1))
            done
            say "network $1 $address from network data"
            return 0
        fi
        number=$((number + 1))
    done
    return 1
}
link_mac() {
    link=0
    while id=$(values network_data.json "links\.$link\.id"); [ -n "$id" ]; do
        [ "$id" = "$1" ] && values network_data.json "links\.$link\.ethernet_mac_address"
        link=$((link + 1))
    done
}
# 255.255.255.0 -> 24; an address that has its prefix length is left alone.
prefix() {
    bits=0
    for byte in $(echo $1 | tr . ' '); do
        while [ $byte -gt 0 ]; do
            bits=$((bits + byte % 2))
            byte=$((byte / 2))
        done
    done
    echo $bits
}

network() {
    ip link set lo up
    for path in /sys/class/net/eth*; do
        [ -e $path ] || { say "network: no interface"; return; }
        nic=${path##*/}
        ip link set $nic up
        mtu=$(values network_data.json 'links\.0\.mtu')
        case $mtu in [0-9]*) ip link set $nic mtu $mtu ;; esac
        static_address $nic && continue
        # Goes on in the background with or without a lease, and renews it.
        udhcpc -i $nic -s /etc/guest/dhcp -O mtu -O staticroutes -t 15 -T 1 -A 2 -b -p /run/udhcpc.$nic.pid >/dev/null 2>&1
        if [ -s /run/lease.$nic ]; then
            say "network $nic $(cat /run/lease.$nic) mtu $(cat $path/mtu)"
        else
            say "network $nic: no DHCP answer yet"
        fi
    done
}

identity() {
    name=$(values meta_data.json hostname)
    hostname "${name:-guest}"
    echo "127.0.1.1 $(hostname)" >>/etc/hosts
    chmod 700 /root /root/.ssh
    values meta_data.json 'public_keys\.[^	]*' | sed 's/ *$//' >/root/.ssh/authorized_keys
    chmod 600 /root/.ssh/authorized_keys
    say "host $(hostname), $(wc -l </root/.ssh/authorized_keys) keys"
}

ssh_server() {
    dropbearkey -t ed25519 -f /etc/dropbear/dropbear_ed25519_host_key >/dev/null 2>&1
    # -s: keys only, no passwords.
    dropbear -s -r /etc/dropbear/dropbear_ed25519_host_key 2>/dev/null
}

user_data() {
    [ -s /run/config/user_data ] || return
    case $(head -c 2 /run/config/user_data) in
    '#!')
        chmod 700 /run/config/user_data
        say "user data begins"
        # Its output goes line by line, so that the console stays readable.
        { cd /root; /run/config/user_data 2>&1; echo $? >/run/config/status; } | while read -r line; do echo "guest: user data: $line" >/dev/console; done
        say "user data ended with status $(cat /run/config/status)"
        ;;
    *) say "user data does not begin with #! and is ignored" ;;
    esac
}

load order
say start
: >/etc/resolv.conf
config_drive || { load order.cdrom; for try in 1 2 3 4 5; do config_drive && break; sleep 0.3; done; }
for file in meta_data.json network_data.json; do flatten $file; done
network
if [ ! -s /run/config/meta_data.json ]; then
    metadata_service || say "neither config drive nor metadata service"
    flatten meta_data.json
fi
identity
# Its log would be in a folder that is not there, and without a log it ends.
acpid -l /dev/null 2>/dev/null
ssh_server
say "login ready"
user_data &
