# Hit rate against latency. Columns: hit rate (%), then one per policy: TPOT p50 (ms).
width = 560
height = 400
load ARG1."/style.gp"
set output ARG3
set title "Hit rate is not latency"
set xlabel "hit rate (%)"
set ylabel "time per output token, median (ms)"
set yrange [0:*]
set autoscale xfix
set offsets graph 0.08, graph 0.08, graph 0.12, 0
plot for [i = 2:1 + ARG4] ARG2 using 1:i with points pt point(i - 1) ps 1.1 \
    lc rgb colour(i - 1) title columnheader(i)
