# shellcheck shell=bash disable=SC2154 # dir is the caller's
# Sourced by tests/compose: its steps, from outside, as a user has them.

# Not with the .env that a user may have.
compose() { docker-compose --env-file /run/empty.env -p sluicegate "$@"; }
container() { compose ps -q "$1"; }
inspect() { docker inspect -f "$2" "$(container "$1")"; }
process() { inspect "$1" '{{.State.Pid}}'; }
is_healthy() { [ "$(inspect "$1" '{{.State.Health.Status}}')" = healthy ]; }

# The secrets that the first start made: as a user gets them, from files and never on a command line.
secret() { compose run --rm -T --entrypoint cat setup "/run/secrets/$1" 2>/dev/null; }
fetch_secrets() {
  mkdir -p "$dir/mqtt" "$dir/device"
  secret sensors/mosquitto_pub >"$dir/mqtt/mosquitto_pub"
  secret reader/mosquitto_sub >"$dir/mqtt/mosquitto_sub"
  # A device that subscribes.
  cp "$dir/mqtt/mosquitto_pub" "$dir/device/mosquitto_sub"
}
pub() { XDG_CONFIG_HOME=$dir/mqtt mosquitto_pub -h 127.0.0.1 "$@"; }

# What a file sets, but for what is another thing on one machine.
limits_of() { grep -vE '^(#|$|listener|allow_anonymous|password_file|acl_file|persistence_location)' "$1"; }

check_files() {
  diff <(limits_of config/mosquitto.conf) <(limits_of config/mosquitto.compose.conf) ||
    fail "mosquitto.conf and mosquitto.compose.conf differ in a limit"
  say "mosquitto.compose.conf has the limits of mosquitto.conf"
  if command -v promtool >/dev/null; then
    promtool check config config/monitoring/prometheus.yml >/dev/null || fail "prometheus.yml"
    say "promtool check config: prometheus.yml and its rules are fine"
  else
    say "no promtool here: prometheus.yml is not checked (Debian: prometheus)"
  fi
}

build_image() {
  local began=$SECONDS cache_state="no layer of an earlier build"
  [ -z "$(docker images -q -f dangling=true)" ] || cache_state="layers of an earlier build at hand"
  compose build gateway >"$dir/build.log" 2>&1 || fail "build: $(tail -n 20 "$dir/build.log")"
  say "image built in $((SECONDS - began)) s ($cache_state)"
  drop_old_layers
}

# Every file of the image: but for the mount points that any engine adds, these.
inspect_image() {
  local files id
  id=$(docker create sluicegate)
  files=$(docker export "$id" | tar -t | grep -v '/$' |
    grep -vE '^(\.dockerenv|dev/console|etc/(hosts|hostname|resolv\.conf|mtab))$' | sort)
  docker rm "$id" >/dev/null
  [ "$files" = "etc/ssl/certs/ca-certificates.crt"$'\n'"sluicegate" ] || fail "the image holds: $files"
  say "image: $(docker image inspect -f '{{.Size}}' sluicegate | numfmt --to=iec-i --suffix=B), ${files//$'\n'/, }"
  ! docker run --rm --entrypoint /bin/sh sluicegate -c true 2>/dev/null || fail "the image has a shell"
}

# Loads the environment of who uses the stack: the secrets, and a consumer that was there all the time.
start_stack() {
  local began=$SECONDS service
  compose --profile demo config -q
  compose up -d >"$dir/up.log" 2>&1 || fail "up: $(tail -n 5 "$dir/up.log")"
  for service in mosquitto gateway; do
    eventually $((HEALTHY_MAX - SECONDS + began)) is_healthy "$service" ||
      fail "$service is not healthy within $HEALTHY_MAX s: $(inspect $service '{{json .State.Health}}')"
  done
  say "healthy $((SECONDS - began)) s after docker-compose up, with nothing prepared"
  fetch_secrets
  XDG_CONFIG_HOME=$dir/mqtt stdbuf -oL mosquitto_sub -h 127.0.0.1 -i consumer -c -q 1 \
    -t gateway/batches -t gateway/dead-letters >"$dir/batches" 2>"$dir/consumer.log" &
  disown
}

# The kernel's word on the process, not the engine's; and the limits against what the gateway says.
inspect_gateway() {
  local pid bound limit grace
  pid=$(process gateway)
  grep -q '^Uid:.10001.10001.10001.10001$' "/proc/$pid/status" || fail "the gateway is not user 10001"
  grep -q '^CapBnd:.0*$' "/proc/$pid/status" || fail "the gateway may get capabilities"
  grep -q '^NoNewPrivs:.1$' "/proc/$pid/status" || fail "the gateway may gain privileges"
  awk '$5 == "/" {print $6}' "/proc/$pid/mountinfo" | grep -q '^ro' || fail "its root is writable"
  say "gateway: user 10001, no capabilities, no new privileges, read-only root"
  compose run --rm -T gateway check --config /etc/sluicegate/mosquitto.toml >"$dir/check" 2>&1
  bound=$(awk '/in all$/ {print int($2 + 1)}' "$dir/check")
  limit=$(($(inspect gateway '{{.HostConfig.Memory}}') / 1048576))
  [ "$limit" -gt "$bound" ] || fail "mem_limit $limit MiB is not above the bound, $bound MiB"
  grace=$(sed -n 's/^shutdown_grace = "\([0-9]*\)s"$/\1/p' "$dir/check")
  [ "$(inspect gateway '{{.Config.StopTimeout}}')" -gt "$grace" ] || fail "stop_grace_period is not above $grace s"
  say "gateway: mem_limit $limit MiB above its bound of $bound MiB, stop_grace_period above $grace s"
}

refuse_strangers() {
  local port
  ! mosquitto_pub -h 127.0.0.1 -t sensors/x/reading -m 1 2>/dev/null || fail "anyone may publish"
  ! mosquitto_pub -h 127.0.0.1 -u sensors -P wrong -t sensors/x/reading -m 1 2>/dev/null || fail "any password will do"
  for port in 1883 8080; do
    ss -Hltn "sport = :$port" | grep -qv "127.0.0.1:$port" && fail "port $port is open beyond loopback"
    ss -Hltn "sport = :$port" | grep -q . || fail "port $port is not published"
  done
  say "who has no password is refused; ports 1883 and 8080 are on loopback only"
}

# What one device's password is good for: readings, and nothing else. The ids are those that the gateway
# would have without a secret, and that an envelope gives away.
refuse_a_device() {
  local began client topic id pid thieves=()
  id=$(secret gateway/client_id)
  [ "${#id}" -ge 32 ] || fail "the gateway's client ids do not begin at random"
  began=$(connections)
  for client in gw-1-in-fleet gw-1-out gw-1-watch; do
    timeout 3 env XDG_CONFIG_HOME="$dir/device" mosquitto_sub -h 127.0.0.1 -c -q 1 -i "$client" \
      -t '#' -t 'gateway/#' -t 'sensors/#' -t '$SYS/#' >>"$dir/stolen" 2>&1 &
    thieves+=($!)
  done
  for topic in gateway/batches gateway/dead-letters; do
    pub -q 1 -t "$topic" -m '{"forged":1}'
    pub -r -q 1 -t "$topic" -m '{"forged":2}'
    # A will, which the broker publishes for it. The shell would say that it was killed.
    { XDG_CONFIG_HOME=$dir/device timeout -s KILL 1 mosquitto_sub -h 127.0.0.1 -t x --will-topic "$topic" \
      --will-payload '{"forged":3}' --will-qos 1 || true; } >/dev/null 2>&1
  done
  pub -q 1 -t sensors/witness/reading -m 1
  eventually 10 taken_at_least witness 1 || fail "no reading after the attack"
  wait "${thieves[@]}" || true # timeout ends them
  ! grep -q forged "$dir/batches" || fail "a device forged: $(grep -m 1 forged "$dir/batches")"
  ! grep -vE '^(All subscription|$)' "$dir/stolen" || fail "a device read the above"
  [ "$(connections)" = "$began" ] || fail "a device took the gateway's connection"
  ! grep -qF "$id" "$dir/batches" || fail "an envelope shows the gateway's client id"
  for pid in $(docker ps -q | xargs docker inspect -f '{{.State.Pid}}'); do
    ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qE -- '-P ' || fail "a password on a command line"
  done
  ! compose exec -T mosquitto sh -c 'ls /run/secrets' | grep -qE 'password|client_id' ||
    fail "the broker's container sees another's secrets"
  say "a device's password takes no session, forges no batch and no dead letter, reads nothing"
}
connections() { curl -s http://127.0.0.1:8080/metrics | grep '^sluicegate_session_connections_total'; }

# taken SENSOR: its values, in the order in which they came; taken_distinct: how many different ones.
taken() {
  grep -oE "\"sensorId\":\"$1\",\"sequence\":[0-9]+,\"value\":[0-9.]+" "$dir/batches" | sed 's/.*://' || true
}
taken_at_least() { [ "$(taken "$1" | sort -u | wc -l)" -ge "$2" ]; }

send_a_few() {
  pub -q 1 -t sensors/boiler/reading -m 71.5
  pub -q 1 -t sensors/boiler/reading -m '{"value":'
  eventually 10 taken_at_least boiler 1 || fail "no batch"
  eventually 10 grep -q '"reason":"malformed"' "$dir/batches" || fail "no dead letter"
  say "mosquitto_pub from the host: $(grep -m 1 '"batch".*"boiler"' "$dir/batches")"
}

# numbers FROM TO: about 3,000 a second.
numbers() {
  local n
  for ((n = $1; n <= $2; n++)); do
    echo "$n"
    [ $((n % 100)) != 0 ] || sleep 0.03
  done
}

# load SENSOR COUNT: in the background, each reading acknowledged before the end; $publisher. Some 2,000 a
# second: as fast as it goes, all may be over before anything is broken.
load() {
  numbers 1 "$2" | awk '{ print } NR % 25 == 0 { fflush(); system("sleep 0.01") }' |
    pub -l -q 1 -t "sensors/$1/reading" &
  publisher=$!
}

under_load() { kill -0 "$publisher" 2>/dev/null || fail "the load was over before $1"; }

kill_under_load() {
  local began=$SECONDS restarts
  load numbered "$NUMBERS"
  eventually 20 taken_at_least numbered $((NUMBERS / 5)) || fail "the load does not come"
  docker kill -s KILL "$(container gateway)" >/dev/null
  under_load "docker kill"
  compose up -d >>"$dir/up.log" 2>&1 || fail "up: $(tail -n 3 "$dir/up.log")"
  eventually 20 taken_at_least numbered $((NUMBERS / 2)) || fail "it does not go on after docker kill"
  restarts=$(inspect gateway '{{.RestartCount}}')
  kill -KILL "$(process gateway)"
  under_load "the crash"
  wait "$publisher" || fail "mosquitto_pub"
  eventually 30 taken_at_least numbered "$NUMBERS" ||
    fail "$(taken numbered | sort -u | wc -l) of $NUMBERS readings came, the rest is lost"
  [ "$(inspect gateway '{{.RestartCount}}')" -gt "$restarts" ] || fail "the restart policy did nothing"
  say "killed twice (docker kill; a crash that the restart policy mends) in $((SECONDS - began)) s of load:" \
    "$NUMBERS of $NUMBERS readings came, $(($(taken numbered | wc -l) - NUMBERS)) of them twice"
}

# Mosquitto stands still under load: what the gateway has taken goes to disk, and is acknowledged into a
# connection that Mosquitto reads later. Of a gateway that is then killed and removed only the volume is left.
keep_on_disk() {
  load kept "$NUMBERS"
  eventually 10 taken_at_least kept 1000 || fail "the load does not come"
  eventually 30 pause_with_readings_held || fail "nothing is written to the spool"
  docker kill -s KILL "$(container gateway)" >/dev/null
  compose rm -f gateway >>"$dir/up.log" 2>&1
  docker unpause "$(container mosquitto)" >/dev/null
  eventually 20 is_healthy mosquitto || fail "Mosquitto is not healthy after a pause"
  compose up -d >>"$dir/up.log" 2>&1 || fail "up: $(tail -n 3 "$dir/up.log")"
  wait "$publisher" || fail "mosquitto_pub"
  eventually 30 taken_at_least kept "$NUMBERS" ||
    fail "$(taken kept | sort -u | wc -l) of $NUMBERS readings came, the rest is lost"
  eventually 10 says "the spool holds batches of an earlier run" || fail "nothing was left in the spool"
  say "Mosquitto paused, gateway killed and removed: the new one found the spool's volume;" \
    "$NUMBERS of $NUMBERS readings came, $(($(taken kept | wc -l) - NUMBERS)) of them twice"
}
# Whether the gateway holds something in the moment of the pause is chance; if not, another moment.
pause_with_readings_held() {
  sleep "0.$((RANDOM % 5))"
  docker pause "$(container mosquitto)" >/dev/null
  eventually 3 says "batches go to the spool" && return
  docker unpause "$(container mosquitto)" >/dev/null
  under_load "a pause in which readings were held"
  return 1
}
says() { docker logs "$(container gateway)" 2>&1 | grep "$1" >/dev/null; }

# ready CODE: what /readyz answers; its words go to $dir/ready.
ready() { [ "$(curl -s -m 2 -o "$dir/ready" -w '%{http_code}' http://127.0.0.1:8080/readyz)" = "$1" ]; }

lose_the_broker() {
  local began
  : >"$dir/ready"
  eventually 10 ready 200 || fail "not ready: $(cat "$dir/ready")"
  compose stop mosquitto >>"$dir/up.log" 2>&1
  eventually 20 ready 503 || fail "ready without a broker"
  say "Mosquitto stopped: /readyz is 503: $(head -c 300 "$dir/ready" | tr '\n' ' ')"
  eventually 30 health_is unhealthy || fail "the engine does not see it"
  began=$SECONDS
  compose start mosquitto >>"$dir/up.log" 2>&1
  eventually 30 ready 200 || fail "not ready again: $(cat "$dir/ready")"
  say "Mosquitto started: ready again after $((SECONDS - began)) s"
  pub -q 1 -t sensors/boiler/reading -m 72.5
  eventually 10 taken_at_least boiler 2 || fail "no batch after the recovery"
  eventually 20 is_healthy gateway || fail "the engine does not see the recovery"
}
health_is() { [ "$(inspect gateway '{{.State.Health.Status}}')" = "$1" ]; }

# end_under_load SENSOR. `down` removes the container: its log is followed from before, and the engine remembers
# with what it ended.
end_under_load() {
  local began id
  load "$1" 1000000
  eventually 10 taken_at_least "$1" 1000 || fail "the load does not come"
  began=$(date +%s) id=$(container gateway)
  : >"$dir/gateway.log"
  docker logs -f "$id" >"$dir/balance" 2>"$dir/gateway.log" &
  eventually 10 test -s "$dir/gateway.log" || fail "the gateway's log cannot be followed"
  under_load "down"
  compose --profile demo --profile monitoring down >>"$dir/up.log" 2>&1
  kill "$publisher" 2>/dev/null || true
  docker events --since "$began" --until "$(($(date +%s) + 1))" --filter "container=$id" --filter event=die \
    --format '{{.Actor.Attributes.exitCode}}' >"$dir/exit" || fail "docker events"
  [ "$(cat "$dir/exit")" = 0 ] || fail "the gateway ended with $(cat "$dir/exit"): $(tail -n 3 "$dir/gateway.log")"
  books_close || fail "the books do not close: $(cat "$dir/balance")"
  say "docker-compose down under load: exit code 0, $(tail -n 1 "$dir/balance")"
}

# received = delivered + dead-lettered + shed + held, and nothing is held.
books_close() {
  tail -n 1 "$dir/balance" | awk '
    /^received [0-9]+ = delivered [0-9]+ [+] dead-lettered [0-9]+ [+] shed 0 [+] held 0$/ {
      closed = $2 > 0 && $2 == $5 + $8 + $11 + $14
    }
    END { exit !closed }'
}

start_again_with_demo() {
  local began=$SECONDS
  compose --profile demo up -d >>"$dir/up.log" 2>&1 || fail "up: $(tail -n 5 "$dir/up.log")"
  [ "$(secret sensors/mosquitto_pub)" = "$(cat "$dir/mqtt/mosquitto_pub")" ] || fail "the passwords changed"
  eventually 10 taken_at_least TEMP_00 10 || fail "no reading of the simulated sensors"
  eventually 10 taken_at_least boiler 3 || fail "no reading of the simulated boiler"
  say "profile demo, with the volumes of before: 10 readings of TEMP_00 after $((SECONDS - began)) s"
}

# The simulated sensors number their readings from 1: whatever came last, none before it may be missing.
kill_with_demo() {
  local before
  before=$(demo_numbers | tail -n 1)
  docker kill -s KILL "$(container gateway)" >/dev/null
  compose --profile demo up -d >>"$dir/up.log" 2>&1 || fail "up: $(tail -n 3 "$dir/up.log")"
  eventually 30 demo_reaches $((before + 50)) || fail "the simulated sensors do not go on"
  demo_numbers | awk '$1 != NR { exit 1 }' || fail "numbers are missing: $(demo_numbers | awk '$1 != NR' | head -n 1)"
  say "profile demo, gateway killed: numbers 1 to $(demo_numbers | tail -n 1) of TEMP_00 came, none is missing"
}
demo_numbers() { grep -oE '"sensorId":"TEMP_00"[^}]*"number":[0-9]+' "$dir/batches" | sed 's/.*://' | sort -un; }
demo_reaches() { [ "$(demo_numbers | tail -n 1)" -ge "$1" ]; }

# Prometheus alone: Grafana's image cannot be had here.
watch_with_prometheus() {
  compose --profile monitoring up -d prometheus >>"$dir/up.log" 2>&1 || fail "up: $(tail -n 5 "$dir/up.log")"
  eventually 30 prometheus 'up{job="sluicegate"}==1' || fail "Prometheus does not reach the gateway"
  say "profile monitoring: Prometheus scrapes the gateway, $(rules) alert rules loaded"
}
prometheus() { # an answer with a sample in it
  curl -s -m 2 http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | grep -q '"value":'
}
rules() { curl -s -m 2 'http://127.0.0.1:9090/api/v1/rules?type=alert' | grep -o '"query":' | wc -l; }
