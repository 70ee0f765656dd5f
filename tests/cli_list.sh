#!/bin/sh
# moesim list: every column of presets, models and machines that stand in a home of our own, the
# sections of policies and config, and what is said where a file is missing or broken.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

MOESIM_HOME=$folder/home
export MOESIM_HOME
mkdir -p "$MOESIM_HOME/models/arch" "$MOESIM_HOME/models/machine" "$MOESIM_HOME/sim/policy/presets"
presets=$MOESIM_HOME/sim/policy/presets
cat >"$presets/one.yaml" <<'END'
help: what it is
source: who said so
cache: {name: lru, scope: layer}
END
cat >"$presets/a-preset-of-24-characters.yaml" <<'END'
help: another
source: them
prefetch: none
END
# An expert has three matrices: 3 x 1000 x 500 x 2 bytes are 3 MB, 3 x 64 x 48 x 0.5 are 4608.
cat >"$MOESIM_HOME/models/arch/big.yaml" <<'END'
{name: big, source: made up, layers: 7, first_moe: 2, dense_ffn: 64, hidden: 1000, expert_ffn: 500,
 experts: 96, top_k: 6, heads: 4, kv_heads: 2, head_dim: 16, vocab: 96, gate: softmax,
 expert_bits: 16, dense_bits: 16, activation_bits: 16}
END
cat >"$MOESIM_HOME/models/arch/small.yaml" <<'END'
{name: small, source: "made up, too", from_memory: yes, layers: 3, hidden: 64, expert_ffn: 48,
 experts: 8, top_k: 2, heads: 4, kv_heads: 2, head_dim: 16, vocab: 96, gate: softmax,
 expert_bits: 4, dense_bits: 16, activation_bits: 16}
END
sed -e 's/^name: .*/name: apart/' -e 's/^source: .*/source: made up/' \
    -e '/^h2d_pinned/,/^d2h_pinned/s/23.9 GB/7.25 GB/' \
    models/machine/rtx4090-pcie4.yaml >"$MOESIM_HOME/models/machine/apart.yaml"
sed -e 's/^name: .*/name: one/' -e 's/^source: .*/source: of mine/' \
    models/machine/phone-flash.yaml >"$MOESIM_HOME/models/machine/one.yaml"

prints list_presets 0 list presets <<'END'
a-preset-of-24-characters another
                         them
one                      what it is
                         who said so
END
prints list_models 0 list models <<'END'
model                    MoE layers experts top-k one expert  source
big                               5      96     6    3.00 MB  made up
small                             3       8     2    4.61 kB  (from memory) made up, too
END
prints list_machines 0 list machines <<'END'
machine              GPU memory     its rate  host to GPU  source
apart                   24.0 GB    1.01 TB/s    7.25 GB/s  made up
one                     12.0 GB    60.0 GB/s   one memory  of mine
END

# Each slot once, above its plug-ins, with an empty line before all but the first.
"$moesim" list policies >"$folder/policies" &&
    [ "$(grep -c '^$' "$folder/policies")" -eq $((7 + $(grep -c '^every' "$folder/policies") - 1)) ] &&
    [ "$(grep '^[a-z]' "$folder/policies" | tr '\n' ' ')" = \
        "gate select place cache prefetch offload schedule every select also takes every place also takes every cache also takes every schedule also takes " ] &&
    [ "$(sed -n '1p;2s/  */ /gp;3p' "$folder/policies")" = "gate
 capacity-factor every expert computes max(min_capacity, ceil(cf * S * k / E)) rows; choices beyond are dropped
                     released, lossy; GShard (Lepikhin et al., ICLR 2021) as in DeepSpeed's MoE layer" ]
report $? list_policies
grep -q '^  none               tokens use the experts that were recorded$' "$folder/policies" &&
    grep -q '^                     standard, lossless; the model.s own router$' "$folder/policies" &&
    grep -q '^                       spare  slots beyond the experts: ' "$folder/policies" &&
    grep -q '^  slots        ' "$folder/policies"
report $? list_policies_columns

# Keys of the whole at the margin, those of a section below its name and indented by two.
"$moesim" list config >"$folder/config" &&
    [ "$(sed -n '/:$/=' "$folder/config" | wc -l)" -eq 4 ] &&
    [ "$(sed -n '/^$/{n;p}' "$folder/config" | cut -d: -f1 | tr '\n' ' ')" = "workload parallel watch tune policies " ]
report $? list_config_sections
cat >"$folder/wanted" <<'END'
  against      name of a policy of the study that the best of the others is compared with (text; optional)

policies: a list; each item is a preset's name or a mapping of name, preset, gate, select,
place, cache, prefetch, offload, schedule (see moesim list policies, moesim list presets).
With for: {KEY: VALUES, ...} an item is a policy at each point, such as
{preset: lru-on-demand, for: {cache.slots: [4, 8, all]}}; those of one name are told
apart by what they differ in
END
tail -n 7 "$folder/config" | diff "$folder/wanted" - &&
    grep -q '^trace            trace file, relative to the configuration.s folder; one of counts only compares placements over several GPUs (text; required)$' "$folder/config" &&
    grep -qF '  tensor     attention: tensor: GPUs of a group, all in one node (an integer from 2 to 64; default 8)' \
        "$folder/config" &&
    grep -q '^  batch          static: requests per batch (an integer from 1 to 1000000; default 1)$' "$folder/config"
report $? list_config_columns

prints list_two_words 2 list presets models <<'END'
moesim: list takes one word, such as policies
usage: moesim list policies|presets|models|machines|config|formats
Try --help.
END
prints list_unknown 2 list machins <<'END'
moesim: list knows policies, presets, models, machines, config and formats; did you mean 'machines'?
usage: moesim list policies|presets|models|machines|config|formats
Try --help.
END

# Broken or missing: one sentence, status 1, what stood before it is printed.
echo "help: 3" >"$presets/zero.yaml"
prints list_broken_preset 1 list presets <<END
a-preset-of-24-characters another
                         them
one                      what it is
                         who said so
moesim: $presets/zero.yaml:1:1: 'source' is missing; expected text
END
echo "{}" >"$MOESIM_HOME/models/arch/zero.yaml"
echo "{}" >"$MOESIM_HOME/models/machine/zero.yaml"
for what in models machines; do
    "$moesim" list $what >"$folder/out" 2>"$folder/said"
    [ $? -eq 1 ] && [ "$(wc -l <"$folder/out")" -eq 3 ] && [ "$(wc -l <"$folder/said")" -eq 1 ] &&
        grep -q "^moesim: $MOESIM_HOME/models/.*/zero.yaml:.*'name' is missing" "$folder/said"
    report $? list_broken_$what
done
rm -r "$presets" "$MOESIM_HOME"/models/*
touch "$MOESIM_HOME/models/arch" # which still makes it a home
prints list_missing_presets 1 list presets <<END
moesim: the preset folder $presets cannot be read: No such file or directory
END
prints list_missing_models 1 list models <<END
model                    MoE layers experts top-k one expert  source
moesim: $MOESIM_HOME/models/arch: Not a directory
END
prints list_missing_machines 1 list machines <<END
machine              GPU memory     its rate  host to GPU  source
moesim: $MOESIM_HOME/models/machine: No such file or directory
END
rm -r "$MOESIM_HOME"
prints list_without_home 1 list policies <<'END'
moesim: moesim's own files (models/, sim/policy/presets/) are not beside the program; set MOESIM_HOME to the folder that holds models/arch
END

# Without a name for it, home is found upward from the program, there or in share/moesim.
unset MOESIM_HOME
mkdir -p "$folder/up/bin" "$folder/up/share/moesim/models/machine" "$folder/up/share/moesim/models/arch"
cp "$moesim" "$folder/up/bin/moesim"
moesim=$folder/up/bin/moesim
head='model                    MoE layers experts top-k one expert  source'
prints list_home_in_share 0 list models <<END
$head
END
mkdir -p "$folder/up/models/arch"
cp models/arch/dbrx.yaml "$folder/up/models/arch"
prints list_home_nearer 0 list models <<END
$head
dbrx                             40      16     4     396 MB  databricks/dbrx-base config.json
END
rm -r "$folder/up/share" "$folder/up/models"
prints list_nowhere 1 list models <<'END'
moesim: moesim's own files (models/, sim/policy/presets/) are not beside the program; set MOESIM_HOME to the folder that holds models/arch
END
exit $failed
