#!/usr/bin/env bash
# True power cuts: a broker on ext4 inside user-mode Linux, which is killed while clients publish and
# consume. Nothing that its kernel had not written to the disk survives that.
#
#   tests/power_cuts/run.sh [CYCLES]                 default 100
#   LEVEL=written tests/power_cuts/run.sh 5          must find what that level may lose
#
# After each cut the disk is mounted here, the broker started on it, and everything taken out: all that was
# confirmed and not delivered must be there, once, under the id it was confirmed with, and nothing else.
# Wants root, loop devices and the Debian package `user-mode-linux`; without them it says so and ends well.
# Programs are taken from SIDING_PROGRAMS, or built in release mode.
set -euo pipefail
cd "$(dirname "$0")/../.."
cycles=${1:-100}
here=$PWD/tests/power_cuts
skip() { echo "skipped: $1"; exit 0; }

[ "$(id -u)" -eq 0 ] || skip "power cuts want root, to mount a disk"
for tool in mkfs.ext4 losetup apt-get dpkg setsid; do
    command -v "$tool" >/dev/null || skip "there is no $tool"
done
work=$(mktemp -d)
cleanup() {
    [ -z "${guest:-}" ] || pkill -9 -s "$guest" 2>/dev/null || true
    [ -z "${broker:-}" ] || kill -9 "$broker" 2>/dev/null || true
    umount -l "$work/disk" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
chmod 755 "$work"
(cd "$work" && apt-get download user-mode-linux) >"$work/apt.log" 2>&1 ||
    (apt-get update && cd "$work" && apt-get download user-mode-linux) >>"$work/apt.log" 2>&1 ||
    skip "the package user-mode-linux cannot be had"
dpkg -x "$work"/user-mode-linux_*.deb "$work/uml"
linux=$(find "$work/uml" -name linux.uml -type f | head -1)
[ -x "$linux" ] || skip "the package user-mode-linux holds no kernel"

if [ -z "${SIDING_PROGRAMS:-}" ]; then
    cargo build --quiet --release -p siding-broker -p siding-cli --bins
    SIDING_PROGRAMS=${CARGO_TARGET_DIR:-$PWD/target}/release
fi
truncate -s 256M "$work/image"
mkfs.ext4 -q -F "$work/image"
mkdir "$work/disk"
mount -o loop "$work/image" "$work/disk" || skip "a loop device cannot be mounted here"
umount "$work/disk"
export SIDING_URL=siding://127.0.0.1:27433
confirmed_in_all=0 delivered_in_all=0 left_in_all=0 torn=0 broken=0 started=$SECONDS

# Boots a guest, lets it work for a while, and cuts its power. What it said is in $1.
work_and_cut() {
    local said=$1 cycle=$2
    setsid "$linux" mem=256M root=/dev/root rootfstype=hostfs rootflags=/ ro quiet ubda="$work/image" \
        init="$here/guest.sh" con=null con0=fd:0,fd:1 PROGRAMS="$SIDING_PROGRAMS" CYCLE="$cycle" \
        LEVEL="${LEVEL:-synced}" \
        </dev/null >"$said" 2>/dev/null &
    guest=$!
    disown "$guest"
    for _ in $(seq 1 300); do
        grep -q '^C ' "$said" && break
        kill -0 "$guest" 2>/dev/null || break
        sleep 0.1
    done
    sleep "$((RANDOM % 3)).$((RANDOM % 10))"
    pkill -9 -s "$guest" || true
    guest=
}

# Takes everything that is left of a queue, and what the guest still holds once its leases end.
drain() {
    for _ in $(seq 1 20); do
        "$SIDING_PROGRAMS/siding" consume "$1" --drain --format '%i %b\n' 2>"$work/drain.err" && return
        kill -0 "$broker" 2>/dev/null || return 1
        sleep 0.3
    done
    return 1
}

for cycle in $(seq 1 "$cycles"); do
    work_and_cut "$work/said" "$cycle"
    mount -o loop "$work/image" "$work/disk"
    "$SIDING_PROGRAMS/sidingd" --data-dir "$work/disk/data" --listen 127.0.0.1:27433 \
        --admin-listen off --journal-file-bytes 1MiB >/dev/null 2>"$work/log" &
    broker=$!
    for _ in $(seq 1 100); do
        "$SIDING_PROGRAMS/siding" queue show keep >/dev/null 2>&1 && break
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.1
    done
    if ! drain keep >"$work/keep" || ! drain load >"$work/load"; then
        echo "cycle $cycle: the broker does not serve; it said:"
        tail -5 "$work/log" "$work/drain.err"
        broken=$((broken + 1))
        break
    fi
    kill "$broker" && wait "$broker"
    broker=
    umount "$work/disk"
    torn=$((torn + $(grep -c 'torn tail' "$work/log" || true)))
    verdict=$(python3 "$here/books.py" "$cycle" "$work/said" "$work/keep" "$work/load")
    read -r confirmed delivered left faults <<<"$verdict"
    confirmed_in_all=$((confirmed_in_all + confirmed))
    delivered_in_all=$((delivered_in_all + delivered))
    left_in_all=$((left_in_all + left))
    if [ "$faults" -gt 0 ]; then
        broken=$((broken + faults))
        cp "$work/said" "$work/keep" "$work/load" "$work/log" /tmp/ 2>/dev/null || true
        echo "cycle $cycle: $faults broken promises"
    fi
done
echo "power cuts            $cycle"
echo "confirmed             $confirmed_in_all"
echo "delivered before      $delivered_in_all"
echo "found after           $left_in_all"
echo "torn tails cut        $torn"
echo "broken promises       $broken"
echo "seconds               $((SECONDS - started))"
[ "$broken" -eq 0 ]
