# shellcheck shell=bash
# The cluster's certificates, for as long as a throw-away cluster may live: ten years.

readonly certificate_days=3650

# run_openssl ARGUMENT...: silent when all is well.
run_openssl() {
  local output
  output=$(openssl "$@" 2>&1) || die "openssl $1: $output"
}

# make_ca NAME
make_ca() {
  run_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$certificate_days" \
    -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$pki/$1.key" -out "$pki/$1.crt"
}

# make_certificate CA NAME SUBJECT [ALTERNATIVE_NAMES]: for clients, and with names for a server too.
make_certificate() {
  local extensions="extendedKeyUsage=clientAuth"
  if [ $# -gt 3 ]; then extensions="extendedKeyUsage=clientAuth,serverAuth
subjectAltName=$4"; fi
  printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "$extensions" >"$pki/$2.ext"
  run_openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" -keyout "$pki/$2.key" -out "$pki/$2.csr"
  run_openssl x509 -req -in "$pki/$2.csr" -CA "$pki/$1.crt" -CAkey "$pki/$1.key" -days "$certificate_days" \
    -set_serial "0x$(openssl rand -hex 8)" -extfile "$pki/$2.ext" -out "$pki/$2.crt"
  rm "$pki/$2.csr" "$pki/$2.ext"
}

# make_kubeconfig NAME FILE: with the certificate NAME inside, readable by its owner only.
make_kubeconfig() {
  local authority certificate key
  authority=$(base64 -w0 "$pki/cluster-ca.crt")
  certificate=$(base64 -w0 "$pki/$1.crt")
  key=$(base64 -w0 "$pki/$1.key")
  (
    umask 077
    cat >"$2" <<EOF
apiVersion: v1
kind: Config
current-context: $name
clusters:
- name: $name
  cluster: {server: "$api_server", certificate-authority-data: "$authority"}
users:
- name: $name-$1
  user: {client-certificate-data: "$certificate", client-key-data: "$key"}
contexts:
- name: $name
  context: {cluster: $name, user: $name-$1}
EOF
  )
}

# make_certificates: all of the cluster's, in $state/pki. etcd has a CA of its own: whoever has one of
# its certificates can write past the API server's access rules.
make_certificates() {
  local service=kubernetes.default.svc
  pki=$state/pki
  (umask 077 && mkdir -p "$pki")
  make_ca cluster-ca
  make_ca etcd-ca
  make_certificate etcd-ca etcd /CN=etcd "IP:127.0.0.1"
  make_certificate etcd-ca etcd-client /CN=kube-apiserver
  make_certificate cluster-ca kube-apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:$service,DNS:$service.cluster.local,IP:$first_service_ip,IP:$node_ip"
  make_certificate cluster-ca kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  make_certificate cluster-ca kubelet "/O=system:nodes/CN=system:node:$name" "DNS:$name,IP:$node_ip"
  make_certificate cluster-ca admin /O=system:masters/CN=admin
  make_certificate cluster-ca kube-controller-manager /CN=system:kube-controller-manager
  make_certificate cluster-ca kube-scheduler /CN=system:kube-scheduler
  make_certificate cluster-ca kube-proxy /CN=system:kube-proxy
  make_certificate cluster-ca coredns /CN=tenter:coredns
  make_certificate cluster-ca storage /CN=tenter:storage
  run_openssl ecparam -name prime256v1 -genkey -noout -out "$pki/service-accounts.key"
  run_openssl ec -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub"

  local user
  for user in kubelet kube-controller-manager kube-scheduler kube-proxy coredns storage; do
    make_kubeconfig "$user" "$pki/$user.kubeconfig"
  done
  make_kubeconfig admin "$admin_kubeconfig"
  chown "${SUDO_UID:-$(id -u)}" "$admin_kubeconfig"
}
