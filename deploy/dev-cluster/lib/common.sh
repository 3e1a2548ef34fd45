# shellcheck shell=bash
# What every part needs: messages, bounded waits, and where a cluster keeps what.

say() { printf 'cluster: %s\n' "$*" >&2; }

# die MESSAGE [HINT]
die() {
  printf 'cluster: error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
  exit 1
}

# wait_for SECONDS WHAT COMMAND...: runs COMMAND until it succeeds. Says what it waits for when the
# first try fails, and returns 1 after SECONDS.
wait_for() {
  local limit=$1 what=$2 end said=no
  shift 2
  end=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    if [ "$said" = no ]; then
      say "waiting up to $limit s for $what"
      said=yes
    fi
    if [ "$SECONDS" -ge "$end" ]; then
      say "$what: not there after $limit s"
      return 1
    fi
    sleep 0.2
  done
}

require_root() {
  [ "$(id -u)" -eq 0 ] || die "this makes network namespaces and cgroups and runs containers: it needs root" \
    "run it as root, or with sudo --preserve-env=TENTER_CACHE,TENTER_STATE"
}

cache_root() {
  realpath -ms "${TENTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tenter}/dev-cluster"
}

state_root() {
  realpath -ms "${TENTER_STATE:-/var/lib/tenter-dev}"
}

# A cluster's name is also its node's.
check_name() {
  [[ $1 =~ ^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
    die "'$1' is no name for a cluster" "at most 32 of a-z, 0-9 and '-', beginning with a letter, not ending with '-'"
}

# Sixty-four clusters have addresses: INDEX is the third byte of the node's range, and chooses one of
# 64 /22 ranges for Pods and for Services.
readonly max_clusters=64

# set_addresses INDEX: and what else is named by it, because names may repeat in another state folder.
set_addresses() {
  index=$1
  node_ip=10.250.$index.1
  host_ip=10.250.$index.2
  pod_range=10.251.$((index * 4)).0/22
  service_range=10.252.$((index * 4)).0/22
  first_service_ip=10.252.$((index * 4)).1
  host_device=tenter-$index
  cgroup=tenter-$index
  api_server=https://$node_ip:6443
}

# load_cluster NAME: sets `name`, `state` and, when the cluster has been given addresses, those.
# Returns 1 when it has none.
load_cluster() {
  name=$1
  state=$(state_root)/$name
  bin=$state/bin
  admin_kubeconfig=$state/kubeconfig
  [ -s "$state/index" ] || return 1
  set_addresses "$(<"$state/index")"
}

# The first process of the cluster's namespaces: its pid on the host and the time of its start, which
# together no other process has.
init_process() {
  local pid started now
  [ -s "$state/init.pid" ] || return 1
  read -r pid started <"$state/init.pid"
  now=$(start_time "$pid") || return 1
  [ "$now" = "$started" ] || return 1
  printf '%s\n' "$pid"
}

# start_time PID: in clock ticks since the machine's start (field 22 of proc(5)'s stat; the process
# is bash, whose name holds no space). Fails for a process that is gone or only waits to be reaped.
start_time() {
  local fields
  { read -r -a fields <"/proc/$1/stat"; } 2>/dev/null || return 1
  [ "${fields[2]}" != Z ] || return 1
  printf '%s\n' "${fields[21]}"
}

kube() { "$bin/kubectl" --kubeconfig "$admin_kubeconfig" --request-timeout=10s "$@"; }
