#!/usr/bin/env bash
# All that needs a GPU, in one go and in under eight minutes: the tests that are skipped without one, training of Enoki-6,
# a run that is killed and goes on, a race, and step times. From the root of a clone, in an environment with '.[dev]':
#
#     bash benchmarks/on_gpu.sh OUT            # OUT: a folder for the results
#     bash benchmarks/on_gpu.sh --smoke OUT    # the same commands on the CPU with small numbers, to try this script
#
# Every part has a limit of its own and does not stop the others. OUT/summary.json says what each returned and how long
# it took; beside it lie the parts' own results (JSON) and what they printed (*.log).
set -u
smoke=false
[ "${1:-}" = --smoke ] && { smoke=true; shift; }
out=${1:?"usage: bash benchmarks/on_gpu.sh [--smoke] OUT"}
mkdir -p "$out" && out=$(cd "$out" && pwd) && : >"$out/parts.tsv" || exit 2
cd "$(dirname "$0")/.." || exit 2

# part NAME SECONDS COMMAND...: runs a command within a limit; its standard output is OUT/NAME.json where it prints JSON.
part() {
  local name=$1 limit=$2 began=$SECONDS rc
  shift 2
  echo "$name: at most $limit s: $*"
  timeout --kill-after 10 "$limit" "$@" >"$out/$name.out" 2>"$out/$name.log"
  rc=$?
  if python -m json.tool "$out/$name.out" >/dev/null 2>&1; then mv "$out/$name.out" "$out/$name.json"; else cat "$out/$name.out" >>"$out/$name.log"; rm "$out/$name.out"; fi
  printf '%s\t%s\t%s\t%s\n' "$name" "$rc" "$((SECONDS - began))" "$*" >>"$out/parts.tsv"
}

if $smoke; then
  device=cpu steps=12 long=2000 killed=15
  size=(--heads 1 --layers 1 --seq-len 128 --batch-size 1 --device cpu)
  race=(--heads 1 --layers 1 --seq-len 128 --batch-size 1 --steps 8 --device cpu --workers 2)
  shapes=(--heads 1 --rounds 3 --no-first --threads 1)
  tests=(tests/optim/test_fused_triton.py -k cuda)
else
  device=cuda steps=40 long=400 killed=45
  size=(--heads 6 --seq-len 2048 --batch-size 32 --device cuda)
  race=(--heads 12 --seq-len 1024 --batch-size 32 --steps 150 --device cuda)
  shapes=(--heads 12 --device cuda --no-first)
  tests=(tests/optim tests/train -k "cuda or gpu or triton")
fi
train=(adana train enoki "${size[@]}" --optimizer adana --steps "$long" --evaluations 1 --log-every 10 --save-every 20 --asynchronous True)

part doctor 20 adana doctor --json
part step-called 50 python benchmarks/optimizer_step.py "${shapes[@]}" --only "adana ADana fused" "adana DanaMK4 fused" "adana DanaStarMK4 fused" --json
if ! $smoke; then part step-graph 30 python benchmarks/optimizer_step.py "${shapes[@]}" --graph --only "adana ADana fused" "adana DanaMK4 fused" "adana DanaStarMK4 fused" --json; fi
part overhead 60 python benchmarks/train_overhead.py --device "$device" --heads "${size[1]}" --seq-len 64 --batch-size 4 --steps "$steps" --json
part killed "$killed" "${train[@]}" --out "$out/run"
part resumed 75 "${train[@]}" --out "$out/run"
part race 110 adana race "${race[@]}" --optimizers adamw-dw adana muon-dw --lr adamw-dw=2e-3 adana=8e-4 muon-dw=8e-3 --horizons 1 --out "$out/race" --json
part tests 80 pytest -q -p no:cacheprovider -o addopts= "${tests[@]}"

python - "$out" "$smoke" <<'PYTHON'
import csv, json, os, pathlib, platform, subprocess, sys

import torch

out = pathlib.Path(sys.argv[1])
with open(out / "parts.tsv") as file:
    parts = [dict(zip(("name", "rc", "seconds", "command"), row)) for row in csv.reader(file, delimiter="\t")]
for part in parts:
    part |= {"rc": int(part["rc"]), "seconds": int(part["seconds"]), "command": part["command"].replace(str(out), "OUT")}
    part["in time"] = part["rc"] not in (124, 137) or part["name"] == "killed"
lines = [json.loads(line) for path in out.glob("run/metrics.jsonl") for line in path.read_text().splitlines()]
fast = sorted(line["tokens_per_second"] for line in lines if line.get("tokens_per_second"))
summary = {
    "smoke": sys.argv[2] == "true",
    "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}",
    "torch": torch.__version__,
    "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
    "load": os.getloadavg()[0],
    "median_tokens_per_second": fast[len(fast) // 2] if fast else None,
    "last_step": max((line["step"] for line in lines if "step" in line), default=None),
    "parts": parts,
}
(out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
for part in parts:
    print(f"{part['name']:12} rc {part['rc']:3}  {part['seconds']:4} s")
PYTHON
rm -f "$out/parts.tsv"
echo "$out/summary.json"
