# Functions of scripts/stack: messages, child processes, ports, and localcloud's configuration. Sourced, not run.

cloud= running= temporary= data=

say() { printf 'muster: %s\n' "$*"; }

fail() {
    printf 'muster: %s\n' "$*" >&2
    exit 1
}

# absolute BASE PATH: the path, seen from the folder BASE unless it is absolute.
absolute() {
    case "$2" in
        /*) printf '%s\n' "$2" ;;
        *) printf '%s\n' "$1/$2" ;;
    esac
}

# spawn COMMAND...: starts it in a new process group, whose id is in $! afterwards. Ctrl-C reaches only this script, which
# ends the groups in order.
spawn() {
    set -m
    # Without the lock of scripts/stack, which is to end with it.
    "$@" </dev/null 9>&- &
    set +m
}

# step COMMAND...: runs it to its end. Unlike a foreground command, it lets this script react to signals at once.
step() {
    local status=0
    spawn "$@"
    running=$!
    wait "$running" || status=$?
    running=
    return "$status"
}

# end GROUP SECONDS: sends SIGTERM to the process group, and SIGKILL after this time.
end() {
    local group=$1 tenths=$(($2 * 10))
    kill -TERM -- "-$group" 2>/dev/null || true
    while kill -0 -- "-$group" 2>/dev/null; do
        if ((tenths-- <= 0)); then
            say "process group $group does not end; killing it" >&2
            kill -KILL -- "-$group" 2>/dev/null || true
            break
        fi
        sleep 0.1
    done
    wait "$group" 2>/dev/null || true
}

# Ends everything that the script started.
cleanup() {
    local status=$?
    # Who reads the output may be gone.
    trap '' INT TERM HUP PIPE
    [[ -z "$running" ]] || end "$running" 5
    # Instances have 10 seconds from SIGTERM to SIGKILL.
    if [[ -n "$cloud" ]]; then
        say "stopping" 2>/dev/null || true
        end "$cloud" 15
    fi
    [[ -z "$temporary" ]] || rm -rf "$temporary"
    exit "$status"
}

# check_time VARIABLE VALUE
check_time() {
    [[ "$2" =~ ^[0-9]+(ms|s|m|h)$ ]] || fail "$1=$2 is not a time such as 500ms or 2s"
}

# Sets the ports. The defaults are below the range that Linux gives to clients (/proc/sys/net/ipv4/ip_local_port_range).
choose_ports() {
    http_port=8000 front_port=8051 scaler_port=8052 aws_port=4566 front_admin_port=8061 scaler_admin_port=8062
    gateway_admin_port=8063
    case "${PORTS:-}" in
        '') ;;
        free) free_ports ;;
        *) fail "PORTS=$PORTS is not free; leave it out, or choose each port by its own variable" ;;
    esac
    http_port=${HTTP_PORT:-$http_port} front_port=${FRONT_PORT:-$front_port} scaler_port=${SCALER_PORT:-$scaler_port}
    aws_port=${AWS_PORT:-$aws_port} front_admin_port=${FRONT_ADMIN_PORT:-$front_admin_port}
    scaler_admin_port=${SCALER_ADMIN_PORT:-$scaler_admin_port} gateway_admin_port=${GATEWAY_ADMIN_PORT:-$gateway_admin_port}
}

# Finds seven free ports in a row, from a random one on, because other runs may search at the same time.
free_ports() {
    local first port attempts=100
    while ((attempts-- > 0)); do
        first=$((10000 + RANDOM % 3200 * 7))
        for port in {0..6}; do
            ! is_taken $((first + port)) || continue 2
        done
        http_port=$first front_port=$((first + 1)) scaler_port=$((first + 2)) aws_port=$((first + 3))
        front_admin_port=$((first + 4)) scaler_admin_port=$((first + 5)) gateway_admin_port=$((first + 6))
        return
    done
    fail "no free ports were found from 10000 to 32400"
}

# is_taken PORT: succeeds if something listens there.
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Fails with the first port that is taken and the variable that changes it.
check_ports() {
    local variable port
    local -A seen=()
    for variable in HTTP_PORT FRONT_PORT SCALER_PORT AWS_PORT FRONT_ADMIN_PORT SCALER_ADMIN_PORT GATEWAY_ADMIN_PORT; do
        port=$(tr '[:upper:]' '[:lower:]' <<<"$variable")
        port=${!port}
        [[ "$port" =~ ^[1-9][0-9]{0,4}$ ]] && ((port < 65536)) || fail "$variable=$port is not a port from 1 to 65535"
        [[ -z "${seen[$port]:-}" ]] || fail "$variable and ${seen[$port]} are both $port; choose another one for either"
        seen[$port]=$variable
        if is_taken "$port"; then
            fail "port $port is taken; end what listens there, or choose another one, for example $variable=$((port + 1))"
        fi
    done
}

# Exports the local cloud's credentials: well-known ones on loopback only.
choose_credentials() {
    local credentials=${CREDENTIALS:-}
    if [[ -z "$credentials" && "$host" == 127.0.0.1 ]]; then
        credentials=test:test
    elif [[ -z "$credentials" ]]; then
        credentials=$(random_text 20):$(random_text 40)
    fi
    [[ "$credentials" =~ ^[A-Za-z0-9]+:[A-Za-z0-9+/]+$ ]] ||
        fail "CREDENTIALS is not KEY:SECRET with letters and digits alone"
    export AWS_ACCESS_KEY_ID=${credentials%%:*} AWS_SECRET_ACCESS_KEY=${credentials#*:}
}

# random_text LENGTH: of capital letters and digits, up to 512.
random_text() {
    local text
    text=$(head -c 8192 /dev/urandom | LC_ALL=C tr -dc 'A-Z0-9')
    printf '%s' "${text:0:$1}"
}

# toml TEXT: as a string of a TOML file.
toml() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    printf '"%s"' "$text"
}

# Prints the user data of every instance: one environment variable a line, unquoted. Its role gives it AWS's credentials.
shared_user_data() {
    cat <<LINES
AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL
AWS_REGION=$AWS_REGION
MUSTER_PREFIX=$prefix
LINES
    trace_settings
}

# Prints OpenTelemetry's settings, which all services share.
trace_settings() {
    env | grep -E '^OTEL_[A-Z_]+=.' || true
}

# Makes an API key, which services and user share, and a certificate authority with one certificate, new at each start.
make_secrets() {
    rm -rf "$work/api-keys.toml" "$work/tls"
    if [[ "$keys" == 1 ]]; then
        export MUSTER_API_KEY
        MUSTER_API_KEY=$("$bin/gateway" keys --api-keys "$work/api-keys.toml" add stack --role recognize,operate) ||
            fail "the API key could not be made"
    fi
    [[ "$tls" == 0 ]] || make_certificates
}

make_certificates() {
    command -v openssl >/dev/null || fail "TLS=1 needs the program openssl"
    local names=IP:127.0.0.1,DNS:localhost,DNS:${HOSTNAME:-localhost} new=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    (
        umask 077 && mkdir "$work/tls" && cd "$work/tls"
        openssl req -x509 "${new[@]}" -keyout ca.key -out ca.pem -days 30 -subj "/CN=Muster, for a try"
        openssl req "${new[@]}" -keyout key.pem -out request.pem -subj "/CN=Muster"
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out cert.pem \
            -extfile <(printf 'subjectAltName=%s' "$names")
        # The authority issues no other certificate.
        rm ca.key request.pem
    ) >"$work/openssl.log" 2>&1 || fail "the certificates could not be made; see $work/openssl.log"
    export MUSTER_PEER_CA=$work/tls/ca.pem MUSTER_PEER_CERT=$work/tls/cert.pem MUSTER_PEER_KEY=$work/tls/key.pem
}

# Fails if a secret of this run is in a log, the report, the output or the process list, or AWS's in what instances have.
secrets_stay_secret() {
    local secrets=$work/secrets shown
    (umask 077 && {
        printf '%s\n' "$AWS_SECRET_ACCESS_KEY"
        sed -n 's/^MUSTER_FLEET_TOKEN=//p' "$data"/instances/*/user-data | sort -u
        [[ "$keys" == 0 ]] || printf '%s\n' "$MUSTER_API_KEY"
        [[ "$tls" == 0 ]] || sed -n 2p "$work/tls/key.pem"
    } >"$secrets")
    # The services have their secrets from user data. If they are not found there, the search is broken.
    [[ $(grep -ohFf "$secrets" "$data"/instances/*/user-data | sort -u | wc -l) -ge $((1 + keys)) ]] ||
        fail "the secrets of this run are not known"
    shown=$(grep -alFf "$secrets" "$data/localcloud.log" "$data"/instances/*/console.log "$work/report.json" \
        "$work/output.log" /proc/[0-9]*/cmdline 2>/dev/null) || true
    printf '%s\n' "$AWS_SECRET_ACCESS_KEY" >"$secrets"
    local environments
    mapfile -t environments < <(grep -alF EC2_INSTANCE_ID= /proc/[0-9]*/environ 2>/dev/null)
    shown+=$(grep -alFf "$secrets" "$data"/instances/*/user-data "${environments[@]}" 2>/dev/null) || true
    rm "$secrets"
    [[ -z "$shown" ]] && return
    printf 'muster: a secret shows in %s\n' "$shown" >&2
    return 1
}

# Fails if the policies of an instance's role did not allow one of its calls.
calls_were_allowed() {
    local calls=$data/calls.jsonl
    [[ -s "$calls" ]] || fail "no call was recorded in $calls"
    ! grep -F '"decision":"denied"' "$calls" >"$work/denied" && return
    printf 'muster: %s calls were denied, for example\n' "$(wc -l <"$work/denied")" >&2
    head -n 3 "$work/denied" >&2
    return 1
}

# Prints curl's options for TLS and the API key.
curl_options() {
    [[ "$tls" == 0 ]] || printf ' --cacert %q' "$work/tls/ca.pem"
    [[ "$keys" == 0 ]] || printf ' -H "x-api-key: %s"' "$MUSTER_API_KEY"
}

# Prints shell lines with the settings that `scaler` and `loadgen` need.
caller_settings() {
    printf '  export MUSTER_SCALER=%s\n' "$scaler_url"
    [[ "$keys" == 0 ]] || printf '  export MUSTER_API_KEY=%s\n' "$MUSTER_API_KEY"
    [[ "$tls" == 0 ]] || printf '  export MUSTER_PEER_CA=%q MUSTER_PEER_CERT=%q MUSTER_PEER_KEY=%q\n' \
        "$MUSTER_PEER_CA" "$MUSTER_PEER_CERT" "$MUSTER_PEER_KEY"
}

# Prints the services' client certificate settings.
peer_tls() {
    [[ "$tls" == 0 ]] || cat <<LINES
MUSTER_PEER_CA=$MUSTER_PEER_CA
MUSTER_PEER_CERT=$MUSTER_PEER_CERT
MUSTER_PEER_KEY=$MUSTER_PEER_KEY
LINES
}

# Prints what the services ask of callers: keys and certificates.
caller_checks() {
    if [[ "$keys" == 1 ]]; then
        printf 'MUSTER_API_KEYS=%s\nMUSTER_API_KEY=%s\n' "$work/api-keys.toml" "$MUSTER_API_KEY"
    else
        printf 'MUSTER_ALLOW_ANYBODY=1\n'
    fi
    [[ "$tls" == 0 ]] || cat <<LINES
MUSTER_TLS_CERT=$work/tls/cert.pem
MUSTER_TLS_KEY=$work/tls/key.pem
MUSTER_TLS_CLIENT_CA=$work/tls/ca.pem
LINES
}

# Prints the limits on photos, which front and workers share.
photo_limits() {
    local name
    for name in MUSTER_MAX_PIXELS MUSTER_MAX_DECODE_TIME; do
        [[ -z "${!name:-}" ]] || printf '%s=%s\n' "$name" "${!name}"
    done
}

# Prints a worker's user data. An instance stands for a machine of one core. The scaler replaces @MUSTER_FLEET_TOKEN@.
worker_user_data() {
    shared_user_data
    cat <<LINES
MUSTER_MODELS=$models
MUSTER_GALLERY=$gallery
MUSTER_SCALER=$scaler_url
MUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@
MUSTER_INFERENCE_THREADS=1
MUSTER_ENGINE=$engine
LINES
    [[ -z "${INSTRUCTIONS:-}" ]] || printf 'MUSTER_INSTRUCTIONS=%s\n' "$INSTRUCTIONS"
    [[ -z "${PRECISION:-}" ]] || printf 'MUSTER_PRECISION=%s\n' "$PRECISION"
    photo_limits
    peer_tls
}

# Prints the web instance's user data. The reply queue has the name that graders expect. Local instances cost nothing, so
# the billing minimum is zero.
web_user_data() {
    shared_user_data
    cat <<LINES
MUSTER_HTTP_LISTEN=$host:$http_port
MUSTER_FRONT_LISTEN=$host:$front_port
MUSTER_SCALER_LISTEN=$host:$scaler_port
MUSTER_FRONT_ADMIN_LISTEN=$host:$front_admin_port
MUSTER_SCALER_ADMIN_LISTEN=$host:$scaler_admin_port
MUSTER_GATEWAY_ADMIN_LISTEN=$host:$gateway_admin_port
MUSTER_FRONT=$front_url
MUSTER_SCALER=$scaler_url
MUSTER_REPLY_QUEUE=$prefix-resp-queue
MUSTER_WORKER_IMAGE=ami-muster-worker
MUSTER_WORKER_INSTANCE_PROFILE=$prefix-worker
MUSTER_WORKER_USER_DATA_FILE=$work/worker-user-data
MUSTER_MAX_WORKERS=$max_workers
MUSTER_POLICY=$policy
MUSTER_LATENCY_TARGET=$latency_target
MUSTER_KEEP_IDLE=$keep_idle
MUSTER_SETTLE=$settle
MUSTER_WARM_POOL=$warm_pool
MUSTER_IDLE_TIME=$idle_time
MUSTER_BILLING_MINIMUM=0s
MUSTER_BOOT_TIME=$boot_time
LINES
    photo_limits
    peer_tls
    caller_checks
}

# Prints localcloud's configuration: two images, their roles with the policies for AWS, and the web instance, which writes its
# process id to a file. User data may set only variables with these prefixes.
cloud_config() {
    local set_by_user_data='["AWS_", "MUSTER_", "OTEL_"]' policies=$root/deploy/aws/iam
    cat <<LINES
[[image]]
id = "ami-muster-web"
name = "muster-web"
command = [$(toml "$root/scripts/web-instance")]
env = { MUSTER_BIN = $(toml "$bin"), MUSTER_PID_FILE = $(toml "$data/web-instance.pid") }
user_data_env = $set_by_user_data

[[image]]
id = "ami-muster-worker"
name = "muster-worker"
command = [$(toml "$bin/worker"), "serve"]
user_data_env = $set_by_user_data

[[role]]
name = "$prefix-web"
policies = [$(toml "$policies/front.json"), $(toml "$policies/scaler.json")]
tags = { muster-prefix = "$prefix" }

[[role]]
name = "$prefix-worker"
policies = [$(toml "$policies/worker.json")]
tags = { muster-prefix = "$prefix" }

[[instance]]
image = "ami-muster-web"
instance_profile = "$prefix-web"
tags = { Name = "web-instance", muster-prefix = "$prefix" }
user_data = $(toml "$(web_user_data)"$'\n')
LINES
    [[ "$classroom" == 0 ]] || account_of_a_student
}

# Prints the user and the alarm that the course's grader looks for in a student's account.
account_of_a_student() {
    cat <<LINES

[[user]]
name = "cse546-AutoGrader"
policies = ["AmazonEC2ReadOnlyAccess", "AmazonS3FullAccess", "AmazonSQSFullAccess", "IAMReadOnlyAccess",
    "AWSLambda_ReadOnlyAccess"]

[[alarm]]
AlarmName = "billing"
Namespace = "AWS/Billing"
MetricName = "EstimatedCharges"
Statistic = "Maximum"
Period = 21600
EvaluationPeriods = 1
Threshold = 5.0
ComparisonOperator = "GreaterThanThreshold"
LINES
}

# Prints shell lines with what `doctor` has to know of this stack.
doctor_settings() {
    printf 'export %s=%q\n' MUSTER_URL "$http_url" MUSTER_FRONT "$front_url" MUSTER_SCALER "$scaler_url" \
        MUSTER_MODELS "$models" MUSTER_GALLERY "$gallery" MUSTER_ENGINE "$engine" MUSTER_PREFIX "$prefix" \
        AWS_ENDPOINT_URL "$AWS_ENDPOINT_URL" AWS_ACCESS_KEY_ID "$AWS_ACCESS_KEY_ID" \
        AWS_SECRET_ACCESS_KEY "$AWS_SECRET_ACCESS_KEY"
    [[ -z "${MUSTER_API_KEY:-}" ]] ||
        printf 'export %s=%q\n' MUSTER_API_KEY "$MUSTER_API_KEY" MUSTER_API_KEYS "$work/api-keys.toml"
    [[ -z "${MUSTER_PEER_CA:-}" ]] ||
        printf 'export %s=%q\n' MUSTER_TLS_CERT "$work/tls/cert.pem" MUSTER_PEER_CA "$MUSTER_PEER_CA" \
            MUSTER_PEER_CERT "$MUSTER_PEER_CERT" MUSTER_PEER_KEY "$MUSTER_PEER_KEY"
    printf '%s=%q\n' bin "$bin" data "$data"
}

start_cloud() {
    mkdir -p "$data"
    rm -f "$data/web-instance.pid"
    # They contain secrets.
    (umask 077 && rm -f "$work/worker-user-data" "$work/localcloud.toml" "$work/doctor.env" &&
        worker_user_data >"$work/worker-user-data" && cloud_config >"$work/localcloud.toml" &&
        doctor_settings >"$work/doctor.env")
    say "starting the local cloud, which boots the web instance"
    local record=()
    [[ "$command" != check ]] || record=(--record-calls "$data/calls.jsonl")
    # Instances inherit the environment. Their credentials are those of their roles.
    NO_COLOR=1 LOCALCLOUD_CREDENTIALS=$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY \
        spawn env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$bin/localcloud" --listen "$host:$aws_port" \
        --data "$data" --config "$work/localcloud.toml" --max-instances "$((max_workers + 10))" \
        --start-interval "$start_interval" --ec2-limits "${EC2_LIMITS:-aws}" "${record[@]}" >"$data/localcloud.log" 2>&1
    cloud=$!
}

# Waits up to a minute until all three services are ready. Fails early if the cloud or the web instance has ended.
wait_until_ready() {
    local deadline=$((SECONDS + 60)) port
    for port in "$front_admin_port" "$scaler_admin_port" "$gateway_admin_port"; do
        until [[ "$(http_status "$port" /readyz)" == 200 ]]; do
            if ! kill -0 "$cloud" 2>/dev/null || ((SECONDS > deadline)) ||
                { [[ -s "$data/web-instance.pid" ]] && ! web_instance_runs; }; then
                show_logs
                temporary=
                fail "http://127.0.0.1:$port/readyz did not become ready; the logs are under $data"
            fi
            sleep 0.1
        done
    done
}

# Waits up to a minute until the pool of stopped instances is there. Later boots take BOOT_DELAY; these do not, so that the
# stack is ready soon.
fill_pool() {
    local deadline=$((SECONDS + 60)) stopped=0
    [[ "$warm_pool" == 0 ]] || say "filling the pool with $warm_pool stopped instances"
    while ((stopped < warm_pool)); do
        ((SECONDS < deadline)) || fail "only $stopped of WARM_POOL=$warm_pool instances are stopped; the logs are under $data"
        sleep 0.2
        stopped=$("$bin/scaler" status --scaler "$scaler_url" --json 2>/dev/null | grep -o '"INSTANCE_STATE_STOPPED"' | wc -l) ||
            stopped=0
    done
    # Without a base, 08 would be an octal number.
    local delay=$((10#${boot_delay%%[a-z]*}))
    case "$boot_delay" in
        *ms) ;;
        *s) delay=$((delay * 1000)) ;;
        *m) delay=$((delay * 60000)) ;;
        *h) delay=$((delay * 3600000)) ;;
    esac
    ((delay == 0)) || set_faults "{\"ec2\":{\"boot_delay_ms\":$delay,\"boot_delay_spread_ms\":$((delay / 10))}}"
}

# set_faults JSON: replaces the local cloud's faults.
set_faults() {
    local version status=
    {
        exec 3<>"/dev/tcp/127.0.0.1/$aws_port" &&
            printf 'PUT /_localcloud/faults HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
                "${#1}" "$1" >&3 && read -r -t 5 version status _ <&3
        exec 3>&-
    } 2>/dev/null || true
    [[ "$status" == 200 ]] || fail "the local cloud does not take its faults (status $status); its log is $data/localcloud.log"
}

# Succeeds if the process of the web instance runs.
web_instance_runs() {
    local process=
    read -r process 2>/dev/null <"$data/web-instance.pid" && kill -0 "$process" 2>/dev/null
}

# http_status PORT PATH: prints the status of a GET, or nothing.
http_status() {
    {
        exec 3<>"/dev/tcp/127.0.0.1/$1" || return 0
        printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3
        local version status rest
        read -r -t 2 version status rest <&3 || true
        exec 3>&-
        printf '%s' "${status:-}"
    } 2>/dev/null
}

# Prints the ends of the logs that most likely name the cause.
show_logs() {
    local web log worker=
    tail_of "$data/localcloud.log"
    web=$(grep -ls MUSTER_HTTP_LISTEN "$data"/instances/*/user-data | head -n 1) || true
    for log in "$data"/instances/*/console.log; do
        if [[ "${log%/*}" == "${web%/*}" ]]; then tail_of "$log"; elif [[ -s "$log" ]]; then worker=$log; fi
    done
    tail_of "$worker"
}

tail_of() {
    [[ -s "$1" ]] || return 0
    printf '\n--- the end of %s\n' "$1" >&2
    tail -n 15 "$1" >&2
}

sample_photo() {
    local photo
    photo=$(find -L "${PHOTOS:-.local/photos}/val" -name '*.jpg' 2>/dev/null | sort | head -n 1)
    printf '%q\n' "${photo:-PHOTO.jpg}"
}
