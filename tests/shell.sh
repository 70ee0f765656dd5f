# What the command-line tests share; sourced from the repository's root. Leaves: $moesim
# the program, $folder an empty folder that is removed at the end, $failed the exit status.
# shellcheck shell=sh
moesim=${MOESIM:-build/moesim}
python=${PYTHON:-/usr/bin/python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# shellcheck disable=SC2034 # the tests exit with it
failed=0

# report STATUS NAME: one test, passed if the status is 0.
report() {
    if [ "$1" -eq 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2"
        failed=1
    fi
}

# with_settings COMMAND WORD... -- KEY=VALUE...: runs it, with a --set before each setting.
with_settings() {
    flag=
    for one in "$@"; do
        shift
        case $one in
        --) flag=--set ;;
        *) set -- "$@" ${flag:+"$flag"} "$one" ;;
        esac
    done
    "$@"
}

# generate FILE [KEY=VALUE ...]: a small trace of GPT-OSS-20B's shape.
generate() {
    file=$1
    shift
    with_settings "$moesim" trace gen -o "$file" -- model=gpt-oss-20b requests=12 \
        prompt_tokens=20 output_tokens=24 scores=yes "$@"
}

# tiny_study: $folder/study.yaml, four policies of a model that any device runs in moments.
tiny_study() {
    cat >"$folder/tiny.yaml" <<'END'
{name: tiny, source: made up, layers: 3, hidden: 64, expert_ffn: 48, experts: 8, top_k: 2,
 heads: 4, kv_heads: 2, head_dim: 16, vocab: 96, gate: softmax, expert_bits: 16,
 dense_bits: 16, activation_bits: 16}
END
    generate "$folder/trace.h5" model=tiny layers=3 experts=8 top_k=2 requests=3 || return 1
    cat >"$folder/study.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: rtx4090-pcie4
workload: {batch: 2}
policies:
  - {name: lru, preset: lru-on-demand, cache: {slots: 3}}
  - {name: resident, preset: lru-on-demand, cache: {slots: 8, preload: linear}}
  - {name: oracle, preset: oracle-prefetch, cache: {slots: 3}}
  - {name: host, preset: lru-on-demand, cache: {slots: 3, preload: linear}, offload: host}
END
}

# mpi_program NAME: leaves $program, beside $moesim, and what MPI needs here; ends the test
# where there is no MPI, or no such program.
mpi_program() {
    program=$(dirname "$moesim")/$1
    for need in mpirun "$program"; do
        command -v "$need" >/dev/null 2>&1 && continue
        echo "skip $(basename "$0" .sh): needs $need (openmpi-bin, make ranks)"
        exit 0
    done
    # Root may, ranks may outnumber cores, and memory is copied by means that every container
    # allows. Open MPI leaks by itself.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
    export ASAN_OPTIONS=detect_leaks=0
}

# prints NAME STATUS ARGUMENT...: one test, that moesim ends with the status and says what stdin
# holds, to the letter: standard output first, then standard error.
prints() {
    name=$1 wanted=$2
    shift 2
    cat >"$folder/wanted"
    "$moesim" "$@" >"$folder/printed" 2>"$folder/complained" </dev/null
    [ $? -eq "$wanted" ] && cat "$folder/complained" >>"$folder/printed" &&
        diff "$folder/wanted" "$folder/printed"
    report $? "$name"
}
