#!/usr/bin/env bash
# Runs deploy/slurm/espalier.sbatch for real: a Slurm cluster of one node in a temporary folder,
# under ports and a munge socket of its own, and five small jobs: one to its result, undisturbed;
# the same one over TCP with certificates and tokens and the model divided, as on several nodes, and
# once more, requeued in its search and then killed, which must both give the same bytes; a short one
# over TCP in the clear; and one that is stopped. Ends every daemon it started.
#
# Usage: tests/slurm_test.sh [FOLDER_OF_PROGRAMS]     default: build/release/bin
#
# Needs Debian's slurm-wlm and munge; without them it exits with 77 (skipped).
set -euo pipefail
cd "$(dirname "$0")/.."

for program in munged slurmctld slurmd sbatch srun scontrol squeue; do
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || {
    echo "skipped: $program is not installed (Debian: slurm-wlm, munge)"
    exit 77
  }
done
export PATH="$PATH:/usr/sbin"
programs="$(realpath "${1:-build/release/bin}")"
[[ -x "$programs/espalier" ]] || { echo "no programs in $programs; build first" >&2; exit 1; }

work="$(mktemp -d)"
chmod 755 "$work"
daemons=()

finish() {
  local status=$? process
  trap - EXIT
  ((status == 0)) || tail -n 20 "$work"/*.log "$work"/slurm-*.out 2>/dev/null || true
  scancel --full --user="$(id -un)" 2>/dev/null || true
  for process in $(printf '%s\n' "${daemons[@]}" | tac); do
    kill -TERM "$process" 2>/dev/null && wait "$process" 2>/dev/null || true
  done
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

fail() { echo "FAILED: $*" >&2; exit 1; }

# until_true SECONDS WHAT COMMAND...: waits for a condition, with a deadline.
until_true() {
  local deadline=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "waited too long for $what"
    sleep 0.2
  done
}

# ---- The cluster.
mkdir -m 700 "$work/munge" "$work/state" "$work/spool"
head -c 1024 /dev/urandom >"$work/munge/key"
chmod 400 "$work/munge/key"
chmod 755 "$work/munge"
munged --foreground --key-file="$work/munge/key" --socket="$work/munge/socket" \
  --pid-file="$work/munge/pid" --seed-file="$work/munge/seed" --log-file="$work/munge.log" \
  >"$work/munged.log" 2>&1 &
daemons+=($!)
until_true 20 "munged" test -S "$work/munge/socket"

node="$(hostname -s)"
user="$(id -un)"
cat >"$work/slurm.conf" <<CONF
ClusterName=espalier-test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
KillWait=20
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$work/slurm.conf"
slurmctld -D -f "$SLURM_CONF" >"$work/slurmctld.log" 2>&1 &
daemons+=($!)
slurmd -D -f "$SLURM_CONF" -N "$node" >"$work/slurmd.log" 2>&1 &
daemons+=($!)
idle() { [[ "$(sinfo --noheader --format=%T 2>/dev/null)" == idle ]]; }
until_true 60 "an idle node" idle

# ---- The jobs.
state() { scontrol --oneliner show job "$1" 2>/dev/null | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
in_state() { [[ "$(state "$1")" == "$2" ]]; }
restarted() { scontrol --oneliner show job "$1" | grep -q "Restarts=$2"; }
# says NAME PATTERN [TIMES]: whether the job's output has so many lines with the pattern.
says() { (($(cat "$work/slurm-$1.out" 2>/dev/null | grep -c "$2") >= ${3:-1})); }
# kill_at_once JOB: as when its node fails. The batch script first: it would end the others well.
kill_at_once() {
  local coordinator
  coordinator="$(pgrep --full "^$programs/espalier-coordinator .*/espalier-$1-")"
  kill -KILL "$(ps -o ppid= -p "$coordinator")" "$coordinator"
}
# requeue JOB RESTARTS: queues it again, for the RESTARTSth time, and lets it begin.
requeue() {
  scontrol requeue "$1"
  until_true 120 "job $1 to be queued again" restarted "$1" "$2"
  until_true 120 "job $1 to wait" in_state "$1" PENDING
  scontrol update "jobid=$1" StartTime=now # Slurm would let it rest for two minutes
}

# write_job NAME GENERATIONS
write_job() {
  cat >"$work/$1.yaml" <<JOB
model: $PWD/models/orchard
text: {path: $PWD/models/orchard/valid.txt, format: wikitext}
method: paper
target: 0.8
output: $work/results/$1
calibration: {sequences: 8}
search: {generations: $2, mutations: 4, crossovers: 2, initial_mutations: 2, survivors: 2,
         sequences: 2}
JOB
}
# submit NAME [VARIABLE=VALUE...]: from $work, where the state is kept then. Scratch folders of
# killed scripts go with it.
submit() {
  local name="$1" variables
  shift
  variables="$(printf ',%s' "JOB=$work/$name.yaml" WORKERS=2 "ESPALIER=$programs" "$@")"
  (cd "$work" && TMPDIR="$work/tmp" sbatch --parsable --output="$work/slurm-$name.out" \
    --cpus-per-task="$(nproc)" --export="ALL$variables" "$script")
}

mkdir "$work/results" "$work/tmp"
script="$PWD/deploy/slurm/espalier.sbatch"
write_job quiet 150
job="$(submit quiet)"
until_true 300 "job $job to end" in_state "$job" COMPLETED
for file in subnet.json report.json compact/model.safetensors padded/model.safetensors; do
  [[ -s "$work/results/quiet/$file" ]] || fail "the result has no $file"
done
grep -q 'says goodbye' "$work/slurm-quiet.out" || fail "the workers did not stop cleanly"
[[ ! -e "$work/espalier-state-$job" ]] || fail "the state of a job that has its result is left"
echo "ok: a job runs to its result"

scripts/make-dev-certs "$work/certs" "$(hostname -f)" >"$work/certs.log"
write_job encrypted 150
echo 'stages: 2' >>"$work/encrypted.yaml"
job="$(submit encrypted CERTS="$work/certs" PORT=26819)"
until_true 300 "job $job to end" in_state "$job" COMPLETED
for file in population.jsonl compact/model.safetensors; do
  cmp "$work/results/quiet/$file" "$work/results/encrypted/$file" ||
    fail "$file of the encrypted job is another one"
done
grep -q 'connections are encrypted' "$work/slurm-encrypted.out" || fail "it was not encrypted"
echo "ok: the same with certificates and tokens"

write_job clear 3
job="$(submit clear INSECURE=yes PORT=26820)"
until_true 300 "job $job to end" in_state "$job" COMPLETED
! grep -q 'connections are encrypted' "$work/slurm-clear.out" || fail "it was encrypted"
echo "ok: over TCP without encryption, when told so"

! JOB=none SLURM_JOB_ID=0 SLURM_JOB_NUM_NODES=2 bash "$script" 2>"$work/refused.log" ||
  fail "two nodes without certificates were not refused"
grep -q 'set CERTS' "$work/refused.log" || fail "the refusal does not say what to do"
echo "ok: several nodes without certificates are refused"

write_job disturbed 150
job="$(submit disturbed)"
until_true 120 "generation 5" says disturbed 'job-1: generation 5:'
requeue "$job" 1
until_true 120 "the job to go on" says disturbed 'the coordinator was restarted; [1-9]'
until_true 120 "generation 50" says disturbed 'job-1: generation 50:'
kill_at_once "$job"
until_true 120 "job $job to be dead" in_state "$job" FAILED
[[ -s "$work/espalier-state-$job/coordinator.db" ]] || fail "a killed job left no state"
requeue "$job" 2
until_true 120 "the job to go on again" says disturbed 'the coordinator was restarted; [1-9]' 2
until_true 300 "job $job to end" in_state "$job" COMPLETED
# All in one life, and each generation once: nothing began anew, nothing was left out.
says disturbed 'job-1: submitted' && ! says disturbed 'job-1: submitted' 2 ||
  fail "a requeued job was submitted anew"
! says disturbed 'job-1: generation 3:' 2 || fail "a generation was scored twice"
for file in population.jsonl compact/model.safetensors; do
  cmp "$work/results/quiet/$file" "$work/results/disturbed/$file" ||
    fail "$file of the requeued job is another one"
done
[[ ! -e "$work/espalier-state-$job" ]] || fail "the state of a job that has its result is left"
[[ -z "$(ls -A "$work/results" | grep -vx 'quiet\|encrypted\|clear\|disturbed')" ]] || fail "something else is left"
echo "ok: requeued and killed in its search, a job goes on and gives the same bytes"

write_job stopped 100000
job="$(submit stopped)"
until_true 120 "the long job to search" says stopped 'job-1: generation 1:'
scancel --signal=TERM --batch "$job"
until_true 120 "job $job to stop" in_state "$job" FAILED
[[ ! -e "$work/results/stopped" ]] || fail "a stopped job left a result"
[[ -z "$(ls -A "$work/tmp" | grep "espalier-$job-")" ]] || fail "a stopped job left files behind"
[[ -s "$work/espalier-state-$job/coordinator.db" ]] || fail "a stopped job left no state"
left() { ! pgrep --full "espalier-(worker|coordinator).*espalier-$job-" >/dev/null; }
until_true 30 "all programs to end" left
echo "ok: SIGTERM stops all of it"
