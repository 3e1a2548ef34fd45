# shellcheck shell=bash
# The programs of the cluster: found on PATH or in the cache, or built from the Go module proxy.
# The folders under programs/ pin what is built.

# One line each: program, folder under programs/, Go package, and how it tells its version.
readonly program_table='
etcd etcd go.etcd.io/etcd/server/v3 --version
kube-apiserver kubernetes k8s.io/kubernetes/cmd/kube-apiserver --version
kube-controller-manager kubernetes k8s.io/kubernetes/cmd/kube-controller-manager --version
kube-scheduler kubernetes k8s.io/kubernetes/cmd/kube-scheduler --version
kubelet kubernetes k8s.io/kubernetes/cmd/kubelet --version
kube-proxy kubernetes k8s.io/kubernetes/cmd/kube-proxy --version
kubectl kubernetes k8s.io/kubernetes/cmd/kubectl version --client
coredns coredns . -version
'

all_programs() { awk 'NF { print $1 }' <<<"$program_table"; }

# pinned_version FOLDER: of the module that the folder's program comes from, as v1.2.3.
pinned_version() {
  local module
  case $1 in
    kubernetes) module=k8s.io/kubernetes ;;
    etcd) module=go.etcd.io/etcd/server/v3 ;;
    coredns) module=github.com/coredns/coredns ;;
    *) die "no such set of programs: $1" ;;
  esac
  awk -v module="$module" '$1 == "require" { sub(/^require /, "") } $1 == module && $2 ~ /^v/ { print $2; exit }' \
    "$here/programs/$1/go.mod"
}

# program PROGRAM: the path of a program that fits, from PATH when its minor version is the pinned
# one, else from the cache. Fails when it is in neither.
program() {
  local line name folder package version_arguments pinned minor found said
  line=$(awk -v name="$1" '$1 == name' <<<"$program_table")
  read -r name folder package version_arguments <<<"$line"
  pinned=$(pinned_version "$folder")
  minor=${pinned%.*}
  if found=$(command -v "$name"); then
    # shellcheck disable=SC2086 # the arguments are words
    said=$("$found" $version_arguments 2>&1) || said=
    if grep -Eq "(^|[^0-9.])${minor#v}\.[0-9]+" <<<"$said"; then
      printf '%s\n' "$found"
      return
    fi
  fi
  found=$(cache_root)/$folder-$pinned/$name
  [ -x "$found" ] && printf '%s\n' "$found"
}

check_go() {
  command -v go >/dev/null || die "Go is needed to build ${missing[*]}, and it is not on PATH" \
    "install Go 1.26 or newer from https://go.dev/dl/, or put these programs on PATH"
}

# build_program PROGRAM: into the cache, under its final name only when it is complete. What Go has
# compiled stays in Go's own cache, so an interrupted build goes on where it stopped.
build_program() {
  local line name folder package rest pinned target log version_flags=
  line=$(awk -v name="$1" '$1 == name' <<<"$program_table")
  read -r name folder package rest <<<"$line"
  pinned=$(pinned_version "$folder")
  target=$(cache_root)/$folder-$pinned
  mkdir -p "$target"
  log=$target/$name.log
  if [ "$folder" = kubernetes ]; then
    version_flags=$(kubernetes_version_flags "$pinned")
  fi
  say "building $name $pinned (log: $log)"
  if ! (
    cd "$here/programs/$folder"
    CGO_ENABLED=0 nice -n 5 go build -mod=readonly -trimpath -buildvcs=false -ldflags="-s -w $version_flags" \
      -o "$target/$name.new" "$package"
  ) >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "building $name $pinned failed" "the whole log is in $log"
  fi
  mv "$target/$name.new" "$target/$name"
  rm "$log"
}

# A build from the module proxy does not know its version, and says v0.0.0-master when asked.
kubernetes_version_flags() {
  local package=k8s.io/component-base/version minor=${1#*.}
  printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s' \
    "$package" "$1" "$package" "$package" "${minor%%.*}"
}

# ensure_programs PROGRAM...: builds those that are missing. One run builds at a time; another waits.
ensure_programs() {
  local wanted missing=()
  for wanted in "$@"; do
    program "$wanted" >/dev/null || missing+=("$wanted")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  check_go
  mkdir -p "$(cache_root)"
  exec 8>"$(cache_root)/build.lock"
  flock -n 8 || {
    say "another run is building: waiting for it, up to 60 min"
    flock -w 3600 8 || die "another run has been building for an hour" "look at it, or remove $(cache_root)/build.lock"
  }
  say "to build, once: ${missing[*]} (all of them take 10 to 20 minutes on two cores)"
  for wanted in "${missing[@]}"; do
    program "$wanted" >/dev/null || build_program "$wanted"
  done
  exec 8>&-
}

# ensure_pause: the program of every Pod's first container, and its image, in the cache.
ensure_pause() {
  local target
  target=$(cache_root)/pause-1
  if [ -s "$target/image.tar" ]; then return; fi
  ensure_compiler
  mkdir -p "$target"
  cc -static -Os -Wall -o "$target/pause" "$here/programs/pause/pause.c"
  "$here/image" build --name "$pause_image" --output "$target/image.tar" --entrypoint /pause "$target/pause:/pause"
}
readonly pause_image=tenter.dev/dev-cluster/pause:1
