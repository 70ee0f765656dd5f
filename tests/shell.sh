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
