# shellcheck shell=bash
# The configuration files of the node's programs, in $state/etc.

write_configuration() {
  etc=$state/etc
  mkdir -p "$etc/cni"
  write_containerd
  write_cni
  write_kubelet
  write_kube_proxy
  write_corefile
  # Pods look names up at CoreDNS only; the machine's own servers are none of theirs.
  printf 'nameserver %s\n' "$node_ip" >"$etc/resolv.conf"
}

write_containerd() {
  local snapshotter=overlayfs
  # An overlay cannot stand on another one, as when the state folder is in a container's own file system.
  if [ "$(stat -f -c %T "$state")" = overlayfs ]; then snapshotter=native; fi
  cat >"$etc/containerd.toml" <<EOF
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  # Without CAP_SYS_RESOURCE no process can protect itself more than its parent is.
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_folder)"
    conf_dir = "$etc/cni"
EOF
}

# ptp routes every packet of a Pod through the node, where kube-proxy's rules see the answers as well;
# on a bridge they would pass by, unless the kernel has br_netfilter.
write_cni() {
  cat >"$etc/cni/10-pods.conflist" <<EOF
{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_range"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
EOF
}

write_kubelet() {
  cat >"$etc/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $state/pki/cluster-ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $state/pki/kubelet.crt
tlsPrivateKeyFile: $state/pki/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
clusterDNS: [$node_ip]
clusterDomain: cluster.local
resolvConf: $etc/resolv.conf
maxPods: 250
serializeImagePulls: false
# The images come from archives and cannot be pulled again: never collect them.
imageGCHighThresholdPercent: 100
# The disk is the developer's own: leave evicting to a real cluster.
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
# Nobody needs to wait for a back-off of minutes here.
crashLoopBackOff: {maxContainerRestartPeriod: 10s}
featureGates: {KubeletCrashLoopBackOffMax: true}
EOF
}

write_kube_proxy() {
  cat >"$etc/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $state/pki/kube-proxy.kubeconfig}
clusterCIDR: $pod_range
bindAddress: $node_ip
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
# The limits of connection tracking are the machine's, not this namespace's.
conntrack: {maxPerCore: 0, min: 0}
EOF
}

# Names outside the cluster do not exist; that is said at once, so that nobody waits for an answer. It
# takes a server block of its own: within one, `template` comes before `kubernetes`.
write_corefile() {
  cat >"$etc/Corefile" <<EOF
cluster.local in-addr.arpa {
  bind $node_ip
  errors
  ready $node_ip:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $state/pki/coredns.kubeconfig
  }
}
. {
  bind $node_ip
  errors
  template ANY ANY {
    rcode NXDOMAIN
  }
}
EOF
}
