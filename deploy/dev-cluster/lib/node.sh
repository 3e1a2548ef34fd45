#!/usr/bin/env bash
# The first process of a cluster's namespaces: node.sh NAME STATE HERE, started by `cluster up`.
# Lays out the mounts and the network, starts the programs and starts them again when they end.
# Everything below it ends when it ends: it is process 1 of a process namespace.
set -euo pipefail

name=$1 here=$3
# The file system of the host is what /proc still shows: here the shell's own number is the host's.
read -r -a self </proc/self/stat
printf '%s %s\n' "${self[0]}" "${self[21]}" >"$2/init.pid"
export TENTER_STATE=${2%/*}

# shellcheck source=lib/common.sh
source "$here/lib/common.sh"
# shellcheck source=lib/storage.sh
source "$here/lib/storage.sh"
load_cluster "$name"
base_manifest=$(<"$here/manifests/base.yaml")

# Folders that the programs have fixed paths in, of which each cluster has its own.
lay_out_mounts() {
  mount -t proc proc /proc
  mount -t tmpfs -o mode=0755 tmpfs "$state/run"
  mkdir "$state/run/state"
  mount --bind "$state" "$state/run/state"
  mount --rbind "$state/run" /run
  mount --bind /run/state/varlog /var/log
  mount --bind /run/state/tmp /tmp
  mount --bind /run/state/lib /var/lib
  # One of the three may hide the state folder: put it where everyone knows it.
  mkdir -p "$state"
  mount --bind /run/state "$state"
  hide_kernel_settings
  cd /
}

# The kubelet insists on a few settings of the kernel, which are the whole machine's. It is shown files
# that hold what it wants, and the machine keeps its own.
hide_kernel_settings() {
  local setting value
  while read -r setting value; do
    [ -e "/proc/sys/$setting" ] || continue
    mkdir -p "/run/sysctl/${setting%/*}"
    printf '%s\n' "$value" >"/run/sysctl/$setting"
    mount --bind "/run/sysctl/$setting" "/proc/sys/$setting"
  done <<'EOF'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF
}

lay_out_network() {
  ip link set lo up
  wait_for 10 "the network device from the host" ip link show eth0
  ip address add "$node_ip/24" dev eth0
  ip link set eth0 up
  # Without a default route, Service addresses have no route and kube-proxy's rules never see them.
  ip route add default via "$host_ip"
  echo 1 >/proc/sys/net/ipv4/ip_forward
}

# supervise PROGRAM COMMAND...: runs it, again whenever it ends: after one second, then two, up to ten.
supervise() {
  local program=$1 delay=1 began status
  shift
  (
    while :; do
      began=$SECONDS
      "$@" >>"$state/log/$program.log" 2>&1 3>&- &
      printf '%s\n' "$!" >"$state/run/$program.pid"
      status=0
      wait "$!" || status=$?
      if [ $((SECONDS - began)) -ge 60 ]; then delay=1; fi
      printf 'cluster: %s ended with %s; again in %s s\n' "$program" "$status" "$delay" >>"$state/log/$program.log"
      sleep "$delay"
      delay=$((delay < 5 ? delay * 2 : 10))
    done
  ) &
}

# need SECONDS PROGRAM WHAT COMMAND...: waits; on failure shows the logs of PROGRAM and of those that have
# ended, of which one may be the cause, and ends the node.
need() {
  local limit=$1 program=$2 what=$3 log
  shift 3
  wait_for "$limit" "$what" "$@" && return
  while read -r log; do
    say "the last lines of $log:"
    tail -n 8 "$log" | cut -c 1-300 >&2
  done < <({
    printf '%s\n' "$state/log/$program.log"
    grep -l '^cluster: .* ended with' "$state"/log/*.log || true
  } | sort -u)
  exit 1
}

start_etcd() {
  supervise etcd "$bin/etcd" --name "$name" --data-dir "$state/etcd" \
    --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster "$name=http://127.0.0.1:2380" \
    --cert-file "$pki/etcd.crt" --key-file "$pki/etcd.key" \
    --client-cert-auth --trusted-ca-file "$pki/etcd-ca.crt" \
    --unsafe-no-fsync --log-level warn
}

start_api_server() {
  supervise kube-apiserver "$bin/kube-apiserver" \
    --bind-address "$node_ip" --advertise-address "$node_ip" --secure-port 6443 \
    --etcd-servers https://127.0.0.1:2379 --etcd-cafile "$pki/etcd-ca.crt" \
    --etcd-certfile "$pki/etcd-client.crt" --etcd-keyfile "$pki/etcd-client.key" \
    --service-cluster-ip-range "$service_range" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --client-ca-file "$pki/cluster-ca.crt" --allow-privileged \
    --tls-cert-file "$pki/kube-apiserver.crt" --tls-private-key-file "$pki/kube-apiserver.key" \
    --kubelet-certificate-authority "$pki/cluster-ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/service-accounts.pub" \
    --service-account-signing-key-file "$pki/service-accounts.key" \
    --shutdown-delay-duration 0s
}

# The binder of claims loses a race with the StatefulSet controller now and then, and tries again only after
# its period, which is 15 s by default.
start_controllers() {
  supervise kube-controller-manager "$bin/kube-controller-manager" \
    --kubeconfig "$pki/kube-controller-manager.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
    --pvclaimbinder-sync-period 2s \
    --use-service-account-credentials --root-ca-file "$pki/cluster-ca.crt" \
    --service-account-private-key-file "$pki/service-accounts.key" \
    --cluster-signing-cert-file "$pki/cluster-ca.crt" --cluster-signing-key-file "$pki/cluster-ca.key"
  supervise kube-scheduler "$bin/kube-scheduler" \
    --kubeconfig "$pki/kube-scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
}

start_containers() {
  supervise containerd containerd --config "$etc/containerd.toml"
  need 30 containerd "containerd" ctr version
  need 30 containerd "the pause image" ctr --namespace k8s.io images import "$state/pause.tar"
}

start_kubelet() {
  supervise kubelet "$bin/kubelet" --config "$etc/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
    --hostname-override "$name" --node-ip "$node_ip"
  need 60 kubelet "the node to be ready" kube wait --for=condition=Ready --timeout=5s "node/$name"
}

start_services() {
  supervise kube-proxy "$bin/kube-proxy" --config "$etc/kube-proxy.yaml" --hostname-override "$name"
  supervise coredns "$bin/coredns" -conf "$etc/Corefile"
  mkdir -p "$volumes"
  supervise storage-provide provision_claims
  supervise storage-remove remove_volumes
}

# answers ADDRESS PORT PATH: whether an HTTP request there says 200.
answers() {
  local line
  exec 4<>"/dev/tcp/$1/$2" || return 1
  printf 'GET %s HTTP/1.0\r\n\r\n' "$3" >&4
  read -r -t 5 -u 4 line
  exec 4>&-
  [[ $line == *" 200 "* ]]
}

main() {
  pki=$state/pki
  etc=$state/etc
  umask 022
  lay_out_mounts
  lay_out_network
  start_etcd
  start_api_server
  start_containers
  need 90 kube-apiserver "the API server" kube get --raw /readyz
  start_controllers
  need 30 kube-apiserver "the cluster's own objects" kube apply --filename - <<<"$base_manifest"
  start_kubelet
  start_services
  need 30 coredns "CoreDNS" answers "$node_ip" 8181 /ready
  need 30 kube-proxy "kube-proxy" answers 127.0.0.1 10256 /healthz
  need 30 kube-controller-manager "the default service account" kube --namespace default get serviceaccount default
  date +%s >"$state/ready"
  # Bash as process 1 also collects the children that others left behind.
  while :; do wait || true; done
}

main
