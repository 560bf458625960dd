#!/bin/busybox sh
# First program of an installed node: loads the disk's driver, finds the root by its label, goes on there.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /lib/modules/order); do $b insmod /lib/modules/$module.ko; done
root=
tries=0
while root=$($b findfs LABEL=root); [ -z "$root" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ]; then
        echo "initial ramdisk: no file system labelled root after 30 s; restarting" >/dev/console
        $b reboot -f
    fi
    $b sleep 0.1
done
$b mount -t ext4 -o rw,noatime "$root" /mnt
for folder in dev sys proc; do $b mount --move /$folder /mnt/$folder; done
exec $b switch_root /mnt /sbin/init
