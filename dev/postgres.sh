# shellcheck shell=bash disable=SC2154
# A PostgreSQL of a script's own, for dev/demo and bench/run: sourced, not run. The script sets `scratch` (a
# directory it removes at the end), `postgres_port`, PATIENCE (seconds) and a function `die`.

# A port that nobody listens on now, below those that the system hands out by itself.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "found no free port"
}

# until_true WHAT COMMAND...: waits until the command succeeds.
until_true() {
    local what=$1 begun=$SECONDS
    shift
    until "$@"; do
        ((SECONDS - begun < PATIENCE)) || die "$what took longer than $PATIENCE seconds"
        sleep 0.2
    done
}

# ---- PostgreSQL -----------------------------------------------------------------------------------------

find_postgres() {
    local newest
    newest=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1 || true)
    if [[ -n $newest ]]; then
        postgres_bin=${newest%/initdb}
    elif command -v initdb >/dev/null; then
        postgres_bin=$(dirname "$(command -v initdb)")
    else
        die "PostgreSQL's programs are not here: run dev/setup, or apt-get install postgresql"
    fi
    # PostgreSQL refuses to run as root.
    lend=()
    if ((EUID == 0)); then
        local user=postgres
        id "$user" >/dev/null 2>&1 || user=nobody
        lend=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
    fi
}

# Its user need not be able to enter the directory that this runs in.
postgres() { (cd / && exec "${lend[@]}" env LC_ALL=C "$postgres_bin/$1" "${@:2}"); }

postgres_make() {
    install -d "$scratch/postgres"
    if ((EUID == 0)); then chown "$(postgres_user)" "$scratch/postgres"; fi
    postgres initdb -D "$scratch/postgres/data" -U postgres -A trust -E UTF8 --locale=C >"$scratch/initdb.log" ||
        die "initdb failed: $(tail -n 3 "$scratch/initdb.log")"
}

postgres_user() { "${lend[@]}" id -u; }

postgres_start() {
    postgres pg_ctl start -w -s -t "$PATIENCE" -D "$scratch/postgres/data" -l "$scratch/postgres/log" \
        -o "-p $postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" </dev/null
}

postgres_stop() { postgres pg_ctl stop -m immediate -s -D "$scratch/postgres/data"; }

sql() { postgres psql -XqtA -h 127.0.0.1 -p "$postgres_port" -U postgres -d postgres -c "$1"; }
