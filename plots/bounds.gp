# Time per pass and its bounds, one bar per policy. Columns: policy, this run (ms), rows
# spread evenly (ms), network that takes no time (ms).
width = 900
height = 160 + 30 * ARG4
load ARG1."/style.gp"
set output ARG3
# The margin that gnuplot would leave for the names is too wide.
longest = 4
stats ARG2 skip 1 using (l = strlen(strcol(1)), longest = l > longest ? l : longest, l) \
    nooutput
set lmargin 3 + 0.85 * longest
set title "What balance and network could save"
set xlabel "time per pass (ms)"
set xrange [0:*]
set yrange [ARG4 - 0.4:-0.6]
set grid noytics
set ytics scale 0
set style fill solid 1.0 border rgb "#ffffff"
plot ARG2 skip 1 using 2:0:(0):2:($0 - 0.36):($0 + 0.36):ytic(1) with boxxyerror \
        lc rgb "#D4DCE4" title "this run", \
    ARG2 skip 1 using 3:0 with points pt 13 ps 1.2 lc rgb colour(2) \
        title "rows spread evenly", \
    ARG2 skip 1 using 4:0 with points pt 7 ps 1.0 lc rgb colour(1) \
        title "network that takes no time"
