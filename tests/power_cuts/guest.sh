#!/bin/bash
# The guest's only process: a broker on the disk under test, two publishers and a consumer. It never ends
# by itself. Whatever the host is to know goes to the console, a line at a time:
#   C QUEUE@OFFSET   confirmed, in the order in which the bodies were made
#   D ID BODY        delivered from `load`
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /run
mount -t ext4 /dev/ubda /mnt || exec sleep infinity
ip link set lo up 2>/dev/null || ifconfig lo up
export SIDING_URL=siding://127.0.0.1:7433
siding=$PROGRAMS/siding
# At level `written` nothing else is to bring a sync about, and the console is to keep up.
[ "$LEVEL" = written ] && SLOW_SYNC="--flush-interval-ms 1000" RATE="--rate 100/s"
"$PROGRAMS/sidingd" --data-dir /mnt/data --admin-listen off --journal-file-bytes 1MiB \
    --checkpoint-bytes 1MiB --tail-bytes 64KiB $SLOW_SYNC >/mnt/log 2>&1 &
until "$siding" queue create load >/dev/null 2>&1 || "$siding" queue show load >/dev/null 2>&1; do :; done

# Bodies say which they are, and are long enough to fill files.
bodies() { seq -f "$CYCLE-$1-%.0f-$(printf 'x%.0s' {1..200})" 1 100000000; }
publish() {
    bodies "$1" | "$siding" publish "$1" --create --print-ids --batch 8 --window 64 --level "$LEVEL" \
        $RATE 2>/dev/null | sed -u 's/^/C /'
}
publish keep &
[ "$LEVEL" = written ] && exec sleep infinity
publish load &
# Straight to the console, which the host sees at once: it is acked once it is printed.
"$siding" consume load --window 32 --visibility 2s --format 'D %i %b\n' 2>/dev/null &
exec sleep infinity
