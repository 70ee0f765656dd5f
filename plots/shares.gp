# Time per pass by share, one stacked bar per policy. Columns: policy, seven shares (ms).
width = 900
height = 160 + 30 * ARG4
load ARG1."/style.gp"
set output ARG3
array share[7] = ["#4477AA", "#66CCEE", "#228833", "#EE6677", "#AA3377", "#CCBB44", "#BBBBBB"]
up_to(i) = (sum [k = 2:i] column(k))
# The margin that gnuplot would leave for the names is too wide.
longest = 4
stats ARG2 skip 1 using (l = strlen(strcol(1)), longest = l > longest ? l : longest, l) \
    nooutput
set lmargin 3 + 0.85 * longest
set title "Where the time of a pass goes"
set xlabel "time per pass (ms)"
set xrange [0:*]
set yrange [ARG4 - 0.4:-0.6]
set grid noytics
set ytics scale 0
set style fill solid 1.0 border rgb "#ffffff"
array name[7] = ["dense compute", "expert compute", "experts on the host", \
                 "exposed copy", "exposed communication", "imbalance wait", "launch and host"]
plot for [i = 2:8] ARG2 skip 1 \
    using (up_to(i)):0:(i == 2 ? 0 : up_to(i - 1)):(up_to(i)):($0 - 0.36):($0 + 0.36):ytic(1) \
    with boxxyerror lc rgb share[i - 1] title name[i - 1]
