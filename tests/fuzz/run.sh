#!/usr/bin/env bash
# Fuzzes every target, or those that are named, one after the other on one core.
#
#   SECONDS_EACH=600 tests/fuzz/run.sh [TARGET]...
#   SIDING_PLANTED=1 tests/fuzz/run.sh          each must find the bug planted in it
#
# Wants `cargo install cargo-fuzz --version 0.13.2`. What it works with stays in target/fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
targets=("$@")
[ $# -gt 0 ] || targets=(frames requests runs entries snapshot recovery)
seconds=${SECONDS_EACH:-60}
built=${CARGO_TARGET_DIR:-$PWD/target}
work=$built/fuzz
corpus=$work/corpus${SIDING_PLANTED:+-planted}
# libFuzzer is behind flags of an unstable compiler; the compiler itself is the stable one.
export RUSTC_BOOTSTRAP=1

cargo run --quiet -p siding-lab -- seeds "$corpus"
verdict=0
for target in "${targets[@]}"; do
    mkdir -p "$work/artifacts/$target"
    log=$work/$target${SIDING_PLANTED:+-planted}.log
    found=0
    cargo fuzz run --fuzz-dir tests/fuzz --target-dir "$work/build" -s none "$target" \
        "$corpus/$target" -- \
        -dict="tests/fuzz/dictionaries/$target.dict" -artifact_prefix="$work/artifacts/$target/" \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 >"$log" 2>&1 || found=$?
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    printf '%-10s %12s executions  %7s a second  %6s edges  ' \
        "$target" "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" "$covered"
    if [ "$found" -eq 0 ]; then
        echo "no finding"
    else
        grep -m1 -A1 "panicked at\|ERROR: libFuzzer" "$log" | tr '\n' ' ' | cut -c1-200
        echo
    fi
    [ "$found" -eq 0 ] || [ -n "${SIDING_PLANTED:-}" ] || verdict=1
    [ "$found" -ne 0 ] || [ -z "${SIDING_PLANTED:-}" ] || verdict=1
done
exit $verdict
