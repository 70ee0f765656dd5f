# Latency of passes over time. Columns: start (s), then one per policy: mean latency (ms)
# of the passes that a row stands for.
width = 900
height = 380
load ARG1."/style.gp"
set output ARG3
set title "Latency of passes over time"
set xlabel "simulated time (s)"
set ylabel "latency of a pass (ms)"
set xrange [0:*]
set yrange [0:*]
# Where prefill passes tower above decode passes, only a logarithmic scale shows both.
set terminal push
set terminal unknown
plot for [i = 2:1 + ARG4] ARG2 using 1:i with lines title columnheader(i)
low = GPVAL_DATA_Y_MIN
high = GPVAL_DATA_Y_MAX
set terminal pop
set output ARG3
if (low > 0 && high > 12 * low) {
    set logscale y
    set yrange [*:*]
}
plot for [i = 2:1 + ARG4] ARG2 using 1:i with lines lw 1.3 lc rgb colour(i - 1) \
    title columnheader(i)
