# shellcheck shell=bash
# Debian packages: installed when a command that they hold is missing.

# What is needed, one line each: the command or file that shows it is there, its package, and why.
readonly wanted_packages='
containerd containerd runs the containers
runc runc starts each container
/usr/lib/cni/ptp containernetworking-plugins connects Pods to the node
iptables iptables carries Service addresses to Pods
conntrack conntrack lets kube-proxy forget connections to Pods that are gone
ip iproute2 makes the pair of network devices
openssl openssl makes the certificates
'

have() {
  case $1 in
    /opt/* | /usr/*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# The CNI plugins, where Debian or where others put them.
cni_folder() {
  local folder
  for folder in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    if [ -x "$folder/ptp" ] && [ -x "$folder/host-local" ] && [ -x "$folder/portmap" ]; then
      printf '%s\n' "$folder"
      return
    fi
  done
  return 1
}

# install_packages PACKAGE...
install_packages() {
  command -v apt-get >/dev/null ||
    die "missing: $*; and this system has no apt-get to install them" "install what these Debian packages hold, then run this again"
  require_root
  say "installing with apt-get: $*"
  # SYSTEMD_OFFLINE: containerd's package would start a service, which nothing here uses.
  if ! { apt-get update -q && SYSTEMD_OFFLINE=1 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; } \
    >"$log_folder/apt.log" 2>&1; then
    tail -n 20 "$log_folder/apt.log" >&2
    die "apt-get could not install $*"
  fi
}

# ensure_packages: installs what a cluster needs and what is missing.
ensure_packages() {
  local shown_by package why missing=()
  while read -r shown_by package why; do
    [ -n "$shown_by" ] || continue
    if [ "$package" = containernetworking-plugins ] && cni_folder >/dev/null; then continue; fi
    if ! have "$shown_by"; then
      say "missing: $package, which $why"
      missing+=("$package")
    fi
  done <<<"$wanted_packages"
  if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
  cni_folder >/dev/null || die "no folder holds the CNI plugins ptp, host-local and portmap" "apt-get install containernetworking-plugins"
}

# ensure_compiler: what the pause program is built with.
ensure_compiler() {
  have cc && return
  say "missing: gcc, which builds the pause program"
  install_packages gcc libc6-dev
}
