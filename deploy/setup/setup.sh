#!/usr/bin/env bash
# Makes this checkout able to run. Does nothing that is already done; safe to interrupt and repeat.
#
#   setup.sh run     what `tripline demo` and `tripline up` need
#   setup.sh tests   that, and what the tests need besides (promtool, a YAML language server,
#                    the AsyncAPI parser)
#
# Leaves: .venv (Python packages), .state/kafka/<version>/libs (broker jars), .state/editor (node
# packages) and, where they are missing, .state/uv (uv) and Debian packages (as root only). Never changes the system's Python,
# never leaves a service running that was not running before.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
state="$root/.state"
purpose=${1:-tests}
pom="$root/deploy/kafka/pom.xml"
compose="$root/deploy/local.compose.yaml"
java_version_min=17
scratch=""
policy=/usr/sbin/policy-rc.d
policy_is_ours=false

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$1" >&2
    [[ $# -eq 1 ]] || printf '%s\n' "${@:2}" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

clean_up() {
    [[ -z $scratch ]] || rm -rf "$scratch"
    ! $policy_is_ours || rm -f "$policy"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---------------------------------------------------------------- what is missing

kafka_version=$(sed -n 's:.*<kafka\.version>\(.*\)</kafka\.version>.*:\1:p' "$pom")
libs="$state/kafka/$kafka_version/libs"
uv=""
packages=()

java_is_recent() {
    local java=java line
    [[ -z ${JAVA_HOME:-} || ! -x $JAVA_HOME/bin/java ]] || java="$JAVA_HOME/bin/java"
    has "$java" || return 1
    # The release file answers at once; asking the JVM itself takes a third of a second.
    line=$(cat "$(dirname "$(readlink -f "$(command -v "$java")")")/../release" 2>/dev/null ||
        "$java" -version 2>&1) || return 1
    [[ $line =~ (JAVA_VERSION=|version )\"([0-9]+) && ${BASH_REMATCH[2]} -ge $java_version_min ]]
}

find_uv() {
    local candidate
    for candidate in "$(command -v uv || true)" "$state/uv/bin/uv"; do
        # A shim of a version manager may be on the path and yet lead nowhere.
        if [[ -n $candidate ]] && "$candidate" --version >/dev/null 2>&1; then
            uv=$candidate
            return 0
        fi
    done
    return 1
}

python_can_install_uv() {
    has python3 && { python3 -c 'import ensurepip' || python3 -m pip --version; } >/dev/null 2>&1
}

find_missing() {
    packages=()
    has redis-server || packages+=(redis-server)
    java_is_recent || packages+=("$(java_package)")
    [[ -d $libs ]] || has mvn || packages+=(maven)
    find_uv || python_can_install_uv || packages+=(python3-venv)
    [[ $purpose == run ]] || has promtool || packages+=(prometheus)
    [[ $purpose == run ]] || has npm || packages+=(nodejs npm)
}

# Everything that runs is there; only some tests will miss something.
only_tests_miss_it() {
    local package
    for package in "${packages[@]}"; do
        case $package in prometheus | nodejs | npm) ;; *) return 1 ;; esac
    done
}

# Debian 12 and later default to a recent Java; Ubuntu 22.04 has it under its own name only.
java_package() {
    local name
    for name in openjdk-17-jre-headless openjdk-21-jre-headless; do
        if has apt-cache && apt-cache show "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo default-jre-headless
}

# ---------------------------------------------------------------- Debian packages

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -o DPkg::Lock::Timeout=300 -qq)
    say "installing ${packages[*]} with apt"
    # dpkg's redirection keeps its chatter out of a log that a person reads, not its errors.
    "${apt[@]}" update || say "apt-get update failed; trying with the lists that are there"
    find_missing # the lists may just have told which Java there is
    forbid_service_starts
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null
    keep_from_starting_at_boot
}

# Debian starts a service when its package is installed; these would take ports 6379 and 9090.
# The answer 101 forbids it (policy-rc.d in the invoke-rc.d manual). A file that is there already
# is somebody else's decision. Ours stops forbidding by itself if this script dies without a trap.
forbid_service_starts() {
    [[ ! -e $policy ]] || return 0
    policy_is_ours=true
    printf '#!/bin/sh\n# Left by an interrupted set-up of Tripline; may be removed.\n%s\n' \
        "kill -0 $$ 2>/dev/null && exit 101; exit 0" >"$policy"
    chmod 755 "$policy"
}

keep_from_starting_at_boot() {
    local package
    has systemctl || return 0
    for package in "${packages[@]}"; do
        case $package in
        redis-server | prometheus)
            systemctl disable --quiet "$package" ||
                say "could not disable the service $package; it will start with the machine"
            ;;
        esac
    done
}

provide_programs() {
    find_missing
    if [[ ${#packages[@]} -eq 0 ]]; then
        rm -f "$state/services.env"
        return
    fi
    if [[ $(id -u) -eq 0 ]] && has apt-get; then
        install_packages
        find_missing
        [[ ${#packages[@]} -eq 0 ]] || fail "still missing after apt: ${packages[*]}"
        rm -f "$state/services.env"
        return
    fi
    if only_tests_miss_it; then
        say "tests of the alert rules or of the editor will fail until somebody runs" \
            "'apt-get install -y --no-install-recommends ${packages[*]}' as root"
        return
    fi
    use_docker || fail_with_instructions
}

fail_with_instructions() {
    fail "these Debian packages are missing and only root can install them:" \
        "" "    sudo apt-get install -y --no-install-recommends ${packages[*]}" "" \
        "Then run the same make command again. (A Docker daemon would do for Kafka and Redis," \
        "but none answers 'docker info' here.)"
}

# ---------------------------------------------------------------- Docker instead

# Only where programs are missing and nobody may install them. `make run` and `make up` then use
# these addresses; tests that kill brokers need the real programs and say so.
use_docker() {
    has docker && [[ -f $compose ]] || return 1
    docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 || return 1
    find_uv || python_can_install_uv || return 1
    say "missing here: ${packages[*]}; starting Kafka and Redis with Docker instead"
    docker compose -f "$compose" up -d kafka redis
    printf '%s\n' TRIPLINE_KAFKA_SERVERS=127.0.0.1:9092 TRIPLINE_REDIS_URL=redis://127.0.0.1:6379/0 \
        >"$state/services.env"
}

# ---------------------------------------------------------------- uv and Python packages

provide_uv() {
    find_uv && return
    say "installing uv into .state/uv"
    scratch="$state/uv.unfinished"
    rm -rf "$scratch"
    if python3 -c 'import ensurepip' >/dev/null 2>&1; then
        python3 -m venv "$scratch"
        "$scratch/bin/python" -m pip install --quiet --disable-pip-version-check uv
    else
        # A target folder is allowed where the system's Python is externally managed.
        python3 -m pip install --quiet --disable-pip-version-check --target "$scratch" uv
    fi
    rm -rf "$state/uv"
    mv "$scratch" "$state/uv"
    scratch=""
    find_uv || fail "uv was installed into .state/uv but does not run"
}

# A distribution builds its Python with profile guidance, as the official images are; the first one
# in the path may be a plain build, which is a tenth slower (docs/benchmarks.md).
prefer_system_python() {
    local candidate
    [[ -z ${UV_PYTHON:-} ]] || return 0
    for candidate in /usr/bin/python3.12 /usr/bin/python3.11; do
        if [[ -x $candidate ]]; then
            export UV_PYTHON=$candidate
            return 0
        fi
    done
}

sync_packages() {
    unset VIRTUAL_ENV
    prefer_system_python
    export UV_PROJECT_ENVIRONMENT="$root/.venv"
    "$uv" sync --frozen --quiet --project "$root" ||
        fail "uv could not make .venv from uv.lock. It needs Python 3.11 or 3.12" \
            "(found: $(python3 --version 2>&1 || echo none)) and access to PyPI."
}

# ---------------------------------------------------------------- Kafka

fetch_kafka() {
    [[ ! -d $libs ]] || return 0
    say "fetching the jars of Kafka $kafka_version from Maven Central"
    scratch="$libs.unfinished"
    rm -rf "$scratch"
    mkdir -p "$scratch"
    if ! mvn --batch-mode --no-transfer-progress --quiet -f "$pom" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$scratch" \
        >"$scratch/maven.log" 2>&1; then
        cat "$scratch/maven.log" >&2
        fail "Maven could not fetch the jars; run the same make command again"
    fi
    rm "$scratch/maven.log"
    mv "$scratch" "$libs"
    scratch=""
}

# ---------------------------------------------------------------- what tests run with node

fetch_editor() {
    local lock="$root/deploy/setup/editor/package-lock.json"
    has npm || return 0
    ! cmp -s "$lock" "$state/editor/package-lock.json" || return 0
    say "fetching yaml-language-server and the AsyncAPI parser from npm"
    scratch="$state/editor.unfinished"
    rm -rf "$scratch"
    mkdir -p "$scratch"
    cp "$root"/deploy/setup/editor/package*.json "$scratch"
    npm ci --prefix "$scratch" --no-audit --no-fund --loglevel=error >"$scratch/npm.log" 2>&1 || {
        cat "$scratch/npm.log" >&2
        fail "npm could not fetch them; run the same make command again"
    }
    rm -rf "$state/editor" "$scratch/npm.log"
    mv "$scratch" "$state/editor"
    scratch=""
}

main() {
    case $purpose in run | tests) ;; *) fail "usage: setup.sh [run|tests]" ;; esac
    mkdir -p "$state"
    exec 9>"$state/setup.lock"
    flock --nonblock 9 || { say "waiting for another set-up"; flock 9; }
    provide_programs
    provide_uv
    sync_packages
    [[ $purpose == run ]] || fetch_editor
    if [[ ! -f $state/services.env ]]; then
        fetch_kafka
        (cd "$root" && .venv/bin/python -m engine.local.prepare)
    fi
}

main
