# Sourced by the scripts beside it: where things are, and how what belongs to our cluster is recognized and removed.
# shellcheck shell=bash
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
CACHE=$(realpath -m "${LUMOAUTH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lumoauth}/cluster")
RUN=$CACHE/run              # what one run of the cluster writes: keys, etcd, images, volumes, logs
LIVE=/run/lumoauth-cluster  # its sockets and mounts, and what the machine was like before
SOCKET=$LIVE/containerd.sock
KUBECONFIG_FILE=$RUN/kubeconfig
GROUP=lumoauth-cluster      # cgroup of the components and of all pods
# What kubectl remembers of a cluster's kinds goes with the cluster.
export KUBECACHEDIR="${KUBECACHEDIR:-$RUN/kubectl-cache}"

NODE=node1
NODE_IP=10.201.0.1
POD_RANGE=10.200.0.0/16
SERVICE_RANGE=10.96.0.0/16
BRIDGE=tc0
NETWORK=lumoauth-cluster    # name of the CNI network and of our nft table

# Sysctls and directories that a component changes or makes outside RUN and LIVE; put back by `clear_cluster`.
SYSCTLS=(net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables vm/overcommit_memory kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes)
DIRECTORIES=(/var/lib/kubelet/device-plugins /var/lib/kubelet /var/log/containers /var/log/pods /var/lib/cni/results /var/lib/cni
  /run/containerd/s /run/containerd)

# Says what happens, apart from the answer on stdout.
say() { printf 'cluster: %s\n' "$*" >&2; }

# Ends with a message that says what to do.
fail() { say "$*"; exit 1; }

# Ends unless we are root.
need_root() { [ "$(id -u)" = 0 ] || fail "must run as root"; }

# Ends unless no other run of these scripts is at work with the same cache; waits for it.
take_lock() {
  mkdir -p "$CACHE"
  exec 9> "$CACHE/lock"
  flock -n 9 && return
  say "waiting for another run of tests/cluster to end"
  flock 9
}

# Prints the directories below which cgroups are made: one with cgroup v2, one for each controller with v1.
cgroup_roots() {
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    echo /sys/fs/cgroup
  else
    findmnt -rn -t cgroup -o TARGET
  fi
}

# Prints the pids of our components and shims, known by the paths they were started with.
component_pids() {
  local dir args i
  for dir in /proc/[0-9]*; do
    args=()
    { mapfile -d '' -t args < "$dir/cmdline"; } 2> /dev/null || continue
    case ${args[0]-} in
      "$RUN"/bin/kubectl | '') ;;
      "$RUN"/bin/*) echo "${dir#/proc/}" ;;
      containerd | */containerd) [[ " ${args[*]} " != *" $RUN/containerd.toml "* ]] || echo "${dir#/proc/}" ;;
      */containerd-shim-*)
        for ((i = 1; i < ${#args[@]} - 1; i++)); do
          if [ "${args[i]}" = -address ] && [ "${args[i + 1]}" = "$SOCKET" ]; then echo "${dir#/proc/}"; fi
        done
        ;;
    esac
  done
}

# Prints the pids of all processes in our cgroups: the pods' as well.
cgroup_pids() {
  local root
  for root in $(cgroup_roots); do
    [ -d "$root/$GROUP" ] || continue
    find "$root/$GROUP" -name cgroup.procs -exec cat {} + 2> /dev/null || true
  done
}

# Succeeds if a process exists and is no zombie.
alive() { [[ $(sed 's/^.*) //' "/proc/$1/stat" 2> /dev/null) == [!ZX]* ]]; }

# Kills every process of the cluster and waits until all are gone. Nothing of theirs is kept, so nobody is asked politely.
kill_processes() {
  local pid found
  for _ in $(seq 100); do
    found=
    for pid in $({ component_pids; cgroup_pids; } | sort -un); do
      alive "$pid" || continue
      found=1
      kill -KILL "$pid" 2> /dev/null || true
    done
    [ -n "$found" ] || return 0
    sleep 0.1
  done
  fail "processes of the cluster do not end: $({ component_pids; cgroup_pids; } | sort -un | xargs)"
}

# Unmounts everything below RUN and LIVE, the innermost first.
unmount_all() {
  local target
  findmnt -rn -o TARGET | tac | while read -r target; do
    target=$(printf '%b' "$target")
    case $target in "$RUN"/* | "$LIVE"/*) umount -l "$target" ;; esac
  done
}

# Notes what the machine is like before the first start, so that it can be put back.
record_machine() {
  local name directory
  mkdir -p "$LIVE"
  [ ! -e "$LIVE/before" ] || return 0
  {
    echo "state $RUN"
    nft list tables
    for name in "${SYSCTLS[@]}"; do
      [ ! -e "/proc/sys/$name" ] || echo "sysctl $name $(cat "/proc/sys/$name")"
    done
    for directory in "${DIRECTORIES[@]}"; do
      [ -d "$directory" ] || echo "absent $directory"
    done
  } > "$LIVE/before.new"
  mv "$LIVE/before.new" "$LIVE/before"
}

# Removes the nft tables that came with the cluster: its own, and the empty ones that an iptables command left.
remove_tables() {
  local family name
  for family in ip ip6; do
    for name in kube-proxy "$NETWORK" filter nat mangle raw; do
      ! grep -qx "table $family $name" "$LIVE/before" || continue
      nft list table "$family" "$name" > /dev/null 2>&1 || continue
      case $name in filter | nat | mangle | raw) ! nft -j list table "$family" "$name" | grep -q '"rule"' || continue ;; esac
      nft delete table "$family" "$name"
    done
  done
}

# Removes the bridge, the pods' ends on it, our address on lo, and what conntrack remembers of the services.
remove_interfaces() {
  local link
  if ip link show "$BRIDGE" > /dev/null 2>&1; then
    for link in $(ip -o link show master "$BRIDGE" | sed 's/^[0-9]*: \([^@:]*\).*/\1/'); do
      ip link delete "$link" 2> /dev/null || true
    done
    ip link delete "$BRIDGE"
  fi
  ip address delete "$NODE_IP/32" dev lo 2> /dev/null || true
  conntrack -D -d "$SERVICE_RANGE" > /dev/null 2>&1 || true
}

# Removes the files that components put outside our directories: shim sockets, CNI results, the kubelet's links and sockets.
remove_strays() {
  local file id
  for file in "$LIVE"/state/io.containerd.runtime.v2.task/*/*/address; do
    [ -f "$file" ] || continue
    id=$(cat "$file")
    case $id in unix:///run/containerd/s/*) rm -f "${id#unix://}" ;; esac
  done
  for file in /var/lib/cni/results/"$NETWORK"-*-eth0; do
    [ -f "$file" ] || continue
    id=${file#"/var/lib/cni/results/$NETWORK-"}
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
  if [ -d /var/log/containers ]; then
    find /var/log/containers -type l -lname "$RUN/*" -delete
  fi
  if grep -qx 'absent /var/lib/kubelet/device-plugins' "$LIVE/before"; then
    rm -f /var/lib/kubelet/device-plugins/{kubelet.sock,kubelet_internal_checkpoint,DEPRECATION}
  fi
}

# Puts sysctls back, and removes the directories that were not there before and are empty now.
restore_machine() {
  local kind name value
  while read -r kind name value; do
    case $kind in
      sysctl) [ "$(cat "/proc/sys/$name" 2> /dev/null)" = "$value" ] || echo "$value" > "/proc/sys/$name" || true ;;
      absent) [ ! -d "$name" ] || rmdir --ignore-fail-on-non-empty "$name" ;;
    esac
  done < "$LIVE/before"
}

# Removes our cgroups. A process that was just killed holds its own for a moment.
remove_cgroups() {
  local root
  for root in $(cgroup_roots); do
    for _ in $(seq 50); do
      [ -d "$root/$GROUP" ] || break
      find "$root/$GROUP" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.1
    done
    [ ! -d "$root/$GROUP" ] || say "cgroup $root/$GROUP is still in use and stays"
  done
}

# Takes away all that a cluster left, running or not, whole or not. Logs stay.
clear_cluster() {
  local state
  state=$(sed -n 's/^state //p' "$LIVE/before" 2> /dev/null || true)
  if [ -n "$state" ] && [ "$state" != "$RUN" ]; then
    fail "the cluster on this machine keeps its state in $state: end it with LUMOAUTH_CACHE=${state%/cluster/run} $HERE/down"
  fi
  kill_processes
  unmount_all
  if [ -e "$LIVE/before" ]; then
    remove_interfaces
    remove_tables
    remove_strays
    restore_machine
  fi
  remove_cgroups
  rm -rf --one-file-system "$LIVE"
  if [ -d "$RUN" ]; then
    find "$RUN" -mindepth 1 -maxdepth 1 ! -name log ! -name log.old -exec rm -rf --one-file-system {} +
  fi
}
