# Exposed copy by layer. Columns: decoder layer, then one per policy: ms per pass.
width = 560
height = 400
load ARG1."/style.gp"
set output ARG3
set title "Who waits for weights"
set xlabel "decoder layer"
set ylabel "exposed copy (ms per pass)"
set yrange [0:*]
set autoscale xfix
plot for [i = 2:1 + ARG4] ARG2 using 1:i with linespoints pt point(i - 1) ps 0.5 \
    lc rgb colour(i - 1) title columnheader(i)
