# shellcheck shell=bash
# The host's side of a cluster: its index, its namespaces, its end of the network, and taking all of it away.

# lock_state: one `up` or `down` at a time, so that two do not choose the same index.
lock_state() {
  mkdir -p "$(state_root)"
  exec 9>"$(state_root)/.lock"
  flock -n 9 || {
    say "another run is at work in $(state_root): waiting for it, up to 10 min"
    flock -w 600 9 || die "another run has been at work for ten minutes" "see which with: fuser -v $(state_root)/.lock"
  }
}

# choose_index: the lowest that no cluster has and whose addresses nobody else on this machine uses.
choose_index() {
  local candidate taken
  taken=" $(cat "$(state_root)"/*/index 2>/dev/null | tr '\n' ' ')"
  for ((candidate = 0; candidate < max_clusters; candidate++)); do
    if [[ $taken != *" $candidate "* ]] && [ -z "$(ip -o address show to "10.250.$candidate.0/24")" ]; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "all $max_clusters ranges of addresses are taken" "cluster down one that is no longer needed"
}

# make_state NAME: the folder of a new cluster, with all that its first process needs.
make_state() {
  local index
  mkdir -p "$state"/{bin,log,run,lib,tmp,varlog}
  chmod 1777 "$state/tmp"
  index=$(choose_index)
  printf '%s\n' "$index" >"$state/index"
  load_cluster "$1"
  collect_programs
  make_certificates
  write_configuration
}

# collect_programs: one folder with all of them, of the cluster's own: it keeps them when the cache is
# emptied, and sees them wherever they were (its /tmp and /run are not the host's).
collect_programs() {
  local wanted found
  while read -r wanted; do
    found=$(program "$wanted")
    ln -L "$found" "$bin/$wanted" 2>/dev/null || cp -L "$found" "$bin/$wanted"
  done < <(all_programs)
  cp "$(cache_root)/pause-1/image.tar" "$state/pause.tar"
}

# The mount points of the cgroup hierarchies that have controllers: one each in version 1, one for all in version 2.
cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts; }

# make_cgroups: the kubelet wants its root in every hierarchy.
make_cgroups() {
  local mount controller
  while read -r mount; do
    if [ -f "$mount/cgroup.controllers" ]; then
      # Version 2 hands a controller down only when told to; one that it will not hand down is not missed here.
      for controller in $(<"$mount/cgroup.controllers"); do
        echo "+$controller" 2>/dev/null >"$mount/cgroup.subtree_control" || true
      done
    fi
    mkdir -p "$mount/$cgroup"
  done < <(cgroup_mounts)
}

remove_cgroups() {
  local mount
  while read -r mount; do
    [ -d "$mount/$cgroup" ] || continue
    find "$mount/$cgroup" -depth -type d -exec rmdir {} +
  done < <(cgroup_mounts)
}

cgroups_gone() {
  remove_cgroups
  local mount
  while read -r mount; do
    [ ! -d "$mount/$cgroup" ] || return 1
  done < <(cgroup_mounts)
}

# start_node: the node's first process in new namespaces, and a pair of devices into them.
start_node() {
  local pid
  make_cgroups
  setsid --fork unshare --net --mount --pid --fork --propagation private \
    bash "$here/lib/node.sh" "$name" "$state" "$here" </dev/null >>"$state/log/node.log" 2>&1 9>&-
  wait_for 10 "the node's first process" init_process || node_failed
  pid=$(init_process)
  ip link add "$host_device" type veth peer name eth0 netns "$pid"
  ip address add "$host_ip/24" dev "$host_device"
  ip link set "$host_device" up
}

node_failed() {
  tail -n 20 "$state/log/node.log" >&2
  die "cluster $name did not come up" "logs: $state/log; cluster down $name removes what is left"
}

# follow_node: shows what the node's first process waits for, until it is ready or gone.
follow_node() {
  local end=$((SECONDS + 240)) shown=0 lines
  [ ! -e "$state/ready" ] || return 0
  while :; do
    lines=$(wc -l <"$state/log/node.log")
    if [ "$lines" -gt "$shown" ]; then
      sed -n "$((shown + 1)),${lines}p" "$state/log/node.log" >&2
      shown=$lines
    fi
    [ ! -e "$state/ready" ] || return 0
    init_process >/dev/null || die "cluster $name did not come up" "logs: $state/log; cluster down $name removes what is left"
    [ "$SECONDS" -lt "$end" ] || node_failed
    sleep 0.2
  done
}

# enter COMMAND...: inside the cluster's namespaces. Its processes end with the cluster's.
enter() {
  local pid
  pid=$(init_process) || die "cluster $name is not running" "cluster up $name"
  nsenter --target "$pid" --net --mount --pid -- "$@"
}

# connect_node: the host passes packets of this cluster on to other clusters' nodes. Pods leave with their node's address, so
# that answers find their way. What a cluster sends elsewhere is refused as before.
connect_node() {
  echo 1 >"/proc/sys/net/ipv4/conf/$host_device/forwarding"
  disconnect_node
  ip rule add preference 1000 iif "$host_device" to 10.250.0.0/16 lookup main
  ip rule add preference 1001 iif "$host_device" prohibit
}

# disconnect_node: rules outlive the device that they name.
disconnect_node() {
  while ip rule delete preference 1000 iif "$host_device" 2>/dev/null; do :; done
  while ip rule delete preference 1001 iif "$host_device" 2>/dev/null; do :; done
}

# stop_node: with the first process of their namespace, the kernel ends all others; mounts, devices and
# rules go with the last of them.
stop_node() {
  local pid
  # Without an index it never got as far as having anything.
  load_cluster "$name" || return 0
  if pid=$(init_process); then
    kill -KILL "$pid"
    wait_for 30 "the processes of $name to end" node_gone || die "process $pid does not end" "see /proc/$pid/stack"
  fi
  disconnect_node
  if ip link show "$host_device" >/dev/null 2>&1; then
    ip link delete "$host_device" 2>/dev/null || true
  fi
  wait_for 30 "the cgroups of $name to empty" cgroups_gone || die "processes remain in the cgroup $cgroup" "see its cgroup.procs"
}

node_gone() { ! init_process; }

# remove_state: never across a mount, in case one of the user's own is below.
remove_state() {
  rm -rf --one-file-system "${state:?}"
}
