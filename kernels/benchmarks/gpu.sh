#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under 10 minutes, offline: OUT=results kernels/benchmarks/gpu.sh
# Ceilings, speed and correctness of the kernels, then IASA's own plans by every backend, then a whole generation. Results are
# JSON in $OUT, written as they come. DEVICE=cpu TRITON_INTERPRET=1 tries the script out without a GPU, on tiny sizes; such
# times mean nothing.
set -uo pipefail
cd "$(dirname "$0")/../.."
device=${DEVICE:-cuda} out=${OUT:-kernels/benchmarks/results} python=${PYTHON:-python3}
quick=() && [ "$device" = cpu ] && quick=(--quick)
mkdir -p "$out"
timeout 420 "$python" kernels/benchmarks/attention.py --device "$device" --minutes 5.5 --out "$out/kernels.json" "${quick[@]}"
kernels=$?
PYTHONPATH=".:${PYTHONPATH:-}" timeout 75 "$python" kernels/benchmarks/plans.py --device "$device" --seconds 60 --out "$out/plans.json"
plans=$?
PYTHONPATH=".:${PYTHONPATH:-}" timeout 90 "$python" -m iasa bench generate --device "$device" --quick --rows student --out "$out/generate.json"
generate=$?
echo "kernels.json: exit status $kernels; plans.json: exit status $plans; generate.json: exit status $generate"
[ $kernels -eq 0 ] && [ $plans -eq 0 ] && [ $generate -eq 0 ]
