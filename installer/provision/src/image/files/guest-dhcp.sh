#!/bin/sh
# udhcpc's script: address, MTU, routes. With classless routes the router option is ignored (RFC 3442).
case $1 in
deconfig)
    ip addr flush dev $interface
    ip link set $interface up
    ;;
bound | renew)
    ip addr flush dev $interface
    [ -n "$mtu" ] && ip link set $interface mtu $mtu
    ip addr add $ip/${mask:-24} dev $interface
    if [ -n "$staticroutes" ]; then
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            if [ "$2" = 0.0.0.0 ]; then
                ip route replace $1 dev $interface
            else
                ip route replace $2 dev $interface
                if [ "$1" = 0.0.0.0/0 ]; then ip route replace default via $2 dev $interface; else ip route replace $1 via $2 dev $interface; fi
            fi
            shift 2
        done
    else
        for gateway in $router; do ip route replace default via $gateway dev $interface; break; done
    fi
    for server in $dns; do grep -q "nameserver $server\$" /etc/resolv.conf 2>/dev/null || echo nameserver $server >>/etc/resolv.conf; done
    echo "$ip/${mask:-24}" >/run/lease.$interface
    ;;
esac
exit 0
