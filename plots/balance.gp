# Imbalance by layer. Columns: decoder layer, then one per policy: rows of the busiest GPU
# over the mean.
width = 560
key_data = ARG2
key_count = ARG4 + 0
load ARG1."/legend.gp"
height = 330 + 24 * (key_rows < 3 ? 3 : key_rows)
load ARG1."/style.gp"
set output ARG3
set title "How uneven the layers are"
set xlabel "decoder layer"
set ylabel "rows of the busiest GPU over the mean"
set yrange [0:*]
set autoscale xfix
set arrow from graph 0, first 1 to graph 1, first 1 nohead back lc rgb "#888888" dt 2
plot for [i = 2:1 + ARG4] ARG2 using 1:i with linespoints pt point(i - 1) ps 0.5 \
    lc rgb colour(i - 1) title columnheader(i)
