# shellcheck shell=bash disable=SC2154 # dir is the caller's
# Sourced by tests/compose: an engine of our own, with stand-ins for the images that a registry would give.
#
# The engine lives in namespaces of its own: its bridges, iptables rules, mounts, sockets (a private /run)
# and processes are nobody else's and end with the shell, even if that is killed. An engine that runs on
# this machine is neither used nor disturbed. It has no way out either, so all that the images need is
# fetched before, by the machine's own apt and cargo; no image carries settings of the machine.
#
# What stays between runs, below $cache: debian-* (made by debootstrap), vendor (the crates of
# Cargo.lock), root (the engine's images, with the layers of the last build), key (what they were made of).

readonly PACKAGES=(docker.io docker-compose iptables debootstrap iproute2 mosquitto-clients curl)
cache=$(realpath -m "${CARGO_TARGET_DIR:-target}/compose")

check_machine() {
  [ "$(id -u)" = 0 ] || fail "an engine is started by root only: sudo tests/compose (or SKIP_COMPOSE=1)"
  local tool missing=()
  for tool in dockerd docker docker-compose iptables debootstrap unshare ip mosquitto_pub curl cargo; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ "${#missing[@]}" = 0 ] || fail "missing: ${missing[*]}.
  Debian: apt-get install ${PACKAGES[*]} (cargo: by rustup); or leave this test out: SKIP_COMPOSE=1"
  unshare --net --mount --pid --fork true 2>/dev/null ||
    fail "no namespaces can be made here (a container without CAP_SYS_ADMIN?), so no engine can be started.
  SKIP_COMPOSE=1 leaves this test out."
}

# debian ROOT PACKAGES: a small Debian 12 with packages, made once.
debian() {
  local root=$cache/$1 mirror
  [ "$(cat "$root/made" 2>/dev/null)" = "$2" ] && return
  # shellcheck disable=SC2016 # apt's own variable
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | head -n 1)
  rm -rf "$root" && mkdir -p "$root"
  debootstrap --variant=minbase --include="$2" bookworm "$root" ${mirror:+"$mirror"} \
    >"$cache/$1.log" 2>&1 || fail "debootstrap: $(tail -n 3 "$cache/$1.log")"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  echo "$2" >"$root/made"
}

fetch_roots() {
  debian debian-mosquitto mosquitto,mosquitto-clients &
  debian debian-prometheus prometheus
  debian debian-rust gcc,libc6-dev,ca-certificates
  wait $!
}

# Fetches what the stand-ins are made of, as long as it is not what they were made of. Outside of the
# namespaces: here is the network.
fetch_stand_ins() {
  local key
  key=$({ cat Cargo.lock && rustc -vV && declare -f fetch_roots make_mosquitto make_prometheus make_rust; } |
    sha256sum)
  [ "$(cat "$cache/key" 2>/dev/null)" = "$key" ] && return
  say "the stand-ins' parts are fetched (debootstrap, cargo vendor)"
  mkdir -p "$cache"
  rm -rf "$cache/root" "$cache/vendor" "$cache/key"
  fetch_roots
  cargo vendor --locked --versioned-dirs "$cache/vendor" >/dev/null 2>"$cache/vendor.log" ||
    fail "cargo vendor: $(tail -n 3 "$cache/vendor.log")"
  echo "$key" >"$cache/key"
}

start_engine() {
  mount -t tmpfs tmpfs /run
  ip link set lo up
  unset "${!DOCKER_@}" "${!COMPOSE_@}"
  overlays || mount -t tmpfs tmpfs "$cache/root" # then nothing stays between runs
  echo '{}' >/run/daemon.json # not what this machine's engine is told
  : >/run/empty.env
  export DOCKER_CONFIG=/run
  dockerd --config-file /run/daemon.json --data-root "$cache/root" --exec-opt native.cgroupdriver=cgroupfs \
    >"$dir/dockerd.log" 2>&1 &
  engine=$!
  eventually 30 engine_answers || fail "no engine can be started here: $(grep -v level=info "$dir/dockerd.log" |
    tail -n 3). It needs overlayfs, iptables and cgroups. SKIP_COMPOSE=1 leaves this test out."
  # A run that was killed.
  docker ps -aq | xargs -r docker rm -f >/dev/null
  docker volume ls -q | xargs -r docker volume rm >/dev/null
  docker network prune -f >/dev/null
}

# Whether images can be layered where they are kept: not where that folder is itself such a layer.
overlays() {
  local probe=$cache/probe
  mkdir -p "$cache/root" "$probe"/{lower,upper,work,all}
  mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/all" \
    2>/dev/null && umount "$probe/all"
}

engine_answers() {
  kill -0 "$engine" 2>/dev/null || fail "the engine ended: $(tail -n 3 "$dir/dockerd.log")"
  docker version >/dev/null 2>&1
}

stop_engine() {
  [ -n "${engine:-}" ] || return 0
  compose --profile demo --profile monitoring down -v --remove-orphans >/dev/null 2>&1
  kill "$engine" 2>/dev/null && wait "$engine"
}

# stand_in NAME -c CHANGE...: the image NAME, of the tar stream that comes.
stand_in() { docker import "${@:2}" - "$1" >/dev/null; }

# As eclipse-mosquitto:2.0.22 is: user and group 1883, folders below /mosquitto, entry point and command.
make_mosquitto() {
  local root=$cache/debian-mosquitto
  chroot "$root" sh -euc '
    groupmod -g 1883 mosquitto && usermod -u 1883 -g 1883 mosquitto 2>/dev/null
    mkdir -p /mosquitto/config /mosquitto/data /mosquitto/log
    chown -R mosquitto:mosquitto /mosquitto'
  # shellcheck disable=SC2016 # for the script that is written
  printf '%s\n' '#!/bin/sh' 'set -e' \
    '[ "$(id -u)" != 0 ] || chown -R mosquitto:mosquitto /mosquitto || true' 'exec "$@"' \
    >"$root/docker-entrypoint.sh"
  chmod +x "$root/docker-entrypoint.sh"
  tar -C "$root" -c . | stand_in eclipse-mosquitto:2.0.22 \
    -c 'ENTRYPOINT ["/docker-entrypoint.sh"]' -c 'VOLUME ["/mosquitto/data", "/mosquitto/log"]' \
    -c 'CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]' -c 'EXPOSE 1883'
}

# As prom/prometheus is: the program in /bin, user nobody, its data in /prometheus.
make_prometheus() {
  local root=$cache/debian-prometheus
  install -d -o nobody -g nogroup "$root/prometheus"
  tar -C "$root" -c . | stand_in prom/prometheus:v3.5.0 -c 'USER nobody' -c 'VOLUME ["/prometheus"]' \
    -c 'ENTRYPOINT ["/bin/prometheus"]' -c 'WORKDIR /prometheus' -c 'EXPOSE 9090' \
    -c 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
}

# As rust:1.94-slim-bookworm is: the toolchain (this machine's), a C compiler, CA certificates. And the crates.
make_rust() {
  local root=$cache/debian-rust
  mkdir -p "$root"/usr/local/{rust,cargo/vendor}
  mount --bind "$(rustc --print sysroot)" "$root/usr/local/rust"
  mount --bind "$cache/vendor" "$root/usr/local/cargo/vendor"
  printf '%s\n' '[source.crates-io]' 'replace-with = "vendor"' '[source.vendor]' \
    'directory = "/usr/local/cargo/vendor"' >"$root/usr/local/cargo/config.toml"
  tar -C "$root" --exclude=./usr/local/rust/share -c . | stand_in rust:1.94-slim-bookworm \
    -c 'ENV CARGO_HOME=/usr/local/cargo' \
    -c 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  umount "$root"/usr/local/{rust,cargo/vendor}
}

make_stand_ins() {
  local images=(eclipse-mosquitto:2.0.22 prom/prometheus:v3.5.0 rust:1.94-slim-bookworm)
  docker image inspect "${images[@]}" >/dev/null 2>&1 && return
  say "stand-ins are made: ${images[*]}"
  make_mosquitto
  make_prometheus
  make_rust
}

# Images that the last build neither gave nor used: each run would leave its own.
drop_old_layers() {
  local used
  used=$(docker build -q --target build . 2>/dev/null)
  docker images -q --no-trunc -f dangling=true | grep -v "$used" | xargs -r docker rmi >/dev/null 2>&1 || true
}
