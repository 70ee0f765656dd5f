# Load of the GPUs over the whole run. Columns: GPU, then one per policy: its rows over the
# mean. Bars for few GPUs; of many, which come sorted, lines.
width = 560
key_data = ARG2
key_count = ARG4 + 0
load ARG1."/legend.gp"
height = 330 + 24 * (key_rows < 3 ? 3 : key_rows)
load ARG1."/style.gp"
set output ARG3
set title "Load of the GPUs"
set ylabel "rows over the mean"
set yrange [0:*]
stats ARG2 skip 1 using 1 nooutput
gpus = STATS_records
set arrow from graph 0, first 1 to graph 1, first 1 nohead front lc rgb "#888888" dt 2
if (gpus <= 32) {
    set xlabel "GPU"
    set xrange [-0.5:gpus - 0.5]
    set xtics scale 0 (0)
    every_nth = gpus <= 16 ? 1 : 4
    set for [g = 0:gpus - 1:every_nth] xtics add (sprintf("%d", g) g)
    set grid noxtics
    set style fill solid 1.0 noborder
    bar = 0.8 / ARG4
    set boxwidth bar
    plot for [i = 2:1 + ARG4] ARG2 using ($1 + bar * (i - 1.5 - ARG4 / 2.0)):i \
        with boxes lc rgb colour(i - 1) title columnheader(i)
} else {
    set xlabel "GPUs, from the fullest on"
    set autoscale xfix
    plot for [i = 2:1 + ARG4] ARG2 using 1:i with lines lw 1.3 lc rgb colour(i - 1) \
        title columnheader(i)
}
