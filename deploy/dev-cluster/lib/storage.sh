# shellcheck shell=bash
# Volumes for claims of the storage class `local` (and others of its provisioner): a folder each, as a
# PersistentVolume of the kind `local`, to which (unlike hostPath) the kubelet applies a Pod's fsGroup.
# Runs inside the node.

readonly provisioner=tenter.dev/local
readonly volumes=/var/lib/volumes

storage_kubectl() { "$bin/kubectl" --kubeconfig "$state/pki/storage.kubeconfig" "$@"; }

# follow KIND FIELD...: the fields as one line of text, apart by '|', for each object that there is and each
# change of it, until the connection ends or nobody reads any more.
follow() {
  local kind=$1 format='' field
  shift
  for field in "$@"; do format+="{$field}|"; done
  storage_kubectl get "$kind" --all-namespaces --watch --output jsonpath="$format"'{"\n"}'
}

# provision_claims: returns when the connection ends or a volume could not be made; the caller starts
# it again, and it looks at every claim anew.
provision_claims() {
  local namespace claim uid phase wanted class size modes
  exec 3< <(follow persistentvolumeclaims .metadata.namespace .metadata.name .metadata.uid .status.phase \
    '.metadata.annotations.volume\.kubernetes\.io/storage-provisioner' \
    .spec.storageClassName .spec.resources.requests.storage .spec.accessModes)
  while IFS='|' read -r -u 3 namespace claim uid phase wanted class size modes; do
    if [ "$phase" = Pending ] && [ "$wanted" = "$provisioner" ]; then
      make_volume "$namespace" "$claim" "$uid" "$class" "$size" "${modes%|}" || break
    fi
  done
}

# make_volume NAMESPACE CLAIM UID CLASS SIZE MODES: named by the claim's uid, so a second call finds it there.
make_volume() {
  local volume=pvc-$3 answer
  # As a block device's file system is at first: root's, until a Pod's fsGroup opens it. Only at first: a
  # claim is seen several times while it is pending, and by then a Pod may have it.
  [ -d "$volumes/$volume" ] || mkdir -m 0755 "$volumes/$volume" || return 1
  answer=$(storage_kubectl create --validate=false --filename - 2>&1 <<EOF
apiVersion: v1
kind: PersistentVolume
metadata:
  name: $volume
  annotations: {pv.kubernetes.io/provisioned-by: $provisioner}
spec:
  storageClassName: "$4"
  capacity: {storage: "$5"}
  accessModes: $6
  persistentVolumeReclaimPolicy: Delete
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: "$1", name: "$2", uid: "$3"}
  local: {path: $volumes/$volume}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: kubernetes.io/hostname, operator: In, values: ["$name"]}
EOF
  ) || [[ $answer == *AlreadyExists* ]] || {
    say "no volume for the claim $1/$2: $answer"
    return 1
  }
}

# remove_volumes: removes those whose claim is gone, data first. Returns as provision_claims does.
remove_volumes() {
  local volume phase policy by rest
  exec 3< <(follow persistentvolumes .metadata.name .status.phase .spec.persistentVolumeReclaimPolicy \
    '.metadata.annotations.pv\.kubernetes\.io/provisioned-by')
  while IFS='|' read -r -u 3 volume phase policy by rest; do
    if [ "$phase $policy $by" = "Released Delete $provisioner" ] && [[ $volume =~ ^pvc-[0-9a-f-]+$ ]]; then
      rm -rf "${volumes:?}/$volume" || break
      storage_kubectl delete persistentvolume "$volume" --ignore-not-found --wait=false || break
    fi
  done
}
